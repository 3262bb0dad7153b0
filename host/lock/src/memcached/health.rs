//! What is known of one server: its epoch, its clock, and whether it may grant.
//!
//! Keeps P7: a server that may have forgotten locks, or whose clock is not known to be right, grants nothing until that
//! can do no harm.
//!
//! # A server that forgets
//!
//! A restart, `flush_all`, an eviction and a replacement by another server lose locks without a word. The sentinels show
//! it ([`super::sentinel`]): their value is the server's *epoch* ([`crate::fencing`]), and a host that finds another one
//! than before, or some of them missing, knows that locks from before are gone. Their holders may still trust them, on
//! this host and on others. So
//!
//! - the leases of this host that were granted in another epoch are lost at once ([`Health::epoch`]);
//! - nothing is granted until [`LockConfig::grace`] after the new epoch began, which is as long as anybody may trust a
//!   lease from before. Locks were lost before the sentinel of the new epoch was made, and how long ago that was, the
//!   server's own clock tells: the sentinel's age, less what a clock of seconds may be wrong by.
//!
//! That holds for a host that has just started too: it has known no other epoch, but another host may hold leases from
//! one and be cut off from the server. Only the first epoch that a server ever had has none before it, and who gives the
//! epochs knows which one that is ([`crate::epochs`]); so a new fleet grants at once.
//!
//! # A clock that is wrong
//!
//! A server whose clock is behind, or was not seen to tick yet, is asked for nothing: what it grants would not be
//! trusted ([`super::clock`]). That ends with the next look at the sentinel that finds it right.
//!
//! When the server's clock jumps ahead of ours, locks may have expired before their leases. Then it is as if they had
//! been forgotten: the leases of this host are lost, and for a grace period it asks for nothing. Other hosts see the same
//! jump and do the same. But it may be this host's clock that stood still (its virtual machine was stopped), which is no
//! reason for others to lose anything; so no new epoch is begun.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::clock::{Dating, JumpedAhead, Reading, STOOD_STILL, ServerClock};
use super::greeting::{Cause, Figures};
use super::punctual::Given;
use super::said::Said;
use crate::clock::{LeaseClock, LeaseInstant};
use crate::config::{COARSE_CLOCK, LockConfig};
use crate::fencing::ServerEpoch;
use crate::grant::Refusal;
use crate::mishaps::{Loss, MishapCounts};
use namelock_types::{Safety, is_removed, milliseconds};

/// What is known of one server, shared by its lanes.
#[derive(Debug)]
pub(super) struct Health {
    server: Box<str>,
    grace: Duration,
    clock: Arc<LeaseClock>,
    /// None: it has none that is known to be whole.
    epoch: watch::Sender<Option<ServerEpoch>>,
    state: Mutex<State>,
    /// Taken by the lane that learns the epoch. The epoch that was given to this host and is not in use yet.
    pub(super) learning: tokio::sync::Mutex<Given>,
    /// What the log was told of it.
    pub(super) said: Said,
    pub(super) counts: MishapCounts,
}

#[derive(Debug)]
struct State {
    known: Option<Known>,
    suspension: Option<Suspension>,
    clock: ServerClock,
    /// Whether it was ever seen to be right. Until then, requests wait for the first connection to see that.
    had_clock: bool,
    figures: Option<Figures>,
    /// The epoch from the future that was told of last, and how far it is ahead.
    future: Option<(u64, Duration)>,
    /// Why the source of epochs did not answer when the last connection asked it.
    no_source: Option<Box<str>>,
}

/// The epoch that was seen last.
#[derive(Debug, Clone, Copy)]
struct Known {
    epoch: ServerEpoch,
    /// The CAS of the main sentinel: another one has another age.
    cas: u64,
}

/// What a new connection has found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub(super) epoch: u64,
    pub(super) cas: u64,
    /// The seconds of the server's clock since the sentinel was made.
    pub(super) age: u32,
    /// Whether it is the first epoch that this server ever had.
    pub(super) is_first: bool,
    /// An instant after the age was read.
    pub(super) at: Instant,
    pub(super) figures: Figures,
}

