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

mod disk;
mod error;
mod history;

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind, Read};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use namelock_sandbox::{Digest, Wasm};
use namelock_types::milliseconds;

use self::disk::{absent_is_fine, lock_in, open_kept, read_history, replace};
pub use self::error::RollbackError;
use self::history::History;
pub use self::history::{Standing, Version};
use super::id::TenantId;
use crate::config::source::ConfigError;
use crate::text::chain;

/// When the versions of a tenant that was removed are removed, too.
const FORGOTTEN_AFTER: Duration = Duration::from_hours(30 * 24);

/// How versions are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionsConfig {
    /// The directory.
    pub dir: PathBuf,
    /// How many versions of each tenant are kept, with the one that is served; 0: none.
    pub keep: usize,
}

/// What the versions of a tenant were before some were taken back.
#[derive(Debug)]
pub(super) struct Undo(History);

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
            lock_in(dir).map_err(failed)?;
        }
        Ok(Self { config })
    }

    /// Keeps and remembers nothing.
    pub fn none() -> Self {
        let dir = PathBuf::new();
        Self {
            config: VersionsConfig { dir, keep: 0 },
        }
    }

    /// The versions of a tenant that are kept, the newest last.
    pub fn list(&self, tenant: &TenantId) -> Vec<Version> {
        let history = self.history(tenant);
        history.kept(self.config.keep).into_iter().cloned().collect()
    }

    /// Why the component `found` of a tenant's directory was taken back, and what is served in its place, if anything can be; none:
    /// it was not taken back.
    pub(super) fn taken_back(&self, tenant: &TenantId, found: Digest) -> Option<(String, Option<Digest>)> {
        let history = self.history(tenant);
        match history.standing(found)? {
            Standing::TakenBack(why) => Some((why.clone(), history.instead())),
            Standing::Good | Standing::Tried => None,
        }
    }

    /// Whether a tenant was served this version, and it was not taken back.
    pub(super) fn is_good(&self, tenant: &TenantId, digest: Digest) -> bool {
        self.history(tenant).standing(digest) == Some(&Standing::Good)
    }

    /// The version that is served in place of what a tenant has: the newest that was served, and not taken back.
    pub(super) fn instead(&self, tenant: &TenantId) -> Option<Digest> {
        self.history(tenant).instead()
    }

    /// Whether an operator has returned from this version, which serves, to another one.
    pub(super) fn is_left(&self, tenant: &TenantId, serving: Digest) -> bool {
        let history = self.history(tenant);
        history.standing(serving).is_some() && history.instead().is_some_and(|instead| instead != serving)
    }

    /// For how long a version has been tried, whether by this host or before it was started again.
    pub(super) fn tried_for(&self, tenant: &TenantId, digest: Digest) -> Option<Duration> {
        let history = self.history(tenant);
        let tried = history
            .tried()
            .filter(|version| version.component == digest.to_string())?;
        Some(Duration::from_millis(now_ms().saturating_sub(tried.served_ms)))
    }

    /// The component with this digest; none: it is not kept, or is not what its name says.
    pub(super) fn read(&self, digest: Digest) -> Option<Wasm> {
        if self.config.keep == 0 {
            return None;
        }
        let path = self.component(digest);
        let read = || -> io::Result<Vec<u8>> {
            let (mut bytes, mut file) = (Vec::new(), open_kept(&path)?);
            file.read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes = read().inspect_err(|error| {
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
            self.change(tenant, false, |history| {
                if !fs::exists(&path)? {
                    replace(&path, wasm.as_bytes(), false)?;
                }
                history.add(wasm.digest(), standing, now_ms(), self.config.keep);
                Ok::<_, io::Error>(())
            })
        };
        if let Err(error) = written() {
            let error = chain(&error);
            tracing::warn!(tenant = %tenant, error, "cannot keep a version; there will be no way back to it");
        }
    }

    /// Notes what became of a version that was tried. What was taken back is remembered also where no versions are kept.
    pub(super) fn set(&self, tenant: &TenantId, digest: Digest, standing: Standing) {
        let is_taken_back = matches!(standing, Standing::TakenBack(_));
        if self.config.dir.as_os_str().is_empty() || (self.config.keep == 0 && !is_taken_back) {
            return;
        }
        let set = self.change(tenant, true, |history| {
            history.set(digest, standing, now_ms(), self.config.keep);
            Ok::<_, io::Error>(())
        });
        if let Err(error) = set {
            let error = chain(&error);
            tracing::warn!(tenant = %tenant, error, "cannot note what became of a version; it is tried again at the next start");
        }
    }

    /// Takes back what was put after the version `to`, so that this one is served; without `to` it is the one before `served`.
    /// Returns it, and what undoes that if it cannot be served.
    ///
    /// # Errors
    ///
    /// See [`RollbackError`].
    pub(super) fn roll_back(
        &self,
        tenant: &TenantId,
        served: Option<Digest>,
        to: Option<Digest>,
    ) -> Result<(Digest, Undo), RollbackError> {
        if self.config.dir.as_os_str().is_empty() || (self.config.keep == 0 && to.is_none()) {
            return Err(RollbackError::NoneKept);
        }
        self.change(tenant, true, |history| {
            let undo = Undo(history.clone());
            let to = match to {
                Some(to) => to,
                None => history.before(served).ok_or(RollbackError::NothingBefore)?,
            };
            let standing = history.standing(to);
            if standing.is_some() && self.read(to).is_some() {
                history.return_to(to, served, now_ms());
            } else if matches!(standing, Some(Standing::TakenBack(_))) {
                // It is not kept, but may be what the tenant's directory has; if it is not, this is undone.
                history.pardon(to);
            } else {
                // Not only by its name: nothing is taken back for something that cannot be served.
                return Err(RollbackError::Unknown(to.to_string()));
            }
            Ok((to, undo))
        })
    }

    /// Makes the history of a tenant again what it was, unless somebody has changed it meanwhile in another way.
    pub(super) fn undo(&self, tenant: &TenantId, undo: Undo) {
        let undone = self.change(tenant, true, |history| {
            for version in &mut history.versions {
                if let Some(before) = undo
                    .0
                    .versions
                    .iter()
                    .find(|before| before.component == version.component)
                {
                    version.standing.clone_from(&before.standing);
                }
            }
            let before = undo.0.versions.into_iter();
            let pardoned = before.filter(|before| history.versions.iter().all(|now| now.component != before.component));
            let pardoned: Vec<_> = pardoned.collect();
            history.versions.splice(0..0, pardoned);
            Ok::<_, io::Error>(())
        });
        if let Err(error) = undone {
            let error = chain(&error);
            tracing::error!(tenant = %tenant, error, "cannot undo that versions were taken back; `namelock admin rollback --to` serves one again");
        }
    }

    /// Notes that tenants were removed: should their ids come again, none of their versions is served in place of what they have
    /// then. These are the ones of `of`, or all that were ever here, that are not `there`.
    pub(super) fn end(&self, of: Option<&BTreeSet<TenantId>>, there: &BTreeSet<TenantId>) {
        if self.config.keep == 0 {
            return;
        }
        let gone = || match of {
            Some(of) => Ok(of.difference(there).cloned().collect()),
            None => self.all().map(|all| all.difference(there).cloned().collect()),
        };
        let end = |gone: BTreeSet<TenantId>| gone.iter().try_for_each(|tenant| self.end_one(tenant));
        if let Err(error) = gone().and_then(end) {
            tracing::warn!(%error, "cannot note which tenants were removed");
        }
    }

    fn end_one(&self, tenant: &TenantId) -> io::Result<()> {
        let path = self.history_path(tenant);
        let Ok(found) = fs::symlink_metadata(&path) else {
            return Ok(());
        };
        if !self.history(tenant).removed {
            return self.change(tenant, false, |history| {
                history.removed = true;
                Ok(())
            });
        }
        let age = found.modified()?.elapsed().unwrap_or_default();
        if age > FORGOTTEN_AFTER {
            self.change(tenant, false, |history| {
                *history = History::default();
                Ok::<_, io::Error>(())
            })?;
            fs::remove_file(&path).or_else(absent_is_fine)?;
        }
        Ok(())
    }

    /// The tenants that have a history.
    fn all(&self) -> io::Result<BTreeSet<TenantId>> {
        let mut all = BTreeSet::new();
        for entry in fs::read_dir(&self.config.dir)? {
            let name = entry?.file_name();
            let id = name.to_str().and_then(|name| name.strip_suffix(".json"));
            all.extend(id.and_then(|id| id.parse().ok()));
        }
        Ok(all)
    }

    fn component(&self, digest: Digest) -> PathBuf {
        self.config.dir.join(format!("{digest}.wasm"))
    }

    fn history_path(&self, tenant: &TenantId) -> PathBuf {
        self.config.dir.join(format!("{tenant}.json"))
    }

    fn history(&self, tenant: &TenantId) -> History {
        if self.config.dir.as_os_str().is_empty() {
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
        let lock = lock_in(&self.config.dir)?;
        lock.lock()?;
        let before = self.history(tenant);
        let mut history = before.clone();
        let changed = change(&mut history)?;
        if history != before {
            let text = serde_json::to_vec_pretty(&history).map_err(io::Error::other)?;
            replace(&self.history_path(tenant), &text, durable)?;
            let kept = history.components(self.config.keep);
            let mut dropped = before.components(usize::MAX);
            dropped.retain(|digest| !kept.contains(digest) && self.component(*digest).exists());
            self.remove_unused(dropped)?;
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
                let kept = read_history(&path).components(self.config.keep);
                dropped.retain(|digest| !kept.contains(digest));
            }
        }
        for digest in dropped {
            fs::remove_file(self.component(digest)).or_else(absent_is_fine)?;
        }
        Ok(())
    }
}

fn now_ms() -> u64 {
    milliseconds(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests;
