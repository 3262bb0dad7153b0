//! Makes a memcached that restarts give the numbers again that it gave before.
//!
//! memcached numbers its items by a counter that begins anew with each process. A holder of a lock of before knows a
//! number that is some other lock's sooner or later. To wait for that takes long; to write until the counter is where it
//! was does not.

use std::time::{Duration, Instant};

use namelock_test_servers::RawMemcached;

use crate::checker::lock_key;
use crate::fleet::{Fleet, LEASE, LOCK_LIFE};

/// By how much the numbers of before are greater than what hosts write into a server before it grants: their sentinels.
const AHEAD: usize = 200;

/// How far below a number the counter is kept: between one write of somebody else and several come before the lock.
const BELOW: u64 = 2;

/// How often it is looked at.
const EVERY: Duration = Duration::from_millis(2);

const FILLER: &str = "@chaos-filler";

/// Lets the next numbers of a memcached be greater than those with which it begins.
pub fn advance(fleet: &Fleet, server: usize) {
    let mut memcached = fleet.memcached(server).raw();
    for _ in 0..AHEAD {
        memcached.count_up(FILLER);
    }
}

/// Restarts a memcached while a host stands still, and returns when a lock has the number that the host's lock of the same
/// name had before, or when none will have.
pub fn repeat(fleet: &Fleet, server: usize, host: usize) {
    let names = fleet.host(host).names_begun_within(LEASE);
    let keys: Vec<_> = names.iter().map(|name| lock_key(name)).collect();
    let mut before = fleet.memcached(server).raw().locks();
    before.retain(|(key, _)| keys.contains(key));
    fleet.memcached(server).restart();
    let mut memcached = fleet.memcached(server).raw();
    let begin = Instant::now();
    // In the first half of their grace the hosts write their sentinels, and grant nothing in the second.
    std::thread::sleep(LEASE / 2);
    while !before.is_empty() && begin.elapsed() < LEASE + LOCK_LIFE {
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
