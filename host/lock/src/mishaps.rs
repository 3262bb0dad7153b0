//! What goes wrong with a memcached and costs locks or grants, counted for an operator.
//!
//! What the log says of these once, an alert needs as a number that stays.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Why the leases of a memcached were lost, from a closed list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Loss {
    /// It was restarted, or another one is in its place.
    Restarted,
    /// Somebody sent `flush_all`.
    Flushed,
    /// It has evicted a sentinel, and with it perhaps locks.
    Evicted,
    /// A sentinel was deleted, and nothing says by whom.
    Deleted,
    /// Its clock ran ahead of this host's, so locks may have expired before their leases.
    ClockAhead,
}

impl Loss {
    /// All of them, in the order of declaration.
    pub const ALL: [Self; 5] = [
        Self::Restarted,
        Self::Flushed,
        Self::Evicted,
        Self::Deleted,
        Self::ClockAhead,
    ];

    /// The reason as written in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Restarted => "restarted",
            Self::Flushed => "flushed",
            Self::Evicted => "evicted",
            Self::Deleted => "deleted",
            Self::ClockAhead => "clock_ahead",
        }
    }
}

/// What has gone wrong with one memcached until now, as far as this host has seen.
#[derive(Debug, Clone)]
pub struct Mishaps {
    /// How often its leases were lost, by reason.
    pub losses: Vec<(Loss, u64)>,
    /// How often it stood still for so long that what it stores is not trusted.
    pub stalls: u64,
    /// Items that it has evicted while this host was watching, which may include locks.
    pub evicted: u64,
    /// Commands that it had no memory for.
    pub out_of_memory: u64,
    /// How far its epoch is ahead of database time; zero where it is not.
    pub epoch_ahead: Duration,
    /// Whether what it says holds for the fleet agrees with this host's settings; true until it was asked.
    pub agrees: bool,
}

/// The counters behind them.
#[derive(Debug, Default)]
pub(crate) struct MishapCounts {
    losses: [AtomicU64; Loss::ALL.len()],
    stalls: AtomicU64,
    evicted: AtomicU64,
    out_of_memory: AtomicU64,
}

impl MishapCounts {
    pub(crate) fn lost(&self, loss: Loss) {
        self.losses[loss as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn stood_still(&self) {
        self.stalls.fetch_add(1, Relaxed);
    }

    pub(crate) fn evicted(&self, items: u64) {
        self.evicted.fetch_add(items, Relaxed);
    }

    pub(crate) fn out_of_memory(&self) {
        self.out_of_memory.fetch_add(1, Relaxed);
    }

    pub(crate) fn mishaps(&self, epoch_ahead: Duration, agrees: bool) -> Mishaps {
        let count = |loss: Loss| (loss, self.losses[loss as usize].load(Relaxed));
        Mishaps {
            losses: Loss::ALL.map(count).to_vec(),
            stalls: self.stalls.load(Relaxed),
            evicted: self.evicted.load(Relaxed),
            out_of_memory: self.out_of_memory.load(Relaxed),
            epoch_ahead,
            agrees,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_is_counted_under_its_own_reason() {
        let counts = MishapCounts::default();
        for (times, loss) in Loss::ALL.into_iter().enumerate() {
            (0..times).for_each(|_| counts.lost(loss));
        }
        for (times, (loss, count)) in counts.mishaps(Duration::ZERO, true).losses.into_iter().enumerate() {
            assert_eq!((loss, count), (Loss::ALL[times], times as u64), "{}", loss.label());
        }
    }
}
