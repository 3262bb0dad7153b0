//! The page `docs/limits.md`: every limit that a tenant or a caller can reach, what happens then, and the test that reaches it.
//!
//! Each limit is declared in `config/limits.rs` (of a tenant) or `config/settings.rs` (of the host). A test here finds every
//! test that is named there, so a limit that no test reaches does not pass.

use crate::config::setting::Reached;
use crate::config::{self, Described};
use crate::http::connections::ConnectionLimits;

/// What the page says before its tables.
const INTRODUCTION: &str = "# Limits

Generated from `host/server/src/config/limits.rs` and `settings.rs` beside it; to change it, edit those files and run the
tests with `UPDATE_DOCS=1`. [configuration.md](configuration.md) says how to set them, [errors.md](errors.md) what a code means.
";

/// What it says after them.
const FIXED: &str = "
## Fixed

No key changes these: a component has at most 64 core instances, 4 memories, 8 tables of 20,000 elements, is nested at most 64
levels deep, and names no function with more than 16 KiB, which is checked before it is compiled; a tenant has at most 64 tokens
and a `tenant.toml` of 64 KiB; a handler's text for a caller is cut at 1 KiB, and a line of its output of more than 1 KiB
continues in the next line of the log; 256 KiB of events wait for one who follows a log, and more are dropped; the logs of all
tenants together have one follower for every sixteen of `http.connections`, and one more is answered `overloaded`.
";

/// The text of the page.
pub fn document() -> String {
    let (tenant, host): (Vec<_>, Vec<_>) = config::all().into_iter().partition(|setting| setting.tenant);
    let mut text = INTRODUCTION.to_owned();
    text.push_str("\n## Of a tenant\n\nA `tenant.toml` may override these, up to those of `[limits.max]`.\n\n");
    table(&mut text, &tenant);
    text.push_str("\n## Of the host\n\n");
    table(&mut text, &host);
    text.push_str(FIXED);
    text.push_str(&admin_listener());
    text
}

/// What the page says of the admin listener.
fn admin_listener() -> String {
    let ConnectionLimits {
        connections,
        header_bytes,
        headers,
        streams,
        ..
    } = ConnectionLimits::ADMIN;
    format!(
        "
The admin listener has {connections} connections at once. One address has no more of them than are free: {} where it is alone, and
all operators behind one proxy are one address. One more takes the place of one that is idle, or else ends at once. With HTTP/2 a
connection has {streams} requests at once; a head has {} KiB and {headers} lines. They are set in
`host/server/src/http/connections/limits.rs`.
",
        connections / 2,
        header_bytes >> 10
    )
}

fn table(text: &mut String, settings: &[Described]) {
    text.push_str("| limit | bounds | default | range | when it is reached | test |\n|---|---|---|---|---|---|\n");
    for Described { entry, default, .. } in settings {
        if let Some(limit) = entry.limit {
            let default = default.as_ref().map(ToString::to_string).unwrap_or_default();
            text.push_str(&format!(
                "| `{}` | {} | `{default}` | {} | {} | `{}` |\n",
                entry.key,
                entry.says,
                entry.kind.range().unwrap_or_default(),
                when_reached(limit.reached),
                limit.test
            ));
        }
    }
}

fn when_reached(reached: Reached) -> String {
    match reached {
        Reached::Code(kind) => format!("[`{0}`](errors.md#{0})", kind.label()),
        Reached::Status(status) => format!("status {status}"),
        Reached::Closed => "the connection ends".to_owned(),
        Reached::Waits => "the next one waits".to_owned(),
        Reached::Dropped => "the rest is dropped".to_owned(),
        Reached::Expires => "the rest expires".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;

    const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

    #[test]
    fn every_setting_of_a_tenant_is_a_limit() {
        let settings = config::all();
        let no_limit: Vec<_> = settings
            .iter()
            .filter(|setting| setting.tenant && setting.entry.limit.is_none())
            .map(|setting| setting.entry.key)
            .collect();
        assert!(no_limit.is_empty(), "what happens at {no_limit:?}?");
    }

    /// The source files below a folder.
    fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }

    #[test]
    fn every_limit_has_a_test_that_reaches_it() {
        let mut files = Vec::new();
        for folder in ["tests", "host"] {
            sources(&Path::new(ROOT).join(folder), &mut files);
        }
        // The module is the name of the file, or of a folder that it is in.
        let text_of = |module: &str| -> String {
            let of_module = |path: &&PathBuf| {
                path.iter().any(|part| {
                    part.to_str()
                        .is_some_and(|part| part.strip_suffix(".rs").unwrap_or(part).starts_with(module))
                })
            };
            files
                .iter()
                .filter(of_module)
                .map(|path| fs::read_to_string(path).unwrap())
                .collect()
        };
        let limits: Vec<_> = config::all()
            .into_iter()
            .filter_map(|setting| setting.entry.limit)
            .collect();
        let missing = limits.iter().filter(|limit| {
            let (module, name) = limit.test.split_once("::").unwrap();
            let line = match module {
                "guests" => format!("mod {name} {{"),
                _ => format!("fn {name}("),
            };
            !text_of(module).contains(&line)
        });
        let missing: Vec<_> = missing.map(|limit| limit.test).collect();
        assert!(missing.is_empty(), "there are no tests {missing:?}");
    }
}
