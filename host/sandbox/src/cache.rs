//! Keeps compiled components on disk, so that a host starts at once.
//!
//! wasmtime maps an entry from its file and runs it as machine code, and trusts it completely
//! ([`wasmtime::component::Component::deserialize_file`]). So an entry is used only if this host wrote it, for this very
//! component and this very compiler:
//!
//! - the directory belongs to the user of the host and nobody else may enter it (0700), or the host does not start;
//! - the file name of an entry is the component's SHA-256 and wasmtime's compatibility hash;
//! - an entry ends with the HMAC-SHA256 of its file name and content, under a random key that never leaves the
//!   directory. One that was forged, truncated, or renamed to stand for another component is removed, and the component
//!   is compiled again;
//! - a file is opened once: what was checked is what is mapped, whatever its name means by then (`Entry::path`). No host
//!   changes a file after it was written. Whoever could change it between the check and the use is the user of this host, who
//!   can change the memory of the host as well;
//! - an entry is written under another name and renamed once it is on disk, so that nobody ever sees half of one.
//!
//! Several hosts may share a directory: the first of them makes the key. The number of entries and their bytes are bounded; the
//! least recently used one is removed. Those that this host uses stay, even if there are more of them: otherwise they would be
//! compiled again at every start.

mod directory;

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use hmac::{Hmac, Mac};
use parking_lot::Mutex;
use sha2::Sha256;

pub use self::directory::CacheError;
use self::directory::{ENTRY, Key, TEMPORARY, write_temporary};
use crate::config::CacheConfig;

const MAC_BYTES: usize = 32;

/// The form of an entry. One of another form is never looked up, and goes when it is the oldest.
const FORM: u32 = 2;

/// How much of an entry is read at once.
const CHUNK_BYTES: usize = 64 << 10;

/// The age at which a temporary file was left behind by a host that died while it wrote.
const ABANDONED: Duration = Duration::from_secs(3600);

/// The SHA-256 of a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Digest(pub(crate) [u8; 32]);

impl Digest {
    pub(crate) fn of(wasm: &[u8]) -> Self {
        use sha2::Digest as _;
        Self(Sha256::digest(wasm).into())
    }
}

impl From<[u8; 32]> for Digest {
    fn from(sha256: [u8; 32]) -> Self {
        Self(sha256)
    }
}

impl From<Digest> for [u8; 32] {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

/// What is not 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a digest is a SHA-256: 64 hexadecimal digits")]
pub struct InvalidDigest;

impl std::str::FromStr for Digest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(InvalidDigest);
        }
        let mut digest = [0; 32];
        for (byte, pair) in digest.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| InvalidDigest)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| InvalidDigest)?;
        }
        Ok(Self(digest))
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A directory of compiled components.
#[derive(Debug)]
pub(crate) struct Cache {
    dir: PathBuf,
    key: Key,
    compatibility: u64,
    /// The longest entry, in bytes.
    entry_max: u64,
    files: usize,
    bytes: u64,
    /// What this host uses.
    in_use: Mutex<HashMap<Digest, Weak<InUse>>>,
}

/// Keeps an entry from being removed as long as it is held.
#[derive(Debug)]
pub(crate) struct InUse;

/// A file that holds a compiled component, of which this host knows that it wrote it.
#[derive(Debug)]
pub(crate) struct Entry {
    file: File,
    /// Bytes of the compiled component.
    pub(crate) bytes: u64,
}

impl Entry {
    /// A path of this very file, also after it was removed or another one was put in its place.
    pub(crate) fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.file.as_raw_fd()).into()
    }
}

/// An entry that nobody finds yet. Dropped, it is gone.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) entry: Entry,
    temporary: PathBuf,
    name: String,
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Not there any more if it was kept.
        let _ = fs::remove_file(&self.temporary);
    }
}

impl Cache {
    /// Opens the directory and creates it if it does not exist. `compatibility` tells compilers apart, and
    /// `artifact_max` is the longest compiled component in bytes.
    pub(crate) fn open(config: &CacheConfig, compatibility: u64, artifact_max: usize) -> Result<Self, CacheError> {
        let dir = config.dir.clone();
        directory::open(&dir)?;
        Ok(Self {
            key: directory::read_or_make_key(&dir)?,
            dir,
            compatibility,
            entry_max: artifact_max as u64 + MAC_BYTES as u64,
            files: config.files,
            bytes: config.bytes,
            in_use: Mutex::default(),
        })
    }

    /// Keeps the entry of this component from being removed.
    pub(crate) fn hold(&self, digest: Digest) -> Arc<InUse> {
        let mut in_use = self.in_use.lock();
        if let Some(held) = in_use.get(&digest).and_then(Weak::upgrade) {
            return held;
        }
        in_use.retain(|_, held| held.strong_count() > 0);
        let held = Arc::new(InUse);
        in_use.insert(digest, Arc::downgrade(&held));
        held
    }

