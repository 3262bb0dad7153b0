//! What was compiled before, so that a host starts in a moment.
//!
//! wasmtime runs what it loads as machine code, and trusts it completely ([`wasmtime::component::Component::deserialize`]). So an
//! entry is used only if this host wrote it, for this very component and this very compiler:
//!
//! - the directory belongs to the user of the host and nobody else may enter it (0700), or the host does not start;
//! - the name of an entry is the component's SHA-256 and wasmtime's compatibility hash;
//! - an entry begins with the HMAC-SHA256 of its name and content, by a random key that never leaves the directory. One that was
//!   forged, cut, or renamed to stand for another component is removed, and the component is compiled again;
//! - an entry is written under another name and renamed once it is on disk, so that nobody ever sees half of one.
//!
//! Several hosts may share a directory: the first of them makes the key. The number of entries is bounded; the one that was not
//! used for longest goes.

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

/// How old a file must be to be what a host left behind that died while it wrote.
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
    /// It cannot be made or read.
    #[error("cannot {doing} {path}; choose another directory with --cache")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Somebody else could write machine code into it.
    #[error("{path} {problem}; whoever can write there decides what this host runs: {mend}")]
    Unsafe {
        /// The directory or the key.
        path: PathBuf,
        /// What is wrong.
        problem: String,
        /// How to mend it.
        mend: String,
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

/// The key of the directory, which is shown to nobody.
struct Key([u8; KEY_BYTES]);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(…)")
    }
}

impl Cache {
    /// Opens the directory, which is made if it is not there; `compatibility` tells compilers apart, and `artifact_max` is the
    /// longest entry in bytes.
    pub(crate) fn open(config: &CacheConfig, compatibility: u64, artifact_max: usize) -> Result<Self, CacheError> {
        let dir = config.dir.clone();
        match DirBuilder::new().mode(0o700).create(&dir) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(failed("make", &dir)(error)),
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

    /// What this component was compiled to, if it was and nobody has touched it since.
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
        // The time of the last use; that it could not be set only makes the entry look older.
        let _ = File::options()
            .append(true)
            .open(&path)
            .and_then(|file| file.set_modified(SystemTime::now()));
        Some(artifact.to_vec())
    }

    /// Keeps what a component was compiled to. If it cannot be kept, the next start compiles it again.
    pub(crate) fn put(&self, digest: Digest, artifact: &[u8]) {
        let name = self.name(digest);
        let mac = self.mac(&name, artifact).finalize().into_bytes();
        if let Err(error) = write_and_rename(&self.dir, &name, &[&mac, artifact]) {
            tracing::warn!(dir = %self.dir.display(), %error, "cannot keep a compiled component; it will be compiled again");
        }
        self.sweep();
    }

    /// Removes an entry that wasmtime does not take, or that is not what was written.
    fn discard(&self, path: &Path, problem: &str) {
        tracing::warn!(path = %path.display(), problem, "a compiled component is not used; it is compiled again");
        if let Err(error) = fs::remove_file(path) {
            tracing::warn!(path = %path.display(), %error, "cannot remove it");
        }
    }

    pub(crate) fn discard_entry(&self, digest: Digest, problem: &str) {
        self.discard(&self.dir.join(self.name(digest)), problem);
    }

