//! The files of a new project.

use std::borrow::Cow;
use std::path::Path;

use super::cargo;
use super::npm;
use super::sources::{self, Source};
use crate::develop::language::{Language, inside};

/// A file of a project: its path in the project's directory, and its text.
pub(super) type File = (String, Cow<'static, str>);

/// Makes all files of a project of this name.
pub(super) fn files(name: &str, language: Language) -> Result<Vec<File>, serde_json::Error> {
    let plain = |source: &Source| (source.path.to_owned(), source.text.into());
    let in_sdk = |source: &Source| (format!("sdk/{}", source.path), source.text.into());
    let in_wit = |source: &Source| (format!("sdk/wit/{}", source.path), source.text.into());
    let (own, sdk) = match language {
        Language::Rust => (sources::RUST, sources::RUST_SDK),
        Language::Python => (sources::PYTHON, sources::PYTHON_SDK),
        Language::JavaScript => (sources::JS, sources::JS_SDK),
    };
    let mut files: Vec<File> = own.iter().chain(sources::PROJECT).map(plain).collect();
    files.extend(sdk.iter().map(in_sdk));
    files.extend(sources::WIT.iter().map(in_wit));
    let mut add = |path: &str, text: Cow<'static, str>| files.push((path.to_owned(), text));
    match language {
        Language::Rust => {
            let manifest = cargo::manifest(sources::RUST_SDK_TOML, sources::WORKSPACE_TOML);
            add(".cargo/config.toml", sources::CARGO_CONFIG.into());
            add("sdk/Cargo.toml", manifest.into());
        }
        Language::Python => add("requirements.txt", sources::PYTHON_REQUIREMENTS.into()),
        Language::JavaScript => {
            let package = npm::package(sources::JS_SDK_PACKAGE);
            let own = own.iter().find(|source| source.path == "package.json");
            let project = own.map_or("{}", |source| source.text);
            add(
                "package-lock.json",
                npm::lock(sources::JS_LOCK, project, &package)?.into(),
            );
            add("sdk/package.json", package.into());
        }
    }
    for (path, text) in &mut files {
        if path == "README.md" {
            *text = readme(text, name, language).into();
        }
    }
    files.sort();
    Ok(files)
}

/// The files that are for the author to read and to change, in the order in which they are met.
pub(super) fn tour(language: Language) -> &'static [(&'static str, &'static str)] {
    match language {
        Language::Rust => &[
            ("src/lib.rs", "the handler, and its tests against a host in memory"),
            ("Cargo.toml", "its package; `Cargo.lock` pins what it depends on"),
            (".cargo/config.toml", "a small stack, which makes calls cheaper"),
        ],
        Language::Python => &[
            ("handler.py", "the handler"),
            ("test_handler.py", "its tests against a host in memory"),
            ("requirements.txt", "the tools, pinned by their hashes"),
        ],
        Language::JavaScript => &[
            ("handler.js", "the handler"),
            ("handler.test.js", "its tests against a host in memory"),
            ("package.json", "the SDK and the tools; `package-lock.json` pins them"),
        ],
    }
}

/// The command that runs the tests of a project's own language, outside of its directory.
pub(super) fn unit_tests(dir: &Path, language: Language) -> String {
    let command = match language {
        Language::Rust => "cargo test",
        Language::Python => "PYTHONPATH=sdk python3 -m unittest",
        Language::JavaScript => "npm test",
    };
    inside(dir, command)
}

fn readme(template: &str, name: &str, language: Language) -> String {
    let tour = tour(language)
        .iter()
        .map(|(path, what)| format!("| `{path}` | {what} |"));
    let first_start = match language {
        Language::Rust => "It compiles a new component first, which takes a second or two.",
        Language::Python | Language::JavaScript => {
            "It compiles a new component first, the language's runtime included, which takes half a minute or more. It listens\n\
             after half a minute at the latest, and answers `tenant_unavailable` until it is done."
        }
    };
    template
        .replace("{name}", name)
        .replace("{language}", language.title())
        .replace("{files}", &tour.collect::<Vec<_>>().join("\n"))
        .replace("{setup}", &language.setup(name.as_ref()))
        .replace("{unit_test}", &unit_tests(name.as_ref(), language))
        .replace("{first_start}", first_start)
}
