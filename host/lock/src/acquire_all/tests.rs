use super::*;
use crate::clock::LeaseClock;
use crate::config::LockConfig;
use crate::epochs::{EpochSource, OwnEpochs};
use crate::fairness::Fairness;
use crate::figures::Counts;
use crate::hold_time::HoldTime;
use crate::local_queue::LocalQueue;
use crate::reaper;
use crate::shared::Shared;
use crate::url::LockUrl;

const SECOND: Duration = Duration::from_secs(1);

/// In the order of their keys.
const NAMES: [&str; 4] = ["a", "c", "d", "b"];

/// Two hosts with one table of locks.
struct Hosts {
    one: Locks,
    other: Locks,
    clock: Arc<LeaseClock>,
}

fn hosts(config: LockConfig) -> Hosts {
    let clock = LeaseClock::of_test();
    let epochs: Arc<dyn EpochSource> = Arc::new(OwnEpochs::default());
    let one = Shared::open(&LockUrl::Memory, config, Arc::clone(&clock), &epochs).unwrap();
    let fairness = Arc::new(Fairness::default());
    let other = Arc::new(Shared {
        config: Arc::clone(&one.config),
        table: Arc::clone(&one.table),
        reaper: reaper::spawn(Arc::clone(&one.table), Arc::clone(&one.config)),
        local_queue: LocalQueue::new(one.config.waiters, &clock, &fairness),
        fairness,
        clock: Arc::clone(&clock),
        hold_time: HoldTime::default(),
        counts: Counts::default(),
        held: Arc::default(),
    });
    Hosts {
        one: Locks {
            shared: one,
            holder: None,
        },
        other: Locks {
            shared: other,
            holder: None,
        },
        clock,
    }
}

impl Hosts {
    /// Checks that nobody has any of the names.
    async fn assert_all_free(&self) {
        for locks in [&self.one, &self.other] {
            for name in NAMES {
                let lease = locks.acquire("t", name, Duration::ZERO).await;
                lease
                    .unwrap_or_else(|error| panic!("{name}: {error}"))
                    .release()
                    .await
                    .unwrap();
            }
        }
    }
}

