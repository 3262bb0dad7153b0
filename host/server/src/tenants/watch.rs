//! Says when something in the directory of tenants has changed, and of whom.
//!
//! A deployment writes several files, and not all of them at once, so a tenant is read again only when its directory has been
//! quiet for 200 ms, or 2 s after the first change if it never is. Whoever writes a file beside and renames it is always
//! read whole; whoever writes in place for longer than that may be read in the middle, and is read again at the end.
//!
//! A directory that is replaced as a whole is watched again as soon as there is one of its name: the kernel follows the old one.
//!
//! The kernel tells of changes on this machine alone (inotify(7)): on a file system that others write to over the network a host
//! has to be told, by SIGHUP or by its admin listener.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::id::TenantId;

/// How long nothing must have changed.
const QUIET: Duration = Duration::from_millis(200);

/// When a directory is read that never is quiet.
const LATEST: Duration = Duration::from_secs(2);

/// How often it is looked whether a directory that was replaced is there again.
const AGAIN: Duration = Duration::from_millis(500);

/// How many tenants are told apart; if more have changed at once, all are read again.
const TENANTS_MAX: usize = 1000;

/// What is to be read again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// Everything.
    All,
    /// The directories of these tenants, some of which may be new or gone.
    These(BTreeSet<TenantId>),
}

/// Watches a directory of tenants.
pub struct Watch {
    seen: Arc<Seen>,
    dir: PathBuf,
    // Ends when it is dropped.
    watcher: Mutex<Option<RecommendedWatcher>>,
}

/// What was seen and not told yet.
#[derive(Default)]
struct Seen {
    pending: Mutex<Pending>,
    notify: Notify,
    /// Whether the directory itself was moved or removed.
    lost: AtomicBool,
}

#[derive(Default)]
struct Pending {
    changed: Option<Changed>,
    first: Option<Instant>,
    last: Option<Instant>,
}

impl Watch {
    /// Begins to watch.
    ///
    /// # Errors
    ///
    /// Why the kernel does not tell of changes, such as a limit of its own.
    pub fn begin(dir: &Path) -> notify::Result<Self> {
        let seen = Arc::<Seen>::default();
        let watcher = watcher(dir, &seen)?;
        Ok(Self {
            seen,
            dir: dir.to_owned(),
            watcher: Mutex::new(Some(watcher)),
        })
    }

    /// Never sees anything.
    pub fn nothing() -> Self {
        Self {
            seen: Arc::default(),
            dir: PathBuf::new(),
            watcher: Mutex::default(),
        }
    }

    /// Waits until something has changed, and is quiet.
    pub async fn changed(&self) -> Changed {
        loop {
            // Before the look, so that nothing is missed in between.
            let notified = self.seen.notify.notified();
            if self.seen.lost.load(Relaxed) {
                self.begin_again().await;
            }
            match self.seen.ready_at() {
                None => notified.await,
                Some(at) if at > Instant::now() => tokio::time::sleep_until(at).await,
                Some(_) => {
                    if let Some(changed) = self.seen.take() {
                        return changed;
                    }
                }
            }
        }
    }
}

impl Watch {
    /// Watches the directory that has the name now, and has all of it read.
    async fn begin_again(&self) {
        tracing::warn!(dir = %self.dir.display(), "the directory of tenants was replaced or removed; it is watched again once it is there");
        let again = loop {
            match watcher(&self.dir, &self.seen) {
                Ok(again) => break again,
                Err(_) => tokio::time::sleep(AGAIN).await,
            }
        };
        // The old one tells no more before what it has told is forgotten.
        *self.watcher.lock() = Some(again);
        self.seen.lost.store(false, Relaxed);
        self.seen.note(Changed::All);
        tracing::info!(dir = %self.dir.display(), "the directory of tenants is watched again");
    }
}

fn watcher(dir: &Path, seen: &Arc<Seen>) -> notify::Result<RecommendedWatcher> {
    let root = dir.canonicalize()?;
    let (sees, of) = (Arc::clone(seen), root.clone());
    let mut watcher = notify::recommended_watcher(move |event| sees.see(&of, event))?;
    watcher.watch(&root, RecursiveMode::Recursive)?;
    Ok(watcher)
}

impl Seen {
    /// Notes an event; one that tells of an error may hide others.
    fn see(&self, root: &Path, event: notify::Result<Event>) {
        let changed = match event {
            Ok(event) if event.need_rescan() => Changed::All,
            Ok(event) if is_loss(&event.kind) && event.paths.iter().any(|path| path == root) => {
                self.lost.store(true, Relaxed);
                Changed::All
            }
            Ok(event) if is_change(&event.kind) => {
                let tenants = event.paths.iter().filter_map(|path| tenant_of(root, path));
                Changed::These(tenants.collect())
            }
            Ok(_) => return,
            Err(error) => {
                tracing::warn!(%error, "cannot see all changes in the directory of tenants; it is read again");
                Changed::All
            }
        };
        if changed == Changed::These(BTreeSet::new()) {
            return;
        }
        self.note(changed);
    }

