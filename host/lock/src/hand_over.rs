//! A lock that goes from one caller of this host to the next without being free in between.
//!
//! Where others of this host wait for a name, giving the lock back and asking for it again are two operations, one after the
//! other, while nobody has the lock. Instead whoever releases it puts the token of a new claim in the place of its own, which is
//! one operation: the item gets another CAS, so a greater fencing token, and its full time. The claim is left in the queue of the
//! name, and whoever has the turn next takes it from there.
//!
//! - **Nothing else may be granted with it.** The new claim is a claim like any other from before it is asked for (`claim`):
//!   whatever becomes of it, the reaper resolves it by its token. One that is left in a queue in which nobody waits any more is
//!   dropped with the queue.
//! - **Trust** begins before the table was asked (`Handed::asked`), and not when the next caller finds it. What has not
//!   at least half of its time left then is given back, and asked for anew.
//! - **Other hosts** are not starved: a lock is handed over only within a run of this host, see [`crate::fairness`]. At its end,
//!   and where another host is known to wait, it is released, and who is next looks for a mark as ever. The bound on waiting
//!   that is stated there holds as it is: it counts with a host that takes its turns without a gap.
//! - **Several locks at once**: who acquires them waits for turns and must have no lock meanwhile (`acquire_all`), so it gives
//!   back what was handed to it.

use std::sync::Arc;

use tokio::time::Instant;

use crate::claim::Handed;
use crate::key::LockKey;
use crate::lease::Lease;
use crate::local_queue::Turn;
use crate::locks::{Locks, trusted_from};

impl Locks {
    /// Makes a lease of a lock that was handed over; none: it was too old, and is given back.
    pub(crate) async fn take_over(&self, name: &str, key: &LockKey, turn: &Arc<Turn>, handed: Handed) -> Option<Lease> {
        let shared = &self.shared;
        let claim = handed.claim.with_turn(turn);
        let lease = Lease::new(
            (name, self.holder()),
            trusted_from(handed.asked, &shared.clock),
            claim,
            handed.grant,
        );
        if lease.remaining() < shared.config.lease / 2 {
            lease.give_back().await;
            return None;
        }
        shared.fairness.granted(key, Instant::now());
        Some(lease)
    }
}

#[cfg(test)]
mod tests;
