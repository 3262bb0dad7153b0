//! The files of this repository that a new project is made of, as they are compiled into this program.

/// A file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source {
    /// Its path below the folder that it is listed for.
    pub(super) path: &'static str,
    pub(super) text: &'static str,
}

/// Lists files of a folder of the repository.
macro_rules! sources {
    ($folder:literal: $($path:literal)+) => {
        &[$(Source {
            path: $path,
            text: include_str!(concat!("../../../../../", $folder, "/", $path)),
        }),+]
    };
}

/// What the crates of this workspace have in common.
pub(super) const WORKSPACE_TOML: &str = include_str!("../../../../../Cargo.toml");
/// The small stack.
pub(super) const CARGO_CONFIG: &str = include_str!("../../../../../.cargo/config.toml");

pub(super) const WIT: &[Source] = sources!("wit":
    "deps/wasi-config/store.wit"
    "handler.wit"
    "locks.wit"
    "names.wit"
    "updates.wit"
    "world.wit"
);

/// What a project has in every language.
pub(super) const PROJECT: &[Source] = sources!("guest/new":
    "README.md"
    "scenarios/handler.toml"
    "tenant.toml"
);

pub(super) const RUST: &[Source] = sources!("guest/new/rust":
    ".gitignore"
    "Cargo.lock"
    "Cargo.toml"
    "src/lib.rs"
);

pub(super) const RUST_SDK: &[Source] = sources!("guest/sdk":
    "src/bindings.rs"
    "src/duration.rs"
    "src/fake.rs"
    "src/handler.rs"
    "src/host.rs"
    "src/host/absent.rs"
    "src/host/fake.rs"
    "src/host/fake/locks.rs"
    "src/host/fake/names.rs"
    "src/host/fake/seen.rs"
    "src/host/fake/state.rs"
    "src/host/fake/writes.rs"
    "src/lease.rs"
    "src/lib.rs"
    "src/names.rs"
    "src/settings.rs"
    "src/updates.rs"
);
pub(super) const RUST_SDK_TOML: &str = include_str!("../../../../../guest/sdk/Cargo.toml");

pub(super) const PYTHON: &[Source] = sources!("guest/new/python":
    ".gitignore"
    "handler.py"
    "test_handler.py"
);
/// The tools, at versions that are pinned with their hashes.
pub(super) const PYTHON_REQUIREMENTS: &str = include_str!("../../../../../guest/python/requirements.txt");

pub(super) const PYTHON_SDK: &[Source] = sources!("guest/python/src":
    "namelock/__init__.py"
    "namelock/_bindings.py"
    "namelock/_fake_bindings.py"
    "namelock/_handler.py"
    "namelock/_lease.py"
    "namelock/_names.py"
    "namelock/_numbers.py"
    "namelock/_registration.py"
    "namelock/_rejections.py"
    "namelock/_settings.py"
    "namelock/fake/__init__.py"
    "namelock/fake/host.py"
    "namelock/fake/state.py"
    "namelock/py.typed"
);

pub(super) const JS: &[Source] = sources!("guest/new/js":
    ".gitignore"
    "handler.js"
    "handler.test.js"
    "package.json"
);

pub(super) const JS_SDK: &[Source] = sources!("guest/js":
    "build.mjs"
    "fake.d.ts"
    "fake.js"
    "index.d.ts"
    "index.js"
    "src/fake/bindings.js"
    "src/fake/host.js"
    "src/fake/rules.js"
    "src/fake/state.js"
    "src/handler.js"
    "src/host/component.js"
    "src/host/fake.js"
    "src/lease.js"
    "src/names.js"
    "src/rejections.js"
    "src/settings.js"
    "src/wire.js"
    "tool/engine.mjs"
    "tool/normalize.mjs"
);
pub(super) const JS_SDK_PACKAGE: &str = include_str!("../../../../../guest/js/package.json");
/// The tools, at versions that are pinned with their hashes.
pub(super) const JS_LOCK: &str = include_str!("../../../../../guest/js/package-lock.json");

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// The files below a folder of the repository, without these files and folders.
    fn found(folder: &str, other: &[&str]) -> Vec<String> {
        fn walk(folder: &Path, prefix: &str, other: &[&str], found: &mut Vec<String>) {
            for entry in fs::read_dir(folder).unwrap() {
                let entry = entry.unwrap();
                let path = format!("{prefix}{}", entry.file_name().into_string().unwrap());
                if other.contains(&path.as_str()) || path.ends_with("__pycache__") {
                    continue;
                }
                if entry.file_type().unwrap().is_dir() {
                    walk(&entry.path(), &format!("{path}/"), other, found);
                } else {
                    found.push(path);
                }
            }
        }
        let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
        let mut all = Vec::new();
        walk(&root.join(folder), "", other, &mut all);
        all.sort();
        all
    }

    #[test]
    fn no_file_is_left_out() {
        let check = |folder: &str, sources: &[Source], other: &[&str]| {
            let listed: Vec<_> = sources.iter().map(|source| source.path).collect();
            assert_eq!(listed, found(folder, other), "the list of {folder} in sources.rs");
        };
        check("wit", WIT, &[]);
        check("guest/new", PROJECT, &["rust", "python", "js"]);
        check("guest/new/rust", RUST, &[]);
        check("guest/new/python", PYTHON, &[]);
        check("guest/new/js", JS, &[]);
        // The manifest is made to stand alone, and `wit` is a link.
        check("guest/sdk", RUST_SDK, &["Cargo.toml", "tests", "wit"]);
        check("guest/python/src", PYTHON_SDK, &["namelock.egg-info"]);
        let other = [
            ".npmrc",
            "README.md",
            "examples",
            "node_modules",
            "package-lock.json",
            "package.json",
            "requirements-node.txt",
            "test",
            "wit",
        ];
        check("guest/js", JS_SDK, &other);
    }
}
