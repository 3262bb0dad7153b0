//! Makes a memcached that restarts give the numbers again that it gave before.
//!
//! memcached numbers its items by a counter that begins anew with each process. A holder of a lock of before knows a
//! number that is some other lock's sooner or later. To wait for that takes long; to write until the counter is where it
//! was does not.

use std::time::{Duration, Instant};

use namelock_test_servers::RawMemcached;

use crate::fleet::{Fleet, LEASE, LOCK_LIFE};

/// How far below a number the counter is kept: between one write of somebody else and several come before the lock.
const BELOW: u64 = 2;

/// How often it is looked at.
const EVERY: Duration = Duration::from_millis(2);

const FILLER: &str = "@chaos-filler";

/// Restarts a memcached, and returns when a lock has the number that the lock of the same name had before, or when none
/// will have.
pub fn repeat(fleet: &Fleet, server: usize) {
    let before = fleet.memcached(server).raw().locks();
    fleet.memcached(server).restart();
    let mut memcached = fleet.memcached(server).raw();
    let end = Instant::now() + LEASE + LOCK_LIFE;
    while Instant::now() < end {
        let now: Vec<_> = before.iter().map(|(key, _)| memcached.cas(key)).collect();
        let is_same = |(now, (_, before)): (&Option<u64>, &(String, u64))| *now == Some(*before);
        if now.iter().zip(&before).any(is_same) {
            return;
        }
        // A number is given again only where there is no lock yet.
        let free = before.iter().zip(&now).filter(|(_, now)| now.is_none());
        fill(&mut memcached, free.map(|((_, cas), _)| *cas));
        std::thread::sleep(EVERY);
    }
}

/// Writes until the counter is close below the least of these numbers that is still to come.
fn fill(memcached: &mut RawMemcached, wanted: impl Iterator<Item = u64>) {
    let Some(mut at) = memcached.cas(FILLER).or_else(|| memcached.count_up(FILLER)) else {
        return;
    };
    let Some(next) = wanted.filter(|wanted| *wanted > at + BELOW).min() else {
        return;
    };
    while at + BELOW < next {
        let Some(counted) = memcached.count_up(FILLER) else {
            return;
        };
        at = counted;
    }
}
