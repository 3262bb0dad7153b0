//! Who gives the epochs of servers, from which fencing tokens are made.
//!
//! A token is an epoch plus a number (`fencing`). So tokens grow only if a later epoch is the greater one, and
//! the wall clock of whichever host happens to begin an epoch does not promise that. Hence this interface: an
//! [`EpochSource`] gives epochs in order, and says of one that was found on a server whether it may be used. A fleet
//! wires one in that all of its hosts share; this crate does not know where it keeps its memory.
//!
//! A source is asked when a connection finds an epoch that this host does not know yet, and never for a lock. So a
//! source that is down keeps nobody from a server that is known.
//!
//! [`OwnEpochs`] is the source of a process that is alone: it remembers what it has seen for as long as it runs.

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::time::Instant;

/// An epoch that nobody gave may be ahead of the clock by this much. Hosts of versions without a source begin epochs by
/// their own clocks, and clocks differ a little.
pub const AHEAD_MAX: Duration = Duration::from_secs(60);

/// By how much a process that is alone goes beyond the greatest epoch that it has seen: more than a server counts in the
/// minute during which that epoch may be ahead of the clock (10⁷ changes a second).
const STEP: Duration = Duration::from_secs(1);

/// Gives epochs in order, and judges those that are found on servers.
///
/// Epochs are nanoseconds since 1970 where the clocks are right, so that they compare with those of hosts that have no
/// source.
#[async_trait]
pub trait EpochSource: fmt::Debug + Send + Sync + 'static {
    /// Gives an epoch to `server`: greater than every one that was given to or found on any server before, by more than
    /// a server counts within one.
    ///
    /// # Errors
    ///
    /// Why it cannot, for an operator.
    async fn begin(&self, server: &str) -> Result<NewEpoch, String>;

    /// Says what is known of an epoch that was found on `server`, and remembers it.
    ///
    /// # Errors
    ///
    /// Why it cannot, for an operator.
    async fn check(&self, server: &str, epoch: u64) -> Result<Standing, String>;
}

/// An epoch that was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewEpoch {
    /// The epoch.
    pub epoch: u64,
    /// Whether no epoch was ever given to or found on this server before. Then it has never forgotten a lock, and may
    /// grant at once.
    pub is_first: bool,
}

/// What is known of an epoch that was found on a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It may be used.
    Known {
        /// Whether this is the first epoch that the server ever had; see [`NewEpoch::is_first`].
        is_first: bool,
    },
    /// A later one was found on this server before: whoever began this one came too late.
    Stale,
    /// Nobody gave it, and it is ahead of the clock by this much. Every token of a right clock would be smaller.
    Future {
        /// How far it is ahead.
        ahead: Duration,
    },
}

/// The epochs of a process that is alone: its wall clock, but never back.
///
/// It cannot know which epoch is a server's first, because it forgets what it saw when it ends.
#[derive(Debug, Default)]
pub struct OwnEpochs {
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// The greatest epoch that was given or found, and when.
    greatest: Option<(u64, Instant)>,
    /// The greatest epoch that was found on each server, or given to it.
    servers: HashMap<Box<str>, u64>,
}

impl OwnEpochs {
    fn begin_at(&self, server: &str, clock: u64) -> NewEpoch {
        let mut seen = self.seen.lock();
        // What has passed since goes on top: the numbers within the greatest epoch have grown meanwhile.
        let beyond = seen
            .greatest
            .map_or(0, |(epoch, at)| epoch.saturating_add(nanos(at.elapsed() + STEP)));
        let epoch = clock.max(beyond);
        seen.record(server, epoch);
        NewEpoch { epoch, is_first: false }
    }

    fn check_at(&self, server: &str, epoch: u64, clock: u64) -> Standing {
        let mut seen = self.seen.lock();
        let given = seen.greatest.map_or(0, |(greatest, _)| greatest);
        let ahead = Duration::from_nanos(epoch.saturating_sub(clock.max(given)));
        if ahead > AHEAD_MAX {
            return Standing::Future { ahead };
        }
        if seen.servers.get(server).is_some_and(|greatest| *greatest > epoch) {
            return Standing::Stale;
        }
        seen.record(server, epoch);
        Standing::Known { is_first: false }
    }
}

impl Seen {
    fn record(&mut self, server: &str, epoch: u64) {
        if self.greatest.is_none_or(|(greatest, _)| greatest < epoch) {
            self.greatest = Some((epoch, Instant::now()));
        }
        self.servers.insert(server.into(), epoch);
    }
}

#[async_trait]
impl EpochSource for OwnEpochs {
    async fn begin(&self, server: &str) -> Result<NewEpoch, String> {
        Ok(self.begin_at(server, wall_clock()))
    }

    async fn check(&self, server: &str, epoch: u64) -> Result<Standing, String> {
        Ok(self.check_at(server, epoch, wall_clock()))
    }
}

/// The nanoseconds since 1970 by the clock of this host.
pub(crate) fn wall_clock() -> u64 {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    nanos(since_1970.unwrap_or_default())
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Some morning in 2023, and one hour.
    const MORNING: u64 = 1_700_000_000_000_000_000;
    const HOUR: u64 = 3_600_000_000_000;

    // Shows P1: tokens grow though the clock was set back.
    #[tokio::test(start_paused = true)]
    async fn a_clock_that_was_set_back_does_not_take_epochs_back() {
        let epochs = OwnEpochs::default();
        let before = epochs.begin_at("a:1", MORNING).epoch;
        tokio::time::advance(Duration::from_secs(600)).await;
        let after = epochs.begin_at("a:1", MORNING - HOUR).epoch;
        assert!(
            after > before + 600_000_000_000,
            "also above what was counted in ten minutes: {after}"
        );
    }

    #[test]
    fn epochs_of_all_servers_are_in_one_order() {
        let epochs = OwnEpochs::default();
        let known = Standing::Known { is_first: false };
        assert_eq!(epochs.check_at("a:1", MORNING + 7, MORNING), known);
        assert!(epochs.begin_at("b:1", MORNING).epoch > MORNING + 7);
    }

    #[test]
    fn an_epoch_from_the_future_is_refused_and_forgotten() {
        let epochs = OwnEpochs::default();
        let found = epochs.check_at("a:1", MORNING + HOUR, MORNING);
        assert_eq!(
            found,
            Standing::Future {
                ahead: Duration::from_secs(3600)
            }
        );
        assert_eq!(
            epochs.begin_at("a:1", MORNING).epoch,
            MORNING,
            "no epoch comes after it"
        );
    }

    #[test]
    fn an_epoch_that_comes_after_a_later_one_is_stale() {
        let epochs = OwnEpochs::default();
        let given = epochs.begin_at("a:1", MORNING).epoch;
        assert_eq!(epochs.check_at("a:1", given - 1, MORNING), Standing::Stale);
        assert_eq!(
            epochs.check_at("b:1", given - 1, MORNING),
            Standing::Known { is_first: false },
            "on another server it is the first that is seen"
        );
    }
}
