use super::*;

const LEASE: Duration = Duration::from_secs(10);

fn health() -> Health {
    Health::new("a:1", &LockConfig::default(), &LeaseClock::of_test())
}

/// A sentinel of this epoch that was made this long ago by the server's clock.
fn found(epoch: u64, age: u32) -> Found {
    Found {
        epoch,
        cas: epoch,
        age,
        is_first: false,
        at: Instant::now(),
        figures: Figures::default(),
    }
}

fn wait(health: &Health) -> Option<Duration> {
    health.suspension().and_then(|refusal| refusal.retry_after)
}

// Shows P7: nothing is granted while a forgotten lease may still be trusted.
#[tokio::test(start_paused = true)]
async fn a_server_that_has_forgotten_grants_nothing_for_one_lease() {
    let health = health();
    let known = health.record_connection(found(7, 1000));
    assert_eq!(health.record_connection(found(7, 1000)), known);
    assert_eq!(wait(&health), None, "its age tells that no lease from before is left");
    let current = health.epoch();
    assert_eq!(*current.borrow(), Some(known));
    health.record_loss(Cause::Unknown, Figures::default());
    assert_eq!(
        *current.borrow(),
        None,
        "leases are lost before anybody knows the new epoch"
    );
    let new = health.record_connection(found(8, 0));
    assert_eq!(*current.borrow(), Some(new));
    assert_eq!(wait(&health), Some(LEASE));
    tokio::time::advance(Duration::from_millis(9_999)).await;
    assert!(health.suspension().is_some());
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(health.suspension(), None);
}

// Shows P7: a host that was not there waits as long as one that was.
#[tokio::test(start_paused = true)]
async fn a_fresh_host_waits_for_a_lease_less_the_age_of_the_sentinel() {
    for (age, left) in [(0, 10), (2, 10), (3, 9), (11, 1)] {
        let health = health();
        health.record_connection(found(8, age));
        assert_eq!(wait(&health), Some(Duration::from_secs(left)), "age {age}");
    }
    let health = health();
    health.record_connection(found(8, 12));
    assert_eq!(wait(&health), None);
}

#[tokio::test(start_paused = true)]
async fn the_first_epoch_of_a_server_has_none_before_it() {
    let first = |epoch| Found {
        is_first: true,
        ..found(epoch, 0)
    };
    let fresh = health();
    fresh.record_connection(first(8));
    assert_eq!(wait(&fresh), None);
    // A host that knows of one before believes that.
    let known = health();
    known.record_connection(first(7));
    known.record_connection(first(8));
    assert_eq!(wait(&known), Some(LEASE));
}

#[tokio::test(start_paused = true)]
async fn a_host_that_notices_late_waits_for_what_is_left() {
    let health = health();
    health.record_connection(found(7, 1000));
    health.record_loss(Cause::Unknown, Figures::default());
    health.record_connection(found(8, 9));
    assert_eq!(wait(&health), Some(Duration::from_secs(3)));
}

#[tokio::test(start_paused = true)]
async fn a_lease_from_before_a_loss_does_not_come_back_with_its_epoch() {
    let health = health();
    let before = health.record_connection(found(7, 1000));
    health.record_loss(Cause::Eviction, Figures::default());
    let after = health.record_connection(found(7, 1000));
    assert_ne!(after, before);
    assert_eq!(after.sentinel(), before.sentinel());
}

/// Looks four times a second at a server whose clock is right.
async fn watch(health: &Health, epoch: ServerEpoch, from: Instant, seconds: u64) {
    for _ in 0..seconds * 4 {
        tokio::time::advance(Duration::from_millis(250)).await;
        let reading = Reading {
            age: u32::try_from(from.elapsed().as_secs()).unwrap(),
            sent: health.now(),
            received: health.now(),
        };
        health.record_reading(epoch, epoch.sentinel(), reading).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_whose_clock_is_not_known_any_more_is_asked_for_nothing() {
    let health = health();
    let begin = Instant::now();
    let epoch = health.record_connection(Found {
        is_first: true,
        ..found(7, 0)
    });
    assert!(!health.has_clock());
    assert_eq!(
        health.refusal(),
        None,
        "requests wait for the first connection to see it"
    );
    watch(&health, epoch, begin, 2).await;
    assert!(health.has_clock());
    assert_eq!(health.refusal(), None);
    // The same sentinel over another connection has the same age.
    health.record_connection(found(7, 2));
    assert!(health.has_clock());
    // One that was made again has not.
    health.record_connection(Found { cas: 99, ..found(7, 0) });
    assert!(health.refusal().unwrap().reason.contains("tick"));
    assert_eq!(health.suspension(), None);
    let late = Reading {
        age: 3,
        sent: health.now(),
        received: health.now(),
    };
    let dating = health.record_reading(epoch, epoch.sentinel(), late).unwrap();
    assert!(
        !dating.covers(13, health.now()),
        "a look at the one before says nothing"
    );
}

// Shows P5: locks that may have expired early are not trusted.
#[tokio::test(start_paused = true)]
async fn leases_are_lost_when_the_clock_of_the_server_jumps_ahead() {
    let health = health();
    let begin = Instant::now();
    let epoch = health.record_connection(Found {
        is_first: true,
        ..found(7, 0)
    });
    watch(&health, epoch, begin, 3).await;
    let jumped = Reading {
        age: 8,
        sent: health.now(),
        received: health.now(),
    };
    health.record_reading(epoch, 7, jumped).unwrap_err();
    assert!(!health.is_in(epoch));
    assert_eq!(wait(&health), Some(LEASE));
    let after = health.record_connection(found(7, 8));
    assert!(after != epoch && after.sentinel() == epoch.sentinel());
}
