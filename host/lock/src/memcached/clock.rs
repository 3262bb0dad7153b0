//! What a server's own clock says, and how long an item that it dates provably lives.
//!
//! memcached dates items by a clock that it sets once a second, to whole seconds, and that stands still when its process
//! does. What is stored while that clock is behind expires sooner by as much (2.9 s of 3 were seen to be missing). No
//! arithmetic on this host's time covers that, so the server's clock is read: `mg … l u` tells for how many of its
//! seconds nobody has used the sentinel, which nobody ever uses. That *age* is the server's clock, counted from when the
//! sentinel was made.
//!
//! # What one tick proves
//!
//! Let a look that was sent at `s` find an age below `n`, and a later one find `n`. Then the clock was set to `n` after
//! `s`. When it is set it is right, but for the part of a second that is cut off: the true age was below `n + 1`. So
//! no age `a` is reached before `zero + a`, where
//!
//! ```text
//! zero = s - (n + 1)
//! ```
//!
//! Each tick that is seen gives such a bound, and the greatest of the last few seconds is the best one. It is off by the
//! pause between two looks and by part of a second, never to the unsafe side. The only assumption is that the clocks of
//! both machines run equally fast, for which `DRIFT` is taken off.
//!
//! This host's time is that of leases ([`crate::clock`]), which goes on while the machine is suspended, as does a server
//! on another machine. So a suspend changes nothing of what a tick has proved. After a long one, nothing is remembered of
//! ticks, and the next one is waited for; and so it is with a server on the same machine, which was suspended too and
//! seems to have stood still.
//!
//! So an item that was stored after a look at the age `a`, with a time to live of `t`, lives at least until
//! `zero + a + t` by *this host's* clock; and so does one that is found with `t` left. A lease is trusted if that is no
//! sooner than its deadline. This is independent of how long the replies took: a host that was stopped for a while finds
//! its grants as good as they are, and a server that stood still shows by its age that they are not.
//!
//! # A clock that jumps ahead
//!
//! An age `a` that is seen before `zero + a` contradicts the bound: the server's clock has run ahead of ours (its
//! machine was resumed with a clock that jumped), or ours stood still (a virtual machine that its host stopped). Either way locks may have expired before their
//! leases. That is noticed from about 1 s and the pause between two looks on; less is covered by the time to live but
//! for the part of a second that a clock of seconds does not show.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::LeaseInstant;
use crate::config::{COARSE_CLOCK, LockConfig};
use namelock_types::{Safety, is_removed};

/// By how much two clocks may drift apart in the time for which a bound is used and a lease lasts: 1 ms a second, far
/// more than clocks that are set over a network do. And 10 ms that the clock of leases may not show of a suspend.
const DRIFT: Duration = Duration::from_millis(30);

/// For how long what a tick has proved is used.
const WINDOW: Duration = Duration::from_secs(10);

const SECOND: i128 = 1_000_000_000;

/// Why what a server stores is not trusted.
pub(super) const NOT_TICKED: &str = "its clock was not seen to tick yet";
pub(super) const STOOD_STILL: &str = "it stood still, and its clock is behind";

/// A look at the sentinel's age.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    /// In seconds of the server's clock.
    pub(super) age: u32,
    /// An instant before it was sent, and one after it was answered.
    pub(super) sent: LeaseInstant,
    pub(super) received: LeaseInstant,
}

/// The clock of one server, as far as looks have shown it.
#[derive(Debug)]
pub(super) struct ServerClock {
    /// Instants are counted from here.
    base: LeaseInstant,
    window: Duration,
    margin: Duration,
    /// The greatest age, and the latest look that found it.
    latest: Option<Reading>,
    /// What each tick has proved (`zero`, in nanoseconds from `base`), and when it was seen.
    bounds: VecDeque<(LeaseInstant, i128)>,
}

/// How items are dated that the server stores or finds after one look.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dating {
    /// The own instant, in nanoseconds from `base`, before which the server's clock does not reach the age in the look;
    /// none when no tick was seen lately.
    reached: Option<i128>,
    base: LeaseInstant,
    received: LeaseInstant,
}

