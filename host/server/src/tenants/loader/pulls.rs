//! Components that are to be pulled from registries, each once, however many tenants have it.
//!
//! Pulling is not loading: a tenant whose component is not here yet leaves the queue of the loader, and comes back when it is. So
//! a registry that is slow delays nobody but the tenants whose components it has.
//!
//! - `oci.pulls` are pulled at once, and of one registry half of them, so that one that is slow leaves room for another one.
//! - What was never tried comes before what has failed. What has failed is tried again after a pause that doubles each time, up to
//!   a minute, for as long as a tenant wants it. A tenant that is read again has it tried soon, but no sooner than after the
//!   shortest pause.
//! - A tenant waits for one component, the one that it had when it was read last.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use namelock_account::Account;
use namelock_oci::{Cache, Digest, OciConfig, Outcome, PullError, Pulled, Puller, Reference};
use namelock_types::milliseconds;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::super::error::TenantError;
use super::super::id::TenantId;
use super::super::state::Refused;
use super::queue::{Loading, Stage};

/// The pause after a pull has failed for the first time.
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// A tenant, and the account by which it is told from a later one with its id.
pub(super) type Waiting = (TenantId, Arc<Account>);

/// What is to be pulled, and what is being pulled.
pub(super) struct Pulls {
    puller: Puller,
    pub(super) cache: Cache,
    at_once: usize,
    wanted: Mutex<HashMap<Reference, Wanted>>,
    changed: Notify,
    counts: [AtomicU64; Outcome::ALL.len()],
}

/// A component that is wanted.
struct Wanted {
    tenants: Vec<Waiting>,
    /// The longest that any of them may have, in bytes.
    max: u64,
    since: Instant,
    is_pulled: bool,
    failures: u32,
    /// When it failed last.
    failed: Option<Instant>,
    not_before: Instant,
    /// Why it failed last.
    why: Option<Refused>,
}

/// What is pulled next.
pub(super) struct Next {
    pub(super) reference: Reference,
    max: u64,
}

impl Pulls {
    pub(super) fn new(config: &OciConfig) -> Self {
        Self {
            cache: Cache::new(&config.dir, config.bytes),
            puller: Puller::new(config.clone()),
            at_once: config.pulls,
            wanted: Mutex::default(),
            changed: Notify::new(),
            counts: Default::default(),
        }
    }

    /// How many are pulled at once.
    pub(super) fn at_once(&self) -> usize {
        self.at_once
    }

    /// How many pulls have ended, by how they did.
    pub(super) fn counts(&self) -> [(Outcome, u64); Outcome::ALL.len()] {
        Outcome::ALL.map(|outcome| (outcome, self.counts[outcome as usize].load(Relaxed)))
    }

    /// Has a component of at most `max` bytes pulled for a tenant; returns why that has failed, if it has and is to be tried again.
    // Keeps P6: a tenant has one component pulled at a time, however often its directory changes.
    pub(super) fn want(&self, reference: &Reference, max: u64, tenant: Waiting) -> Option<Refused> {
        let now = Instant::now();
        let mut wanted = self.wanted.lock();
        for waits in wanted.values_mut() {
            waits.tenants.retain(|(id, _)| *id != tenant.0);
        }
        wanted.retain(|other, waits| waits.is_pulled || other == reference || !waits.tenants.is_empty());
        let waits = wanted.entry(reference.clone()).or_insert_with(|| Wanted {
            tenants: Vec::new(),
            max,
            since: now,
            is_pulled: false,
            failures: 0,
            failed: None,
            not_before: now,
            why: None,
        });
        waits.tenants.push(tenant);
        waits.max = waits.max.max(max);
        if let Some(failed) = waits.failed {
            waits.not_before = waits.not_before.min(failed + PAUSE_MIN);
        }
        let why = waits.why.clone();
        drop(wanted);
        self.changed.notify_waiters();
        why
    }

    /// The tenants that wait, those first whose component is pulled now.
    pub(super) fn list(&self) -> Vec<Loading> {
        let wanted = self.wanted.lock();
        let mut all: Vec<_> = wanted.values().collect();
        all.sort_by_key(|waits| (!waits.is_pulled, waits.since));
        let tenants = all
            .into_iter()
            .flat_map(|waits| waits.tenants.iter().map(move |(id, _)| (id, waits)));
        let loading = |(id, waits): (&TenantId, &Wanted)| Loading {
            tenant: id.to_string(),
            stage: match waits.is_pulled {
                true => Stage::Pulling,
                false => Stage::WaitsForRegistry,
            },
            age_ms: milliseconds(waits.since.elapsed()),
            takes_long: false,
        };
        tenants.map(loading).collect()
    }

