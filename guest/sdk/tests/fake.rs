//! The in-memory host keeps the rules of the contract.

#![cfg(not(target_arch = "wasm32"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{panic, thread, time::Duration};

use namelock_guest::{
    AcquireError, Change, Handler, Lease, Lifetime, Lost, NamesError, Query, Registration, Rejection, Request,
    SaveError, Write, acquire, acquire_all, apply,
    fake::{Answers, World, request},
    find, list, name_lock, setting,
};

const A_SECOND: Duration = Duration::from_secs(1);

fn lock(name: &str) -> Lease {
    acquire(name, Duration::ZERO).unwrap()
}

fn names(registrations: &[Registration]) -> Vec<&str> {
    registrations
        .iter()
        .map(|registration| registration.name.as_str())
        .collect()
}

fn invalid<T: std::fmt::Debug>(result: Result<T, SaveError>, why: &str) {
    assert!(
        matches!(&result, Err(SaveError::Invalid { reason }) if reason.contains(why)),
        "{result:?}"
    );
}

#[test]
fn a_lease_is_exclusive_and_released_when_it_is_dropped() {
    let world = World::new();
    let lease = lock("a");
    assert_eq!(world.locks(), ["a"]);
    assert_eq!(lease.remaining(), Duration::from_secs(10));
    let busy = acquire("a", A_SECOND);
    assert!(matches!(busy, Err(AcquireError::Busy { .. })), "{busy:?}");
    let token = lease.fencing_token();
    drop(lease);
    assert!(world.locks().is_empty());
    let again = lock("a");
    assert!(again.fencing_token() > token);
    assert_eq!(again.release(), Ok(()));
    assert!(world.locks().is_empty());
}

#[test]
fn the_lock_is_released_however_the_block_ends() {
    let world = World::new();
    let failed: Result<(), Rejection> = name_lock("a", Duration::ZERO, |_| Err(Rejection::Taken));
    assert_eq!(failed, Err(Rejection::Taken));
    let panicked = panic::catch_unwind(|| {
        let _: Result<(), Rejection> = name_lock("a", Duration::ZERO, |_| panic!("on purpose"));
    });
    assert!(panicked.is_err() && world.locks().is_empty());
}

#[test]
fn a_lease_ends_after_ten_seconds_and_is_renewed_for_a_minute_at_most() {
    let world = World::new();
    let lease = lock("a");
    for _ in 0..6 {
        world.advance(Duration::from_secs(9));
        lease.renew().unwrap();
    }
    assert_eq!(lease.remaining(), Duration::from_secs(6));
    world.advance(Duration::from_secs(4));
    // A write may take 2 s.
    assert_eq!(lease.save("ann", None, &[]), Err(SaveError::LeaseLost));
    world.advance(Duration::from_secs(2));
    assert_eq!(lease.renew(), Err(Lost::Gone));
    let new = lock("a");
    assert_eq!(lease.release(), Err(Lost::Gone));
    assert_eq!(world.locks(), ["a"], "an old lease releases nobody else's");
    drop(new);
}

#[test]
fn a_wait_moves_the_clock_until_the_name_is_free() {
    let world = World::new();
    world.hold_lock_for("a", 3 * A_SECOND);
    let began = world.now_ms();
    let busy = acquire("a", A_SECOND).unwrap_err();
    let retry_after = 2 * A_SECOND;
    assert_eq!(busy, AcquireError::Busy { retry_after });
    assert_eq!(world.now_ms() - began, 1000);
    assert!(acquire("a", 5 * A_SECOND).is_ok());
    assert_eq!(world.now_ms() - began, 3000);
}

