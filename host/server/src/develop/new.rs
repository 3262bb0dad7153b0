//! `namelock new`: a small project that builds as it is, with the tools of its language and without this repository.

mod cargo;
mod npm;
mod project;
mod sources;

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use clap::Args;

use super::language::{Language, typed};
use crate::config::source::ConfigError;
use crate::lifecycle::RunError;
use crate::output::print;
use crate::tenants::{InvalidTenantId, TenantId};

/// Which project to make.
#[derive(Args, Debug)]
pub struct NewFlags {
    /// The directory of the project, which does not exist or is empty; its last part is the name of the tenant
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// The language of the handler
    #[arg(long, value_name = "LANGUAGE")]
    lang: Language,
}

/// Makes a project, and prints what was made and what comes next.
///
/// # Errors
///
/// [`RunError::Config`] if the directory cannot be that of a new project, [`RunError::Write`] if it cannot be written.
pub fn run(flags: &NewFlags) -> Result<(), RunError> {
    let NewFlags { dir, lang } = flags;
    let id = id(dir)?;
    let files = project::files(id.as_str(), *lang).map_err(|error| RunError::Runtime(error.into()))?;
    for (path, text) in &files {
        let path = dir.join(path);
        write(&path, text).map_err(|source| RunError::Write { path, source })?;
    }
    print(&told(dir, &id, *lang))
}

/// The tenant that the project in this directory is for, if a project can be made there.
fn id(dir: &Path) -> Result<TenantId, ConfigError> {
    let wrong = |problem: String| ConfigError::new(dir.display().to_string(), problem);
    let found = match fs::read_dir(dir) {
        Ok(mut entries) => match entries.next() {
            None => dir
                .canonicalize()
                .map_err(|error| wrong(format!("cannot look at it: {error}")))?,
            Some(_) => {
                return Err(wrong(
                    "is not empty; name a directory that does not exist yet".to_owned(),
                ));
            }
        },
        Err(error) if error.kind() == ErrorKind::NotFound => dir.to_owned(),
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            return Err(wrong("is no directory; name one that does not exist yet".to_owned()));
        }
        Err(error) => return Err(wrong(format!("cannot look at it: {error}"))),
    };
    let name = found.file_name().and_then(OsStr::to_str);
    name.and_then(|name| name.parse().ok()).ok_or_else(|| {
        wrong(format!(
            "the last part names a tenant, and {InvalidTenantId}; choose another one, such as `codes`"
        ))
    })
}

/// Writes a new file, and the directories that it is in.
fn write(path: &Path, text: &str) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::File::create_new(path)?.write_all(text.as_bytes())
}

/// What was made, and what comes next.
fn told(dir: &Path, id: &TenantId, language: Language) -> String {
    let at = typed(dir);
    // Of `codes` it is here, and of `.` one up.
    let tenants = match dir.parent() {
        _ if dir.file_name().is_none() => dir.join(".."),
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let mut text = format!("made {at}, a handler in {}\n", language.title());
    let shared = [
        ("scenarios/handler.toml", "what it must do, for `namelock test`"),
        ("tenant.toml", "its settings and limits on a host"),
        ("README.md", "the commands, in order"),
        ("sdk/", "the SDK and the contract with the host"),
    ];
    for (path, what) in project::tour(language).iter().chain(&shared) {
        // Writing to a text does not fail.
        let _ = writeln!(text, "  {path:<24} {what}");
    }
    text.push_str("next:\n");
    for command in [
        language.setup(dir),
        project::unit_tests(dir, language),
        format!("namelock build {at}"),
        format!("namelock check {at}"),
        format!("namelock test {at}"),
        format!("namelock run {at} --name spring --owner ann"),
        format!("namelock serve --tenants {}   # the tenant {id}", typed(&tenants)),
    ] {
        let _ = writeln!(text, "  {command}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(dir: &Path, language: Language) -> Vec<String> {
        let flags = NewFlags {
            dir: dir.to_owned(),
            lang: language,
        };
        run(&flags).unwrap();
        let mut found = Vec::new();
        let mut folders = vec![dir.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    found.push(path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned());
                }
            }
        }
        found.retain(|path| !path.starts_with("sdk/"));
        found.sort();
        found
    }

    #[test]
    fn a_project_has_what_its_language_needs_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let check = |language: Language, name: &str, own: &[&str]| {
            let shared = [".gitignore", "README.md", "scenarios/handler.toml", "tenant.toml"];
            let mut expect: Vec<_> = own.iter().chain(&shared).copied().collect();
            expect.sort_unstable();
            let dir = root.path().join(name);
            assert_eq!(of(&dir, language), expect);
            assert!(dir.join("sdk/wit/world.wit").is_file());
            assert_eq!(
                Language::of(&dir)
                    .iter()
                    .map(|(language, _)| *language)
                    .collect::<Vec<_>>(),
                [language]
            );
            let readme = fs::read_to_string(dir.join("README.md")).unwrap();
            let title = format!("# {}\n", dir.file_name().unwrap().to_str().unwrap());
            assert!(readme.starts_with(&title), "{readme}");
            assert!(!readme.replace("'{\"name\":", "").contains('{'), "{readme}");
            for (path, _) in project::tour(language) {
                assert!(dir.join(path).is_file(), "{path}");
            }
        };
        let rust = [".cargo/config.toml", "Cargo.lock", "Cargo.toml", "src/lib.rs"];
        check(Language::Rust, "codes", &rust);
        check(
            Language::Python,
            "2-codes",
            &["handler.py", "requirements.txt", "test_handler.py"],
        );
        let js = ["handler.js", "handler.test.js", "package-lock.json", "package.json"];
        check(Language::JavaScript, "in/a/codes", &js);
    }

    #[test]
    fn only_a_new_or_empty_directory_with_the_name_of_a_tenant_is_taken() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        fs::create_dir(at("empty")).unwrap();
        assert_eq!(id(&at("empty")).unwrap().as_str(), "empty");
        assert_eq!(id(&at("empty/.")).unwrap().as_str(), "empty");
        assert_eq!(id(&at("none/codes/")).unwrap().as_str(), "codes");
        fs::write(at("empty/file"), "").unwrap();
        for (path, expect) in [
            ("empty", "is not empty"),
            ("empty/file", "is no directory"),
            ("empty/file/codes", "is no directory"),
            ("My Codes", "a tenant's id is 1 to 63 of a-z"),
            ("none/..", "a tenant's id is 1 to 63 of a-z"),
        ] {
            let error = id(&at(path)).unwrap_err().to_string();
            assert!(error.contains(expect), "{path}: {error}");
        }
    }

    #[test]
    fn the_next_commands_can_be_typed_as_they_are() {
        let id: TenantId = "codes".parse().unwrap();
        let check = |dir: &str, expect: &str| {
            let text = told(Path::new(dir), &id, Language::Python);
            assert!(text.contains(expect), "{text}");
        };
        check("codes", "\n  namelock serve --tenants .   # the tenant codes\n");
        check("a b/codes", "\n  namelock serve --tenants 'a b'   #");
        check("a b/codes", "\n  namelock build 'a b/codes'\n");
        check(".", "\n  namelock serve --tenants ./..   #");
        check(
            ".",
            "\n  python3 -m venv .venv && .venv/bin/pip install -r requirements.txt\n",
        );
        check("codes", "\n  (cd codes && PYTHONPATH=sdk python3 -m unittest)\n");
    }
}
