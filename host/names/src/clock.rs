//! Database time: the clock by which registrations begin and end.
//!
//! A wall clock may be wrong, and may be set while names are registered. If registrations began and ended by it, a clock
//! that is three hours ahead for a minute would end names that have three hours left, and the purge would delete their
//! rows; one that is set back would bring back what had ended. So registrations begin and end by a clock of their own,
//! which never steps:
//!
//! - It runs with `CLOCK_BOOTTIME`, which nobody sets, and which goes on while a machine is suspended.
//! - It follows a wall clock, that of this machine (SQLite) or of the server (PostgreSQL), by running at most one hundredth
//!   faster or slower. A wall clock that is off for a while therefore shortens no lifetime by more than 1 % of that while.
//! - It is kept in the database, about once a second. Another process, or the same one after a restart, goes on from the
//!   greatest time that was kept.
//!
//! Between two times that are kept it is a function of `CLOCK_BOOTTIME` alone, a [`Course`]: by how much it is to be
//! corrected is decided when it is kept, not when it is read. So of two processes of a machine that go by one row neither
//! is behind the other, even if one of them has another wall clock.
//!
//! # Jumps
//!
//! There is no `CLOCK_BOOTTIME` from one boot of a machine to the next, nor for the time in which no host was connected to
//! the server. Only the wall clock says how long that was. It is believed if it is ahead of the time that was kept, and
//! the difference is a *jump*; if it is behind, the kept time goes on. Of a server two clocks must say so, its own and that
//! of the host that comes: one that is ahead alone moves nothing. A jump is the one way in which a wrong clock can end
//! a registration early, so what follows a jump must be possible to undo: rows are purged only when their retention has
//! passed in time that somebody has seen pass. [`Steady`] counts how much of the time was jumped.
//!
//! # What this costs
//!
//! Whoever wants database time to follow a clock that was set rightly by hours must wait for a hundred times as long, or
//! have it jump: restart the machine (SQLite), or all hosts at once (PostgreSQL). To have it jump back, stop all hosts and
//! delete the row of the clock.

#[cfg(test)]
mod tests;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use namelock_types::{Safety, is_removed};
use rustix::time::{ClockId, clock_gettime};

use crate::rules::stored_ms;

/// The share of the time that passes by which database time may run faster or slower: one hundredth.
const CORRECTION_SHARE: i64 = 100;

/// How far a wall clock may be off before somebody is told.
const AGREES_MS: i64 = 1000;

/// How often database time is kept at most, in milliseconds.
pub(crate) const KEPT_EVERY_MS: i64 = 1000;

/// Reads `CLOCK_BOOTTIME` in whole milliseconds.
pub(crate) fn boottime_ms() -> i64 {
    let now = clock_gettime(ClockId::Boottime);
    now.tv_sec * 1000 + now.tv_nsec / 1_000_000
}

/// Reads the wall clock, in milliseconds since 1970; 0 before that.
pub(crate) fn wall_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, stored_ms)
}

/// Database time as a function of `CLOCK_BOOTTIME`, both in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Course {
    /// When this course begins.
    pub(crate) boottime_ms: i64,
    /// The time then.
    pub(crate) time_ms: i64,
    /// How far the wall clock was ahead of the time then, negative where it was behind.
    pub(crate) correction_ms: i64,
}

impl Course {
    /// A course that begins at a time, with nothing to correct.
    pub(crate) fn from(boottime_ms: i64, time_ms: i64) -> Self {
        Self {
            boottime_ms,
            time_ms,
            correction_ms: 0,
        }
    }

    /// Returns the time. It never goes back, and runs at most 1 % faster or slower than `CLOCK_BOOTTIME`.
    // Keeps P1: an end that has come stays, and does not come early, whatever is done to the wall clock.
    pub(crate) fn time_ms(&self, boottime_ms: i64) -> i64 {
        let elapsed = boottime_ms.saturating_sub(self.boottime_ms).max(0);
        let most = elapsed / CORRECTION_SHARE;
        self.time_ms
            .saturating_add(elapsed)
            .saturating_add(self.correction_ms.clamp(-most, most))
    }

    /// Returns the course from now on, to a wall clock that is ahead by `off_ms`.
    pub(crate) fn towards(&self, boottime_ms: i64, off_ms: i64) -> Self {
        let now = Self::from(boottime_ms, self.time_ms(boottime_ms));
        if is_removed(Safety::PurgeGuard) {
            return Self::from(boottime_ms, now.time_ms.saturating_add(off_ms));
        }
        Self {
            correction_ms: off_ms,
            ..now
        }
    }
}

/// How much of the time that has passed was observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Steady {
    /// The time after the last jump.
    pub(crate) since_ms: i64,
    /// How much was jumped by then, since time had last been steady for a whole retention.
    pub(crate) jumped_ms: i64,
}

impl Steady {
    /// Nothing that was before this time was observed.
    pub(crate) fn since(time_ms: i64) -> Self {
        Self {
            since_ms: time_ms,
            jumped_ms: time_ms,
        }
    }

