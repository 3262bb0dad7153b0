//! The documents that are generated from the declarations of settings, limits and codes.

use crate::{config, error, limits};

/// Each document: its path in the repository, and its text.
pub fn all() -> [(&'static str, String); 3] {
    [
        ("docs/configuration.md", config::document()),
        ("docs/limits.md", limits::document()),
        ("docs/errors.md", error::document()),
    ]
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    #[test]
    fn the_generated_documents_are_up_to_date() {
        let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
        for (name, text) in super::all() {
            let path = root.join(name);
            if std::env::var_os("UPDATE_DOCS").is_some() {
                fs::write(&path, &text).unwrap();
            }
            let found = fs::read_to_string(&path).unwrap_or_default();
            assert!(
                found == text,
                "{name} is out of date; run the tests with UPDATE_DOCS=1 to rewrite it"
            );
        }
    }
}
