//! What is known of one server: which life it is in, and whether it may grant.
//!
//! # A server that forgets
//!
//! A restart, `flush_all`, and a replacement by another server lose every lock without a word. The sentinel shows it: its value is
//! the server's *life*, and whoever finds another one than before knows that the locks of before are gone. Their holders may still
//! trust them, on this host and on others. So
//!
//! - the leases of this host that were given in another life are lost at once ([`Health::life`]);
//! - nothing is granted for [`LockConfig::grace`], which is as long as anybody may trust a lease of before;
//! - whoever sees it says so on the server itself, in an item that lives as long ([`GRACE`]). A host that starts in that time has
//!   known no other life, and is kept from granting by it.
//!
//!   A server that looks as if it had just begun may have forgotten everything and nobody noticed yet; so a host that knows nothing of
//!   it waits for [`LockConfig::notice`] before it looks, which is how long others take to notice.
//!
//! What this does not cover, when a host starts right after a server has forgotten its locks: another host that holds some and does not
//! reach that server, though the new one does; and hosts whose clocks differ, by which the new one sees how young the server is. The
//! names database decides then.
//!
//! # A server that stands still
//!
//! memcached dates an item by a clock that ticks once a second and stands still when the process does. What is stored right after a
//! stall may expire sooner by its length (2.9 s of 3 were seen to be missing). So a reply that is later than
//! [`LockConfig::stall`] makes every grant untrusted until the clock has surely ticked. A connection asks its server
//! something every [`LockConfig::heartbeat`] and one thing at a time, so no longer stall goes unseen by it, and the grants that could
//! suffer come behind the late reply.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::config::{COARSE_CLOCK, LockConfig};
use crate::table::Refusal;

/// The item that keeps hosts from granting that have not seen what happened. No lock's key has an `@` there.
pub(super) const GRACE: &str = "namelock:@grace";

/// What is known of one server, shared by its lanes.
#[derive(Debug)]
pub(super) struct Health {
    server: Box<str>,
    grace: Duration,
    /// The value of the sentinel; 0 before it was read.
    life: watch::Sender<u64>,
    refused: Mutex<Option<Refused>>,
}

#[derive(Debug, Clone, Copy)]
struct Refused {
    until: Instant,
    why: &'static str,
}

impl Health {
    pub(super) fn new(server: &str, config: &LockConfig) -> Self {
        Self {
            server: server.into(),
            grace: config.grace(),
            life: watch::Sender::new(0),
            refused: Mutex::default(),
        }
    }

    /// The life that was seen last; 0: none yet.
    pub(super) fn known_life(&self) -> u64 {
        *self.life.borrow()
    }

    /// Tells the life that is seen, now and whenever it changes.
    pub(super) fn life(&self) -> watch::Receiver<u64> {
        self.life.subscribe()
    }

    /// Takes in what a connection found when it was made: the server's life, and for how much longer others want nothing granted.
    pub(super) fn greeted(&self, life: u64, grace_left: Option<Duration>) {
        let before = self.life.send_replace(life);
        if before != 0 && before != life {
            tracing::error!(
                server = &*self.server,
                grace_ms = self.grace.as_millis(),
                "memcached was restarted, flushed or replaced; the leases of before are lost, and nothing is granted for a while"
            );
            self.refuse(
                self.grace,
                "memcached has forgotten its locks, and some may still be trusted",
            );
        }
        if let Some(left) = grace_left {
            self.refuse(
                left.min(self.grace),
                "memcached has forgotten its locks a short while ago",
            );
        }
    }

    /// Takes in that the server did not answer for so long that its clock may be behind.
    pub(super) fn stalled(&self, took: Duration) {
        tracing::warn!(
            server = &*self.server,
            took_ms = took.as_millis(),
            "memcached stood still; what it grants now is not trusted"
        );
        self.refuse(COARSE_CLOCK, "memcached stood still, and its clock may be behind");
    }

    /// Why a lock must not be taken from this server now.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        let mut refused = self.refused();
        let now = Instant::now();
        let Refused { until, why } = (*refused)?;
        if until <= now {
            *refused = None;
            return None;
        }
        Some(Refusal {
            reason: format!("{why} (server {})", self.server),
            retry_after: Some(until - now),
        })
    }

    #[cfg(not(feature = "without-restart-grace"))]
    fn refuse(&self, time: Duration, why: &'static str) {
        let until = Instant::now() + time;
        let mut refused = self.refused();
        if refused.is_none_or(|refused| refused.until < until) {
            *refused = Some(Refused { until, why });
        }
    }

    #[cfg(feature = "without-restart-grace")]
    fn refuse(&self, _time: Duration, _why: &'static str) {}

    /// Nothing that holds this mutex can panic, so a poisoned one is still sound.
    fn refused(&self) -> MutexGuard<'_, Option<Refused>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health() -> Health {
        Health::new("a:1", &LockConfig::default())
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_has_forgotten_grants_nothing_for_one_lease() {
        let health = health();
        health.greeted(7, None);
        health.greeted(7, None);
        assert_eq!(
            health.refusal(),
            None,
            "the first life that is seen, and the same again, are no reason"
        );
        let life = health.life();
        health.greeted(8, None);
        assert_eq!(*life.borrow(), 8);
        let refusal = health.refusal().unwrap();
        assert_eq!(refusal.retry_after, Some(Duration::from_secs(10)));
        tokio::time::advance(Duration::from_millis(9_999)).await;
        assert!(health.refusal().is_some());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(health.refusal(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_has_seen_nothing_is_told_by_the_server() {
        let health = health();
        health.greeted(8, Some(Duration::from_secs(3)));
        assert_eq!(health.refusal().unwrap().retry_after, Some(Duration::from_secs(3)));
        // Whatever somebody puts there, nobody is kept from granting for longer than there is a reason.
        health.greeted(8, Some(Duration::from_secs(1000)));
        assert_eq!(health.refusal().unwrap().retry_after, Some(Duration::from_secs(10)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stall_is_over_when_the_clock_has_ticked_and_shortens_no_grace() {
        let health = health();
        health.stalled(Duration::from_secs(1));
        assert_eq!(health.refusal().unwrap().retry_after, Some(COARSE_CLOCK));
        health.greeted(7, None);
        health.greeted(8, None);
        health.stalled(Duration::from_secs(1));
        assert_eq!(health.refusal().unwrap().retry_after, Some(Duration::from_secs(10)));
    }
}
