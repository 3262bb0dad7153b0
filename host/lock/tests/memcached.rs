//! What only memcached can do to a lock: forget it, refuse it memory, fall silent, start anew.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use namelock_lock::{AcquireError, LockConfig, LockKey, Locks, Lost};
use namelock_test_servers::Memcached;

const NO_WAIT: Duration = Duration::ZERO;

fn open(server: &Memcached) -> Locks {
    open_with(server, LockConfig::default())
}

fn open_with(server: &Memcached, config: LockConfig) -> Locks {
    Locks::open(&server.url().parse().unwrap(), config).unwrap()
}

fn key(namespace: &str, name: &str) -> String {
    LockKey::new(namespace, name).unwrap().as_str().to_owned()
}

/// Acquires as soon as the lock service is back.
async fn acquire_when_back(locks: &Locks, name: &str) -> namelock_lock::Lease {
    for _ in 0..1000 {
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

#[tokio::test]
async fn a_late_release_does_not_delete_what_a_restarted_server_gave_to_another() {
    let mut server = Memcached::start();
    let (a, b) = (open(&server), open(&server));
    let lease_a = a.acquire("t", "room", NO_WAIT).await.unwrap();
    server.restart();
    // The server counts from 1 again: what B gets now has the CAS that A's lease had.
    let lease_b = acquire_when_back(&b, "room").await;
    assert!(lease_b.fencing_token() > lease_a.fencing_token());
    // Until A is connected again too, its release would not be sent at all.
    while a.ready().await.is_err() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(lease_a.release().await, Err(Lost::Gone));
    assert!(server.raw().get(&key("t", "room")).is_some(), "B's lock was deleted");
    lease_b.release().await.unwrap();
}

#[tokio::test]
async fn a_full_server_refuses_and_leaves_the_holder_alone() {
    let server = Memcached::with_flags(&["-M", "-m", "2"]);
    let locks = open(&server);
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
        matches!(&refused, AcquireError::Unavailable { reason } if reason.contains("memory")),
        "{refused}"
    );
    for _ in 0..100 {
        let error = open(&server).acquire("t", "held", NO_WAIT).await.unwrap_err();
        assert!(matches!(error, AcquireError::Busy { .. }), "{error}");
    }
    assert!(server.raw().get(&key("t", "held")).is_some());
    holder.release().await.unwrap();
}

#[tokio::test]
async fn an_acquire_that_a_stalled_server_grants_later_is_released() {
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
    let started = std::time::Instant::now();
    let error = locks.acquire("t", "room", NO_WAIT).await.unwrap_err();
    assert!(matches!(error, AcquireError::Unavailable { .. }), "{error}");
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    server.signal("CONT");
    // It executes what it had received, and then nobody knows of the lock but the reaper.
    locks.close(Duration::from_secs(10)).await;
    assert_eq!(server.raw().lock_keys(), Vec::<String>::new());
    acquire_when_back(&locks, "room").await.release().await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_down_is_refused_at_once_and_found_again() {
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
    let started = std::time::Instant::now();
    for _ in 0..100 {
        let error = locks.acquire("t", "room", NO_WAIT).await.unwrap_err();
        assert!(
            matches!(&error, AcquireError::Unavailable { reason } if !reason.is_empty()),
            "{error}"
        );
    }
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    assert!(locks.ready().await.unwrap_err().contains(&server.address().to_string()));
    server.restart();
    acquire_when_back(&locks, "room").await.release().await.unwrap();
}

#[tokio::test]
async fn a_flush_is_noticed_and_fencing_tokens_still_grow() {
    let server = Memcached::start();
    let locks = open(&server);
    let before = locks.acquire("t", "room", NO_WAIT).await.unwrap();
    assert_eq!(server.raw().command("flush_all"), "OK");
    let fencing_token = before.fencing_token();
    assert_eq!(before.release().await, Err(Lost::Gone));
    let after = acquire_when_back(&locks, "room").await;
    assert!(after.fencing_token() > fencing_token);
}

#[tokio::test]
async fn an_item_that_was_numbered_anew_is_still_released() {
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

#[tokio::test]
async fn a_lock_is_kept_for_longer_than_it_is_trusted() {
    let server = Memcached::start();
    let lease = open(&server).acquire("t", "room", NO_WAIT).await.unwrap();
    let answer = server.raw().command(&format!("mg {} t", key("t", "room")));
    let left: u64 = answer.strip_prefix("HD t").unwrap().parse().unwrap();
    assert!((12..=13).contains(&left), "{answer}");
    assert!(lease.remaining() <= Duration::from_secs(10));
    assert!(lease.remaining() > Duration::from_secs(8));
}

#[tokio::test]
async fn a_server_that_cannot_check_owners_is_refused() {
    let server = Memcached::with_flags(&["-C"]);
    let locks = open(&server);
    let error = locks.acquire("t", "room", NO_WAIT).await.unwrap_err();
    assert!(error.to_string().contains("without -C"), "{error}");
}

#[tokio::test]
async fn a_port_that_is_no_memcached_is_refused() {
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
