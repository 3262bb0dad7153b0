//! Where the next purge begins.
//!
//! A purge reads the rows that ended long enough ago, those that ended first first, and deletes those that are held for
//! nobody. Rows that are still held stay, and there may be many of them at the beginning, so a purge does not begin there
//! each time: it goes on behind what the last one read, and each purge reads a bounded number of rows. At the end it
//! starts over. Where nothing is held each purge begins at the beginning.

use std::time::Duration;

use crate::config::{PURGE_INTERVAL, PURGE_ROWS_MAX};

/// How long a purge waits that follows one which deleted less than it might have.
const PAUSE: Duration = Duration::from_secs(1);

/// What is read and deleted next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sweep {
    /// Rows that ended then or later.
    pub(crate) from_ms: i64,
    /// How many at most.
    pub(crate) rows: i64,
}

/// What a purge did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Swept {
    /// How many rows it read.
    pub(crate) read: i64,
    /// When the last of them ended.
    pub(crate) last_ms: Option<i64>,
    /// How many it deleted.
    pub(crate) deleted: i64,
}

impl Default for Sweep {
    fn default() -> Self {
        Self {
            from_ms: i64::MIN,
            rows: PURGE_ROWS_MAX.into(),
        }
    }
}

impl Sweep {
    /// Goes on after a purge, and returns how long the next one waits.
    pub(crate) fn go_on(&mut self, swept: Swept) -> Duration {
        if swept.read < self.rows {
            *self = Self::default();
            return PURGE_INTERVAL;
        }
        let whole = swept.deleted >= self.rows;
        match swept.last_ms {
            Some(last_ms) if last_ms > self.from_ms => {
                *self = Self {
                    from_ms: last_ms,
                    ..Self::default()
                };
            }
            // All of them ended in one millisecond: it takes more of them to get beyond it.
            _ if !whole => self.rows = self.rows.saturating_mul(2),
            _ => {}
        }
        if whole { Duration::ZERO } else { PAUSE }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Purges until a sweep is at its end, and returns how many rows are left and how many purges it took.
    fn sweep(mut rows: Vec<(i64, bool)>) -> (usize, u32) {
        let (mut sweep, mut purges) = (Sweep::default(), 0);
        rows.sort_unstable();
        loop {
            purges += 1;
            let (before, rows_max) = (rows.len(), usize::try_from(sweep.rows).unwrap());
            let read: Vec<_> = rows
                .iter()
                .filter(|row| row.0 >= sweep.from_ms)
                .take(rows_max)
                .copied()
                .collect();
            let mut left = rows_max;
            rows.retain(|row| {
                let is_read = row.0 >= sweep.from_ms && left > 0;
                left -= usize::from(is_read);
                !is_read || row.1
            });
            let swept = Swept {
                read: read.len().try_into().unwrap(),
                last_ms: read.last().map(|row| row.0),
                deleted: (before - rows.len()).try_into().unwrap(),
            };
            if sweep.go_on(swept) == PURGE_INTERVAL {
                return (rows.len(), purges);
            }
        }
    }

    #[test]
    fn a_sweep_deletes_what_is_not_held_wherever_it_is() {
        let max = i64::from(PURGE_ROWS_MAX);
        assert_eq!(sweep((0..max * 3).map(|end| (end, false)).collect()), (0, 4));
        // Held ones at the beginning, and far more than a purge reads in one millisecond.
        let held = (0..max * 9).map(|row| ((row - max).max(0), true));
        let (left, purges) = sweep(held.chain((0..max * 9).map(|end| (end, false))).collect());
        assert_eq!(left, usize::from(PURGE_ROWS_MAX) * 9);
        assert!(purges < 60, "{purges}");
        let one = (0..max * 5).map(|row| (7, row % 2 == 0));
        assert_eq!(sweep(one.collect()).0, usize::from(PURGE_ROWS_MAX) * 5 / 2);
    }
}