    /// Returns the compiled component, if it is kept and was not tampered with.
    pub(crate) fn get(&self, digest: Digest) -> Option<Entry> {
        let name = self.name(digest);
        let path = self.dir.join(&name);
        let entry = match self.open_and_check(&name, &path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            Err(error) => {
                self.discard(&path, &error.to_string());
                return None;
            }
            Ok(entry) => entry,
        };
        // The time of the last use. If it cannot be set, the entry only looks older.
        let _ = entry.file.set_modified(SystemTime::now());
        Some(entry)
    }

    fn open_and_check(&self, name: &str, path: &Path) -> io::Result<Entry> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        if length > self.entry_max {
            let problem = format!("it is longer than {} bytes", self.entry_max);
            return Err(io::Error::new(ErrorKind::FileTooLarge, problem));
        }
        let forged = || io::Error::new(ErrorKind::InvalidData, "it is cut or forged");
        let bytes = length.checked_sub(MAC_BYTES as u64).ok_or_else(forged)?;
        let mut mac = self.mac(name);
        let (mut left, mut chunk) = (bytes, vec![0; CHUNK_BYTES]);
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
            let read = file.read(&mut chunk[..most])?;
            if read == 0 {
                return Err(forged());
            }
            mac.update(&chunk[..read]);
            left -= read as u64;
        }
        let mut written = [0; MAC_BYTES];
        file.read_exact(&mut written)?;
        mac.verify_slice(&written).map_err(|_| forged())?;
        Ok(Entry { file, bytes })
    }

    /// Writes a compiled component to disk, where nobody finds it before it is kept.
    pub(crate) fn write(&self, digest: Digest, artifact: &[u8]) -> io::Result<Draft> {
        let name = self.name(digest);
        let mac = self.mac(&name).chain_update(artifact).finalize().into_bytes();
        let temporary = write_temporary(&self.dir, &name, &[artifact, &mac])?;
        let opened = File::open(&temporary);
        let file = opened.inspect_err(|_| {
            let _ = fs::remove_file(&temporary);
        })?;
        let entry = Entry {
            file,
            bytes: artifact.len() as u64,
        };
        Ok(Draft { entry, temporary, name })
    }

    /// Keeps a compiled component. If that fails, the next start compiles it again.
    pub(crate) fn keep(&self, draft: &Draft) {
        if let Err(error) = fs::rename(&draft.temporary, self.dir.join(&draft.name)) {
            self.not_kept(&error);
        }
        self.sweep();
    }

    /// Says that a compiled component cannot be kept.
    pub(crate) fn not_kept(&self, error: &io::Error) {
        tracing::warn!(
            dir = %self.dir.display(),
            %error,
            "cannot keep a compiled component; it will be compiled again"
        );
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
            let Ok(meta) = fs::symlink_metadata(&path) else {
                continue;
            };
            let Ok(modified) = meta.modified() else { continue };
            match path.extension().and_then(|extension| extension.to_str()) {
                Some(ENTRY) => kept.push((modified, meta.len(), path)),
                Some(TEMPORARY) if modified.elapsed().is_ok_and(|age| age > ABANDONED) => {
                    let _ = fs::remove_file(path);
                }
                _ => {}
            }
        }
        kept.sort();
        let in_use = self.names_in_use();
        let (mut files, mut bytes) = (kept.len(), kept.iter().map(|(_, bytes, _)| bytes).sum::<u64>());
        for (_, length, path) in kept {
            if files <= self.files && bytes <= self.bytes {
                break;
            }
            let name = path.file_name().and_then(|name| name.to_str());
            if name.is_some_and(|name| in_use.contains(name)) {
                continue;
            }
            let _ = fs::remove_file(&path);
            (files, bytes) = (files - 1, bytes.saturating_sub(length));
        }
    }

    fn names_in_use(&self) -> HashSet<String> {
        let in_use = self.in_use.lock();
        let held = in_use.iter().filter(|(_, held)| held.strong_count() > 0);
        held.map(|(digest, _)| self.name(*digest)).collect()
    }

    fn name(&self, digest: Digest) -> String {
        format!("{digest}-{:016x}-{FORM}.{ENTRY}", self.compatibility)
    }

    /// The MAC of an entry of this name; its content is still to be added.
    fn mac(&self, name: &str) -> Hmac<Sha256> {
        // An HMAC takes a key of any length.
        #[expect(clippy::expect_used, reason = "no length of key is refused")]
        let mac = Hmac::<Sha256>::new_from_slice(&self.key.0).expect("a key of any length");
        // All names have the same length, so a forger cannot choose where the name ends and the content begins.
        mac.chain_update(name)
    }
}

#[cfg(test)]
mod tests;