#[test]
fn several_leases_come_all_or_none() {
    fn is_invalid(result: Result<Vec<Lease>, AcquireError>) -> bool {
        matches!(result, Err(AcquireError::InvalidName { .. }))
    }
    let world = World::new();
    let leases = acquire_all(&["b", "a"], Duration::ZERO).unwrap();
    assert_eq!((leases[0].name(), leases[1].name()), ("b".to_owned(), "a".to_owned()));
    assert!(is_invalid(acquire_all(&["c", "a"], Duration::ZERO)));
    assert!(is_invalid(acquire_all(&["c", "c"], Duration::ZERO)));
    assert!(is_invalid(acquire_all(&[], Duration::ZERO)));
    assert!(is_invalid(acquire("", Duration::ZERO).map(|lease| vec![lease])));
    world.hold_lock("d");
    let busy = acquire_all(&["c", "d"], Duration::ZERO);
    assert!(matches!(busy, Err(AcquireError::Busy { .. })), "{busy:?}");
    assert_eq!(world.locks(), ["a", "b"]);
    let six = acquire_all(&["1", "2", "3", "4", "5", "6"], Duration::ZERO).unwrap();
    assert_eq!(six.len(), 6);
    let ninth = acquire("9", Duration::ZERO);
    assert!(matches!(ninth, Err(AcquireError::Limit { .. })), "{ninth:?}");
}

#[test]
fn a_name_is_free_at_the_instant_at_which_its_registration_ends() {
    let world = World::new();
    let lease = lock("a");
    let saved = lease.save("ann", Some(A_SECOND), &[]).unwrap();
    assert_eq!(saved.fencing_token, lease.fencing_token());
    assert_eq!(lease.save("bob", None, &[]), Err(SaveError::Taken(saved.clone())));
    world.advance(Duration::from_millis(999));
    assert_eq!(find("a"), Ok(Some(saved)));
    world.advance(Duration::from_millis(1));
    assert_eq!(find("a"), Ok(None));
    assert_eq!(lease.free(), Ok(false));
    assert_eq!(lease.update(Change::default()), Ok(None));
    assert_eq!(lease.save("bob", None, &[]).unwrap().owner, "bob");
    assert_eq!(lease.free(), Ok(true));
    assert_eq!(world.registrations(), []);
}

#[test]
fn a_write_with_an_older_token_than_the_name_has_seen_is_refused() {
    let world = World::new();
    let lease = lock("a");
    let other = world.clone();
    world.before_next_write(move || {
        other.add("a", "bob", None, &[]);
        other.end("a");
    });
    assert_eq!(lease.save("ann", None, &[]), Err(SaveError::LeaseLost));
    world.add("a", "bob", None, &[]);
    assert_eq!(lease.free(), Err(SaveError::LeaseLost));
    assert_eq!(lease.update(Change::default()), Err(SaveError::LeaseLost));
    assert_eq!(world.registration("a").unwrap().owner, "bob");
}

// The rule of the host: `Seen` of `namelock_names`.
#[test]
fn what_another_lease_has_written_since_it_was_read_is_not_overwritten() {
    let world = World::new();
    world.add("a", "ann", None, &[]);
    world.add("b", "ann", None, &[]);
    let leases = acquire_all(&["a", "b"], Duration::ZERO).unwrap();
    let [a, b] = &leases[..] else { panic!("{leases:?}") };
    let to_eve = || Change {
        owner: Some("eve".to_owned()),
        ..Change::default()
    };
    assert_eq!(find("a").unwrap().unwrap().owner, "ann");
    let late = world.clone();
    world.before_next_write(move || drop(late.write_late("a", "bob")));
    assert_eq!(a.update(to_eve()), Err(SaveError::LeaseLost));
    assert_eq!(a.free(), Err(SaveError::LeaseLost));
    for outdated in [Write::free(a), Write::update(a, to_eve())] {
        assert_eq!(apply(vec![Write::free(b), outdated]), Err(SaveError::LeaseLost));
    }
    let owners: Vec<_> = world.registrations().into_iter().map(|found| found.owner).collect();
    assert_eq!(owners, ["bob", "ann"], "none of them has written anything");
    // Whoever reads it again may, and may again what it has written itself.
    assert_eq!(find("a").unwrap().unwrap().owner, "bob");
    assert_eq!(a.update(to_eve()).unwrap().unwrap().owner, "eve");
    assert_eq!(apply(vec![Write::free(a), Write::free(b)]), Ok(vec![None, None]));
}

#[test]
fn that_a_name_was_free_is_outdated_too_when_it_is_registered_late() {
    let world = World::new();
    let a = lock("a");
    assert_eq!(find("a"), Ok(None));
    world.write_late("a", "bob");
    assert_eq!(a.free(), Err(SaveError::LeaseLost));
    // A list does not count as reading it.
    assert_eq!(list(&Query::default()).unwrap().registrations.len(), 1);
    assert_eq!(a.update(Change::default()), Err(SaveError::LeaseLost));
    // What says who has it does.
    assert!(matches!(a.save("ann", None, &[]), Err(SaveError::Taken(found)) if found.owner == "bob"));
    assert_eq!(a.free(), Ok(true));
}

