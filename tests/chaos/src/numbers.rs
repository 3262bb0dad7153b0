//! Makes a memcached that restarts give the numbers again that it gave before.
//!
//! memcached numbers its items by a counter that begins anew with each process. A holder of a lock of before knows a
//! number that is some other lock's sooner or later. To wait for that takes long; to write until the counter is where it
//! was, and then the new lock once more as it is, does not.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use namelock_test_servers::RawMemcached;

use crate::checker::lock_key;
use crate::clients::is_hot;
use crate::fleet::{Fleet, LEASE, LOCK_LIFE};

/// By how much the numbers of before are greater than those with which a server begins: more than hosts write into it until
/// a lock is held.
const AHEAD: usize = 1000;

/// How far below a number the counter is brought before the lock is written that is to have it: no more than a server executes
/// of one connection without a pause.
const BELOW: u64 = 15;

/// How long a lock has to be there to be one that is held: who finds the name taken gives it back at once.
const HELD: Duration = Duration::from_millis(50);

/// How often it is looked whether there is one.
const EVERY: Duration = Duration::from_millis(2);

/// Lets the next numbers of a memcached be greater than those with which it begins.
pub fn advance(fleet: &Fleet, server: usize) {
    let mut memcached = fleet.memcached(server).raw();
    for _ in 0..AHEAD {
        memcached.count_up();
    }
}

/// The locks on a memcached that a host holds for names that are wanted by many, each with its number.
pub struct Held(Vec<(String, u64)>);

/// Waits, for a while at most, until a host holds such a lock on a memcached, and stops the host.
pub fn stop_holder(fleet: &Fleet, server: usize, host: usize) -> Held {
    let mut memcached = fleet.memcached(server).raw();
    let begin = Instant::now();
    loop {
        let names = fleet.host(host).names_begun_within(LEASE / 2);
        let keys = names.iter().filter(|name| is_hot(name)).map(|name| lock_key(name));
        let keys: Vec<_> = keys.collect();
        let mut held = memcached.locks();
        held.retain(|(key, _)| keys.contains(key));
        if !held.is_empty() || begin.elapsed() > LOCK_LIFE {
            fleet.host(host).signal("STOP");
            return Held(held);
        }
        std::thread::sleep(EVERY);
    }
}

/// Restarts a memcached, and returns when a lock that is held for a while has the number that the lock of the same name had
/// before, or when none will have.
pub fn repeat(fleet: &Fleet, server: usize, Held(mut before): Held) {
    fleet.memcached(server).restart();
    let mut memcached = fleet.memcached(server).raw();
    let begin = Instant::now();
    let mut since = HashMap::new();
    // In the first half of their grace the hosts write their sentinels, and grant nothing in the second.
    std::thread::sleep(LEASE / 2);
    while !before.is_empty() && begin.elapsed() < LEASE + LOCK_LIFE {
        let held = before.iter().position(|(key, _)| {
            let cas = memcached.cas(key);
            cas.is_some_and(|cas| since.entry(cas).or_insert_with(Instant::now).elapsed() >= HELD)
        });
        if let Some(at) = held {
            let (key, cas) = before.swap_remove(at);
            come_close(&mut memcached, cas);
            if memcached.renumber(&key, cas) {
                eprintln!("        {key} has its number of before, {cas}");
                return;
            }
            // Others write as well, and a number that is passed does not come again.
            continue;
        }
        std::thread::sleep(EVERY);
    }
}

/// Writes until the counter is close below a number.
fn come_close(memcached: &mut RawMemcached, number: u64) {
    let mut at = memcached.count_up();
    while at.is_some_and(|at| at + BELOW < number) {
        at = memcached.count_up();
    }
}