    /// What is steady after a jump.
    pub(crate) fn after_jump(&self, from_ms: i64, to_ms: i64, retention_ms: i64) -> Self {
        let before = if self.was_long_before(from_ms, retention_ms) {
            0
        } else {
            self.jumped_ms
        };
        Self {
            since_ms: to_ms,
            jumped_ms: before.saturating_add(to_ms.saturating_sub(from_ms).max(0)),
        }
    }

    /// Returns the end before which rows may be purged: whoever ended then or earlier has been gone for a whole retention
    /// of time that was observed.
    ///
    /// A row that ended at `e` has been gone for `now - e`, of which at most what was jumped since was not observed. If the
    /// last jump is a whole retention ago, whoever could be purged at all ended after it or could be purged then.
    pub(crate) fn purge_before_ms(&self, now_ms: i64, retention_ms: i64) -> i64 {
        let jumped = if is_removed(Safety::PurgeGuard) || self.was_long_before(now_ms, retention_ms) {
            0
        } else {
            self.jumped_ms
        };
        now_ms.saturating_sub(retention_ms).saturating_sub(jumped)
    }

    fn was_long_before(&self, now_ms: i64, retention_ms: i64) -> bool {
        now_ms.saturating_sub(self.since_ms) >= retention_ms
    }
}

/// A host that comes to a server whose clock row says what time it was when somebody was last there, and that must find out
/// whether somebody still is.
///
/// The server's clock tells how long ago that was. If that is longer than [`Newcomer::TRUSTED_MS`], either nobody was there,
/// or somebody is there and the clock has been set: hosts that are there keep the time every second, so to look again after two
/// seconds tells one from the other.
///
/// Hosts that are there may also stand still, or not reach the server, or have ended just now. So database time goes on to no
/// later time than this host's own clock says it is: to end names early, both clocks would have to be ahead. If this host's
/// clock is behind, time goes on from what was kept, and names last longer. Where somebody is there, that need not be by as much as
/// has passed since then: whoever comes waits for a moment until the time is kept anew, which tells it without any clock.
#[derive(Debug, Default)]
pub(crate) struct Newcomer {
    seen_ms: Option<i64>,
    looks: u32,
    /// Whether the time may be kept anew at any moment.
    is_watching: bool,
}

/// What a newcomer takes for the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arrival {
    pub(crate) time_ms: i64,
    /// Whether it is a jump from the time that was kept.
    pub(crate) jumped: bool,
}

impl Newcomer {
    /// For how long at most the server's clock is believed without a second look.
    const TRUSTED_MS: i64 = 10_000;

    /// How soon it looks again while the time may be kept anew at any moment, and how often: for longer than hosts that are there
    /// take to keep it.
    pub(crate) const SOON: Duration = Duration::from_millis(20);
    const LOOKS_SOON: u32 = 75;

    /// How many more looks, a second apart, must find that nobody has kept the time.
    const LOOKS: u32 = 2;

    /// Looks at the time that was kept, the server's clock then, the server's clock now, and this host's. Returns the time,
    /// unless another look is needed.
    // Keeps P1: no clock that is ahead alone ends what has not ended.
    pub(crate) fn look(&mut self, kept_ms: i64, server_then_ms: i64, server_ms: i64, host_ms: i64) -> Option<Arrival> {
        let elapsed = server_ms.saturating_sub(server_then_ms);
        if elapsed <= Self::TRUSTED_MS {
            let goes_on = kept_ms.saturating_add(elapsed.max(0));
            let is_just_kept = self.is_watching && self.seen_ms != Some(server_then_ms);
            if host_ms < goes_on && !is_just_kept && self.looks < Self::LOOKS_SOON {
                (self.seen_ms, self.is_watching) = (Some(server_then_ms), true);
                self.looks += 1;
                return None;
            }
            return Some(Arrival {
                time_ms: kept_ms.max(goes_on.min(host_ms)),
                jumped: false,
            });
        }
        self.is_watching = false;
        if self.seen_ms != Some(server_then_ms) {
            (self.seen_ms, self.looks) = (Some(server_then_ms), 0);
            return None;
        }
        self.looks += 1;
        let both_say = server_ms.min(host_ms);
        (self.looks >= Self::LOOKS).then(|| Arrival {
            time_ms: kept_ms.max(both_say),
            jumped: both_say > kept_ms,
        })
    }

    /// Whether the next look should come soon.
    pub(crate) fn is_watching(&self) -> bool {
        self.is_watching
    }
}

/// Tells once when a wall clock begins to be off, and once when it no longer is.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    is_off: bool,
}

impl Watch {
    /// `off_ms` says how far the clock called `whose` is ahead of database time.
    pub(crate) fn saw(&mut self, off_ms: i64, whose: &str) {
        let is_off = off_ms.saturating_abs() > AGREES_MS;
        if is_off == self.is_off {
            return;
        }
        self.is_off = is_off;
        if is_off {
            tracing::warn!(
                off_ms,
                "{whose} does not agree with the time of the names database; names begin and end by the latter, which follows \
                 slowly: check that NTP sets the clock"
            );
        } else {
            tracing::info!(off_ms, "{whose} agrees with the time of the names database again");
        }
    }
}