#[test]
fn what_was_read_before_the_lease_does_not_count() {
    let world = World::new();
    world.add("a", "ann", None, &[]);
    assert_eq!(find("a").unwrap().unwrap().owner, "ann");
    let a = lock("a");
    world.write_late("a", "bob");
    assert_eq!(a.free(), Ok(true));
    assert_eq!(find("a"), Ok(None));
    drop(a);
    // Nor does what an earlier lease on it has read.
    world.add("a", "ann", None, &[]);
    let a = lock("a");
    world.write_late("a", "bob");
    assert_eq!(a.free(), Ok(true));
}

#[test]
fn a_hold_keeps_others_from_a_name_and_not_its_last_owner() {
    let world = World::new();
    world.set_hold(A_SECOND);
    let lease = lock("a");
    lease.save("ann", None, &[]).unwrap();
    lease.free().unwrap();
    let refused = lease.save("bob", None, &[]);
    assert!(
        matches!(&refused, Err(SaveError::Taken(last)) if last.owner == "ann"),
        "{refused:?}"
    );
    assert!(lease.save("ann", None, &[]).is_ok());
    lease.free().unwrap();
    world.advance(A_SECOND);
    assert!(lease.save("bob", None, &[]).is_ok());
}

#[test]
fn what_breaks_a_rule_is_not_saved() {
    let world = World::new();
    let lease = lock("a");
    let many = vec![("k".to_owned(), String::new()); 33];
    let large = [("k".to_owned(), "v".repeat(4096))];
    let century = Duration::from_secs(100 * 366 * 24 * 60 * 60);
    invalid(lease.save("", None, &[]), "an owner is 1 to 255 bytes");
    invalid(lease.save(&"x".repeat(256), None, &[]), "an owner is 1 to 255 bytes");
    invalid(lease.save("ann", Some(Duration::ZERO), &[]), "lifetime");
    invalid(lease.save("ann", Some(century + A_SECOND), &[]), "lifetime");
    invalid(lease.save("ann", None, &many), "32 attributes");
    invalid(lease.save("ann", None, &large), "4096 bytes");
    let change = Change {
        lifetime: Some(Lifetime::FromNow(Duration::ZERO)),
        ..Change::default()
    };
    invalid(lease.update(change), "lifetime");
    assert_eq!(world.registrations(), []);
    assert!(lease.save("ann", Some(century), &many[..32]).is_ok());
}

#[test]
fn a_change_leaves_what_it_does_not_name() {
    let world = World::new();
    let before = world.add("a", "ann", Some(A_SECOND), &[("k", "v")]);
    world.advance(Duration::from_millis(500));
    let lease = lock("a");
    let change = Change {
        lifetime: Some(Lifetime::FromNow(A_SECOND)),
        ..Change::default()
    };
    let changed = lease.update(change).unwrap().unwrap();
    let expected = Registration {
        expires_ms: Some(world.now_ms() + 1000),
        fencing_token: lease.fencing_token(),
        ..before
    };
    assert_eq!(changed, expected);
    let endless = Change {
        lifetime: Some(Lifetime::Endless),
        ..Change::default()
    };
    assert_eq!(lease.update(endless).unwrap().unwrap().expires_ms, None);
}

#[test]
fn several_writes_are_done_all_or_none() {
    let world = World::new();
    world.add("a", "ann", None, &[]);
    world.add("c", "cid", None, &[]);
    let leases = acquire_all(&["a", "b", "c"], Duration::ZERO).unwrap();
    let [a, b, c] = &leases[..] else { panic!("{leases:?}") };
    let before = world.registrations();

    let taken = apply(vec![
        Write::free(a),
        Write::save(b, "bob", None, &[]),
        Write::save(c, "bob", None, &[]),
    ]);
    assert!(
        matches!(&taken, Err(SaveError::Taken(found)) if found.name == "c"),
        "{taken:?}"
    );
    invalid(apply(vec![Write::free(a), Write::free(b)]), "no active registration");
    invalid(apply(vec![Write::free(a), Write::free(a)]), "written twice");
    invalid(apply(Vec::new()), "1 to 8");
    assert_eq!(world.registrations(), before);

    let done = apply(vec![Write::save(b, "ann", None, &[]), Write::free(a)]).unwrap();
    assert!(
        matches!(&done[..], [Some(saved), None] if saved.name == "b"),
        "{done:?}"
    );
    assert_eq!(names(&world.registrations()), ["b", "c"]);
}

