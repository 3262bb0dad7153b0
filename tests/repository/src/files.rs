//! The files of the repository.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// One text file, with its path relative to the root and with `/` between its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// For example `host/lock/src/lib.rs`.
    pub path: String,
    /// Its contents.
    pub text: String,
}

impl File {
    /// Makes a file of a path and its contents.
    pub fn new(path: &str, text: &str) -> Self {
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }
}

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Reads all files below `root` whose names end in `ending`, except for build output and hidden folders, ordered by path.
///
/// # Errors
///
/// When a folder or a file cannot be read.
pub fn read(root: &Path, ending: &str) -> io::Result<Vec<File>> {
    let mut found = Vec::new();
    walk(root, "", ending, &mut found)?;
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

fn walk(folder: &Path, prefix: &str, ending: &str, found: &mut Vec<File>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{prefix}{name}");
        if entry.file_type()?.is_dir() {
            if name != "target" && name != "node_modules" && !name.starts_with('.') {
                walk(&entry.path(), &format!("{path}/"), ending, found)?;
            }
        } else if name.ends_with(ending) {
            let text = fs::read_to_string(entry.path())?;
            found.push(File { path, text });
        }
    }
    Ok(())
}

/// The crates whose rooms are checked: the folders with a `src` that these files are in, such as `host/lock`.
pub fn crates(files: &[File]) -> Vec<String> {
    let of = |file: &File| {
        let (name, _) = file.path.split_once("/src/")?;
        (name.starts_with("host/") || name.starts_with("guest/")).then(|| name.to_owned())
    };
    let mut names: Vec<_> = files.iter().filter_map(of).collect();
    names.sort();
    names.dedup();
    names
}

/// The sources of one crate, with paths relative to its `src`.
pub fn sources(files: &[File], name: &str) -> Vec<File> {
    let of = |file: &File| {
        let path = file.path.strip_prefix(name)?.strip_prefix("/src/")?;
        Some(File::new(path, &file.text))
    };
    files.iter().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_are_the_folders_of_host_and_guest_that_have_sources() {
        let files = [
            File::new("host/lock/src/lib.rs", "a"),
            File::new("host/lock/src/lane/mod.rs", "b"),
            File::new("host/lock/tests/suite.rs", "c"),
            File::new("tests/bench/src/main.rs", "d"),
        ];
        assert_eq!(crates(&files), ["host/lock"]);
        let expect = [File::new("lib.rs", "a"), File::new("lane/mod.rs", "b")];
        assert_eq!(sources(&files, "host/lock"), expect);
    }
}
