//! The manifest of the SDK for Rust without its workspace.

use std::fmt::Write as _;

/// The sections of the SDK's manifest that are for its development.
const FOR_DEVELOPMENT: [&str; 2] = ["[lints]", "[dev-dependencies]"];

/// Writes out what a manifest takes from its workspace, and leaves out what is for its development.
pub(super) fn manifest(member: &str, workspace: &str) -> String {
    let mut text = String::new();
    let mut section = "";
    for line in member.lines() {
        if line.starts_with('[') {
            section = line;
        }
        if FOR_DEVELOPMENT.contains(&section) {
            continue;
        }
        let shared = if section == "[package]" {
            "[workspace.package]"
        } else {
            "[workspace.dependencies]"
        };
        let own = line.strip_suffix(".workspace = true");
        let line = own.and_then(|key| entry(workspace, shared, key)).unwrap_or(line);
        // Writing to a text does not fail.
        let _ = writeln!(text, "{line}");
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

/// The line of a section that sets a key.
fn entry<'t>(manifest: &'t str, section: &str, key: &str) -> Option<&'t str> {
    let lines = manifest.lines().skip_while(|line| *line != section).skip(1);
    let mut lines = lines.take_while(|line| !line.starts_with('['));
    lines.find(|line| line.strip_prefix(key).is_some_and(|rest| rest.starts_with(" = ")))
}

#[cfg(test)]
mod tests {
    use super::super::sources::{RUST_SDK_TOML, WORKSPACE_TOML};
    use super::*;

    const WORKSPACE: &str = "[workspace.package]\nversion = \"1.2.3\"\n\n[workspace.dependencies]\nversion = \"7\"\n\
                             a = { version = \"1\", features = [\"x\"] }\na-b = \"2\"\n\n[profile.dev]\na = 3\n";

    #[test]
    fn what_a_manifest_takes_from_its_workspace_is_written_out() {
        let member = "[package]\nname = \"m\"\nversion.workspace = true\n\n[lints]\nworkspace = true\n\n[features]\nf = []\n\n\
                      [dependencies]\na.workspace = true\n\n[dev-dependencies]\na-b.workspace = true\n";
        assert_eq!(
            manifest(member, WORKSPACE),
            "[package]\nname = \"m\"\nversion = \"1.2.3\"\n\n[features]\nf = []\n\n[dependencies]\n\
             a = { version = \"1\", features = [\"x\"] }\n"
        );
    }

    #[test]
    fn the_manifest_of_the_sdk_stands_alone() {
        let sdk = manifest(RUST_SDK_TOML, WORKSPACE_TOML);
        assert!(!sdk.contains("workspace"), "{sdk}");
        let sdk: toml::Table = sdk.parse().unwrap();
        assert!(!sdk["dependencies"].as_table().unwrap().is_empty());
    }
}