#[test]
fn a_list_is_in_the_order_of_bytes_and_has_each_active_name_once() {
    let world = World::new();
    for name in ["b", "ä", "B", "aa", "a"] {
        world.add(name, "ann", None, &[]);
    }
    world.add("ab", "bob", None, &[]);
    world.add("gone", "ann", Some(A_SECOND), &[]);
    world.advance(A_SECOND);
    let mut query = Query {
        limit: 4,
        ..Query::default()
    };
    let first = list(&query).unwrap();
    assert_eq!(names(&first.registrations), ["B", "a", "aa", "ab"]);
    query.after = first.next;
    let last = list(&query).unwrap();
    assert_eq!((names(&last.registrations), last.next), (vec!["b", "ä"], None));
    let of_ann = Query {
        prefix: "a".to_owned(),
        owner: Some("ann".to_owned()),
        ..Query::default()
    };
    assert_eq!(names(&list(&of_ann).unwrap().registrations), ["a", "aa"]);
    for limit in [0, 1001] {
        let refused = list(&Query {
            limit,
            ..of_ann.clone()
        });
        assert!(matches!(refused, Err(NamesError::Invalid { .. })), "{refused:?}");
    }
}

#[test]
fn a_service_that_is_down_answers_nothing_until_it_is_back() {
    let world = World::new();
    let lease = lock("a");
    world.set_lock_service(Answers::No);
    world.set_names_database(Answers::No);
    assert!(matches!(acquire("b", A_SECOND), Err(AcquireError::Unavailable { .. })));
    assert_eq!(lease.renew(), Err(Lost::Unknown));
    assert!(matches!(find("a"), Err(NamesError::Unavailable { .. })));
    assert!(matches!(list(&Query::default()), Err(NamesError::Unavailable { .. })));
    assert!(matches!(
        lease.save("ann", None, &[]),
        Err(SaveError::Unavailable { .. })
    ));
    world.set_lock_service(Answers::Yes);
    world.set_names_database(Answers::Yes);
    assert_eq!(find("a"), Ok(None));
    assert!(acquire("b", Duration::ZERO).is_ok() && lease.save("ann", None, &[]).is_ok());
}

struct FromList;

impl Handler for FromList {
    fn register(request: Request) -> Result<Registration, Rejection> {
        std::mem::forget(acquire(&request.name, Duration::ZERO)?);
        list(&Query::default())?.registrations.pop().ok_or(Rejection::Taken)
    }

    fn free(_: String, _: String) -> Result<(), Rejection> {
        Ok(())
    }
}

#[test]
fn a_call_releases_what_it_leaves_and_returns_what_it_was_given() {
    let world = World::new();
    assert_eq!(world.register::<FromList>(request("a", "ann")), Err(Rejection::Taken));
    assert!(world.locks().is_empty());
    world.add("a", "ann", None, &[]);
    let panic = panic::catch_unwind(panic::AssertUnwindSafe(|| {
        world.register::<FromList>(request("a", "ann"))
    }));
    let text = *panic.unwrap_err().downcast::<String>().unwrap();
    assert!(text.contains("treats this as a trap"), "{text}");
}

#[test]
fn each_thread_has_a_world_of_its_own() {
    let world = World::new();
    world.set("k", "v");
    world.add("a", "ann", None, &[]);
    thread::spawn(|| {
        let alone = panic::catch_unwind(|| find("a")).unwrap_err();
        let text = alone.downcast_ref::<String>().unwrap();
        assert!(
            text.contains("a test makes a `namelock_guest::fake::World` first"),
            "{text}"
        );
        let world = World::new();
        assert_eq!(setting("k"), Ok(None));
        assert_eq!(world.registrations(), []);
    })
    .join()
    .unwrap();
    assert_eq!(setting("k"), Ok(Some("v".to_owned())));
    drop(world);
    assert_eq!(World::new().registrations(), [], "the next one is empty");
}
