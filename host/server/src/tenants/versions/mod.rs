//! The versions of every tenant's component that were served, and those of them that were taken back.
//!
//! A tenant's directory has one component, the newest. What it replaces is kept here, so that one command serves it again, also
//! after a restart, and after an upgrade of the host, which compiles it anew:
//!
//! - `DIR/<sha256>.wasm`: a component, once for all tenants that have it;
//! - `DIR/<tenant>.json`: the versions of a tenant, in the order in which they were put.
//!
//! Taking back is about one version, and not a state of the tenant that somebody has to remember to end: a version that was taken
//! back is not served although it may still be what the directory has (`Versions::taken_back`), and any other component that is put
//! there is served as ever.
//!
//! What is kept is trusted no more than what a directory has: a component is read only if its bytes have the digest of its name,
//! and is compiled and checked like any other. A history that cannot be read, or not be written, is logged, and stops nobody from
//! being served; but who takes a version back is told so only once that is on disk.
//!
//! Nothing is kept in memory, and a lock on a file is held while something is changed: hosts may share a directory, and then share
//! what was taken back, each when it reads the tenant's directory the next time. Everything here blocks.

mod history;

use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use namelock_sandbox::{Digest, Wasm};
use namelock_types::milliseconds;

use self::history::History;
pub use self::history::{Standing, Version};
use super::id::TenantId;
use crate::config::source::ConfigError;
use crate::text::chain;

/// The file whose lock is held while something is changed.
const LOCK: &str = "lock";

/// Longest history that is read, in bytes: far more than the most versions take.
const HISTORY_MAX: u64 = 256 << 10;

/// How versions are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionsConfig {
    /// The directory.
    pub dir: PathBuf,
    /// How many versions of each tenant are kept, with the one that is served; 0: none.
    pub keep: usize,
}

/// Why a version cannot be taken back, or served again.
#[derive(Debug, thiserror::Error)]
pub enum RollbackError {
    /// The host keeps none.
    #[error("this host keeps no versions; set versions.keep to at least 2")]
    NoneKept,
    /// There is nothing before the one that is served.
    #[error("no version from before the one that is served is kept")]
    NothingBefore,
    /// It is not kept.
    #[error("no version {0} is kept of this tenant; `namelock admin versions` lists those that are")]
    Unknown(String),
    /// It is not on disk.
    #[error("cannot write to the directory of versions")]
    Io(#[source] io::Error),
}

/// The directory of versions.
#[derive(Debug)]
pub struct Versions {
    config: VersionsConfig,
}

impl Versions {
    /// Opens the directory; it is created, for this user alone, if it does not exist.
    ///
    /// # Errors
    ///
    /// Why nothing can be kept in it.
    pub fn open(config: VersionsConfig) -> Result<Self, ConfigError> {
        let dir = &config.dir;
        if config.keep > 0 {
            let failed = |error: io::Error| {
                let problem = format!(
                    "cannot keep versions in {}: {error}; choose another directory, or set versions.keep to 0",
                    dir.display()
                );
                ConfigError::new("versions.dir", problem)
            };
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(dir)
                .map_err(failed)?;
            File::create(dir.join(LOCK)).map_err(failed)?;
        }
        Ok(Self { config })
    }

    /// Keeps nothing.
    pub fn none() -> Self {
        let dir = PathBuf::new();
        Self {
            config: VersionsConfig { dir, keep: 0 },
        }
    }

    /// The versions of a tenant that are kept, the newest last.
    pub fn list(&self, tenant: &TenantId) -> Vec<Version> {
        self.history(tenant).versions
    }

    /// Why the component `found` of a tenant's directory was taken back, and what is served in its place, if anything can be; none:
    /// it was not taken back.
    pub(super) fn taken_back(&self, tenant: &TenantId, found: Digest) -> Option<(String, Option<Digest>)> {
        let history = self.history(tenant);
        match history.standing(found)? {
            Standing::TakenBack(why) => Some((why.clone(), history.newest_good())),
            Standing::Good | Standing::Tried => None,
        }
    }

    /// Whether a tenant was served this version, and it was not taken back.
    pub(super) fn is_good(&self, tenant: &TenantId, digest: Digest) -> bool {
        self.history(tenant).standing(digest) == Some(&Standing::Good)
    }

    /// The newest version of a tenant that was served, and not taken back.
    pub(super) fn newest_good(&self, tenant: &TenantId) -> Option<Digest> {
        self.history(tenant).newest_good()
    }

    /// The component with this digest; none: it is not kept, or is not what its name says.
    pub(super) fn read(&self, digest: Digest) -> Option<Wasm> {
        if self.config.keep == 0 {
            return None;
        }
        let path = self.component(digest);
        let bytes = fs::read(&path).inspect_err(|error| {
            if error.kind() != ErrorKind::NotFound {
                tracing::warn!(path = %path.display(), %error, "cannot read a version that was kept");
            }
        });
        let wasm = Wasm::new(bytes.ok()?);
        if wasm.digest() != digest {
            tracing::warn!(path = %path.display(), "a version that was kept is not what its name says; it is removed");
            let _ = fs::remove_file(&path);
            return None;
        }
        Some(wasm)
    }

