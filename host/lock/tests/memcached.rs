//! What only memcached can do to a lock: forget it, refuse it for want of memory, fall silent, restart.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use namelock_lock::{AcquireError, LockConfig, LockKey, Locks, Lost};
use namelock_test_servers::Memcached;
use tokio::time::{Instant, timeout};

use crate::support::NewServers;

const NO_WAIT: Duration = Duration::ZERO;

/// A host that grants again soon after its server has forgotten its locks.
fn open(server: &Memcached) -> Locks {
    let config = LockConfig {
        lease: Duration::from_secs(3),
        ..LockConfig::default()
    };
    open_with(server, config)
}

fn open_with(server: &Memcached, config: LockConfig) -> Locks {
    Locks::open_with(&server.url().parse().unwrap(), config, Arc::new(NewServers)).unwrap()
}

fn key(namespace: &str, name: &str) -> String {
    LockKey::new(namespace, name).unwrap().as_str().to_owned()
}

/// Acquires as soon as the lock service is back.
async fn acquire_when_back(locks: &Locks, name: &str) -> namelock_lock::Lease {
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(60) {
        match locks.acquire("t", name, NO_WAIT).await {
            Ok(lease) => return lease,
            Err(AcquireError::Unavailable { .. }) => tokio::time::sleep(Duration::from_millis(5)).await,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("memcached did not come back");
}

#[tokio::test]
async fn the_python_idiom_and_a_lease_exclude_each_other() {
    let server = Memcached::start();
    let locks = open(&server);
    let mut python = server.raw();

    let lease = locks.acquire("", "room", NO_WAIT).await.unwrap();
    assert!(!python.add(&key("", "room"), "1", 10));
    lease.release().await.unwrap();
    assert!(python.add(&key("", "room"), "1", 10));

    for value in ["1", "locked by python", ""] {
        python.delete(&key("", "room"));
        assert!(python.add(&key("", "room"), value, 10));
        let error = locks.acquire("", "room", NO_WAIT).await.unwrap_err();
        assert!(matches!(error, AcquireError::Busy { .. }), "{error}");
        assert_eq!(python.get(&key("", "room")).as_deref(), Some(value));
    }
    assert!(python.delete(&key("", "room")));
    locks.acquire("", "room", NO_WAIT).await.unwrap();
}

// Shows P4: a release is not executed by another server process, where its CAS may name another lock.
#[tokio::test]
async fn a_late_release_does_not_delete_what_a_restarted_server_granted_to_another_host() {
    let mut server = Memcached::start();
    let (a, b) = (open(&server), open(&server));
    let lease_a = a.acquire("t", "room", NO_WAIT).await.unwrap();
    let cas = |server: &Memcached| server.raw().command(&format!("mg {} c", key("t", "room")));
    let cas_a = cas(&server);
    server.restart();
    let lease_b = acquire_when_back(&b, "room").await;
    assert_eq!(
        cas(&server),
        cas_a,
        "it counts from 1 again: B's lock has the CAS that A's had"
    );
    assert!(lease_b.fencing_token() > lease_a.fencing_token());
    // Until A has reconnected too, its release would not be sent at all.
    while a.ready().await.is_err() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(lease_a.release().await, Err(Lost::Gone));
    assert!(server.raw().get(&key("t", "room")).is_some(), "B's lock was deleted");
    lease_b.release().await.unwrap();
}

// Shows P4: an acquire that fails for want of memory does not delete the holder's lock.
#[tokio::test]
async fn a_full_server_refuses_and_leaves_the_holder_alone() {
    let server = Memcached::with_flags(&["-M", "-m", "2"]);
    // Refused operations share their connection with all others.
    let one_lane = LockConfig {
        lanes: 1,
        ..LockConfig::default()
    };
    let locks = open_with(&server, one_lane);
    let holder = locks.acquire("t", "held", NO_WAIT).await.unwrap();
    let mut others = Vec::new();
    let refused = loop {
        match locks.acquire("t", &format!("room {}", others.len()), NO_WAIT).await {
            Ok(lease) => others.push(lease),
            Err(error) => break error,
        }
        assert!(others.len() < 100_000, "the server is never full");
    };
    assert!(
        matches!(&refused, AcquireError::Unavailable { reason, .. } if reason.contains("give it more (-m)")),
        "{refused}"
    );
    // A refusal affects no other operation: releases in the same batch are executed.
    let connection = server.raw().stat("total_connections").unwrap();
    for number in 0..20 {
        let name = format!("one more {number}");
        let (refused, released) = tokio::join!(locks.acquire("t", &name, NO_WAIT), others.pop().unwrap().release());
        released.unwrap();
        if let Ok(lease) = refused {
            others.push(lease);
        }
    }
    let other_connections = server.raw().stat("total_connections").unwrap() - connection;
    assert_eq!(
        other_connections, 1,
        "the lane reconnected; the one is that of this count"
    );
    let other = open_with(&server, LockConfig::default());
    for _ in 0..100 {
        let error = other.acquire("t", "held", NO_WAIT).await.unwrap_err();
        assert!(matches!(error, AcquireError::Busy { .. }), "{error}");
    }
    assert!(server.raw().get(&key("t", "held")).is_some());
    holder.release().await.unwrap();
}

// Shows P3: a lock whose grant was never heard of is released.
#[tokio::test]
async fn a_lock_that_a_stalled_server_grants_late_is_released() {
    let server = Memcached::start();
    let config = LockConfig {
        exchange_timeout: Duration::from_millis(200),
        connect_timeout: Duration::from_millis(200),
        ..LockConfig::default()
    };
    let locks = open_with(&server, config);
    locks
        .acquire("t", "warm", NO_WAIT)
        .await
        .unwrap()
        .release()
        .await
        .unwrap();
    server.signal("STOP");
    let started = Instant::now();
    let error = locks.acquire("t", "room", NO_WAIT).await.unwrap_err();
    assert!(matches!(error, AcquireError::Unavailable { .. }), "{error}");
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    server.signal("CONT");
    // It executes what it had received, and then only the reaper knows of the lock.
    locks.close(Duration::from_secs(10)).await;
    assert_eq!(server.raw().lock_keys(), Vec::<String>::new());
    acquire_when_back(&locks, "room").await.release().await.unwrap();
}

#[tokio::test]
async fn an_acquire_that_is_dropped_after_it_was_sent_is_released() {
    let server = Memcached::start();
    let locks = open(&server);
    drop(locks.acquire("t", "warm", NO_WAIT).await.unwrap());
    locks.close(Duration::from_secs(5)).await;
    // How many items were ever made.
    let taken = |server: &Memcached| server.raw().stat("total_items").unwrap();
    let before = taken(&server);
    server.signal("STOP");
    let acquire = {
        let locks = locks.clone();
        tokio::spawn(async move { locks.acquire("t", "room", NO_WAIT).await.map(drop) })
    };
    // Long enough for it to be sent, and not so long that a reply would be too late.
    tokio::time::sleep(Duration::from_millis(100)).await;
    acquire.abort();
    assert!(acquire.await.unwrap_err().is_cancelled());
    server.signal("CONT");
    let begin = Instant::now();
    while taken(&server) == before {
        assert!(begin.elapsed() < Duration::from_secs(5), "it was never sent");
    }
    locks.close(Duration::from_secs(10)).await;
    assert_eq!(server.raw().lock_keys(), Vec::<String>::new());
}

// Shows P7: what cannot be granted is refused quickly.
#[tokio::test]
async fn acquires_on_a_server_that_is_down_are_refused_at_once_until_it_is_back() {
    let mut server = Memcached::start();
    let locks = open(&server);
    locks
        .acquire("t", "room", NO_WAIT)
        .await
        .unwrap()
        .release()
        .await
        .unwrap();
    server.kill();
    let started = Instant::now();
    for _ in 0..100 {
        let error = locks.acquire("t", "room", NO_WAIT).await.unwrap_err();
        assert!(
            matches!(&error, AcquireError::Unavailable { reason, .. } if !reason.is_empty()),
            "{error}"
        );
    }
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    assert!(locks.ready().await.unwrap_err().contains(&server.address().to_string()));
    server.restart();
    acquire_when_back(&locks, "room").await.release().await.unwrap();
}

// Shows P1: a holder from before a flush has the smaller token.
#[tokio::test]
async fn fencing_tokens_grow_across_a_flush() {
    let server = Memcached::start();
    let locks = open(&server);
    let before = locks.acquire("t", "room", NO_WAIT).await.unwrap();
    assert_eq!(server.raw().command("flush_all"), "OK");
    let fencing_token = before.fencing_token();
    assert_eq!(before.release().await, Err(Lost::Gone));
    let after = acquire_when_back(&locks, "room").await;
    // The epoch, in nanoseconds, is another one; the CAS alone goes on by a few.
    let grown = after.fencing_token().get() - fencing_token.get();
    assert!(grown > 1_000_000, "{grown}");
}

/// A lease of a few seconds, so that no test waits for long.
fn short_lease() -> LockConfig {
    LockConfig {
        lease: Duration::from_secs(3),
        ..LockConfig::default()
    }
}

// Shows P7: nothing is granted while a forgotten lease may still be trusted.
#[tokio::test]
async fn after_a_restart_leases_are_lost_and_nothing_is_granted_for_one_lease() {
    let mut server = Memcached::start();
    let locks = open_with(&server, short_lease());
    let mut lease = locks.acquire("t", "room", NO_WAIT).await.unwrap();
    let end = lease.end();
    server.restart();
    let restarted = Instant::now();
    timeout(Duration::from_secs(5), end.lost()).await.unwrap();
    assert_eq!(
        (lease.remaining(), lease.renew().await),
        (Duration::ZERO, Err(Lost::Gone))
    );

    let refused = locks.acquire("t", "other", NO_WAIT).await.unwrap_err();
    let AcquireError::Unavailable {
        retry_after: Some(wait),
        ..
    } = refused
    else {
        panic!("{refused}");
    };
    assert!(wait <= Duration::from_secs(3), "{wait:?}");
    // A host that starts only now has seen nothing.
    let fresh = Locks::open(&server.url().parse().unwrap(), short_lease()).unwrap();
    let refused = fresh.acquire("t", "another", NO_WAIT).await.unwrap_err();
    assert!(
        matches!(
            &refused,
            AcquireError::Unavailable {
                retry_after: Some(_),
                ..
            }
        ),
        "{refused}"
    );

    let connected = async {
        while locks.ready().await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await
        }
    };
    timeout(Duration::from_secs(60), connected).await.unwrap();
    assert_eq!(lease.release().await, Err(Lost::Gone));
    drop(acquire_when_back(&locks, "room").await);
    drop(acquire_when_back(&fresh, "another").await);
    assert!(
        restarted.elapsed() >= Duration::from_secs(3),
        "{:?}",
        restarted.elapsed()
    );
}

#[tokio::test]
async fn a_flush_is_noticed_while_the_host_is_idle() {
    let server = Memcached::start();
    let locks = open_with(&server, LockConfig::default());
    let lease = locks.acquire("t", "room", NO_WAIT).await.unwrap();
    assert_eq!(server.raw().command("flush_all"), "OK");
    timeout(Duration::from_secs(5), lease.end().lost()).await.unwrap();
    assert!(lease.remaining().is_zero());
    assert!(
        lease.deadline() > Instant::now() + Duration::from_secs(4),
        "it was lost before its deadline"
    );
}

// Shows P6: the queue of a lane has a limit.
#[tokio::test]
async fn a_full_queue_refuses_at_once() {
    let server = Memcached::start();
    let config = LockConfig {
        lanes: 1,
        queue: 1,
        batch: 1,
        ..LockConfig::default()
    };
    let locks = open_with(&server, config);
    drop(acquire_when_back(&locks, "warm").await);
    locks.close(Duration::from_secs(5)).await;
    server.signal("STOP");
    let begin = Instant::now();
    let mut acquires = tokio::task::JoinSet::new();
    for number in 0..10 {
        let locks = locks.clone();
        acquires.spawn(async move { locks.acquire("t", &number.to_string(), NO_WAIT).await });
    }
    // At most one is with the server and one is queued, and neither can end.
    for _ in 0..8 {
        let refused = acquires.join_next().await.unwrap().unwrap().unwrap_err();
        assert!(
            matches!(&refused, AcquireError::Unavailable { reason, .. } if reason.contains("lock.queue")),
            "{refused}"
        );
    }
    assert!(begin.elapsed() < Duration::from_millis(500), "{:?}", begin.elapsed());
    server.signal("CONT");
}

#[tokio::test]
async fn each_name_has_one_server_and_a_server_that_is_down_costs_only_its_own_names() {
    let mut servers = [Memcached::start(), Memcached::start(), Memcached::start()];
    let url = |order: [usize; 3]| {
        let addresses = order.map(|at| servers[at].address().to_string());
        format!("memcached://{}", addresses.join(","))
    };
    let open = |order| {
        let url = url(order).parse().unwrap();
        Locks::open_with(&url, LockConfig::default(), Arc::new(NewServers)).unwrap()
    };
    let (locks, other) = (open([0, 1, 2]), open([2, 0, 1]));
    let mut leases = Vec::new();
    for number in 0..60 {
        let name = format!("room {number}");
        leases.push(locks.acquire("t", &name, NO_WAIT).await.unwrap());
        let busy = other.acquire("t", &name, NO_WAIT).await.unwrap_err();
        assert!(
            matches!(busy, AcquireError::Busy { .. }),
            "the order of the list does not matter: {busy}"
        );
    }
    let here = |server: &Memcached| server.raw().lock_keys();
    let (kept, dead): (Vec<_>, Vec<_>) = ([here(&servers[0]), here(&servers[2])].concat(), here(&servers[1]));
    assert!(kept.len() + dead.len() == 60 && !dead.is_empty() && !kept.is_empty());
    leases.clear();
    locks.close(Duration::from_secs(10)).await;

    servers[1].kill();
    let started = Instant::now();
    for number in 0..60 {
        let name = format!("room {number}");
        let answer = locks.acquire("t", &name, NO_WAIT).await;
        if dead.contains(&key("t", &name)) {
            assert!(matches!(answer, Err(AcquireError::Unavailable { .. })), "{answer:?}");
        } else {
            answer.unwrap();
        }
    }
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    locks.ready().await.unwrap();
    for server in &mut servers {
        server.kill();
    }
    let down = async {
        while locks.ready().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await
        }
    };
    timeout(Duration::from_secs(5), down).await.unwrap();
}