/// The server's clock has run ahead of this host's, or this host's stood still.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("memcached's clock ran ahead of this host's")]
pub(super) struct JumpedAhead;

impl ServerClock {
    pub(super) fn new(config: &LockConfig, now: LeaseInstant) -> Self {
        Self {
            base: now,
            window: WINDOW + config.heartbeat() * 4,
            margin: COARSE_CLOCK + config.exchange_timeout,
            latest: None,
            bounds: VecDeque::new(),
        }
    }

    /// Forgets what was seen, because the age is counted anew.
    pub(super) fn reset(&mut self) {
        self.latest = None;
        self.bounds.clear();
    }

    /// How items are dated when nothing is known.
    pub(super) fn undated(&self) -> Dating {
        Dating {
            reached: None,
            base: self.base,
            received: self.base,
        }
    }

    /// Adds what a look has found.
    pub(super) fn read(&mut self, reading: Reading) -> Result<Dating, JumpedAhead> {
        let is_old = |at: LeaseInstant| reading.received.saturating_duration_since(at) > self.window;
        while self.bounds.front().is_some_and(|(at, _)| is_old(*at)) {
            self.bounds.pop_front();
        }
        // After a cut, as after a long suspend, only the next tick tells whether the server's clock is right.
        if self.bounds.is_empty() && self.latest.is_some_and(|latest| is_old(latest.received)) {
            self.latest = None;
        }
        let age = i128::from(reading.age) * SECOND;
        if self
            .zero()
            .is_some_and(|zero| self.nanos(reading.received) < zero + age)
        {
            self.reset();
            self.latest = Some(reading);
            return Err(JumpedAhead);
        }
        match &mut self.latest {
            Some(latest) if reading.age < latest.age => {
                // A look that was sent after a greater age was read: somebody has used the sentinel. (Any other one is
                // late.)
                if reading.sent >= latest.received {
                    self.reset();
                    self.latest = Some(reading);
                }
            }
            Some(latest) if reading.age == latest.age => {
                latest.sent = latest.sent.max(reading.sent);
                latest.received = latest.received.min(reading.received);
            }
            Some(latest) => {
                let before = latest.sent;
                *latest = reading;
                let zero = self.nanos(before) - age - SECOND - nanos(DRIFT);
                self.bounds.push_back((reading.received, zero));
            }
            None => self.latest = Some(reading),
        }
        Ok(Dating {
            reached: self.zero().map(|zero| zero + age),
            base: self.base,
            received: reading.received,
        })
    }

    /// Why nothing that is stored now would be trusted, if that is so.
    pub(super) fn fault(&self) -> Option<&'static str> {
        if is_removed(Safety::ServerClock) {
            return None;
        }
        let (Some(latest), Some(zero)) = (&self.latest, self.zero()) else {
            return Some(NOT_TICKED);
        };
        let reached = zero + i128::from(latest.age) * SECOND;
        (reached + nanos(self.margin) < self.nanos(latest.sent)).then_some(STOOD_STILL)
    }

    /// The best bound that is known.
    fn zero(&self) -> Option<i128> {
        self.bounds.iter().map(|(_, zero)| *zero).max()
    }

    fn nanos(&self, instant: LeaseInstant) -> i128 {
        nanos(instant.saturating_duration_since(self.base)) - nanos(self.base.saturating_duration_since(instant))
    }
}

impl Dating {
    /// Tells whether an item with this time left, by the server's clock, provably lives until `until`.
    pub(super) fn covers(&self, seconds_left: u32, until: LeaseInstant) -> bool {
        if is_removed(Safety::ServerClock) {
            // Believes that the clock was right when it was read.
            return self.received + Duration::from_secs(seconds_left.into()) >= until + COARSE_CLOCK;
        }
        let until = nanos(until.saturating_duration_since(self.base));
        self.reached
            .is_some_and(|reached| reached + i128::from(seconds_left) * SECOND >= until)
    }
}

fn nanos(duration: Duration) -> i128 {
    i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX)
}

#[cfg(test)]
mod tests;
