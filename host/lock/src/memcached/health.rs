//! What is known of one server: its epoch, and whether it may grant.
//!
//! Keeps P7: a server that may have forgotten locks, or whose clock may be behind, grants nothing until that can do no
//! harm.
//!
//! # A server that forgets
//!
//! A restart, `flush_all`, and a replacement by another server lose every lock without a word. The sentinel shows it:
//! its value is the server's *epoch* ([`crate::fencing`]), and a host that finds another one than before knows that the
//! locks from before are gone. Their holders may still trust them, on this host and on others. So
//!
//! - the leases of this host that were granted in another epoch are lost at once ([`Health::epoch`]);
//! - nothing is granted for [`LockConfig::grace`], which is as long as anybody may trust a lease from before;
//! - the host that sees it says so on the server itself, in an item that outlives the grace period by up to 3 s
//!   (`namelock:@grace`). A host that starts in that time has known no other epoch, and this item keeps it from
//!   granting.
//!
//! A server whose epoch has just begun may have forgotten everything with nobody having noticed yet. So a host that
//! knows nothing of it waits for [`LockConfig::notice_time`] before it looks, which is how long others take to notice.
//!
//! Two cases are not covered, both when a host starts right after a server has forgotten its locks: another host that
//! holds some of them cannot reach that server, though the new host can; and the clocks of hosts differ, by which the
//! new host sees how young the server is. The names database decides then.
//!
//! # A server that stands still
//!
//! memcached dates an item by a clock that ticks once a second and stands still when the process does. What is stored
//! right after a stall may expire sooner by its length (2.9 s of 3 were seen to be missing). So a reply that takes
//! longer than [`LockConfig::stall_min`] makes every grant untrusted until the clock has surely ticked. A connection
//! asks its server something every [`LockConfig::heartbeat`] and one thing at a time, so it sees every longer stall,
//! and the grants that could suffer come after the late reply.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::config::{COARSE_CLOCK, LockConfig};
use crate::fencing::ServerEpoch;
use crate::grant::Refusal;

/// What is known of one server, shared by its lanes.
#[derive(Debug)]
pub(super) struct Health {
    server: Box<str>,
    grace: Duration,
    /// None: no connection has read it yet.
    epoch: watch::Sender<Option<ServerEpoch>>,
    suspension: Mutex<Option<Suspension>>,
}

/// Until when nothing is granted, and why.
#[derive(Debug, Clone, Copy)]
struct Suspension {
    until: Instant,
    reason: &'static str,
}

impl Health {
    pub(super) fn new(server: &str, config: &LockConfig) -> Self {
        Self {
            server: server.into(),
            grace: config.grace(),
            epoch: watch::Sender::new(None),
            suspension: Mutex::default(),
        }
    }

    /// The epoch that was seen last.
    pub(super) fn known_epoch(&self) -> Option<ServerEpoch> {
        *self.epoch.borrow()
    }

    /// Tells the epoch that was seen last, now and whenever it changes.
    pub(super) fn epoch(&self) -> watch::Receiver<Option<ServerEpoch>> {
        self.epoch.subscribe()
    }

    /// Records what a new connection found: the server's epoch, and for how much longer other hosts want nothing
    /// granted.
    pub(super) fn record_connection(&self, epoch: ServerEpoch, grace_left: Option<Duration>) {
        let before = self.epoch.send_replace(Some(epoch));
        if before.is_some_and(|before| before != epoch) {
            tracing::error!(
                server = &*self.server,
                grace_ms = self.grace.as_millis(),
                "memcached was restarted, flushed or replaced; its leases are lost, and nothing is granted for grace_ms"
            );
            self.suspend(
                self.grace,
                "memcached has forgotten its locks, and some may still be trusted",
            );
        }
        if let Some(left) = grace_left {
            self.suspend(left.min(self.grace), "memcached forgot its locks a short while ago");
        }
    }

    /// Records that the server did not answer for so long that its clock may be behind.
    pub(super) fn record_stall(&self, took: Duration) {
        tracing::warn!(
            server = &*self.server,
            took_ms = took.as_millis(),
            "memcached stood still; what it grants now is not trusted"
        );
        self.suspend(COARSE_CLOCK, "memcached stood still, and its clock may be behind");
    }

    /// Why a lock must not be taken from this server now.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        let mut suspension = self.suspension.lock();
        let now = Instant::now();
        let Suspension { until, reason } = (*suspension)?;
        if until <= now {
            *suspension = None;
            return None;
        }
        Some(Refusal {
            reason: format!("{reason} (server {})", self.server),
            retry_after: Some(until - now),
        })
    }

    /// Grants nothing for `time`, or longer where that was decided before.
    #[cfg(not(feature = "without-restart-grace"))]
    fn suspend(&self, time: Duration, reason: &'static str) {
        let until = Instant::now() + time;
        let mut suspension = self.suspension.lock();
        if suspension.is_none_or(|suspension| suspension.until < until) {
            *suspension = Some(Suspension { until, reason });
        }
    }

    #[cfg(feature = "without-restart-grace")]
    fn suspend(&self, _time: Duration, _reason: &'static str) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn epoch(value: u64) -> ServerEpoch {
        ServerEpoch::from_sentinel(value)
    }

    fn health() -> Health {
        Health::new("a:1", &LockConfig::default())
    }

    // Shows P7: nothing is granted while a forgotten lease may still be trusted.
    #[tokio::test(start_paused = true)]
    async fn a_server_that_has_forgotten_grants_nothing_for_one_lease() {
        let health = health();
        health.record_connection(epoch(7), None);
        health.record_connection(epoch(7), None);
        assert_eq!(
            health.refusal(),
            None,
            "neither the first epoch that is seen nor the same one again is a reason"
        );
        let current = health.epoch();
        health.record_connection(epoch(8), None);
        assert_eq!(*current.borrow(), Some(epoch(8)));
        let refusal = health.refusal().unwrap();
        assert_eq!(refusal.retry_after, Some(Duration::from_secs(10)));
        tokio::time::advance(Duration::from_millis(9_999)).await;
        assert!(health.refusal().is_some());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(health.refusal(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_saw_nothing_learns_of_the_grace_period_from_the_server() {
        let health = health();
        health.record_connection(epoch(8), Some(Duration::from_secs(3)));
        assert_eq!(health.refusal().unwrap().retry_after, Some(Duration::from_secs(3)));
        // Whatever the item says, no host stops granting for longer than there is a reason.
        health.record_connection(epoch(8), Some(Duration::from_secs(1000)));
        assert_eq!(health.refusal().unwrap().retry_after, Some(Duration::from_secs(10)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stall_ends_when_the_clock_has_ticked_and_does_not_shorten_the_grace_period() {
        let health = health();
        health.record_stall(Duration::from_secs(1));
        assert_eq!(health.refusal().unwrap().retry_after, Some(COARSE_CLOCK));
        health.record_connection(epoch(7), None);
        health.record_connection(epoch(8), None);
        health.record_stall(Duration::from_secs(1));
        assert_eq!(health.refusal().unwrap().retry_after, Some(Duration::from_secs(10)));
    }
}
