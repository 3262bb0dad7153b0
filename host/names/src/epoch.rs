//! Epochs of lock servers: the numbers from which fencing tokens are counted.
//!
//! Each life of a lock server gets an epoch that is greater than all before it, so that a token of a later life is
//! greater than any of an earlier one. A host's clock cannot give such numbers, because it may be behind or ahead; the
//! database that compares the tokens can.
//!
//! - An epoch is in nanoseconds of database time, or 2^46 (about 20 hours) more than the greatest that was given, whichever
//!   is more: tokens count up from it, at most one for each grant.
//! - A host of a version that does not ask takes an epoch from its own clock. Such an epoch is accepted, and no other is
//!   given below it, if it is at most a minute ahead of database time. If it is further ahead the clock was wrong, and
//!   tokens counted from it would keep every later life from writing, so it is refused.
//! - A lock server never goes back to an epoch before the one that it had.

use std::time::Duration;

/// How far apart two epochs are at least, so that no life of a server uses up its own.
pub(crate) const EPOCH_STEP: i64 = 1 << 46;

/// How far ahead of database time an epoch that was not given here may be.
const AHEAD_MAX_NS: u64 = 60_000_000_000;

/// An epoch for a new life of a lock server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewEpoch {
    /// Greater than every epoch that was given or reported before, to or by any server.
    pub epoch: u64,
    /// Whether the server has had none before.
    pub is_first: bool,
}

/// What becomes of an epoch that a lock server has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EpochStanding {
    /// It may be counted from.
    Known {
        /// Whether it is the first that this database has given to the server.
        is_first: bool,
    },
    /// The server has had a later one.
    Stale,
    /// It was not given here, and is so far ahead of database time that it must not be counted from.
    Future {
        /// How far it is ahead.
        ahead: Duration,
    },
}

/// What the database knows of the epochs of one server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Epochs {
    /// The greatest that was given or reported, of all servers.
    pub(crate) greatest: i64,
    /// The first that was given to this one; 0 where another was reported before that.
    pub(crate) first: i64,
    /// The greatest that this one was seen to have.
    pub(crate) placed: i64,
}

impl Epochs {
    /// Judges an epoch that the server has. One that is known is to be recorded as seen.
    pub(crate) fn judge(&self, epoch: u64, now_ms: i64) -> EpochStanding {
        let now_ns = u64::try_from(now_ms).unwrap_or(0).saturating_mul(1_000_000);
        let greatest = u64::try_from(self.greatest).unwrap_or(0);
        let ahead = epoch.saturating_sub(now_ns);
        if epoch > greatest && ahead > AHEAD_MAX_NS {
            return EpochStanding::Future {
                ahead: Duration::from_nanos(ahead),
            };
        }
        // Nothing that fits is beyond i64: it is no greater than one that is stored, or near database time.
        match i64::try_from(epoch) {
            Ok(epoch) if epoch >= self.placed => EpochStanding::Known {
                is_first: epoch == self.first && epoch > 0,
            },
            Ok(_) => EpochStanding::Stale,
            Err(_) => EpochStanding::Future {
                ahead: Duration::from_nanos(ahead),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_judged_by_those_that_were_given_and_by_database_time() {
        let now_ms = 1_800_000_000_000;
        let now = 1_800_000_000_000_000_000;
        let none = Epochs::default();
        let known = |is_first| EpochStanding::Known { is_first };
        let future = |nanos| EpochStanding::Future {
            ahead: Duration::from_nanos(nanos),
        };
        // Made by a host of a version that does not ask: never the first.
        assert_eq!(none.judge(now, now_ms), known(false));
        assert_eq!(none.judge(now + AHEAD_MAX_NS, now_ms), known(false));
        assert_eq!(none.judge(now + AHEAD_MAX_NS + 1, now_ms), future(AHEAD_MAX_NS + 1));
        assert_eq!(none.judge(u64::MAX, now_ms), future(u64::MAX - now));
        assert_eq!(none.judge(0, now_ms), known(false));
        // Given here, however far ahead of database time.
        let ahead = i64::try_from(now).unwrap() + 3 * EPOCH_STEP;
        let given = Epochs {
            greatest: ahead,
            first: ahead,
            placed: 0,
        };
        assert_eq!(given.judge(ahead.cast_unsigned(), now_ms), known(true));
        assert!(matches!(
            given.judge(ahead.cast_unsigned() + 1, now_ms),
            EpochStanding::Future { .. }
        ));
        assert_eq!(given.judge(now, now_ms), known(false));
        let placed = Epochs { placed: ahead, ..given };
        assert_eq!(placed.judge(ahead.cast_unsigned() - 1, now_ms), EpochStanding::Stale);
        assert_eq!(placed.judge(ahead.cast_unsigned(), now_ms), known(true));
    }
}
