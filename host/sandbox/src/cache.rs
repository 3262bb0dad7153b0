//! Keeps compiled components on disk, so that a host starts at once.
//!
//! wasmtime runs what it loads as machine code, and trusts it completely
//! ([`wasmtime::component::Component::deserialize`]). So an entry is used only if this host wrote it, for this very
//! component and this very compiler:
//!
//! - the directory belongs to the user of the host and nobody else may enter it (0700), or the host does not start;
//! - the file name of an entry is the component's SHA-256 and wasmtime's compatibility hash;
//! - an entry begins with the HMAC-SHA256 of its file name and content, under a random key that never leaves the
//!   directory. One that was forged, truncated, or renamed to stand for another component is removed, and the component
//!   is compiled again;
//! - an entry is written under another name and renamed once it is on disk, so that nobody ever sees half of one.
//!
//! Several hosts may share a directory: the first of them makes the key. The number of entries is bounded; the least
//! recently used one is removed.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::config::CacheConfig;

const KEY_FILE: &str = "key";
const KEY_BYTES: usize = 32;
const MAC_BYTES: usize = 32;
const ENTRY: &str = "cwasm";
const TEMPORARY: &str = "tmp";

/// The age at which a temporary file was left behind by a host that died while it wrote.
const ABANDONED: Duration = Duration::from_secs(3600);

/// The SHA-256 of a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest(pub(crate) [u8; 32]);

impl Digest {
    pub(crate) fn of(wasm: &[u8]) -> Self {
        use sha2::Digest as _;
        Self(Sha256::digest(wasm).into())
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

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

/// A directory of compiled components.
#[derive(Debug)]
pub(crate) struct Cache {
    dir: PathBuf,
    key: Key,
    compatibility: u64,
    artifact_max: usize,
    files: usize,
}

/// The key of the directory, which is never printed.
struct Key([u8; KEY_BYTES]);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(…)")
    }
}

impl Cache {
    /// Opens the directory and creates it if it does not exist. `compatibility` tells compilers apart, and
    /// `artifact_max` is the longest compiled component in bytes.
    pub(crate) fn open(config: &CacheConfig, compatibility: u64, artifact_max: usize) -> Result<Self, CacheError> {
        let dir = config.dir.clone();
        match DirBuilder::new().mode(0o700).create(&dir) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(failed("create", &dir)(error)),
            Ok(()) | Err(_) => {}
        }
        only_ours(&dir, "directory", 0o700)?;
        Ok(Self {
            key: read_or_make_key(&dir)?,
            dir,
            compatibility,
            artifact_max,
            files: config.files,
        })
    }

    /// Returns the compiled component, if it is kept and was not tampered with.
    pub(crate) fn get(&self, digest: Digest) -> Option<Vec<u8>> {
        let name = self.name(digest);
        let path = self.dir.join(&name);
        let bytes = match read_bounded(&path, self.artifact_max + MAC_BYTES) {
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            Err(error) => {
                self.discard(&path, &error.to_string());
                return None;
            }
            Ok(bytes) => bytes,
        };
        let genuine = bytes
            .split_at_checked(MAC_BYTES)
            .filter(|(mac, artifact)| self.mac(&name, artifact).verify_slice(mac).is_ok());
        let Some((_, artifact)) = genuine else {
            self.discard(&path, "it is cut or forged");
            return None;
        };
        // The time of the last use. If it cannot be set, the entry only looks older.
        let _ = File::options()
            .append(true)
            .open(&path)
            .and_then(|file| file.set_modified(SystemTime::now()));
        Some(artifact.to_vec())
    }

    /// Keeps a compiled component. If that fails, the next start compiles it again.
    pub(crate) fn put(&self, digest: Digest, artifact: &[u8]) {
        let name = self.name(digest);
        let mac = self.mac(&name, artifact).finalize().into_bytes();
        if let Err(error) = write_and_rename(&self.dir, &name, &[&mac, artifact]) {
            tracing::warn!(
                dir = %self.dir.display(),
                %error,
                "cannot keep a compiled component; it will be compiled again"
            );
        }
        self.sweep();
    }

    /// Removes an entry that wasmtime refuses, or that is not what was written.
    fn discard(&self, path: &Path, problem: &str) {
        tracing::warn!(
            path = %path.display(),
            problem,
            "a compiled component in the cache is not usable; it is compiled again"
        );
        if let Err(error) = fs::remove_file(path) {
            tracing::warn!(path = %path.display(), %error, "cannot remove a compiled component from the cache");
        }
    }

    pub(crate) fn discard_entry(&self, digest: Digest, problem: &str) {
        self.discard(&self.dir.join(self.name(digest)), problem);
    }

    /// Removes the entries that are too many, and temporary files of hosts that died.
    fn sweep(&self) {
        let Ok(entries) = fs::read_dir(&self.dir) else { return };
        let mut kept = Vec::new();
        for path in entries.flatten().map(|entry| entry.path()) {
            let Ok(modified) = fs::symlink_metadata(&path).and_then(|meta| meta.modified()) else {
                continue;
            };
            match path.extension().and_then(|extension| extension.to_str()) {
                Some(ENTRY) => kept.push((modified, path)),
                Some(TEMPORARY) if modified.elapsed().is_ok_and(|age| age > ABANDONED) => {
                    let _ = fs::remove_file(path);
                }
                _ => {}
            }
        }
        kept.sort();
        let too_many = kept.len().saturating_sub(self.files);
        for (_, path) in kept.drain(..too_many) {
            let _ = fs::remove_file(path);
        }
    }

    fn name(&self, digest: Digest) -> String {
        format!("{digest}-{:016x}.{ENTRY}", self.compatibility)
    }

    fn mac(&self, name: &str, artifact: &[u8]) -> Hmac<Sha256> {
        // An HMAC takes a key of any length.
        #[expect(clippy::expect_used, reason = "no length of key is refused")]
        let mac = Hmac::<Sha256>::new_from_slice(&self.key.0).expect("a key of any length");
        // All names have the same length, so a forger cannot choose where the name ends and the content begins.
        mac.chain_update(name).chain_update(artifact)
    }
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
        let fix = format!("remove what is in it, then chmod {mode:o} {}", path.display());
        return refused(format!("is open to others (mode {:o})", meta.mode() & 0o777), fix);
    }
    Ok(())
}

/// Reads the key, or makes one. Of several hosts that do so at once, one makes it and the others read it.
fn read_or_make_key(dir: &Path) -> Result<Key, CacheError> {
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

/// Writes a file so that it is on disk completely or not at all.
fn write_and_rename(dir: &Path, name: &str, parts: &[&[u8]]) -> io::Result<()> {
    let temporary = write_temporary(dir, name, parts)?;
    fs::rename(&temporary, dir.join(name)).inspect_err(|_| {
        let _ = fs::remove_file(&temporary);
    })
}

/// Writes a file under a random name.
fn write_temporary(dir: &Path, name: &str, parts: &[&[u8]]) -> io::Result<PathBuf> {
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

#[cfg(test)]
mod tests;
