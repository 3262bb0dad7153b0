//! What a memcached does not tell: that it has forgotten locks, what its clock says, and how old its epoch is.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use namelock_lock::{AcquireError, EpochSource, Lease, LockConfig, LockKey, Locks, NewEpoch, OwnEpochs, Standing};
use namelock_test_servers::{Memcached, RawMemcached};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::support::{NewServers, wall_clock};

const NO_WAIT: Duration = Duration::ZERO;
const HOUR: u64 = 3_600_000_000_000;

fn open(url: &str, config: LockConfig, epochs: impl EpochSource) -> Locks {
    Locks::open_with(&url.parse().unwrap(), config, Arc::new(epochs)).unwrap()
}

/// A lease that no test outlives.
fn long_lease() -> LockConfig {
    LockConfig {
        lease: Duration::from_secs(600),
        max_hold: Duration::from_secs(600),
        ..LockConfig::default()
    }
}

/// Long enough for what happens in a test, and a grace that a test can wait for.
fn short_grace() -> LockConfig {
    LockConfig {
        lease: Duration::from_secs(20),
        ..LockConfig::default()
    }
}

/// Acquires as soon as the server grants.
async fn acquire(locks: &Locks, namespace: &str, name: &str) -> Lease {
    soon("granted", async {
        loop {
            match locks.acquire(namespace, name, NO_WAIT).await {
                Ok(lease) => return lease,
                Err(AcquireError::InvalidName(error)) => panic!("{error}"),
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    })
    .await
}

/// Waits until an acquire is refused for this reason.
async fn refused(locks: &Locks, because: &str) {
    soon(because, async {
        loop {
            match locks.acquire("t", "refused", NO_WAIT).await {
                Err(AcquireError::Unavailable { reason, .. } | AcquireError::NoEpoch { reason })
                    if reason.contains(because) =>
                {
                    return;
                }
                Ok(lease) => lease.release().await.map_or((), |()| ()),
                Err(_) => {}
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// Waits for something, for as long as a slow machine may take.
async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(Duration::from_secs(60), work).await;
    done.unwrap_or_else(|_| panic!("still not: {what}"))
}

/// The way to a server, which can be cut.
struct Way {
    address: SocketAddr,
    open: watch::Sender<bool>,
}

impl Way {
    async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (open, is_open) = watch::channel(true);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let mut is_open = is_open.clone();
                tokio::spawn(async move {
                    if !*is_open.borrow() {
                        return;
                    }
                    let Ok(mut server) = TcpStream::connect(server).await else {
                        return;
                    };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                        _ = is_open.wait_for(|is_open| !is_open) => {}
                    }
                });
            }
        });
        Self { address, open }
    }

    fn url(&self) -> String {
        format!("memcached://{}", self.address)
    }
}

// Shows P7: a host that knows nothing of what was before waits until nobody trusts it.
#[tokio::test]
async fn a_fresh_host_grants_nothing_while_a_host_that_is_cut_off_may_trust_its_lease() {
    let config = LockConfig {
        lease: Duration::from_secs(4),
        ..LockConfig::default()
    };
    let mut server = Memcached::start();
    let way = Way::to(server.address()).await;
    let a = open(&way.url(), config.clone(), NewServers);
    let lease = acquire(&a, "t", "room").await;
    way.open.send_replace(false);
    server.restart();
    let b = open(&server.url(), config, OwnEpochs::default());
    let _other = acquire(&b, "t", "room").await;
    assert_eq!(lease.remaining(), Duration::ZERO, "two hosts trust a lease on one name");
}

#[tokio::test]
async fn a_fresh_host_does_not_wait_for_a_server_that_is_old_enough() {
    let config = LockConfig {
        lease: Duration::from_secs(1),
        ..LockConfig::default()
    };
    let server = Memcached::start();
    drop(acquire(&open(&server.url(), config.clone(), NewServers), "t", "room").await);
    // The lease, and what a clock of whole seconds may be wrong by.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let fresh = open(&server.url(), config, OwnEpochs::default());
    fresh.acquire("t", "other", NO_WAIT).await.unwrap();
}

/// Gives one epoch, and believes any.
#[derive(Debug)]
struct Gives(u64);

#[async_trait]
impl EpochSource for Gives {
    async fn begin(&self, _server: &str) -> Result<NewEpoch, String> {
        Ok(NewEpoch {
            epoch: self.0,
            is_first: true,
        })
    }

    async fn check(&self, _server: &str, _epoch: u64) -> Result<Standing, String> {
        Ok(Standing::Known { is_first: false })
    }
}

// Shows P7: no token is granted after which every later one would be smaller.
#[tokio::test]
async fn an_epoch_from_the_future_is_refused_until_its_server_is_restarted() {
    let mut server = Memcached::start();
    let wrong = open(&server.url(), short_grace(), Gives(wall_clock() + 10 * 365 * 24 * HOUR));
    drop(acquire(&wrong, "t", "warm").await);
    drop(wrong);
    let right = open(&server.url(), short_grace(), OwnEpochs::default());
    let error = right.acquire("t", "room", NO_WAIT).await.unwrap_err().to_string();
    assert!(
        error.contains("ahead of the clock") && error.contains("restart this memcached"),
        "{error}"
    );
    assert!(right.ready().await.is_err());
    server.restart();
    let token = acquire(&right, "t", "room").await.fencing_token().get();
    assert!(token < wall_clock() + HOUR, "{token}");
}

#[tokio::test]
async fn an_epoch_that_comes_after_a_later_one_is_taken_away() {
    let server = Memcached::start();
    let late = open(&server.url(), short_grace(), Gives(wall_clock() - HOUR));
    let lost = acquire(&late, "t", "room").await;
    let epochs = OwnEpochs::default();
    let now = wall_clock();
    let known = epochs.check(&server.address().to_string(), now).await;
    assert_eq!(known, Ok(Standing::Known { is_first: false }));
    let locks = open(&server.url(), short_grace(), epochs);
    let lease = acquire(&locks, "t", "other").await;
    assert!(lease.fencing_token().get() > now);
    soon("the lease of the late epoch is lost", lost.end().lost()).await;
}

/// A source that can be down.
#[derive(Debug)]
struct MayBeDown {
    is_down: Arc<AtomicBool>,
}

impl MayBeDown {
    fn answer<T>(&self, answer: T) -> Result<T, String> {
        match self.is_down.load(Ordering::Relaxed) {
            true => Err("the source is down".to_owned()),
            false => Ok(answer),
        }
    }
}

#[async_trait]
impl EpochSource for MayBeDown {
    async fn begin(&self, _server: &str) -> Result<NewEpoch, String> {
        self.answer(NewEpoch {
            epoch: wall_clock(),
            is_first: true,
        })
    }

    async fn check(&self, _server: &str, _epoch: u64) -> Result<Standing, String> {
        self.answer(Standing::Known { is_first: true })
    }
}

#[tokio::test]
async fn a_source_of_epochs_that_is_down_matters_only_to_servers_that_are_not_known() {
    let mut server = Memcached::start();
    let way = Way::to(server.address()).await;
    let is_down = Arc::new(AtomicBool::new(true));
    let epochs = MayBeDown {
        is_down: Arc::clone(&is_down),
    };
    let locks = open(&way.url(), short_grace(), epochs);
    refused(&locks, "the source is down").await;
    is_down.store(false, Ordering::Relaxed);
    let lease = acquire(&locks, "t", "room").await;
    is_down.store(true, Ordering::Relaxed);
    way.open.send_replace(false);
    refused(&locks, "memcached").await;
    way.open.send_replace(true);
    drop(acquire(&locks, "t", "other").await);
    assert!(!lease.remaining().is_zero());
    // That its locks are gone is known without the source.
    server.restart();
    soon("its lease is lost", lease.end().lost()).await;
    refused(&locks, "the source is down").await;
    is_down.store(false, Ordering::Relaxed);
    drop(acquire(&locks, "t", "room").await);
}

/// A source whose answers wait until it is let go, and whose first epoch alone is the first.
#[derive(Debug)]
struct Late {
    goes: watch::Receiver<bool>,
    asked: Arc<AtomicUsize>,
}

#[async_trait]
impl EpochSource for Late {
    async fn begin(&self, _server: &str) -> Result<NewEpoch, String> {
        let before = self.asked.fetch_add(1, Ordering::Relaxed);
        let mut goes = self.goes.clone();
        goes.wait_for(|goes| *goes).await.map_err(|error| error.to_string())?;
        Ok(NewEpoch {
            epoch: wall_clock(),
            is_first: before == 0,
        })
    }

    async fn check(&self, _server: &str, _epoch: u64) -> Result<Standing, String> {
        Ok(Standing::Known { is_first: false })
    }
}

// A database that is slow when a fleet starts does not cost it a grace.
#[tokio::test]
async fn a_first_epoch_that_comes_too_late_for_a_connection_is_used_by_the_next() {
    let server = Memcached::start();
    let (go, goes) = watch::channel(false);
    let asked = Arc::<AtomicUsize>::default();
    let epochs = Late {
        goes,
        asked: Arc::clone(&asked),
    };
    let config = LockConfig {
        connect_timeout: Duration::from_millis(200),
        ..long_lease()
    };
    let locks = open(&server.url(), config, epochs);
    refused(&locks, "does not answer within").await;
    go.send_replace(true);
    drop(acquire(&locks, "t", "room").await);
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

// Shows P3: a host that starts is not ready before it can serve every name, and one server that goes away later is no reason.
#[tokio::test]
async fn a_host_that_starts_is_ready_once_it_has_reached_every_server() {
    let servers = [Memcached::start(), Memcached::start()];
    let ways = [Way::to(servers[0].address()).await, Way::to(servers[1].address()).await];
    ways[1].open.send_replace(false);
    let url = format!("{},{}", ways[0].url(), ways[1].url().trim_start_matches("memcached://"));
    let config = LockConfig {
        // Far longer than the test waits for the first answer.
        connect_timeout: Duration::from_secs(10),
        ..short_grace()
    };
    let locks = open(&url, config, NewServers);
    let reached = async {
        loop {
            match locks.ready().await {
                Err(reasons) if !reasons.contains(&ways[0].address.to_string()) => return reasons,
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                Ok(()) => panic!("it has not reached the second server"),
            }
        }
    };
    let reasons = soon("the first is reached", reached).await;
    assert!(reasons.contains(&ways[1].address.to_string()), "{reasons}");
    ways[1].open.send_replace(true);
    let ready = async {
        while locks.ready().await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon("it is ready", ready).await;
    ways[1].open.send_replace(false);
    let away = async {
        let mut number = 0;
        // Some of the names are on that server.
        while !matches!(
            locks.acquire("t", &format!("room {number}"), NO_WAIT).await,
            Err(AcquireError::Unavailable { .. })
        ) {
            number += 1;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon("its names are refused", away).await;
    locks.ready().await.unwrap();
}

/// Sets items that never expire and take as much as a lock with this key, or as little as possible.
fn fill(raw: &mut RawMemcached, like: Option<&LockKey>, round: usize) {
    let value = "v".repeat(like.map_or(1, |key| key.as_str().len() + 10));
    let sets: Vec<_> = (0..1000)
        .map(|number| {
            let key = format!("{:010}", round * 1000 + number);
            format!("set {key} 0 0 {} noreply\r\n{value}\r\n", value.len())
        })
        .collect();
    assert!(raw.command(&format!("{}version", sets.concat())).starts_with("VERSION"));
}

// Shows P7: an eviction of locks is noticed, whatever their size.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_lease_is_trusted_whose_lock_was_evicted() {
    for namespace in ["", "acme", &"n".repeat(30), &"n".repeat(63)] {
        let server = Memcached::with_flags(&["-m", "2"]);
        let locks = open(&server.url(), long_lease(), NewServers);
        let lease = acquire(&locks, namespace, "room").await;
        let key = LockKey::new(namespace, "room").unwrap();
        let mut raw = server.raw();
        let mut round = 0;
        // A look that does not count as a use.
        while raw.command(&format!("mg {} t u", key.as_str())).starts_with("HD") {
            fill(&mut raw, Some(&key), round);
            round += 1;
            assert!(round < 1000, "it does not evict {key:?}");
        }
        soon("the lease is lost", lease.end().lost()).await;
        assert!(lease.deadline() > Instant::now() + Duration::from_secs(60));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn items_of_a_size_that_no_lock_has_cost_no_lease() {
    let server = Memcached::with_flags(&["-m", "2"]);
    let locks = open(&server.url(), long_lease(), NewServers);
    let lease = acquire(&locks, "t", "room").await;
    let token = lease.fencing_token();
    let mut raw = server.raw();
    let connections = raw.stat("total_connections").unwrap();
    let mut round = 0;
    // Whether the main sentinel was made again shows in the connections that the host has made.
    while raw.stat("total_connections").unwrap() == connections {
        fill(&mut raw, None, round);
        round += 1;
        assert!(round < 2000, "the main sentinel is not evicted");
    }
    let later = acquire(&locks, "t", "other").await;
    assert!(!lease.remaining().is_zero(), "a lock is lost that was not evicted");
    assert!(later.fencing_token() > token);
    soon("a release", lease.release()).await.unwrap();
}

// Shows P5: a server whose clock stands still is not believed.
#[tokio::test]
async fn a_server_whose_clock_stands_still_grants_nothing_until_it_is_right() {
    let folder = tempfile::tempdir().unwrap();
    let offset = folder.path().join("offset");
    std::fs::write(&offset, "+0").unwrap();
    let server = Memcached::with_clock(&offset);
    let locks = open(&server.url(), long_lease(), NewServers);
    let lease = acquire(&locks, "t", "room").await;
    // Until it has come to where it was, it is not set.
    std::fs::write(&offset, "-8").unwrap();
    refused(&locks, "its clock is behind").await;
    assert!(
        !lease.remaining().is_zero(),
        "what it had dated by a right clock is still good"
    );
    std::fs::write(&offset, "+0").unwrap();
    drop(acquire(&locks, "t", "other").await);
}

// Shows P5: locks that a jump of the server's clock may have ended are not trusted.
#[tokio::test]
async fn leases_are_lost_when_the_clock_of_the_server_jumps_ahead() {
    let folder = tempfile::tempdir().unwrap();
    let offset = folder.path().join("offset");
    std::fs::write(&offset, "+0").unwrap();
    let server = Memcached::with_clock(&offset);
    let locks = open(&server.url(), short_grace(), NewServers);
    let lease = acquire(&locks, "t", "room").await;
    std::fs::write(&offset, "+40").unwrap();
    soon("the lease is lost", lease.end().lost()).await;
    assert!(lease.deadline() > Instant::now());
    drop(acquire(&locks, "t", "other").await);
}

// One thread, which is the whole host.
#[tokio::test(flavor = "current_thread")]
async fn a_host_that_was_stopped_for_a_while_is_refused_nothing_afterwards() {
    let server = Memcached::start();
    let config = LockConfig {
        exchange_timeout: Duration::from_secs(5),
        lease: Duration::from_secs(60),
        max_hold: Duration::from_secs(60),
        ..LockConfig::default()
    };
    let locks = open(&server.url(), config, NewServers);
    drop(acquire(&locks, "t", "warm").await);
    let mut under_way = tokio::task::JoinSet::new();
    for number in 0..50 {
        let locks = locks.clone();
        under_way.spawn(async move { locks.acquire("t", &number.to_string(), NO_WAIT).await });
    }
    // Asked, and not answered yet; then answered, and not read yet.
    let made = || server.raw().stat("total_items").unwrap();
    let before = made();
    while made() == before {
        tokio::task::yield_now().await;
    }
    std::thread::sleep(Duration::from_secs(4));
    while let Some(lease) = under_way.join_next().await {
        lease.unwrap().unwrap();
    }
    for number in 50..60 {
        locks.acquire("t", &number.to_string(), NO_WAIT).await.unwrap();
    }
}
