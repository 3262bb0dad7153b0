//! The protocol as a model in which everything happens that can: every order of requests, replies, ticks, stalls and
//! restarts.
//!
//! Two hosts want one name on one memcached, and write it to one names database. Time goes in ticks. One tick stands for the longest exchange, the longest
//! stall that nobody notices, and the coarseness of memcached's clock, which is what the time to live is made of: a
//! lease of two ticks, and one tick for each of the others.
//!
//! The search is exhaustive within the [`Bounds`] that each test states: two hosts; so many attempts, renewals and
//! ticks; stalls of any length, which the server's clock stands still in; restarts, evictions, hosts that die and are
//! replaced by one that knows nothing, and hosts whose machine is suspended. A host that does not connect again is cut
//! off. The server's clock is read exactly: how exact it is in truth, and that it errs to the safe side, the tests of
//! `memcached::clock` show. Two things are left out: several keys (they do not know of each other) and several servers
//! (a name has one).
//!
//! The names database is one row: whether the name has an active registration, and the greatest token that was seen. A
//! holder saves or frees the name. Its write may be on its way for any time, and then wait in the database for any time.
//! What orders the writes is the order of the grants, which nobody in the protocol knows: the tokens have to tell it. So
//! tokens that go back break a property of the database too. A handler waits for its writes; one that does not, because
//! its call was ended, is no other than one whose write was long on its way. Left out is that a row is forgotten: that
//! this is later than any write of a lease from before, the tests of the names database show.
//!
//! A model that cannot fail shows nothing. So each rule is removed once, and a property must then break.
//!
//! In reading order: [`rules`], [`world`], [`protocol`], [`database`], then the tests here.

mod database;
mod protocol;
mod rules;
mod world;

use std::collections::BTreeSet;

use stateright::{Checker, HasDiscoveries, Model};

use crate::protocol::Protocol;
use crate::rules::{ALL, Bounds, Rules};

const RELEASE: &str = "a release never deletes another's lock";
const TOKENS: &str = "fencing tokens grow";
const HOLDER: &str = "one holder at a time";
const ORDER: &str = "the write of an older lease never comes last";
const OVERWRITE: &str = "no active registration is written over";
const ALONE: &str = "nobody writes while another trusts its lease";

/// The first property that does not hold, within these bounds and with these rules.
fn broken(bounds: Bounds, rules: Rules) -> Option<&'static str> {
    search(bounds, rules, HasDiscoveries::AnyFailures)
}

/// Searches until what is wanted is found, and returns a property that does not hold.
fn search(bounds: Bounds, rules: Rules, wanted: HasDiscoveries) -> Option<&'static str> {
    let checker = Protocol { bounds, rules }
        .checker()
        .threads(2)
        .finish_when(wanted)
        .spawn_bfs()
        .join();
    println!("{bounds:?}: {} states", checker.unique_state_count());
    let always = [RELEASE, ORDER, OVERWRITE, ALONE, TOKENS, HOLDER];
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
    suspends: 0,
    writes: 0,
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

const SUSPENDS: Bounds = Bounds {
    suspends: 1,
    renewals: 1,
    ..NOTHING
};

const WRITES: Bounds = Bounds { writes: 2, ..NOTHING };

/// Tokens of two epochs meet in the database.
const WRITES_AND_RESTARTS: Bounds = Bounds { restarts: 1, ..WRITES };

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
fn every_property_holds_when_a_host_is_suspended() {
    assert_eq!(broken(SUSPENDS, ALL), None);
}

// Shows P1: whatever becomes of the lock, two writes of one name are in the order of their leases, and no registration
// is written over.
#[test]
fn every_property_of_the_database_holds_across_a_restart() {
    assert_eq!(broken(WRITES_AND_RESTARTS, ALL), None);
}

#[test]
fn removing_any_rule_breaks_a_property() {
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
    check(SUSPENDS, |rules| rules.leases_end_in_suspend = false, HOLDER);
    check(WRITES, |rules| rules.fencing = false, ORDER);
    check(WRITES, |rules| rules.arbitration = false, OVERWRITE);
    check(WRITES, |rules| rules.write_deadline = false, ALONE);
}

#[test]
fn tokens_that_go_back_let_the_write_of_an_older_lease_come_last() {
    let removals: [fn(&mut Rules); 2] = [
        |rules| rules.epochs_in_order = false,
        |rules| rules.epoch_in_token = false,
    ];
    for remove in removals {
        let mut rules = ALL;
        remove(&mut rules);
        let wanted = HasDiscoveries::AllOf(BTreeSet::from([ORDER]));
        assert_eq!(search(WRITES_AND_RESTARTS, rules, wanted), Some(ORDER), "{rules:?}");
    }
}