/// Until when nothing is granted, and why.
#[derive(Debug, Clone, Copy)]
struct Suspension {
    until: Instant,
    reason: &'static str,
}

impl Health {
    pub(super) fn new(server: &str, config: &LockConfig, clock: &Arc<LeaseClock>) -> Self {
        Self {
            server: server.into(),
            grace: config.grace(),
            clock: Arc::clone(clock),
            epoch: watch::Sender::new(None),
            state: Mutex::new(State {
                known: None,
                suspension: None,
                clock: ServerClock::new(config, clock.now()),
                had_clock: false,
                figures: None,
                future: None,
                no_source: None,
            }),
            learning: tokio::sync::Mutex::default(),
            said: Said::default(),
            counts: MishapCounts::default(),
        }
    }

    /// The time by which leases are counted.
    pub(super) fn now(&self) -> LeaseInstant {
        self.clock.now()
    }

    /// The value of the sentinel that was seen last.
    pub(super) fn known(&self) -> Option<u64> {
        self.state.lock().known.map(|known| known.epoch.sentinel())
    }

    /// Tells the server's epoch, now and whenever it changes; none while it has none that is known to be whole.
    pub(super) fn epoch(&self) -> watch::Receiver<Option<ServerEpoch>> {
        self.epoch.subscribe()
    }

    /// Whether the server is still in this epoch, as far as any lane knows.
    pub(super) fn is_in(&self, epoch: ServerEpoch) -> bool {
        *self.epoch.borrow() == Some(epoch)
    }

    /// Records that locks of the epoch that was known are gone. Only the first record of a loss has an effect.
    pub(super) fn record_loss(&self, cause: Cause, figures: Figures) {
        let mut state = self.state.lock();
        let before = state.figures.replace(figures);
        if self.epoch.send_replace(None).is_none() {
            return;
        }
        let cause = match (cause, before) {
            (Cause::Unknown, Some(before)) => figures.cause(before),
            _ => cause,
        };
        self.counts.lost(cause.loss());
        if let Some(known) = &mut state.known {
            // Should the same epoch be found again, no lease from before is in it.
            known.epoch = known.epoch.without_its_locks();
        }
        tracing::error!(
            server = &*self.server,
            grace_ms = milliseconds(self.grace),
            "memcached has lost locks ({cause}); its leases are lost, and nothing is granted for grace_ms"
        );
        self.suspend(&mut state, self.grace, FORGOTTEN);
    }

    /// Records what a new connection found, and returns the epoch of what is granted over it.
    pub(super) fn record_connection(&self, found: Found) -> ServerEpoch {
        let mut state = self.state.lock();
        state.figures = Some(found.figures);
        state.future = None;
        let is_fresh = state.known.is_none();
        let known = match state.known {
            Some(known) if known.epoch.sentinel() == found.epoch => known,
            _ => {
                // Its age by a clock of whole seconds, which may have been behind when the sentinel was made.
                let age = Duration::from_secs(found.age.into()).saturating_sub(COARSE_CLOCK) + found.at.elapsed();
                let left = self.grace.saturating_sub(age);
                match is_fresh {
                    true if found.is_first || is_removed(Safety::FreshHostGrace) => {}
                    true => self.suspend(&mut state, left, FRESH),
                    false => {
                        // When the loss was seen, nobody knew how long ago it was.
                        state.suspension = state.suspension.filter(|suspension| suspension.reason != FORGOTTEN);
                        self.suspend(&mut state, left, FORGOTTEN);
                    }
                }
                Known {
                    epoch: ServerEpoch::from_sentinel(found.epoch),
                    cas: 0,
                }
            }
        };
        if known.cas != found.cas {
            state.clock.reset();
        }
        state.known = Some(Known {
            cas: found.cas,
            ..known
        });
        self.epoch
            .send_if_modified(|epoch| epoch.replace(known.epoch) != Some(known.epoch));
        known.epoch
    }

