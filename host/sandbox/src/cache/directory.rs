//! The directory of compiled components: nobody but the user of this host may enter it, and it has a key.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The file in which the key is.
pub(super) const KEY_FILE: &str = "key";
const KEY_BYTES: usize = 32;

/// The extensions of a compiled component, and of a file that is still being written.
pub(super) const ENTRY: &str = "cwasm";
pub(super) const TEMPORARY: &str = "tmp";

/// Why compiled components cannot be kept in a directory.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The directory or a file in it cannot be created, read or written.
    #[error("cannot {doing} {path}; choose another directory with --cache")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The directory or the file.
        path: PathBuf,
        /// Why that failed.
        #[source]
        source: io::Error,
    },
    /// Another user could write machine code into the directory.
    #[error("{path} {problem}; whoever can write there decides what this host runs: {fix}")]
    Unsafe {
        /// The directory or the key.
        path: PathBuf,
        /// What is wrong.
        problem: String,
        /// How to fix it.
        fix: String,
    },
}

/// The key of the directory, which is never printed.
pub(super) struct Key(pub(super) [u8; KEY_BYTES]);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(…)")
    }
}

/// Opens the directory, and creates it if it does not exist.
pub(super) fn open(dir: &Path) -> Result<(), CacheError> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(failed("create", dir)(error)),
        Ok(()) | Err(_) => {}
    }
    only_ours(dir, "directory", 0o700)
}

fn failed<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> CacheError + 'a {
    move |source| CacheError::Io {
        doing,
        path: path.into(),
        source,
    }
}

/// Refuses what another user owns or may access.
fn only_ours(path: &Path, kind: &str, mode: u32) -> Result<(), CacheError> {
    let meta = fs::symlink_metadata(path).map_err(failed("inspect", path))?;
    let is_kind = if kind == "directory" {
        meta.is_dir()
    } else {
        meta.is_file()
    };
    let refused = |problem: String, fix: String| {
        Err(CacheError::Unsafe {
            path: path.into(),
            problem,
            fix,
        })
    };
    if !is_kind {
        return refused(
            format!("is not a {kind}"),
            "choose another directory with --cache".into(),
        );
    }
    let us = rustix::process::geteuid().as_raw();
    if meta.uid() != us {
        let fix = format!("give it to user {us}, or choose another directory with --cache");
        return refused(format!("belongs to user {}, not to user {us}", meta.uid()), fix);
    }
    if meta.mode() & 0o077 != 0 {
        let fix = if kind == "directory" && !is_a_cache(path) {
            // What is in it is somebody's, and whoever uses it would lose it.
            format!(
                "choose a directory of its own with --cache, as {}",
                path.join("namelock-cache").display()
            )
        } else {
            format!("remove what is in it, then chmod {mode:o} {}", path.display())
        };
        return refused(format!("is open to others (mode {:o})", meta.mode() & 0o777), fix);
    }
    Ok(())
}

/// Tells whether a directory holds nothing but what a cache does, and is not one that all users share, as `/tmp` is.
fn is_a_cache(dir: &Path) -> bool {
    const STICKY: u32 = 0o1000;
    let shared = fs::symlink_metadata(dir).is_ok_and(|meta| meta.mode() & (STICKY | 0o002) != 0);
    let ours = |path: &Path| {
        let extension = path.extension().and_then(|extension| extension.to_str());
        path.ends_with(KEY_FILE) || matches!(extension, Some(ENTRY | TEMPORARY))
    };
    let all_ours = |entries: fs::ReadDir| entries.flatten().all(|entry| ours(&entry.path()));
    !shared && fs::read_dir(dir).is_ok_and(all_ours)
}

/// Reads the key, or makes one. Of several hosts that do so at once, one makes it and the others read it.
pub(super) fn read_or_make_key(dir: &Path) -> Result<Key, CacheError> {
    let path = dir.join(KEY_FILE);
    if !path.exists() {
        let mut key = [0; KEY_BYTES];
        getrandom::fill(&mut key).map_err(|error| failed("make", &path)(io::Error::other(error)))?;
        let temporary = write_temporary(dir, KEY_FILE, &[&key]).map_err(failed("write", &path))?;
        let linked = fs::hard_link(&temporary, &path);
        let _ = fs::remove_file(&temporary);
        match linked {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(failed("write", &path)(error)),
            Ok(()) | Err(_) => {}
        }
    }
    only_ours(&path, "file", 0o600)?;
    let key = read_bounded(&path, KEY_BYTES).map_err(failed("read", &path))?;
    <[u8; KEY_BYTES]>::try_from(key)
        .map(Key)
        .map_err(|_| CacheError::Unsafe {
            path,
            problem: "is not a key of 32 bytes".into(),
            fix: "remove it".into(),
        })
}

/// Reads a file that has at most `max` bytes.
fn read_bounded(path: &Path, max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(max as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > max {
        return Err(io::Error::new(
            ErrorKind::FileTooLarge,
            format!("it is longer than {max} bytes"),
        ));
    }
    Ok(bytes)
}

/// Writes a file under a random name.
pub(super) fn write_temporary(dir: &Path, name: &str, parts: &[&[u8]]) -> io::Result<PathBuf> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let path = dir.join(format!("{name}.{:016x}.{TEMPORARY}", u64::from_ne_bytes(random)));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)?;
    let written = parts
        .iter()
        .try_for_each(|part| file.write_all(part))
        .and_then(|()| file.sync_all());
    written.inspect_err(|_| {
        let _ = fs::remove_file(&path);
    })?;
    Ok(path)
}
