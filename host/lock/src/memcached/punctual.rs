//! The source of epochs, which answers in time or not at all: a database that hangs is not to look as if memcached did.
//!
//! An epoch that comes too late for one attempt to connect is kept for the next. To ask for another one would cost a fleet that
//! starts a grace: only the first epoch of a server says that it has never forgotten a lock.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::config::LockConfig;
use crate::epochs::{EpochSource, NewEpoch, Standing};

/// How long an epoch that was given to this host may wait until it is used.
const GIVEN_KEPT: Duration = Duration::from_secs(10);

/// A source that has less time than the connection which waits for it.
#[derive(Debug)]
pub(super) struct Punctual<'a> {
    source: &'a Arc<dyn EpochSource>,
    within: Duration,
}

/// The epoch that was given to this host and is not in use yet.
#[derive(Debug, Default)]
pub(super) struct Given {
    /// The question that goes on.
    asked: Option<JoinHandle<(Result<NewEpoch, String>, Instant)>>,
    /// What was given, and when.
    epoch: Option<(NewEpoch, Instant)>,
}

impl<'a> Punctual<'a> {
    pub(super) fn new(source: &'a Arc<dyn EpochSource>, config: &LockConfig) -> Self {
        Self {
            source,
            within: config.connect_timeout * 3 / 4,
        }
    }

    pub(super) async fn begin(&self, server: &str) -> Result<NewEpoch, String> {
        self.in_time(self.source.begin(server)).await
    }

    pub(super) async fn check(&self, server: &str, epoch: u64) -> Result<Standing, String> {
        self.in_time(self.source.check(server, epoch)).await
    }

    async fn in_time<T>(&self, answer: impl Future<Output = Result<T, String>>) -> Result<T, String> {
        timeout(self.within, answer).await.unwrap_or_else(|_| Err(self.late()))
    }

    fn late(&self) -> String {
        format!("its source does not answer within {:?}", self.within)
    }
}

impl Given {
    /// What was given a short while ago.
    pub(super) fn get(&self) -> Option<NewEpoch> {
        let (epoch, at) = self.epoch?;
        (at.elapsed() < GIVEN_KEPT).then_some(epoch)
    }

    /// Uses it.
    pub(super) fn take(&mut self) -> Option<NewEpoch> {
        let epoch = self.get();
        self.epoch = None;
        epoch
    }

    /// Returns what was given, or asks for it. A question that was not answered in time goes on, and the next call waits for its
    /// answer.
    pub(super) async fn or_begin(&mut self, epochs: &Punctual<'_>, server: &str) -> Result<NewEpoch, String> {
        loop {
            if let Some(epoch) = self.get() {
                return Ok(epoch);
            }
            let asked = self.asked.get_or_insert_with(|| {
                let (source, server) = (Arc::clone(epochs.source), server.to_owned());
                tokio::spawn(async move { (source.begin(&server).await, Instant::now()) })
            });
            let answer = timeout(epochs.within, asked).await.map_err(|_| epochs.late())?;
            self.asked = None;
            let (given, at) = answer.map_err(|error| format!("its source has failed: {error}"))?;
            // One that has come too long ago is asked for again.
            self.epoch = Some((given?, at));
        }
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        if let Some(asked) = &self.asked {
            asked.abort();
        }
    }
}
