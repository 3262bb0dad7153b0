//! The protocol as a model in which everything happens that can: every order of requests, replies, ticks, stalls and
//! restarts.
//!
//! Two hosts want one name on one memcached. Time goes in ticks. One tick stands for the longest exchange, the longest
//! stall that nobody notices, and the coarseness of memcached's clock, which is what the time to live is made of: a
//! lease of two ticks, and one tick for each of the others.
//!
//! The search is exhaustive within the [`Bounds`] that each test states: two hosts; so many attempts, renewals and
//! ticks; stalls of any length; restarts, evictions, and hosts that die and are replaced by one that knows nothing. A
//! host that does not connect again is cut off. The server's clock is read exactly: how exact it is in truth, and that
//! it errs to the safe side, the tests of `memcached::clock` show. Two things are left out: several keys (they do not
//! know of each other) and several servers (a name has one).
//!
//! The names database needs no part in this: it refuses the smaller token, and that tokens grow is a property here.
//!
//! A model that cannot fail shows nothing. So each rule is removed once, and a property must then break.
//!
//! In reading order: [`rules`], [`world`], [`protocol`], then the tests here.

mod protocol;
mod rules;
mod world;

use stateright::{Checker, HasDiscoveries, Model};

use crate::protocol::Protocol;
use crate::rules::{ALL, Bounds, Rules};

/// The first property that does not hold, within these bounds and with these rules.
fn broken(bounds: Bounds, rules: Rules) -> Option<&'static str> {
    let checker = Protocol { bounds, rules }
        .checker()
        .threads(2)
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    println!("{bounds:?}: {} states", checker.unique_state_count());
    let always = [
        "a release never deletes another's lock",
        "fencing tokens grow",
        "one holder at a time",
    ];
    let sometimes = checker.discovery("one holds it after the other");
    let found = checker.discoveries();
    let broken = always.into_iter().find(|name| found.contains_key(name));
    assert!(
        broken.is_some() || sometimes.is_some(),
        "nothing ever happens in this model"
    );
    broken
}

const NOTHING: Bounds = Bounds {
    ticks: 4,
    attempts: 2,
    stalls: 0,
    restarts: 0,
    evictions: 0,
    fresh: 0,
    renewals: 0,
};

const STALLS: Bounds = Bounds {
    ticks: 7,
    stalls: 1,
    renewals: 1,
    ..NOTHING
};

const RESTARTS: Bounds = Bounds { restarts: 1, ..NOTHING };

const EVICTIONS: Bounds = Bounds {
    evictions: 1,
    ..NOTHING
};

/// A host that starts after a restart that nobody else has noticed.
const FRESH: Bounds = Bounds {
    restarts: 1,
    fresh: 1,
    ..NOTHING
};

const ALL_OF_IT: Bounds = Bounds {
    stalls: 1,
    restarts: 1,
    renewals: 1,
    ..NOTHING
};

// Shows P5: one holder at a time, by what each host trusts.
#[test]
fn two_hosts_never_trust_a_lease_at_once_whatever_stalls_or_is_lost() {
    assert_eq!(broken(STALLS, ALL), None);
}

// Shows P4: no release deletes what another host holds.
#[test]
fn every_property_holds_across_a_restart() {
    assert_eq!(broken(RESTARTS, ALL), None);
}

#[test]
fn every_property_holds_across_an_eviction() {
    assert_eq!(broken(EVICTIONS, ALL), None);
}

#[test]
fn every_property_holds_when_a_host_starts_that_knows_nothing() {
    assert_eq!(broken(FRESH, ALL), None);
}

#[test]
fn every_property_holds_across_a_restart_a_stall_and_a_renewal() {
    assert_eq!(broken(ALL_OF_IT, ALL), None);
}

#[test]
fn removing_any_rule_breaks_a_property() {
    const HOLDER: &str = "one holder at a time";
    const TOKENS: &str = "fencing tokens grow";
    const RELEASE: &str = "a release never deletes another's lock";
    let check = |bounds, remove: fn(&mut Rules), expect| {
        let mut rules = ALL;
        remove(&mut rules);
        assert_eq!(broken(bounds, rules), Some(expect), "{rules:?}");
    };
    check(STALLS, |rules| rules.early_deadline = false, HOLDER);
    check(STALLS, |rules| rules.server_clock_is_read = false, HOLDER);
    check(RESTARTS, |rules| rules.cas_bound_to_connection = false, RELEASE);
    check(RESTARTS, |rules| rules.epoch_in_token = false, TOKENS);
    check(RESTARTS, |rules| rules.epochs_in_order = false, TOKENS);
    check(RESTARTS, |rules| rules.restart_grace = false, HOLDER);
    check(EVICTIONS, |rules| rules.sentinel_of_each_size = false, HOLDER);
    check(EVICTIONS, |rules| rules.sentinel_in_batch = false, HOLDER);
    check(FRESH, |rules| rules.fresh_host_grace = false, HOLDER);
}