    /// Records a look at the sentinel of this epoch and CAS, and tells how what comes behind it is dated.
    pub(super) fn record_reading(&self, epoch: ServerEpoch, cas: u64, reading: Reading) -> Result<Dating, JumpedAhead> {
        let mut state = self.state.lock();
        if !self.is_in(epoch) || state.known.is_none_or(|known| known.cas != cas) {
            // Another lane knows better.
            return Ok(state.clock.undated());
        }
        let before = state.clock.fault();
        let dating = state.clock.read(reading);
        match &dating {
            Ok(_) => {
                let fault = state.clock.fault();
                state.had_clock |= fault.is_none();
                if fault == Some(STOOD_STILL) && before != fault {
                    self.counts.stood_still();
                    tracing::warn!(
                        server = &*self.server,
                        "memcached stood still; it grants nothing until its clock is right"
                    );
                }
            }
            Err(JumpedAhead) => {
                self.counts.lost(Loss::ClockAhead);
                let epoch = epoch.without_its_locks();
                if let Some(known) = &mut state.known {
                    known.epoch = epoch;
                }
                self.epoch.send_replace(Some(epoch));
                tracing::error!(
                    server = &*self.server,
                    grace_ms = milliseconds(self.grace),
                    "memcached's clock ran ahead of this host's, or this virtual machine was stopped: its leases are \
                     lost, and nothing is granted for grace_ms"
                );
                self.suspend(&mut state, self.grace, "locks may have expired too early");
            }
        }
        dating
    }

    /// Records whether the last attempt to connect failed because of the source of epochs.
    pub(super) fn record_source(&self, reason: Option<&str>) {
        self.state.lock().no_source = reason.map(Box::from);
    }

    /// Why the server cannot be used, if it is the source of epochs that does not answer.
    pub(super) fn no_source(&self) -> Option<String> {
        self.state.lock().no_source.as_deref().map(str::to_owned)
    }

    /// Tells an operator, once for each epoch, of one that nobody gave and that is ahead of the clock.
    pub(super) fn record_future(&self, epoch: u64, ahead: Duration) {
        let before = self.state.lock().future.replace((epoch, ahead));
        if before.is_none_or(|(before, _)| before != epoch) {
            tracing::error!(
                server = &*self.server,
                epoch,
                ahead_s = ahead.as_secs(),
                "the epoch of memcached is from the future, so every later fencing token would be smaller; nothing is \
                 granted from it. Set the clock of the host that made it right, then restart this memcached; hosts need \
                 not be stopped"
            );
        }
    }

    /// How far its epoch is ahead of database time; zero where it is not.
    pub(super) fn epoch_ahead(&self) -> Duration {
        self.state.lock().future.map_or(Duration::ZERO, |(_, ahead)| ahead)
    }

    /// Whether the server's clock was seen to be right.
    pub(super) fn has_clock(&self) -> bool {
        self.state.lock().clock.fault().is_none()
    }

    /// Why a lock must not be taken from this server now.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        self.suspension().or_else(|| {
            let state = self.state.lock();
            let fault = state.clock.fault().filter(|_| state.had_clock)?;
            Some(Refusal {
                reason: format!("memcached at {} may not grant: {fault}", self.server),
                // It ticks once a second.
                retry_after: Some(Duration::from_secs(1)),
            })
        })
    }

    /// Why no lock of this server must be trusted that is granted now.
    pub(super) fn suspension(&self) -> Option<Refusal> {
        let mut state = self.state.lock();
        let now = Instant::now();
        let Suspension { until, reason } = state.suspension?;
        if until <= now {
            state.suspension = None;
            return None;
        }
        Some(Refusal {
            reason: format!("{reason} (server {})", self.server),
            retry_after: Some(until - now),
        })
    }

    /// Grants nothing for `time`, or longer where that was decided before.
    fn suspend(&self, state: &mut State, time: Duration, reason: &'static str) {
        let until = Instant::now() + time;
        if is_removed(Safety::RestartGrace) || time.is_zero() {
            return;
        }
        if state.suspension.is_none_or(|suspension| suspension.until < until) {
            state.suspension = Some(Suspension { until, reason });
        }
    }
}

const FORGOTTEN: &str = "memcached has forgotten its locks, and some may still be trusted";
const FRESH: &str = "locks that memcached had before may still be trusted by a host that does not reach it";

#[cfg(test)]
mod tests;
