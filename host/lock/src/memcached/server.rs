//! One server: its lanes, its health, and the task that watches whether it evicts.

use std::sync::Arc;

use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};

use super::dial::Dialer;
use super::error::ConnectError;
use super::greeting::Figures;
use super::health::Health;
use super::lane::Lane;
use super::membership::Fleet;
use crate::clock::LeaseClock;
use crate::config::LockConfig;
use crate::epochs::EpochSource;
use crate::figures::ServerFigures;
use crate::grant::{GrantError, Refusal};
use crate::key::LockKey;
use namelock_types::histogram::Observed;

/// One memcached server.
#[derive(Debug)]
pub(super) struct Server {
    name: Arc<str>,
    lanes: Vec<Lane>,
    pub(super) health: Arc<Health>,
    pub(super) fleet: Arc<Fleet>,
    pub(super) config: Arc<LockConfig>,
    eviction_watch: AbortHandle,
}

impl Server {
    pub(super) fn new(
        name: &str,
        config: &Arc<LockConfig>,
        clock: &Arc<LeaseClock>,
        epochs: &Arc<dyn EpochSource>,
        fleet: &Arc<Fleet>,
    ) -> Self {
        let health = Arc::new(Health::new(name, config, clock));
        let lanes = (0..config.lanes).map(|_| Lane::spawn(name, config, &health, epochs, fleet));
        let name: Arc<str> = name.into();
        let watch = watch_evictions(
            Arc::clone(&name),
            Arc::clone(config),
            Arc::clone(&fleet.dialer),
            Arc::clone(&health),
        );
        Self {
            lanes: lanes.collect(),
            eviction_watch: tokio::spawn(watch).abort_handle(),
            health,
            fleet: Arc::clone(fleet),
            config: Arc::clone(config),
            name,
        }
    }

    /// Why it grants nothing: it may be the source of epochs that does not answer.
    pub(super) fn unavailable(&self, refusal: Refusal) -> GrantError {
        match self.health.no_source() {
            Some(reason) => GrantError::NoEpoch(reason),
            None => GrantError::Unavailable(refusal),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The lane of `key`. All that concerns a key goes over one lane, so it is done in the order in which it was asked.
    pub(super) fn lane(&self, key: &LockKey) -> &Lane {
        let digest = key.as_str().bytes().rev().take(4);
        let tail = digest.fold(0, |sum: usize, byte| sum * 31 + usize::from(byte));
        &self.lanes[tail % self.lanes.len()]
    }

    /// Tells whether the server answers. One that may not grant for a while counts as ready: its callers are told when
    /// to try again.
    pub(super) fn ready(&self) -> Result<(), String> {
        self.lanes.iter().try_for_each(Lane::ready)
    }

    /// What was counted of it.
    pub(super) fn figures(&self) -> ServerFigures {
        let mut figures = ServerFigures {
            server: Arc::clone(&self.name),
            up: self.ready().is_ok(),
            grants: self.health.refusal().is_none(),
            connections: 0,
            batches: 0,
            operations: 0,
            exchanges: Observed::default(),
            queued: 0,
            mishaps: self
                .health
                .counts
                .mishaps(self.health.epoch_ahead(), self.fleet.agrees(&self.name)),
        };
        for lane in &self.lanes {
            lane.add_to(&mut figures);
        }
        figures
    }

    /// Whether there was a connection in each of its lanes.
    pub(super) fn was_reached(&self) -> bool {
        self.lanes.iter().all(Lane::was_connected)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.eviction_watch.abort();
    }
}

/// Logs and counts what the server evicts: it may have been a lock.
async fn watch_evictions(name: Arc<str>, config: Arc<LockConfig>, dialer: Arc<Dialer>, health: Arc<Health>) {
    let mut evicted: Option<u64> = None;
    loop {
        tokio::time::sleep(config.watch_every).await;
        let deadline = Instant::now() + config.connect_timeout;
        match timeout_at(deadline, evictions(&name, &dialer, deadline)).await {
            Ok(Ok(now)) => {
                let before = evicted.replace(now).unwrap_or(now);
                if now > before {
                    health.counts.evicted(now - before);
                    tracing::error!(
                        server = &*name,
                        evicted = now - before,
                        "memcached has evicted items, which may include locks: start it with -M, give it more memory \
                         (-m), and let nothing else use it"
                    );
                }
            }
            // The lanes log that it is not reached.
            Ok(Err(error)) => tracing::debug!(server = &*name, %error, "cannot ask memcached whether it evicts"),
            Err(_) => tracing::debug!(
                server = &*name,
                "cannot ask memcached whether it evicts: no answer in time"
            ),
        }
    }
}

async fn evictions(name: &str, dialer: &Dialer, deadline: Instant) -> Result<u64, ConnectError> {
    let mut wire = dialer.dial(name, deadline).await?;
    Ok(Figures::read(&mut wire).await?.evictions)
}
