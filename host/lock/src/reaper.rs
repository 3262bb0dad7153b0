//! Releases what nobody released.
//!
//! A lease that is dropped (the handler trapped, the call was over its time, the client hung up) is handed to one task, which
//! releases each in turn of its own, at once, and tries again until the lock has expired anyway.
//!
//! A claim whose reply was lost may still be granted *later*: memcached executes what it has received even when the
//! connection is gone by then. So when its token is not found over another connection, it is looked for again after the
//! longest time that an exchange may take. Over the same connection not finding it is proof, because the server does things in
//! the order in which it gets them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::config::LockConfig;
use crate::key::LockKey;
use crate::table::{OwnerToken, Release, Table, Trace};
use crate::turnstile::Turn;

/// A claim to clean up.
#[derive(Debug)]
pub(crate) struct Errand {
    pub(crate) key: LockKey,
    pub(crate) token: OwnerToken,
    pub(crate) trace: Trace,
    /// Given up after the first try, so that a lock service that is down does not keep callers waiting for it.
    pub(crate) turn: Option<Arc<Turn>>,
}

/// What the reaper is told.
#[derive(Debug)]
pub(crate) enum ReaperMessage {
    Release(Errand),
    /// Answered when everything before it is done.
    Flush(oneshot::Sender<()>),
}

impl From<Errand> for ReaperMessage {
    fn from(errand: Errand) -> Self {
        Self::Release(errand)
    }
}

/// Starts the reaper. It ends when the last sender is gone and everything is done.
pub(crate) fn spawn(table: Arc<Table>, config: Arc<LockConfig>) -> mpsc::Sender<ReaperMessage> {
    let (sender, receiver) = mpsc::channel(config.reaper_queue);
    tokio::spawn(run(table, config, receiver));
    sender
}

async fn run(table: Arc<Table>, config: Arc<LockConfig>, mut queue: mpsc::Receiver<ReaperMessage>) {
    let mut errands = JoinSet::new();
    loop {
        tokio::select! {
            message = queue.recv(), if errands.len() < config.reaper_queue => match message {
                Some(ReaperMessage::Release(errand)) => {
                    errands.spawn(release(Arc::clone(&table), Arc::clone(&config), errand));
                }
                Some(ReaperMessage::Flush(done)) => {
                    while errands.join_next().await.is_some() {}
                    let _ = done.send(());
                }
                None => break,
            },
            Some(_) = errands.join_next() => {}
        }
    }
    while errands.join_next().await.is_some() {}
}

async fn release(table: Arc<Table>, config: Arc<LockConfig>, mut errand: Errand) {
    let expired = Instant::now() + Duration::from_secs(config.ttl_seconds().into()) + config.exchange_timeout;
    let mut pause = config.backoff_min;
    let mut not_found = false;
    loop {
        let answer = table.release(&errand.key, errand.token, errand.trace).await;
        drop(errand.turn.take());
        match answer {
            Release::Done | Release::Gone => return,
            Release::NotFound if not_found => return,
            Release::NotFound => {
                not_found = true;
                pause = config.exchange_timeout;
            }
            Release::Unknown => {}
        }
        if Instant::now() + pause >= expired {
            return;
        }
        tokio::time::sleep(pause.mul_f64(rand::random_range(1.0..1.5))).await;
        pause = (pause * 2).min(config.backoff_max.max(config.exchange_timeout));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::locks::Locks;

    #[tokio::test(start_paused = true)]
    async fn what_finds_no_place_is_left_to_its_expiry() {
        let config = LockConfig {
            reaper_queue: 1,
            ..LockConfig::default()
        };
        let locks = Locks::open(&"memory:".parse().unwrap(), config.clone()).unwrap();
        let acquire = async |name| locks.acquire("t", name, Duration::ZERO).await;
        let leases = (acquire("a").await.unwrap(), acquire("b").await.unwrap());
        // The reaper does nothing before this task waits.
        drop(leases);
        locks.close(Duration::from_secs(1)).await;
        acquire("a").await.unwrap();
        acquire("b").await.unwrap_err();
        tokio::time::advance(config.lease).await;
        acquire("b").await.unwrap();
    }
}