    fn note(&self, changed: Changed) {
        let (mut pending, now) = (self.pending.lock(), Instant::now());
        pending.changed = Some(match pending.changed.take() {
            Some(before) => before.and(changed),
            None => changed,
        });
        pending.first.get_or_insert(now);
        pending.last = Some(now);
        drop(pending);
        self.notify.notify_waiters();
    }

    /// When what was seen may be told; none: there is nothing.
    fn ready_at(&self) -> Option<Instant> {
        let pending = self.pending.lock();
        Some((pending.last? + QUIET).min(pending.first? + LATEST))
    }

    fn take(&self) -> Option<Changed> {
        std::mem::take(&mut *self.pending.lock()).changed
    }
}

impl Changed {
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::These(mut these), Self::These(others)) => {
                these.extend(others);
                if these.len() > TENANTS_MAX {
                    return Self::All;
                }
                Self::These(these)
            }
            _ => Self::All,
        }
    }
}

/// Whether something may read differently from before. That the host itself reads is no change.
fn is_change(kind: &EventKind) -> bool {
    match kind {
        EventKind::Access(kind) => *kind == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}

/// Whether what had this path has it no more.
fn is_loss(kind: &EventKind) -> bool {
    matches!(kind, EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)))
}

/// The tenant in whose directory a path lies.
fn tenant_of(root: &Path, path: &Path) -> Option<TenantId> {
    let below: PathBuf = path.strip_prefix(root).ok()?.into();
    below.components().next()?.as_os_str().to_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn these(ids: &[&str]) -> Changed {
        Changed::These(ids.iter().map(|id| id.parse().unwrap()).collect())
    }

    #[tokio::test]
    async fn whoever_has_changed_is_named_and_the_host_that_reads_is_nobody() {
        let dir = tempfile::tempdir().unwrap();
        for tenant in ["a", "b"] {
            fs::create_dir(dir.path().join(tenant)).unwrap();
            fs::write(dir.path().join(tenant).join("handler.wasm"), "old").unwrap();
        }
        let watch = Watch::begin(dir.path()).unwrap();
        fs::read(dir.path().join("a/handler.wasm")).unwrap();
        fs::write(dir.path().join("b/new"), "new").unwrap();
        fs::rename(dir.path().join("b/new"), dir.path().join("b/handler.wasm")).unwrap();
        fs::write(dir.path().join("README"), "no tenant").unwrap();
        assert_eq!(watch.changed().await, these(&["b"]));
        // One that is new, and one that is gone.
        fs::create_dir(dir.path().join("c")).unwrap();
        fs::remove_dir_all(dir.path().join("a")).unwrap();
        assert_eq!(watch.changed().await, these(&["a", "c"]));
        // In a directory that was not there when the watch began.
        fs::write(dir.path().join("c/tenant.toml"), "").unwrap();
        assert_eq!(watch.changed().await, these(&["c"]));
    }

    #[tokio::test]
    async fn a_directory_that_is_replaced_is_watched_again() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("tenants/a")).unwrap();
        let watch = Watch::begin(&at("tenants")).unwrap();
        fs::rename(at("tenants"), at("old")).unwrap();
        fs::create_dir_all(at("tenants/a")).unwrap();
        assert_eq!(watch.changed().await, Changed::All);
        fs::write(at("tenants/a/handler.wasm"), "new").unwrap();
        assert_eq!(watch.changed().await, these(&["a"]));
        fs::remove_dir_all(at("tenants")).unwrap();
        fs::create_dir_all(at("tenants/b")).unwrap();
        while watch.changed().await != Changed::All {}
        fs::write(at("tenants/b/handler.wasm"), "new").unwrap();
        while watch.changed().await != these(&["b"]) {}
    }

    #[tokio::test(start_paused = true)]
    async fn what_never_is_quiet_is_told_at_the_latest_after_some_time() {
        let watch = Watch::nothing();
        let began = Instant::now();
        let write = || {
            let event = Event::new(EventKind::Any).add_path("/t/a/handler.wasm".into());
            watch.seen.see(Path::new("/t"), Ok(event));
        };
        let writing = async {
            loop {
                write();
                tokio::time::sleep(QUIET / 2).await;
            }
        };
        let changed = tokio::select! {
            changed = watch.changed() => changed,
            () = writing => unreachable!(),
        };
        assert_eq!(changed, these(&["a"]));
        assert!(
            began.elapsed() >= LATEST && began.elapsed() < LATEST + QUIET,
            "{:?}",
            began.elapsed()
        );
        // It ends soon where nobody writes any more.
        write();
        let began = Instant::now();
        assert_eq!(watch.changed().await, these(&["a"]));
        assert!(began.elapsed() <= QUIET, "{:?}", began.elapsed());
    }

    #[test]
    fn too_many_are_all() {
        let some =
            |range: std::ops::Range<usize>| Changed::These(range.map(|n| format!("t{n}").parse().unwrap()).collect());
        assert_eq!(some(0..TENANTS_MAX).and(some(0..1)), some(0..TENANTS_MAX));
        assert_eq!(some(0..TENANTS_MAX).and(these(&["x"])), Changed::All);
        assert_eq!(these(&["x"]).and(Changed::All), Changed::All);
    }
}