    /// Keeps a version of a tenant, which is served or tried from now on. What is no more kept of the tenant goes.
    pub(super) fn keep(&self, tenant: &TenantId, wasm: &Wasm, standing: Standing) {
        if self.config.keep == 0 {
            return;
        }
        let path = self.component(wasm.digest());
        let written = || {
            if !fs::exists(&path)? {
                replace(&path, wasm.as_bytes(), false)?;
            }
            self.change(tenant, false, |history| {
                history.add(wasm.digest(), standing, now_ms(), self.config.keep);
                Ok::<_, io::Error>(())
            })
        };
        if let Err(error) = written() {
            let error = chain(&error);
            tracing::warn!(tenant = %tenant, error, "cannot keep a version; there will be no way back to it");
        }
    }

    /// Notes what became of a version that was tried.
    pub(super) fn set(&self, tenant: &TenantId, digest: Digest, standing: Standing) {
        if self.config.keep == 0 {
            return;
        }
        let set = self.change(tenant, true, |history| {
            history.set(digest, standing);
            Ok::<_, io::Error>(())
        });
        if let Err(error) = set {
            let error = chain(&error);
            tracing::warn!(tenant = %tenant, error, "cannot note what became of a version; it is tried again at the next start");
        }
    }

    /// Takes back what was put after the version `to`, so that this one is served; without `to` it is the one before `served`.
    /// Returns it.
    ///
    /// # Errors
    ///
    /// See [`RollbackError`].
    pub(super) fn roll_back(
        &self,
        tenant: &TenantId,
        served: Option<Digest>,
        to: Option<Digest>,
    ) -> Result<Digest, RollbackError> {
        if self.config.keep == 0 {
            return Err(RollbackError::NoneKept);
        }
        self.change(tenant, true, |history| {
            let to = match to {
                Some(to) => to,
                None => history.before(served).ok_or(RollbackError::NothingBefore)?,
            };
            // Not only by its name: nothing is taken back for something that cannot be served.
            if history.standing(to).is_none() || self.read(to).is_none() {
                return Err(RollbackError::Unknown(to.to_string()));
            }
            history.return_to(to);
            Ok(to)
        })
    }

    fn component(&self, digest: Digest) -> PathBuf {
        self.config.dir.join(format!("{digest}.wasm"))
    }

    fn history_path(&self, tenant: &TenantId) -> PathBuf {
        self.config.dir.join(format!("{tenant}.json"))
    }

    fn history(&self, tenant: &TenantId) -> History {
        if self.config.keep == 0 {
            return History::default();
        }
        read_history(&self.history_path(tenant))
    }

    /// Changes the history of a tenant while nobody else does; `durable`: it is on disk before this returns.
    fn change<T, E: From<io::Error>>(
        &self,
        tenant: &TenantId,
        durable: bool,
        change: impl FnOnce(&mut History) -> Result<T, E>,
    ) -> Result<T, E> {
        let lock = File::open(self.config.dir.join(LOCK))?;
        lock.lock()?;
        let before = self.history(tenant);
        let mut history = before.clone();
        let changed = change(&mut history)?;
        if history != before {
            let text = serde_json::to_vec_pretty(&history).map_err(io::Error::other)?;
            replace(&self.history_path(tenant), &text, durable)?;
            self.remove_unused(before.without(&history))?;
        }
        Ok(changed)
    }

    /// Removes components that one tenant does not keep any more, unless another one does.
    fn remove_unused(&self, mut dropped: Vec<Digest>) -> io::Result<()> {
        if dropped.is_empty() {
            return Ok(());
        }
        for entry in fs::read_dir(&self.config.dir)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                let kept = read_history(&path);
                dropped.retain(|digest| kept.standing(*digest).is_none());
            }
        }
        for digest in dropped {
            fs::remove_file(self.component(digest)).or_else(absent_is_fine)?;
        }
        Ok(())
    }
}

fn absent_is_fine(error: io::Error) -> io::Result<()> {
    match error.kind() {
        ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    }
}

impl From<io::Error> for RollbackError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Reads a history; an empty one if there is none, or none that can be read.
fn read_history(path: &Path) -> History {
    let read = || -> io::Result<History> {
        let mut text = Vec::new();
        File::open(path)?.take(HISTORY_MAX).read_to_end(&mut text)?;
        serde_json::from_slice(&text).map_err(io::Error::other)
    };
    read().unwrap_or_else(|error| {
        if error.kind() != ErrorKind::NotFound {
            tracing::error!(path = %path.display(), %error, "cannot read which versions were served; a new list is begun");
        }
        History::default()
    })
}

/// Writes a file beside and renames it, so that nobody reads half of it.
fn replace(path: &Path, bytes: &[u8], durable: bool) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(bytes)?;
    if durable {
        file.as_file().sync_all()?;
    }
    file.persist(path).map_err(|error| error.error)?;
    if durable {
        File::open(dir)?.sync_all()?;
    }
    Ok(())
}

fn now_ms() -> u64 {
    milliseconds(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests;
