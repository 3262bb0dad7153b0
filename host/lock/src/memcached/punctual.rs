//! The source of epochs, which answers in time or not at all: a database that hangs is not to look as if memcached did.

use std::time::Duration;

use tokio::time::timeout;

use crate::config::LockConfig;
use crate::epochs::{EpochSource, NewEpoch, Standing};

/// A source that has less time than the connection which waits for it.
#[derive(Debug)]
pub(super) struct Punctual<'a> {
    source: &'a dyn EpochSource,
    within: Duration,
}

impl<'a> Punctual<'a> {
    pub(super) fn new(source: &'a dyn EpochSource, config: &LockConfig) -> Self {
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
        let late = |_| Err(format!("its source does not answer within {:?}", self.within));
        timeout(self.within, answer).await.unwrap_or_else(late)
    }
}