    /// Waits until there is something to be pulled, that a tenant still wants: `wants` tells whether one does.
    pub(super) async fn next(&self, wants: impl Fn(&Waiting, &Reference) -> bool) -> Next {
        loop {
            // Before the look, so that no change in between is missed.
            let changed = self.changed.notified();
            let until = match self.take(&wants) {
                Ok(next) => return next,
                Err(until) => until,
            };
            let due = async {
                match until {
                    Some(until) => tokio::time::sleep_until(until.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = changed => {}
                () = due => {}
            }
        }
    }

    /// Takes what is to be pulled now; if there is nothing, when there will be.
    fn take(&self, wants: impl Fn(&Waiting, &Reference) -> bool) -> Result<Next, Option<Instant>> {
        let now = Instant::now();
        let mut wanted = self.wanted.lock();
        let mut pulled = HashMap::<String, usize>::new();
        for (reference, _) in wanted.iter().filter(|(_, waits)| waits.is_pulled) {
            *pulled.entry(reference.registry_name()).or_default() += 1;
        }
        loop {
            let idle = wanted.iter().filter(|(reference, waits)| {
                let of_registry = pulled.get(&reference.registry_name()).copied().unwrap_or_default();
                !waits.is_pulled && of_registry < self.at_once.div_ceil(2)
            });
            let place = |waits: &Wanted| (waits.failures, waits.not_before);
            let due = idle.clone().filter(|(_, waits)| waits.not_before <= now);
            let Some(reference) = due
                .min_by_key(|(_, waits)| place(waits))
                .map(|(reference, _)| reference.clone())
            else {
                return Err(idle.map(|(_, waits)| waits.not_before).min());
            };
            let Some(waits) = wanted.get_mut(&reference) else {
                continue;
            };
            waits.tenants.retain(|tenant| wants(tenant, &reference));
            if waits.tenants.is_empty() {
                wanted.remove(&reference);
                continue;
            }
            waits.is_pulled = true;
            let max = waits.max;
            return Ok(Next { reference, max });
        }
    }

    /// Pulls a component, and keeps it; those `in_use` are kept as well. Returns who waits for it, or who is to be told why it
    /// failed.
    pub(super) async fn pull(
        &self,
        Next { reference, max }: Next,
        in_use: HashSet<Digest>,
    ) -> Result<Vec<Waiting>, (Refused, Vec<Waiting>)> {
        // It may have come since the tenant was read.
        let (cache, manifest) = (self.cache.clone(), reference.digest());
        let is_here = tokio::task::spawn_blocking(move || cache.read(manifest, max).is_some());
        if is_here.await.unwrap_or_default() {
            return Ok(self.pulled(&reference));
        }
        let began = Instant::now();
        let pulled = match self.puller.pull(&reference, max).await {
            Ok(pulled) => self.keep(pulled, in_use).await,
            Err(error) => Err(error),
        };
        let took = began.elapsed();
        let outcome = pulled.as_ref().map_or_else(PullError::outcome, |_| Outcome::Pulled);
        self.counts[outcome as usize].fetch_add(1, Relaxed);
        let ended = match pulled {
            Ok(bytes) => {
                tracing::info!(%reference, bytes, ?took, "component pulled");
                Ok(self.pulled(&reference))
            }
            Err(source) => {
                let (failed, pause) = self.failed(&reference, source);
                let error = &failed.0.why.reason;
                tracing::warn!(%reference, %error, ?took, again_in = ?pause, "component not pulled");
                Err(failed)
            }
        };
        self.changed.notify_waiters();
        ended
    }

    async fn keep(&self, pulled: Pulled, in_use: HashSet<Digest>) -> Result<usize, PullError> {
        let (cache, bytes) = (self.cache.clone(), pulled.bytes());
        let kept = tokio::task::spawn_blocking(move || cache.keep(&pulled, &in_use));
        let kept = kept.await.unwrap_or_else(|panic| Err(std::io::Error::other(panic)));
        kept.map(|()| bytes).map_err(|source| PullError::Keep {
            dir: self.cache.dir().to_owned(),
            source,
        })
    }

    /// Ends the wait for a component that is here.
    fn pulled(&self, reference: &Reference) -> Vec<Waiting> {
        let waits = self.wanted.lock().remove(reference);
        waits.map(|waits| waits.tenants).unwrap_or_default()
    }

    /// Has a pull that failed tried again; returns who is to be told why, and the pause until then. Nobody is told twice the same.
    fn failed(&self, reference: &Reference, source: PullError) -> ((Refused, Vec<Waiting>), Duration) {
        let refused = Refused::because(&TenantError::Pull {
            reference: Box::new(reference.clone()),
            source: Box::new(source),
        });
        let mut wanted = self.wanted.lock();
        let Some(waits) = wanted.get_mut(reference) else {
            return ((refused, Vec::new()), PAUSE_MIN);
        };
        let pause = PAUSE_MIN.saturating_mul(1 << waits.failures.min(6)).min(PAUSE_MAX);
        let now = Instant::now();
        waits.is_pulled = false;
        waits.failures = waits.failures.saturating_add(1);
        (waits.failed, waits.not_before) = (Some(now), now + pause);
        let before = waits.why.replace(refused.clone());
        let is_known = before.is_some_and(|before| before.why.reason == refused.why.reason);
        let tell = if is_known { Vec::new() } else { waits.tenants.clone() };
        ((refused, tell), pause)
    }
}

#[cfg(test)]
mod tests;