#[tokio::test]
async fn an_item_that_was_renumbered_is_still_renewed_and_released() {
    let server = Memcached::start();
    let locks = open(&server);
    let mut lease = locks.acquire("t", "room", NO_WAIT).await.unwrap();
    // What the slab mover of memcached before 1.6.24 may do: same value, another CAS.
    let touched = server.raw().command(&format!("ma {} D0", key("t", "room")));
    assert_eq!(touched, "HD");
    lease.renew().await.unwrap();
    assert_eq!(server.raw().command(&format!("ma {} D0", key("t", "room"))), "HD");
    lease.release().await.unwrap();
    assert_eq!(server.raw().get(&key("t", "room")), None);
}

// Shows P5: the lock outlives the trust in it.
#[tokio::test]
async fn memcached_keeps_a_lock_for_longer_than_it_is_trusted() {
    let server = Memcached::start();
    let locks = open_with(&server, LockConfig::default());
    let lease = locks.acquire("t", "room", NO_WAIT).await.unwrap();
    let (trusted, asked) = (lease.remaining(), Instant::now());
    assert!(trusted <= Duration::from_secs(10));
    let answer = server.raw().command(&format!("mg {} t", key("t", "room")));
    let left: u64 = answer.strip_prefix("HD t").unwrap().parse().unwrap();
    assert!(left <= 13, "{answer}");
    // Three seconds longer, of which memcached's clock may hide one here.
    let kept = Duration::from_secs(left) + asked.elapsed();
    assert!(
        kept >= trusted + Duration::from_secs(2),
        "{answer}, trusted for {trusted:?}"
    );
}

#[tokio::test]
async fn a_server_that_cannot_check_owners_is_refused() {
    let server = Memcached::with_flags(&["-C"]);
    let locks = open(&server);
    let error = locks.acquire("t", "room", NO_WAIT).await.unwrap_err();
    assert!(error.to_string().contains("without -C"), "{error}");
}

#[tokio::test]
async fn a_server_that_is_not_memcached_is_refused() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("memcached://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let locks = Locks::open(&url.parse().unwrap(), LockConfig::default()).unwrap();
    let error = locks.acquire("t", "room", NO_WAIT).await.unwrap_err();
    assert!(error.to_string().contains("is it a memcached"), "{error}");
}
