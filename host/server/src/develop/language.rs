//! The languages that handlers are written in.

use std::path::Path;

use clap::ValueEnum;

/// A language with an SDK.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Language {
    Rust,
    Python,
    #[value(name = "js")]
    JavaScript,
}

impl Language {
    pub(super) const ALL: [Self; 3] = [Self::Rust, Self::Python, Self::JavaScript];

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Rust => "Rust",
            Self::Python => "Python",
            Self::JavaScript => "JavaScript",
        }
    }

    /// The files by any of which a project in it is known.
    pub(super) fn marks(self) -> &'static [&'static str] {
        match self {
            Self::Rust => &["Cargo.toml"],
            Self::Python => &["requirements.txt", "pyproject.toml"],
            Self::JavaScript => &["package.json"],
        }
    }

    /// The languages whose files are in this directory, each with the first of them.
    pub(super) fn of(dir: &Path) -> Vec<(Self, &'static str)> {
        let first = |language: Self| {
            let mut marks = language.marks().iter();
            Some((language, *marks.find(|mark| dir.join(mark).is_file())?))
        };
        Self::ALL.into_iter().filter_map(first).collect()
    }

    /// The command that makes the project in `dir` ready to be built, once.
    pub(super) fn setup(self, dir: &Path) -> String {
        match self {
            Self::Rust => format!("rustup target add {RUST_TARGET}"),
            Self::Python => inside(
                dir,
                "python3 -m venv .venv && .venv/bin/pip install -r requirements.txt",
            ),
            Self::JavaScript => inside(dir, "npm ci"),
        }
    }
}

/// What Rust compiles a handler for.
pub(super) const RUST_TARGET: &str = "wasm32-wasip2";

/// A command to run in a directory, as it is typed outside of it.
pub(super) fn inside(dir: &Path, command: &str) -> String {
    if dir == Path::new(".") {
        return command.to_owned();
    }
    format!("(cd {} && {command})", typed(dir))
}

/// A path as a shell reads it.
pub(super) fn typed(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
    if !text.is_empty() && !text.starts_with('-') && text.bytes().all(plain) {
        return text;
    }
    let dashes = if text.starts_with('-') { "./" } else { "" };
    format!("{dashes}'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_can_be_pasted_into_a_shell() {
        let check = |path: &str, expect: &str| assert_eq!(typed(Path::new(path)), expect);
        check("a/b-c_1.d", "a/b-c_1.d");
        check("my codes", "'my codes'");
        check("ann's", r"'ann'\''s'");
        check("-x", "./'-x'");
        assert_eq!(Language::JavaScript.setup(Path::new(".")), "npm ci");
        assert_eq!(Language::JavaScript.setup(Path::new("a b")), "(cd 'a b' && npm ci)");
    }

    #[test]
    fn a_project_is_known_by_its_files() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Language::of(dir.path()), []);
        std::fs::write(dir.path().join("pyproject.toml"), "").unwrap();
        assert_eq!(Language::of(dir.path()), [(Language::Python, "pyproject.toml")]);
        std::fs::write(dir.path().join("Cargo.toml"), "").unwrap();
        let both = [(Language::Rust, "Cargo.toml"), (Language::Python, "pyproject.toml")];
        assert_eq!(Language::of(dir.path()), both);
    }
}
