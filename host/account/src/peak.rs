//! How near to a limit a tenant came within the last hour.
//!
//! An hour is six windows. Each has one cell with its number and its highest share; a cell whose number is too old counts for
//! nothing, so nobody has to clear it. The answer covers the window that goes on and those before it: 50 to 60 minutes.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

const WINDOWS: u64 = 6;
const WINDOW: Duration = Duration::from_secs(600);

/// The highest share of one limit.
#[derive(Debug, Default)]
pub(crate) struct Peak {
    /// The number of the window in the upper half, the share in thousandths in the lower.
    cells: [AtomicU64; WINDOWS as usize],
}

impl Peak {
    /// Notes that `used` of `max` was in use `at` this time since the account was opened.
    pub(crate) fn note(&self, used: u64, max: u64, at: Duration) {
        let share = u64::try_from(u128::from(used) * 1000 / u128::from(max.max(1))).unwrap_or(u64::MAX);
        let noted = (window(at) << 32) | share.min(u64::from(u32::MAX));
        // The number is in the upper half, so a newer window always wins; within one, the greater share does.
        let cell = &self.cells[(window(at) % WINDOWS) as usize];
        if cell.load(Relaxed) < noted {
            cell.fetch_max(noted, Relaxed);
        }
    }

    /// The highest share within the last hour before `at`, in thousandths.
    pub(crate) fn thousandths(&self, at: Duration) -> u64 {
        let recent = |noted: &u64| (noted >> 32) + WINDOWS > window(at);
        let cells = self.cells.iter().map(|cell| cell.load(Relaxed));
        cells
            .filter(recent)
            .map(|noted| noted & u64::from(u32::MAX))
            .max()
            .unwrap_or(0)
    }
}

fn window(at: Duration) -> u64 {
    (at.as_secs() / WINDOW.as_secs()).min(u64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn minutes(minutes: u64) -> Duration {
        Duration::from_secs(minutes * 60)
    }

    #[test]
    fn the_highest_share_of_the_last_hour_counts() {
        let peak = Peak::default();
        assert_eq!(peak.thousandths(minutes(0)), 0);
        peak.note(50, 100, minutes(1));
        peak.note(25, 100, minutes(2));
        peak.note(30, 100, minutes(15));
        assert_eq!(peak.thousandths(minutes(59)), 500);
        assert_eq!(peak.thousandths(minutes(61)), 300);
        assert_eq!(peak.thousandths(minutes(75)), 0);
        // The cell of the first window is used again, also for less.
        peak.note(10, 100, minutes(61));
        assert_eq!(peak.thousandths(minutes(61)), 300);
        assert_eq!(peak.thousandths(minutes(110)), 100);
    }

    #[test]
    fn more_than_the_limit_and_a_limit_of_nothing_are_shares_too() {
        let peak = Peak::default();
        peak.note(3, 2, minutes(0));
        assert_eq!(peak.thousandths(minutes(0)), 1500);
        peak.note(u64::MAX, 0, minutes(0));
        assert_eq!(peak.thousandths(minutes(0)), u64::from(u32::MAX));
    }
}
