//! The protocol as a model in which everything happens that can: every order of requests, replies, ticks, stalls and
//! restarts.
//!
//! Two hosts want one name on one memcached. Time goes in ticks. One tick stands for the longest exchange, the longest
//! stall that nobody notices, and the coarseness of memcached's clock, which is what the time to live is made of: a
//! lease of two ticks, and one tick for each of the others.
//!
//! The search is exhaustive within the [`Bounds`] that each test states: two hosts; so many attempts, renewals and
//! ticks; stalls of any length; and restarts. Three things are left out: several keys (they do not know of each other),
//! several servers (a name has one), and a host that starts after a restart and knows of no epoch before (the others
//! tell it; the tests of the real thing in `memcached.rs` show how).
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

const STALLS: Bounds = Bounds {
    ticks: 7,
    attempts: 2,
    stalls: 1,
    restarts: 0,
    renewals: 1,
};

const RESTARTS: Bounds = Bounds {
    ticks: 5,
    attempts: 3,
    stalls: 0,
    restarts: 1,
    renewals: 0,
};

const BOTH: Bounds = Bounds {
    ticks: 5,
    attempts: 2,
    stalls: 1,
    restarts: 1,
    renewals: 1,
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
fn every_property_holds_across_a_restart_a_stall_and_a_renewal() {
    assert_eq!(broken(BOTH, ALL), None);
}

#[test]
fn removing_any_rule_breaks_a_property() {
    let check = |bounds, rules, expect| assert_eq!(broken(bounds, rules), Some(expect), "{rules:?}");
    check(
        STALLS,
        Rules {
            ttl_has_margin: false,
            ..ALL
        },
        "one holder at a time",
    );
    check(
        STALLS,
        Rules {
            early_deadline: false,
            ..ALL
        },
        "one holder at a time",
    );
    check(
        STALLS,
        Rules {
            stalls_are_noticed: false,
            ..ALL
        },
        "one holder at a time",
    );
    check(
        RESTARTS,
        Rules {
            cas_bound_to_connection: false,
            ..ALL
        },
        "a release never deletes another's lock",
    );
    check(
        RESTARTS,
        Rules {
            epoch_in_token: false,
            ..ALL
        },
        "fencing tokens grow",
    );
    check(
        RESTARTS,
        Rules {
            restart_grace: false,
            ..ALL
        },
        "one holder at a time",
    );
}
