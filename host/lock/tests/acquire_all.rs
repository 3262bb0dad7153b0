//! Several locks at once, on two hosts and a real memcached.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use namelock_lock::{AcquireError, Lease, LockConfig, LockKey, Locks};
use namelock_test_servers::Memcached;
use rand::seq::SliceRandom;
use tokio::task::JoinSet;

use crate::support::NewServers;

const NO_WAIT: Duration = Duration::ZERO;

/// A wait that no caller needs, also on a slow machine.
const LONG: Duration = Duration::from_secs(60);

const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

fn config() -> LockConfig {
    LockConfig {
        max_wait: LONG,
        max_hold: LONG * 2,
        // A machine that keeps the server waiting is no stall of the server.
        exchange_timeout: Duration::from_secs(4),
        connect_timeout: Duration::from_secs(10),
        ..LockConfig::default()
    }
}

fn open(url: &str, config: LockConfig) -> Locks {
    Locks::open_with(&url.parse().unwrap(), config, Arc::new(NewServers)).unwrap()
}

async fn open_warm(server: &Memcached) -> Locks {
    let locks = open(&server.url(), config());
    release(acquire_all(&locks, &["warm"]).await).await;
    locks
}

/// Acquires as soon as the lock service is there. Nobody waits for so long that it is told that a name is busy.
async fn acquire_all(locks: &Locks, names: &[&str]) -> Vec<Lease> {
    let acquired = async {
        loop {
            match locks.acquire_all("t", names, LONG).await {
                Ok(leases) => return leases,
                Err(AcquireError::Unavailable { .. }) => tokio::time::sleep(Duration::from_millis(20)).await,
                Err(error) => panic!("{names:?}: {error}"),
            }
        }
    };
    tokio::time::timeout(LONG, acquired).await.unwrap()
}

async fn release(leases: Vec<Lease>) {
    for lease in leases {
        // On a machine that stands still, the answer may come too late.
        let _ = lease.release().await;
    }
}

fn url(servers: &[&Memcached]) -> String {
    let servers: Vec<_> = servers.iter().map(|server| server.address().to_string()).collect();
    format!("memcached://{}", servers.join(","))
}