    /// Removes what is too much, and what hosts that died have left.
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
        // The name has one length, so where it ends and the content begins is not for a forger to choose.
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

/// Refuses what somebody else owns or can reach.
fn only_ours(path: &Path, kind: &str, mode: u32) -> Result<(), CacheError> {
    let meta = fs::symlink_metadata(path).map_err(failed("look at", path))?;
    let is_kind = if kind == "directory" {
        meta.is_dir()
    } else {
        meta.is_file()
    };
    let refused = |problem: String, mend: String| {
        Err(CacheError::Unsafe {
            path: path.into(),
            problem,
            mend,
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
        let mend = format!("give it to user {us}, or choose another directory with --cache");
        return refused(format!("belongs to user {}, not to user {us}", meta.uid()), mend);
    }
    if meta.mode() & 0o077 != 0 {
        let mend = format!("remove what is in it, then chmod {mode:o} {}", path.display());
        return refused(format!("is open to others (mode {:o})", meta.mode() & 0o777), mend);
    }
    Ok(())
}

/// Reads the key, or makes one; of several hosts that do so at once, one makes it and the others read it.
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
            mend: "remove it".into(),
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

/// Writes a file that is on disk whole or not at all.
fn write_and_rename(dir: &Path, name: &str, parts: &[&[u8]]) -> io::Result<()> {
    let temporary = write_temporary(dir, name, parts)?;
    fs::rename(&temporary, dir.join(name)).inspect_err(|_| {
        let _ = fs::remove_file(&temporary);
    })
}

/// Writes a file under a name that nobody else uses.
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
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use tempfile::TempDir;

    use super::*;

    fn config(dir: &Path) -> CacheConfig {
        CacheConfig {
            dir: dir.join("cache"),
            files: 2,
        }
    }

    fn open(dir: &TempDir) -> Cache {
        Cache::open(&config(dir.path()), 7, 100).unwrap()
    }

    fn entries(dir: &TempDir) -> Vec<PathBuf> {
        let all = fs::read_dir(dir.path().join("cache"))
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let mut all: Vec<_> = all.filter(|path| !path.ends_with(KEY_FILE)).collect();
        all.sort();
        all
    }

    #[test]
    fn what_was_put_is_got_by_the_next_host_too() {
        let dir = tempfile::tempdir().unwrap();
        let digest = Digest::of(b"wasm");
        assert_eq!(open(&dir).get(digest), None);
        open(&dir).put(digest, b"code");
        assert_eq!(open(&dir).get(digest).unwrap(), b"code");
        assert_eq!(entries(&dir).len(), 1, "nothing else is left");
    }

    #[test]
    fn another_component_and_another_compiler_get_nothing() {
        let dir = tempfile::tempdir().unwrap();
        open(&dir).put(Digest::of(b"wasm"), b"code");
        assert_eq!(open(&dir).get(Digest::of(b"other")), None);
        let other = Cache::open(&config(dir.path()), 8, 100).unwrap();
        assert_eq!(other.get(Digest::of(b"wasm")), None);
    }

    #[test]
    fn an_entry_that_somebody_touched_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let (ours, other) = (Digest::of(b"wasm"), Digest::of(b"other"));
        let check = |what: &str, touch: &dyn Fn(&Path)| {
            let cache = open(&dir);
            cache.put(ours, b"code");
            touch(&cache.dir.join(cache.name(ours)));
            assert_eq!(cache.get(ours), None, "{what}");
            assert_eq!(entries(&dir), Vec::<PathBuf>::new(), "{what}");
        };
        check("cut", &|path| fs::write(path, &fs::read(path).unwrap()[..34]).unwrap());
        check("shorter than its mac", &|path| fs::write(path, b"x").unwrap());
        check("empty", &|path| fs::write(path, b"").unwrap());
        check("longer", &|path| {
            let mut bytes = fs::read(path).unwrap();
            bytes.push(0);
            fs::write(path, bytes).unwrap();
        });
        check("one bit", &|path| {
            let mut bytes = fs::read(path).unwrap();
            bytes[33] ^= 1;
            fs::write(path, bytes).unwrap();
        });
        check("far too long", &|path| fs::write(path, vec![0; 1000]).unwrap());
        check("another's", &|path| {
            let cache = open(&dir);
            cache.put(other, b"evil");
            fs::rename(cache.dir.join(cache.name(other)), path).unwrap();
        });
        check("by another key", &|path| {
            let elsewhere = tempfile::tempdir().unwrap();
            let cache = open(&elsewhere);
            cache.put(ours, b"evil");
            fs::copy(cache.dir.join(cache.name(ours)), path).unwrap();
        });
    }

    #[test]
    fn a_directory_that_others_can_enter_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        drop(open(&dir));
        let path = dir.path().join("cache");
        let refusal = || chain(&Cache::open(&config(dir.path()), 7, 100).unwrap_err());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(refusal().contains("is open to others (mode 755)"), "{}", refusal());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        fs::set_permissions(path.join(KEY_FILE), fs::Permissions::from_mode(0o640)).unwrap();
        assert!(refusal().contains("key is open to others (mode 640)"), "{}", refusal());
        fs::remove_file(path.join(KEY_FILE)).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", path.join(KEY_FILE)).unwrap();
        assert!(refusal().contains("key is not a file"), "{}", refusal());
        fs::remove_dir_all(&path).unwrap();
        fs::write(&path, "").unwrap();
        assert!(refusal().contains("is not a directory"), "{}", refusal());
    }

    #[test]
    fn a_key_of_another_length_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        drop(open(&dir));
        for length in [0, 31, 33] {
            fs::write(dir.path().join("cache").join(KEY_FILE), vec![0; length]).unwrap();
            assert!(Cache::open(&config(dir.path()), 7, 100).is_err(), "{length}");
        }
    }

    #[test]
    fn the_entry_that_was_not_used_for_longest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let cache = open(&dir);
        let digests = [b"a", b"b", b"c"].map(|wasm| Digest::of(wasm));
        let age = |digest, seconds| {
            let file = File::options()
                .append(true)
                .open(cache.dir.join(cache.name(digest)))
                .unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(seconds))
                .unwrap();
        };
        cache.put(digests[0], b"a");
        cache.put(digests[1], b"b");
        age(digests[0], 200);
        age(digests[1], 100);
        assert!(cache.get(digests[0]).is_some());
        let abandoned = cache.dir.join("x.tmp");
        fs::write(&abandoned, "").unwrap();
        let hours = SystemTime::now() - Duration::from_secs(7200);
        File::options()
            .append(true)
            .open(&abandoned)
            .unwrap()
            .set_modified(hours)
            .unwrap();
        cache.put(digests[2], b"c");
        let left = digests.map(|digest| cache.get(digest).is_some());
        assert_eq!((left, abandoned.exists()), ([true, false, true], false));
    }

    fn chain(error: &dyn std::error::Error) -> String {
        let causes = std::iter::successors(Some(error), |error| error.source());
        causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
    }
}
