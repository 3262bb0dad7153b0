//! Servers that are spoken to over TLS, or that ask for a password.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod files;
mod log;
mod refused;
#[path = "../support/mod.rs"]
mod support;

use std::sync::Arc;
use std::time::Duration;

use namelock_lock::{AcquireError, Lease, LockConfig, LockKey, Locks, TlsFiles};
use namelock_test_servers::{Authority, Identity, Memcached, Protection};

use crate::files::{Files, trusts};
use crate::support::NewServers;

const NO_WAIT: Duration = Duration::ZERO;

/// Waiting that long means that it never happens.
const DEADLINE: Duration = Duration::from_secs(60);

const USER: &str = "ann";
const PASSWORD: &str = "s3cret-of-ann";

/// What the certificate of a test's server is for.
const HOST: &str = "127.0.0.1";

fn over_tls(identity: &Identity) -> Memcached {
    Memcached::protected(&Protection {
        tls: Some(identity),
        ..Protection::default()
    })
}

/// Over TLS, with a password, and for hosts alone that have a certificate of this authority.
fn with_everything(authority: &Authority) -> Memcached {
    Memcached::protected(&Protection {
        tls: Some(&authority.sign(&[HOST])),
        clients: Some(&authority.certificate()),
        login: Some((USER, PASSWORD)),
    })
}

fn open(url: &str, tls: TlsFiles) -> Locks {
    let config = LockConfig {
        lease: Duration::from_secs(1),
        tls,
        ..LockConfig::default()
    };
    Locks::open_with(&url.parse().unwrap(), config, Arc::new(NewServers)).unwrap()
}

/// Acquires as soon as the lock service is there.
async fn acquire_when_there(locks: &Locks, name: &str) -> Lease {
    let acquire = async {
        loop {
            match locks.acquire("t", name, NO_WAIT).await {
                Ok(lease) => return lease,
                Err(AcquireError::Unavailable { .. }) => tokio::time::sleep(Duration::from_millis(5)).await,
                Err(error) => panic!("{error}"),
            }
        }
    };
    tokio::time::timeout(DEADLINE, acquire).await.unwrap()
}

async fn lock_once(locks: &Locks) {
    locks.acquire("t", "a", NO_WAIT).await.unwrap().release().await.unwrap();
}

#[tokio::test]
async fn a_host_with_a_certificate_is_known_to_a_server_that_asks_for_one() {
    let authority = Authority::new();
    let server = with_everything(&authority);
    let files = Files::new();
    lock_once(&open(&server.url(), files.write(&authority, &authority))).await;
}

#[tokio::test]
async fn a_password_may_have_every_kind_of_sign() {
    let server = Memcached::protected(&Protection {
        login: Some((USER, "p@s:s/w,o%r?d#!ü")),
        ..Protection::default()
    });
    let url = format!(
        "memcached://{USER}:p%40s%3As%2Fw%2Co%25r?d#!%C3%BC@{}",
        server.address()
    );
    lock_once(&open(&url, TlsFiles::default())).await;
}

#[tokio::test]
async fn a_certificate_is_replaced_under_load_and_no_call_is_refused() {
    let (before, after) = (Authority::new(), Authority::new());
    let server = over_tls(&before.sign(&[HOST]));
    let old = open(&server.url(), trusts(&before));
    lock_once(&old).await;
    let connections = |locks: &Locks| locks.figures().servers[0].connections;
    // The first lock needs one lane, and the other may still be on its way to the server.
    let connected = LockConfig::default().lanes as u64;
    let all = async {
        while connections(&old) < connected {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(DEADLINE, all).await.expect("all lanes connect");

    server.replace_certificate(&after.sign(&[HOST]));
    let new = open(&server.url(), trusts(&after));
    for _ in 0..100 {
        lock_once(&old).await;
        lock_once(&new).await;
    }
    assert_eq!(connections(&old), connected, "nothing was connected anew");
}

#[tokio::test]
async fn the_files_of_tls_are_read_again_for_each_connection() {
    let (before, after) = (Authority::new(), Authority::new());
    let mut server = with_everything(&before);
    let files = Files::new();
    let locks = open(&server.url(), files.write(&before, &before));
    lock_once(&locks).await;
    // At the same paths: the authority of the server's next certificate, and another certificate of this host.
    files.write(&after, &before);
    server.write_certificate(&after.sign(&[HOST]));
    server.restart();
    acquire_when_there(&locks, "a").await.release().await.unwrap();
}

// Shows P4: while the list is changed, a name is locked on the server of the list from before too, which is spoken to as that
// list says.
#[tokio::test]
async fn a_fleet_is_moved_to_tls_by_a_change_of_the_list() {
    let authority = Authority::new();
    let plain = Memcached::as_recommended();
    let protected = Memcached::protected(&Protection {
        tls: Some(&authority.sign(&[HOST])),
        clients: None,
        login: Some((USER, PASSWORD)),
    });
    let config = LockConfig {
        lease: Duration::from_secs(30),
        max_hold: Duration::from_secs(60),
        previous: Some(plain.url().parse().unwrap()),
        tls: trusts(&authority),
        ..LockConfig::default()
    };
    let of_before = LockConfig {
        previous: None,
        tls: TlsFiles::default(),
        ..config.clone()
    };
    let open = |url: &str, config| Locks::open_with(&url.parse().unwrap(), config, Arc::new(NewServers)).unwrap();
    let old = open(&plain.url(), of_before);
    lock_once(&old).await;
    let both = open(&protected.url(), config);
    let new = acquire_when_there(&both, "b").await;
    let key = LockKey::new("t", "b").unwrap();
    for server in [&plain, &protected] {
        assert!(server.raw().get(key.as_str()).is_some(), "{}", server.address());
    }
    let busy = old.acquire("t", "b", NO_WAIT).await;
    assert!(matches!(busy, Err(AcquireError::Busy { .. })), "{busy:?}");
    new.release().await.unwrap();
}