#[test]
fn all_hosts_take_locks_in_the_order_of_their_keys_however_they_are_named() {
    for names in [["a", "b", "c", "d"], ["d", "c", "b", "a"]] {
        let order = in_order("t", &names).unwrap();
        let order: Vec<_> = order.into_iter().map(|(_, at)| names[at]).collect();
        // printf a | md5sum: 0cc1…; c: 4a8a…; d: 8277…; b: 92eb…
        assert_eq!(order, NAMES);
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_given_twice_is_named_and_nothing_is_locked() {
    let hosts = hosts(LockConfig::default());
    let error = hosts
        .one
        .acquire_all("t", &["c", "b", "a", "b", "c"], SECOND)
        .await
        .unwrap_err();
    assert_eq!(error, AcquireError::Doubled { name: "b".to_owned() });
    assert_eq!(
        error.to_string(),
        r#"the name "b" is given twice; a call takes each name once"#
    );
    let error = hosts.one.acquire_all("t", &["a", ""], SECOND).await.unwrap_err();
    assert!(matches!(error, AcquireError::InvalidName(_)), "{error}");
    hosts.assert_all_free().await;
    let none: [&str; 0] = [];
    assert_eq!(hosts.one.acquire_all("t", &none, SECOND).await.unwrap().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn leases_come_in_the_order_of_the_names() {
    let hosts = hosts(LockConfig::default());
    let names = ["b", "a", "d", "c"];
    let leases = hosts.one.acquire_all("t", &names, Duration::ZERO).await.unwrap();
    assert_eq!(leases.iter().map(Lease::name).collect::<Vec<_>>(), names);
    let held = hosts.other.acquire("t", "d", Duration::ZERO).await;
    assert!(matches!(held, Err(AcquireError::Busy { .. })));
    drop(leases);
    hosts.one.close(SECOND).await;
    // One after the other, too.
    let first = hosts.other.acquire("t", "a", Duration::ZERO).await.unwrap();
    let (leases, ()) = tokio::join!(hosts.one.acquire_all("t", &names, SECOND), async {
        tokio::time::sleep(SECOND / 10).await;
        first.release().await.unwrap();
    });
    assert_eq!(leases.unwrap().iter().map(Lease::name).collect::<Vec<_>>(), names);
}

// Shows P3: what was granted is given back when not all can be had.
#[tokio::test(start_paused = true)]
async fn nothing_is_kept_when_one_name_is_busy() {
    let hosts = hosts(LockConfig::default());
    for busy in NAMES {
        // It is held on another host, or on this one.
        for locks in [&hosts.other, &hosts.one] {
            for wait in [Duration::ZERO, SECOND] {
                let held = locks.acquire("t", busy, Duration::ZERO).await.unwrap();
                let error = hosts.one.acquire_all("t", &NAMES, wait).await.unwrap_err();
                assert!(matches!(error, AcquireError::Busy { .. }), "{error}");
                held.release().await.unwrap();
                hosts.assert_all_free().await;
            }
        }
    }
}

/// The first try keeps nothing: a caller that waits has no lock that is greater than the one that it waits for.
#[tokio::test(start_paused = true)]
async fn who_waits_has_only_locks_before_the_one_that_it_waits_for() {
    let hosts = hosts(LockConfig::default());
    let held = hosts.other.acquire("t", NAMES[1], Duration::ZERO).await.unwrap();
    let waiter = {
        let locks = hosts.one.clone();
        tokio::spawn(async move { locks.acquire_all("t", &NAMES, SECOND * 20).await })
    };
    tokio::time::sleep(SECOND).await;
    let is_free = async |name| hosts.other.acquire("t", name, Duration::ZERO).await.is_ok();
    assert!(!is_free(NAMES[0]).await);
    for name in &NAMES[2..] {
        assert!(is_free(name).await, "{name}");
    }
    hosts.other.close(SECOND).await;
    held.release().await.unwrap();
    waiter.await.unwrap().unwrap();
}

/// While it waits for its turns on this host, a caller has no lock.
#[tokio::test(start_paused = true)]
async fn who_waits_for_another_caller_of_its_host_has_no_lock() {
    let hosts = hosts(LockConfig::default());
    let held = hosts.one.acquire("t", NAMES[3], Duration::ZERO).await.unwrap();
    let waiter = {
        let locks = hosts.one.clone();
        tokio::spawn(async move { locks.acquire_all("t", &NAMES, SECOND * 20).await })
    };
    tokio::time::sleep(SECOND).await;
    let others = hosts.other.acquire_all("t", &NAMES[..3], Duration::ZERO).await.unwrap();
    drop(others);
    hosts.other.close(SECOND).await;
    held.release().await.unwrap();
    waiter.await.unwrap().unwrap();
}

// Shows P5: the leases that were granted first are renewed while the others are waited for.
#[tokio::test(start_paused = true)]
async fn every_lease_that_is_returned_has_three_quarters_of_its_time() {
    let hosts = hosts(LockConfig::default());
    for waited in [0, 1, 2, 3, 4, 6, 9, 12, 25] {
        let mut held = hosts.other.acquire("t", NAMES[3], Duration::ZERO).await.unwrap();
        let release = async {
            for _ in 0..waited {
                tokio::time::sleep(SECOND).await;
                held.renew().await.unwrap();
            }
            held.release().await.unwrap();
        };
        let (leases, ()) = tokio::join!(hosts.one.acquire_all("t", &NAMES, SECOND * 29), release);
        for lease in leases.unwrap() {
            assert!(lease.remaining() >= SECOND * 15 / 2, "after {waited} s: {lease:?}");
            lease.release().await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_has_locks_waits_no_longer_than_they_can_be_kept_young() {
    for (max_hold, waits) in [(10, 2500), (20, 12_500)] {
        let config = LockConfig {
            max_hold: SECOND * max_hold,
            ..LockConfig::default()
        };
        let hosts = hosts(config);
        // An idle lock of another program: it does not end.
        let key = LockKey::new("t", NAMES[3]).unwrap();
        let token = crate::grant::OwnerToken::random();
        hosts.one.shared.table.grant(&key, token).await.unwrap();
        let begin = Instant::now();
        let keep = async {
            loop {
                tokio::time::sleep(SECOND).await;
                let mut grant = crate::grant::Grant {
                    fencing_token: namelock_types::FencingToken::new(0),
                    epochs: crate::grant::Both::one(crate::fencing::ServerEpoch::from_sentinel(0)),
                    versions: crate::grant::Both::one(None),
                };
                hosts.one.shared.table.renew(&key, token, &mut grant).await.unwrap();
            }
        };
        let answer = tokio::select! {
            answer = hosts.one.acquire_all("t", &NAMES, SECOND * 29) => answer,
            () = keep => unreachable!(),
        };
        assert!(matches!(answer, Err(AcquireError::Busy { .. })), "{answer:?}");
        assert_eq!(begin.elapsed(), Duration::from_millis(waits));
        tokio::time::advance(SECOND * 10).await;
        hosts.assert_all_free().await;
    }
}

// Shows P5: a lease that ended meanwhile is not returned.
#[tokio::test(start_paused = true)]
async fn a_lease_that_is_lost_while_others_are_waited_for_ends_the_call() {
    let hosts = hosts(LockConfig::default());
    let held = hosts.other.acquire("t", NAMES[3], Duration::ZERO).await.unwrap();
    let waiter = {
        let locks = hosts.one.clone();
        tokio::spawn(async move { locks.acquire_all("t", &NAMES, SECOND * 20).await })
    };
    tokio::time::sleep(SECOND).await;
    hosts.clock.suspend(SECOND * 11);
    let error = waiter.await.unwrap();
    // The lock that was waited for has expired too; whichever is seen first.
    match error {
        Err(AcquireError::Unavailable { reason, .. }) => assert!(reason.contains("was not kept"), "{reason}"),
        other => panic!("{other:?}"),
    }
    drop(held);
    hosts.other.close(SECOND).await;
    hosts.assert_all_free().await;
}
