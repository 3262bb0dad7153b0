//! What a host does about a name that another one wants, decision by decision.

use super::*;
use crate::grant::{ConnectionId, ItemVersion};

const MS: Duration = Duration::from_millis(1);

/// One host, one name, and a clock that only the test moves.
struct Host {
    fairness: Fairness,
    key: LockKey,
    now: Instant,
}

impl Host {
    fn new() -> Self {
        Self {
            fairness: Fairness::default(),
            key: LockKey::new("t", "a").unwrap(),
            now: Instant::now(),
        }
    }

    fn must_look(&self) -> bool {
        self.fairness.must_look(&self.key, self.now)
    }

    /// Holds the lock for this long.
    fn hold(&mut self, hold: Duration) {
        self.fairness.granted(&self.key, self.now);
        self.now += hold;
        self.fairness.released(&self.key, self.now);
    }

    fn look(&self, held: Option<u64>, mark: Option<Mark>) -> Step {
        self.look_as(held, mark, true)
    }

    fn look_as(&self, held: Option<u64>, mark: Option<Mark>, waits: bool) -> Step {
        let held = held.map(|cas| HeldLock { cas, remaining: None });
        self.fairness.decide(&self.key, &Sight { held, mark }, waits, self.now)
    }

    /// The place that this host leaves or keeps while the lock has this CAS.
    fn place(&self, cas: u64) -> Place {
        match self.look(Some(cas), None) {
            Step::Wait {
                change: Some(MarkChange::Leave(place)),
                ..
            } => place,
            step => panic!("{step:?}"),
        }
    }
}

fn mark(place: Place) -> Mark {
    Mark {
        place,
        version: ItemVersion {
            connection: ConnectionId::next(),
            cas: 1,
        },
        fades: false,
    }
}

/// The mark of another host, which began to wait while the lock had this CAS.
fn other(cas: u64) -> Mark {
    mark(Place::new(cas, 0))
}

fn takes(step: &Step) -> bool {
    matches!(step, Step::Take { .. })
}

#[test]
fn a_name_that_no_other_host_wants_is_looked_at_once_in_each_run() {
    let mut host = Host::new();
    let mut looks = 0;
    for _ in 0..1000 {
        if host.must_look() {
            looks += 1;
            assert!(takes(&host.look(None, None)));
        }
        host.hold(MS);
    }
    assert!((9..=10).contains(&looks), "{looks} looks in a second");
}

#[test]
fn a_name_that_is_wanted_now_and_then_is_never_looked_at() {
    let mut host = Host::new();
    for _ in 0..100 {
        assert!(!host.must_look());
        host.hold(MS * 150);
        host.now += patience(MS * 150);
    }
}

#[test]
fn a_run_ends_where_another_host_waits_and_its_name_is_left_alone_for_a_while() {
    let mut host = Host::new();
    let mut grants = 0;
    while !host.must_look() {
        host.hold(MS * 20);
        grants += 1;
    }
    assert_eq!(grants, 5);
    let released = host.now;
    while host.now < released + patience(MS * 20) {
        assert!(host.must_look());
        assert!(!takes(&host.look(None, Some(other(1)))));
        assert!(
            !takes(&host.look_as(None, Some(other(1)), false)),
            "nor for one who does not wait"
        );
        host.now += MS;
    }
    // The other one is gone.
    assert!(takes(&host.look(None, Some(other(1)))));
    host.hold(MS);
    assert!(!host.must_look(), "another run has begun");
}

#[test]
fn who_waits_finds_the_name_within_the_patience_of_its_holder() {
    for hold in [1, 5, 20, 100, 300, 1000, 5000].map(|hold| MS * hold) {
        let mut host = Host::new();
        let begin = host.now;
        let mut looks = 0;
        while host.now < begin + hold {
            let step = host.look(Some(7), None);
            assert!(!takes(&step));
            host.now += host.fairness.pause(&host.key, looks, host.now);
            looks += 1;
        }
        let after = host.now - (begin + hold);
        assert!(after < patience(hold), "{after:?} after a hold of {hold:?}");
        assert!(looks <= 60, "{looks} looks in a hold of {hold:?}");
    }
}

#[test]
fn hosts_get_their_turns_in_the_order_in_which_they_began_to_wait() {
    let host = Host::new();
    let place = host.place(100);
    assert_eq!(host.place(200), place, "it keeps its place");
    assert!(Place::new(99, u16::MAX) < place && place < Place::new(101, 0));

    let step = host.look(Some(200), Some(other(150)));
    assert!(
        matches!(step, Step::Wait { change: Some(MarkChange::Replace(_, new)), .. } if new == place),
        "it was there before: {step:?}"
    );
    let step = host.look(Some(200), Some(other(99)));
    assert!(
        matches!(step, Step::Wait { change: None, .. }),
        "it came after: {step:?}"
    );

    assert!(!takes(&host.look(None, Some(other(99)))));
    let step = host.look(None, Some(other(150)));
    assert!(matches!(step, Step::Take { mark: None }), "{step:?}");
    let step = host.look(None, Some(mark(place)));
    assert!(
        matches!(step, Step::Take { mark: Some(_) }),
        "it takes its mark away: {step:?}"
    );

    host.fairness.granted(&host.key, host.now);
    assert!(host.place(200) > place, "the next time it has to wait for others");
}

#[test]
fn a_mark_is_kept_before_it_is_gone() {
    let host = Host::new();
    let mut own = mark(host.place(100));
    assert!(matches!(
        host.look(Some(100), Some(own)),
        Step::Wait { change: None, .. }
    ));
    own.fades = true;
    let step = host.look(Some(100), Some(own));
    assert!(
        matches!(
            step,
            Step::Wait {
                change: Some(MarkChange::Keep(_)),
                ..
            }
        ),
        "{step:?}"
    );
}

#[test]
fn a_caller_that_does_not_wait_leaves_no_mark() {
    let host = Host::new();
    let step = host.look_as(Some(100), None, false);
    assert!(matches!(step, Step::Wait { change: None, .. }), "{step:?}");
    assert!(!takes(&host.look_as(None, Some(other(101)), false)), "and has no place");
}

#[test]
fn a_host_that_was_refused_looks_before_it_takes_for_as_long_as_it_remembers() {
    let mut host = Host::new();
    host.fairness.refused(&host.key, host.now);
    host.now += MEMORY - MS;
    assert!(host.must_look());
    assert!(!takes(&host.look(None, Some(other(1)))));
    host.now += MEMORY;
    assert!(!host.must_look());
}

#[test]
fn a_host_that_is_gone_keeps_the_name_from_nobody() {
    let mut host = Host::new();
    host.place(100);
    assert!(!takes(&host.look(None, Some(other(1)))));
    host.now += patience(Duration::MAX);
    assert!(takes(&host.look(None, Some(other(1)))));
}

#[test]
fn after_a_restart_of_memcached_a_place_is_as_small_as_those_of_others() {
    let host = Host::new();
    host.place(1_000_000);
    let place = host.place(3);
    assert!(place < Place::new(4, 0));
}

// Shows P6: what is remembered has a fixed size.
#[test]
fn of_too_many_names_those_that_others_want_are_remembered() {
    let host = Host::new();
    let place = host.place(100);
    for name in 0..10 * SETS * WAYS {
        let key = LockKey::new("t", &name.to_string()).unwrap();
        host.fairness.granted(&key, host.now + MS);
    }
    assert_eq!(host.place(200), place);
}