/// Callers of these hosts take some of the names, in any order, again and again. Returns when each was served.
async fn all_are_served(hosts: &[Locks], callers: usize, rounds: usize) {
    let inside: Arc<[AtomicU32; NAMES.len()]> = Arc::default();
    let mut tasks = JoinSet::new();
    for caller in 0..callers {
        let (locks, inside) = (hosts[caller % hosts.len()].clone(), Arc::clone(&inside));
        tasks.spawn(async move {
            for round in 0..rounds {
                let mut numbers: Vec<_> = (0..NAMES.len()).collect();
                numbers.shuffle(&mut rand::rng());
                numbers.truncate(2 + (caller / 2 + round) % (NAMES.len() - 1));
                let names: Vec<_> = numbers.iter().map(|number| NAMES[*number]).collect();
                let leases = acquire_all(&locks, &names).await;
                assert_eq!(leases.iter().map(Lease::name).collect::<Vec<_>>(), names);
                for number in &numbers {
                    assert_eq!(
                        inside[*number].fetch_add(1, Ordering::SeqCst),
                        0,
                        "a name is held twice"
                    );
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
                for number in &numbers {
                    inside[*number].fetch_sub(1, Ordering::SeqCst);
                }
                release(leases).await;
            }
        });
    }
    while let Some(served) = tasks.join_next().await {
        served.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_of_two_hosts_that_name_eight_names_in_any_order_are_all_served() {
    let server = Memcached::start();
    let hosts = [open_warm(&server).await, open_warm(&server).await];
    all_are_served(&hosts, 64, 4).await;
    for locks in &hosts {
        locks.close(LONG).await;
    }
    assert_eq!(server.raw().lock_keys(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_are_all_served_while_the_list_of_servers_is_changed() {
    let servers = [Memcached::start(), Memcached::start()];
    let (before, after) = (servers[0].url(), url(&[&servers[0], &servers[1]]));
    let with_both = LockConfig {
        previous: Some(before.parse().unwrap()),
        ..config()
    };
    // One host has the old list alone, one has both.
    let hosts = [open(&before, config()), open(&after, with_both)];
    for locks in &hosts {
        release(acquire_all(locks, &["warm"]).await).await;
    }
    all_are_served(&hosts, 16, 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_of_names_on_several_servers_are_all_served() {
    let servers = [Memcached::start(), Memcached::start(), Memcached::start()];
    let url = url(&[&servers[0], &servers[1], &servers[2]]);
    let hosts = [open(&url, config()), open(&url, config())];
    all_are_served(&hosts, 16, 4).await;
}

/// Callers of one name and callers of several wait for each other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neither_callers_of_one_name_nor_of_several_starve() {
    let server = Memcached::start();
    for (many, single) in [(0, 1), (1, 0), (0, 0)] {
        let hosts = [open_warm(&server).await, open_warm(&server).await];
        let stop = Arc::new(AtomicBool::new(false));
        let served: Arc<[AtomicU32; 2]> = Arc::default();
        let mut tasks = JoinSet::new();
        for caller in 0..8 {
            let (kind, host) = if caller == 0 { (1, single) } else { (0, many) };
            let names = if kind == 1 { &NAMES[1..2] } else { &NAMES[..4] };
            let (locks, stop, served) = (hosts[host].clone(), Arc::clone(&stop), Arc::clone(&served));
            tasks.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let leases = acquire_all(&locks, names).await;
                    served[kind].fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    release(leases).await;
                }
            });
        }
        let enough = async {
            while served.iter().any(|served| served.load(Ordering::Relaxed) < 20) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(LONG, enough)
            .await
            .unwrap_or_else(|_| panic!("{served:?}"));
        stop.store(true, Ordering::Relaxed);
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
    }
}

// Shows P3: a call that fails leaves no lock.
#[tokio::test]
async fn a_call_that_is_refused_one_name_leaves_the_others_free() {
    let server = Memcached::start();
    let locks = open_warm(&server).await;
    let mut python = server.raw();
    for name in NAMES {
        let key = LockKey::new("t", name).unwrap();
        for wait in [NO_WAIT, Duration::from_millis(50)] {
            assert!(python.add(key.as_str(), "1", 60));
            let error = locks.acquire_all("t", &NAMES, wait).await.unwrap_err();
            assert!(
                matches!(error, AcquireError::Busy { retry_after } if !retry_after.is_zero()),
                "{error}"
            );
            assert_eq!(server.raw().lock_keys(), [key.as_str()]);
            assert!(python.delete(key.as_str()));
        }
    }
}

// Shows P3: a server that is gone costs no lock on another one.
#[tokio::test]
async fn a_call_that_one_server_cannot_answer_leaves_no_lock_on_the_others() {
    let mut servers = [Memcached::start(), Memcached::start()];
    let locks = open(&url(&[&servers[0], &servers[1]]), config());
    // So many that each server has some.
    let names: Vec<_> = (0..40).map(|number| number.to_string()).collect();
    let all: Vec<_> = names.iter().map(String::as_str).collect();
    let leases = acquire_all(&locks, &all).await;
    assert!(servers.iter().all(|server| !server.raw().lock_keys().is_empty()));
    release(leases).await;
    servers[1].kill();
    loop {
        match locks.acquire_all("t", &names, NO_WAIT).await {
            Err(AcquireError::Unavailable { .. }) => break,
            // It may not have been noticed yet, and nothing is granted then either.
            Err(AcquireError::Busy { .. }) => tokio::time::sleep(Duration::from_millis(5)).await,
            other => panic!("{other:?}"),
        }
    }
    locks.close(Duration::from_secs(1)).await;
    assert_eq!(servers[0].raw().lock_keys(), Vec::<String>::new());
}

// Shows P3: a call that is dropped leaves no lock, wherever it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_dropped_leaves_no_lock() {
    let server = Memcached::start();
    let (locks, other) = (open_warm(&server).await, open_warm(&server).await);
    let key = LockKey::new("t", "e").unwrap();
    assert!(server.raw().add(key.as_str(), "1", 600));
    for round in 0..60_u32 {
        // Half of them find a name busy, give back, and wait with some of the names.
        let names = if round % 2 == 0 { &NAMES[..] } else { &NAMES[..4] };
        let acquire = locks.acquire_all("t", names, LONG);
        let time = Duration::from_micros(u64::from(round / 2) * 300);
        let acquired = tokio::time::timeout(time, acquire).await;
        assert!(round % 2 == 1 || !matches!(acquired, Ok(Ok(_))));
        drop(acquired);
        locks.close(LONG).await;
        let left = server.raw().lock_keys();
        assert_eq!(left, [key.as_str()], "round {round}");
    }
    assert!(server.raw().delete(key.as_str()));
    release(acquire_all(&other, &NAMES).await).await;
}

#[tokio::test]
async fn names_that_nobody_else_wants_cost_one_batch() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let server = Memcached::with_log(&log);
    let one_lane = LockConfig { lanes: 1, ..config() };
    let locks = open(&server.url(), one_lane);
    release(acquire_all(&locks, &["warm"]).await).await;
    release(acquire_all(&locks, &NAMES).await).await;
    let log = std::fs::read_to_string(log).unwrap();
    let keys = NAMES.map(|name| LockKey::new("t", name).unwrap());
    // Each batch looks at the sentinels at its beginning and its end.
    let commands = log
        .lines()
        .filter(|line| line.starts_with('<') && line.contains(" namelock:"));
    let commands: Vec<_> = commands.collect();
    let is_take = |line: &&&str| line.contains(" ma ") && keys.iter().any(|key| line.contains(key.as_str()));
    let first = commands.iter().position(|line| is_take(&line)).unwrap();
    let in_a_row = commands[first..].iter().take_while(is_take).count();
    assert_eq!(in_a_row, NAMES.len(), "{:#?}", &commands[first..]);
    assert_eq!(commands.iter().filter(is_take).count(), NAMES.len());
}
