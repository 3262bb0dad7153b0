//! Releases in the background what nobody released.
//!
//! A lease that is dropped (the handler trapped, the call was over its time, the client hung up) is handed to one task.
//! It starts each release at once, in a task of its own, and tries again until the lock has expired anyway.
//!
//! A claim whose reply was lost may still be granted *later*: memcached executes what it has received even when the
//! connection is gone by then. So when its token is not found over another connection, it is looked for again after the
//! longest time that an exchange may take. Over the same connection, not finding it is proof, because the server does
//! things in the order in which it gets them.
//!
//! Keeps P3: a lock is released however its call ends, and when that cannot be done, expiry does it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::config::LockConfig;
use crate::grant::{Attempt, OwnerToken, ReleaseOutcome};
use crate::key::LockKey;
use crate::local_queue::Turn;
use crate::table::Table;

/// A lock, or an attempt at one, that is to be given back.
#[derive(Debug)]
pub(crate) struct PendingRelease {
    pub(crate) key: LockKey,
    pub(crate) token: OwnerToken,
    pub(crate) attempt: Attempt,
    /// The turn in this host's queue; dropped after the first try, so that callers do not wait for a lock service that
    /// is down.
    pub(crate) turn: Option<Arc<Turn>>,
}

/// What is sent to the reaper.
#[derive(Debug)]
pub(crate) enum ReaperMessage {
    Release(PendingRelease),
    /// Answered when everything before it is done.
    Flush(oneshot::Sender<()>),
}

impl From<PendingRelease> for ReaperMessage {
    fn from(release: PendingRelease) -> Self {
        Self::Release(release)
    }
}

/// Starts the reaper. It ends when the last sender is gone and everything is done.
pub(crate) fn spawn(table: Arc<Table>, config: Arc<LockConfig>) -> mpsc::Sender<ReaperMessage> {
    let (sender, receiver) = mpsc::channel(config.reaper_queue);
    tokio::spawn(run(table, config, receiver));
    sender
}

async fn run(table: Arc<Table>, config: Arc<LockConfig>, mut queue: mpsc::Receiver<ReaperMessage>) {
    let mut releases = JoinSet::new();
    loop {
        tokio::select! {
            message = queue.recv(), if releases.len() < config.reaper_queue => match message {
                Some(ReaperMessage::Release(pending)) => {
                    releases.spawn(release(Arc::clone(&table), Arc::clone(&config), pending));
                }
                Some(ReaperMessage::Flush(done)) => {
                    while releases.join_next().await.is_some() {}
                    let _ = done.send(());
                }
                None => break,
            },
            Some(_) = releases.join_next() => {}
        }
    }
    while releases.join_next().await.is_some() {}
}

async fn release(table: Arc<Table>, config: Arc<LockConfig>, mut pending: PendingRelease) {
    let expired = Instant::now() + Duration::from_secs(config.ttl_seconds().into()) + config.exchange_timeout;
    let mut pause = config.backoff_min;
    let mut not_found = false;
    loop {
        let outcome = table.release(&pending.key, pending.token, pending.attempt).await;
        drop(pending.turn.take());
        match outcome {
            ReleaseOutcome::Released | ReleaseOutcome::Gone => return,
            ReleaseOutcome::NotFound if not_found => return,
            ReleaseOutcome::NotFound => {
                not_found = true;
                pause = config.exchange_timeout;
            }
            ReleaseOutcome::Unknown => {}
        }
        if Instant::now() + pause >= expired {
            return;
        }
        tokio::time::sleep(pause.mul_f64(rand::random_range(1.0..1.5))).await;
        pause = (pause * 2).min(config.backoff_max.max(config.exchange_timeout));
    }
}
