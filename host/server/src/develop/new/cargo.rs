//! The manifest of the SDK for Rust without its workspace, and the lock file of a project that depends on it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The name of the package that a new project is.
const PROJECT: &str = "handler";

/// The name of the SDK.
const SDK: &str = "namelock-guest";

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

/// The keys of the section `dependencies`.
fn dependencies(manifest: &str) -> Vec<&str> {
    let lines = manifest.lines().skip_while(|line| *line != "[dependencies]").skip(1);
    let lines = lines.take_while(|line| !line.starts_with('['));
    lines.filter_map(|line| Some(line.split_once(" = ")?.0)).collect()
}

/// A package of a lock file.
#[derive(Clone)]
struct Package<'t> {
    name: &'t str,
    version: &'t str,
    /// Where it comes from, and its hash; empty: it is in the project.
    origin: Vec<&'t str>,
    /// Each with its version where the file has several of it.
    dependencies: Vec<&'t str>,
}

/// Makes the lock file of a new project of that of this workspace, so that both are built of the same.
///
/// `sdk` is the manifest of the SDK, as [`manifest`] makes it.
pub(super) fn lock(workspace: &str, sdk: &str) -> String {
    let all: Vec<_> = workspace.split("[[package]]\n").skip(1).filter_map(package).collect();
    let find = |dependency: &str| {
        let (name, version) = dependency.split_once(' ').unwrap_or((dependency, ""));
        all.iter()
            .find(|package| package.name == name && package.version.starts_with(version))
    };
    let mut needed = BTreeMap::new();
    let own = Package {
        name: PROJECT,
        version: "0.1.0",
        origin: Vec::new(),
        dependencies: vec![SDK],
    };
    needed.insert((own.name, own.version), own);
    let mut wanted = vec![SDK];
    while let Some(package) = wanted.pop().and_then(find) {
        let mut package = package.clone();
        if package.name == SDK {
            let of_release = dependencies(sdk);
            package
                .dependencies
                .retain(|name| of_release.contains(&name.split(' ').next().unwrap_or(name)));
        }
        if !needed.contains_key(&(package.name, package.version)) {
            wanted.extend(&package.dependencies);
            needed.insert((package.name, package.version), package);
        }
    }
    let versions = |name: &str| needed.keys().filter(|(other, _)| *other == name).count();
    let mut text = workspace
        .split("[[package]]")
        .next()
        .unwrap_or_default()
        .trim_end()
        .to_owned();
    for package in needed.values() {
        let (name, version) = (package.name, package.version);
        let _ = write!(text, "\n\n[[package]]\nname = \"{name}\"\nversion = \"{version}\"");
        for line in &package.origin {
            let _ = write!(text, "\n{line}");
        }
        if !package.dependencies.is_empty() {
            text.push_str("\ndependencies = [");
            for dependency in &package.dependencies {
                let name = dependency.split(' ').next().unwrap_or(dependency);
                let named = if versions(name) == 1 { name } else { dependency };
                let _ = write!(text, "\n \"{named}\",");
            }
            text.push_str("\n]");
        }
    }
    text.push('\n');
    text
}

fn package(text: &str) -> Option<Package<'_>> {
    let value = |key: &str| {
        let mut lines = text.lines();
        lines.find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"'))
    };
    Some(Package {
        name: value("name")?,
        version: value("version")?,
        origin: text
            .lines()
            .filter(|line| line.starts_with("source = ") || line.starts_with("checksum = "))
            .collect(),
        dependencies: text.lines().filter_map(quoted).collect(),
    })
}

/// What an entry of a list names.
fn quoted(line: &str) -> Option<&str> {
    line.strip_prefix(" \"")?.strip_suffix("\",")
}

#[cfg(test)]
mod tests {
    use super::super::sources::{RUST_SDK_TOML, WORKSPACE_LOCK, WORKSPACE_TOML};
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
        assert!(!dependencies(&sdk).is_empty(), "{sdk}");
        sdk.parse::<toml::Table>().unwrap();
    }

    #[test]
    fn a_lock_file_has_what_is_needed_and_no_more() {
        let workspace = "# made by cargo\nversion = 4\n\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nsource = \"r\"\n\
             checksum = \"c1\"\ndependencies = [\n \"b 2.0.0\",\n]\n\n[[package]]\nname = \"b\"\nversion = \"1.0.0\"\n\n\
             [[package]]\nname = \"b\"\nversion = \"2.0.0\"\nsource = \"r\"\nchecksum = \"c2\"\n\n[[package]]\nname = \"namelock-guest\"\n\
             version = \"0.3.0\"\ndependencies = [\n \"a\",\n \"b 1.0.0\",\n]\n";
        assert_eq!(
            lock(workspace, "[dependencies]\na = \"1\"\n"),
            "# made by cargo\nversion = 4\n\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nsource = \"r\"\nchecksum = \"c1\"\n\
             dependencies = [\n \"b\",\n]\n\n[[package]]\nname = \"b\"\nversion = \"2.0.0\"\nsource = \"r\"\nchecksum = \"c2\"\n\n\
             [[package]]\nname = \"handler\"\nversion = \"0.1.0\"\ndependencies = [\n \"namelock-guest\",\n]\n\n\
             [[package]]\nname = \"namelock-guest\"\nversion = \"0.3.0\"\ndependencies = [\n \"a\",\n]\n"
        );
    }

    #[test]
    fn a_new_project_has_the_versions_of_this_workspace() {
        let lock = lock(WORKSPACE_LOCK, &manifest(RUST_SDK_TOML, WORKSPACE_TOML));
        let packages = |text: &str| {
            let table: toml::Table = text.parse().unwrap();
            let of = |package: &toml::Value| {
                let value = |key: &str| {
                    package
                        .get(key)
                        .and_then(toml::Value::as_str)
                        .unwrap_or_default()
                        .to_owned()
                };
                (value("name"), value("version"), value("checksum"))
            };
            table["package"].as_array().unwrap().iter().map(of).collect::<Vec<_>>()
        };
        let ours = packages(WORKSPACE_LOCK);
        let theirs = packages(&lock);
        assert!(theirs.len() > 5, "{lock}");
        for package in theirs.iter().filter(|(name, ..)| name != PROJECT) {
            assert!(ours.contains(package), "{package:?}");
        }
    }
}
