//! Hosts that are configured differently, and a list of servers that is changed while hosts run.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use md5::{Digest, Md5};
use namelock_lock::{AcquireError, Lease, LockConfig, LockKey, Locks};
use namelock_test_servers::Memcached;
use parking_lot::{Mutex, RwLock};
use tokio::time::Instant;

use crate::support::NewServers;

const NO_WAIT: Duration = Duration::ZERO;

fn config() -> LockConfig {
    LockConfig {
        lease: Duration::from_secs(3),
        ..LockConfig::default()
    }
}

fn open(url: &str, config: LockConfig) -> Locks {
    Locks::open_with(&url.parse().unwrap(), config, Arc::new(NewServers)).unwrap()
}

/// A host with this list, and the one from before.
fn open_after(previous: &str, url: &str, config: LockConfig) -> Locks {
    let previous = Some(previous.parse().unwrap());
    open(url, LockConfig { previous, ..config })
}

fn url(host: &str, servers: &[&Memcached]) -> String {
    let servers: Vec<_> = servers
        .iter()
        .map(|server| format!("{host}:{}", server.address().port()))
        .collect();
    format!("memcached://{}", servers.join(","))
}

async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(Duration::from_secs(60), work).await;
    done.unwrap_or_else(|_| panic!("still not: {what}"))
}

/// Acquires as soon as that is granted.
async fn acquire(locks: &Locks, name: &str) -> Lease {
    soon(name, async {
        loop {
            match locks.acquire("t", name, NO_WAIT).await {
                Ok(lease) => return lease,
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    })
    .await
}

async fn ready(locks: &Locks) {
    soon("ready", async {
        while locks.ready().await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// Waits until the host is not ready for this reason, and checks that it grants nothing.
async fn refused(locks: &Locks, because: &str) {
    soon(because, async {
        while !locks.ready().await.is_err_and(|reason| reason.contains(because)) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    for number in 0..20 {
        let error = locks.acquire("t", &number.to_string(), NO_WAIT).await.unwrap_err();
        assert!(
            matches!(&error, AcquireError::Unavailable { reason, .. } if reason.contains(because)),
            "{error}"
        );
    }
}

// Shows P5: one name has one server on all hosts.
#[tokio::test]
async fn a_host_that_names_the_same_servers_differently_grants_nothing_and_says_why() {
    let servers = [Memcached::start(), Memcached::start()];
    let of = |host| url(host, &[&servers[0], &servers[1]]);
    let first = open(&of("127.0.0.1"), config());
    let mut leases = Vec::new();
    for number in 0..20 {
        leases.push(acquire(&first, &number.to_string()).await);
    }
    let second = open(&of("localhost"), config());
    for number in 0..20 {
        let twice = second.acquire("t", &number.to_string(), NO_WAIT).await;
        assert!(twice.is_err(), "two hosts trust a lease on one name");
    }
    refused(&second, "all hosts must have the same lock URL").await;
    assert!(leases.iter().all(|lease| !lease.remaining().is_zero()));
    drop(acquire(&first, "other").await);
}

// Shows P7: what a host waits for covers the leases of all others.
#[tokio::test]
async fn a_host_with_another_lease_grants_nothing_and_says_why() {
    let server = Memcached::start();
    let first = open(&server.url(), config());
    drop(acquire(&first, "room").await);
    let longer = LockConfig {
        lease: Duration::from_secs(5),
        ..config()
    };
    let second = open(&server.url(), longer);
    refused(&second, "all hosts must have the same lock.lease").await;
    drop(acquire(&first, "room").await);
}

#[tokio::test]
async fn the_order_of_the_list_is_no_difference() {
    let servers = [Memcached::start(), Memcached::start()];
    let first = open(&url("127.0.0.1", &[&servers[0], &servers[1]]), config());
    drop(acquire(&first, "room").await);
    let second = open(&url("127.0.0.1", &[&servers[1], &servers[0]]), config());
    drop(acquire(&second, "room").await);
    ready(&second).await;
}

#[tokio::test]
async fn an_item_of_the_fleet_that_is_gone_is_made_again_and_costs_no_lease() {
    let server = Memcached::start();
    let locks = open(&server.url(), config());
    let lease = acquire(&locks, "room").await;
    assert_eq!(server.raw().command("delete namelock:@fleet"), "DELETED");
    // It waits for the connection to be made again, and is then granted at once.
    locks.acquire("t", "other", NO_WAIT).await.unwrap();
    assert!(!lease.remaining().is_zero());
    assert!(server.raw().get("namelock:@fleet").is_some());
    lease.release().await.unwrap();
}

// Shows P5: a host that was forgotten in a change of the list is kept out.
#[tokio::test]
async fn a_host_with_the_old_list_alone_stops_when_the_change_is_finished() {
    let (before, after) = (Memcached::start(), Memcached::start());
    let forgotten = open(&before.url(), config());
    drop(acquire(&forgotten, "room").await);
    let both = open_after(&before.url(), &after.url(), config());
    drop(acquire(&both, "room").await);
    let lease = acquire(&forgotten, "room").await;
    let busy = both.acquire("t", "room", NO_WAIT).await.unwrap_err();
    assert!(matches!(busy, AcquireError::Busy { .. }), "{busy}");

    let finisher = open(&after.url(), config());
    let other = acquire(&finisher, "room").await;
    assert_eq!(lease.remaining(), Duration::ZERO, "two hosts trust a lease on one name");
    refused(&forgotten, "all hosts must have the same lock URL").await;
    drop(other);
    drop(acquire(&both, "room").await);
}

#[tokio::test]
async fn a_host_with_the_new_list_alone_is_refused_until_the_change_is_announced() {
    let (old, new) = (Memcached::start(), Memcached::start());
    let (before, after) = (old.url(), url("127.0.0.1", &[&old, &new]));
    let first = open(&before, config());
    drop(acquire(&first, "room").await);
    let early = open(&after, config());
    refused(&early, "docs/operations.md").await;
    let both = open_after(&before, &after, config());
    drop(acquire(&both, "room").await);
    // That it is announced is all that was missing, though now the first host is forgotten.
    drop(acquire(&early, "room").await);
    refused(&first, "docs/operations.md").await;
}

// The item was lost with a restart, and a host with a wrong list came first.
#[tokio::test]
async fn a_host_that_differs_does_not_take_a_server_away_from_its_fleet() {
    let mut server = Memcached::start();
    let locks = open(&server.url(), config());
    drop(acquire(&locks, "room").await);
    server.restart();
    let mut raw = server.raw();
    let wrong = "1 list=wrong:1 previous=- from=- lease=3000ms grace=3000ms ttl=6s base=0 counted=0 waits=0";
    raw.command(&format!("set namelock:@fleet 0 0 {}\r\n{wrong}", wrong.len()));
    drop(acquire(&locks, "room").await);
    locks.ready().await.unwrap();
}

#[tokio::test]
async fn a_server_of_another_fleet_is_left_alone() {
    let (ours, theirs) = (Memcached::start(), Memcached::start());
    let them = open(&theirs.url(), config());
    drop(acquire(&them, "room").await);
    let us = open(&ours.url(), config());
    drop(acquire(&us, "room").await);
    let wrong = open_after(&ours.url(), &url("localhost", &[&theirs]), config());
    refused(&wrong, "all hosts must have the same lock URL").await;
    drop(acquire(&them, "room").await);
    them.ready().await.unwrap();
}

#[tokio::test]
async fn a_change_can_be_given_up_before_it_is_finished() {
    let (old, new) = (Memcached::start(), Memcached::start());
    let (before, after) = (old.url(), url("127.0.0.1", &[&old, &new]));
    let first = open(&before, config());
    let both = open_after(&before, &after, config());
    drop(acquire(&both, "room").await);
    drop(both);
    let back = open(&before, config());
    drop(acquire(&back, "room").await);
    drop(acquire(&first, "room").await);
    // And another one can begin.
    let third = Memcached::start();
    let other = open_after(&before, &url("127.0.0.1", &[&old, &third]), config());
    drop(acquire(&other, "room").await);
    drop(acquire(&back, "room").await);
}

// Shows P1: the new server's own epoch is the older one.
#[tokio::test]
async fn tokens_grow_for_a_name_that_moves_to_a_server_with_an_older_epoch() {
    let (before, after) = (Memcached::start(), Memcached::start());
    drop(acquire(&open(&after.url(), config()), "warm").await);
    assert_eq!(after.raw().command("delete namelock:@fleet"), "DELETED");
    let old = open(&before.url(), config());
    let mut last = 0;
    let mut grows = |lease: Lease| {
        let token = lease.fencing_token().get();
        assert!(token > last, "{token} after {last}");
        last = token;
    };
    grows(acquire(&old, "room").await);
    let both = open_after(&before.url(), &after.url(), config());
    // They lock in turn, and only one of them counts on both servers.
    for _ in 0..5 {
        grows(acquire(&both, "room").await);
        drop(acquire(&both, "other").await);
        grows(acquire(&old, "room").await);
    }
    drop(old);
    let new = open(&after.url(), config());
    for _ in 0..5 {
        grows(acquire(&new, "room").await);
        grows(acquire(&both, "room").await);
    }
}

/// The server of a key, by version 1 of the weight.
fn server_of<'a>(servers: &[&'a Memcached], key: &LockKey) -> &'a Memcached {
    let weight = |server: &&&Memcached| {
        let text = format!("namelock-rendezvous-1\n{}\n{}", server.address(), key.as_str());
        Md5::digest(text)[..8].to_vec()
    };
    servers.iter().max_by_key(weight).unwrap()
}

/// Callers on two hosts that are replaced one after the other.
struct Load {
    hosts: [RwLock<Arc<Locks>>; 2],
    names: Vec<String>,
    /// The deadline of whoever has a name, and the greatest token.
    held: Mutex<HashMap<usize, (Instant, u64)>>,
    /// Which names were refused on which host, and why.
    refused: Mutex<Vec<(usize, usize, String)>>,
    granted: AtomicUsize,
    stop: AtomicBool,
}

impl Load {
    async fn call(self: Arc<Self>, caller: usize) {
        let mut number = caller;
        while !self.stop.load(Ordering::Relaxed) {
            number = (number * 31 + 7) % 1_000_003;
            let (host, name) = (number % 2, number % self.names.len());
            let locks = Arc::clone(&self.hosts[host].read());
            match locks.acquire("t", &self.names[name], Duration::from_secs(1)).await {
                Ok(lease) => self.hold(name, lease).await,
                Err(AcquireError::Busy { .. }) => {}
                Err(error) => {
                    self.refused.lock().push((host, name, error.to_string()));
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    }

    async fn hold(&self, name: usize, lease: Lease) {
        let token = lease.fencing_token().get();
        let now = Instant::now();
        let before = self.held.lock().insert(name, (lease.deadline(), token));
        if let Some((deadline, last)) = before {
            assert!(deadline <= now, "{} is held twice", self.names[name]);
            assert!(token > last, "{}: {token} after {last}", self.names[name]);
        }
        self.granted.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(2)).await;
        if let Some((deadline, last)) = self.held.lock().get_mut(&name)
            && *last == token
        {
            *deadline = now;
        }
        // Whether it was still held, the next grant tells.
        let _ = lease.release().await;
    }

    /// Replaces a host once the new one has connected, and waits until it was used for a while.
    async fn replace(&self, host: usize, locks: Locks) {
        ready(&locks).await;
        let before = std::mem::replace(&mut *self.hosts[host].write(), Arc::new(locks));
        soon("the calls of the host before have ended", async {
            while Arc::strong_count(&before) > 1 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        drop(before);
        let goal = self.granted.load(Ordering::Relaxed) + 200;
        soon("200 more grants", async {
            while self.granted.load(Ordering::Relaxed) < goal {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }
}

// Shows P5: no name is held twice, whatever lists its hosts have on the way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_is_changed_from_two_servers_to_three_under_load() {
    let servers = [Memcached::start(), Memcached::start(), Memcached::start()];
    let [a, b, c] = &servers;
    let (before, after) = (url("127.0.0.1", &[a, b]), url("127.0.0.1", &[a, b, c]));
    let config = LockConfig {
        connect_timeout: Duration::from_secs(10),
        exchange_timeout: Duration::from_secs(5),
        ..config()
    };
    let old = || open(&before, config.clone());
    let both = || open_after(&before, &after, config.clone());
    let new = || open(&after, config.clone());
    let load = Arc::new(Load {
        hosts: [RwLock::new(Arc::new(old())), RwLock::new(Arc::new(old()))],
        names: (0..60).map(|number| format!("room {number}")).collect(),
        held: Mutex::default(),
        refused: Mutex::default(),
        granted: AtomicUsize::new(0),
        stop: AtomicBool::new(false),
    });
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..64 {
        callers.spawn(Arc::clone(&load).call(caller * 7919 + 1));
    }
    for host in [0, 1] {
        load.replace(host, old()).await;
    }
    for host in [0, 1] {
        load.replace(host, both()).await;
    }
    assert_eq!(
        *load.refused.lock(),
        [],
        "nobody was refused anything before the last step"
    );
    load.replace(0, new()).await;
    let moved: BTreeSet<usize> = (0..load.names.len())
        .filter(|name| {
            let key = LockKey::new("t", &load.names[*name]).unwrap();
            server_of(&[a, b], &key).address() != server_of(&[a, b, c], &key).address()
        })
        .collect();
    assert!(moved.len() > 5 && moved.len() < 40, "{moved:?}");
    // It grants what has moved after a grace period, and until then so does the other host.
    let grants = async |locks: Locks| {
        for name in &moved {
            soon("a name that has moved", async {
                let name = &load.names[*name];
                while let Err(AcquireError::Unavailable { .. }) = locks.acquire("t", name, NO_WAIT).await {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            })
            .await;
        }
    };
    let finisher = Locks::clone(&load.hosts[0].read());
    grants(finisher).await;
    let last = new();
    grants(last.clone()).await;
    let waited = load.refused.lock().len();
    load.replace(1, last).await;
    load.stop.store(true, Ordering::Relaxed);
    while let Some(caller) = callers.join_next().await {
        caller.unwrap();
    }
    let refused = load.refused.lock();
    for (host, name, reason) in &refused[..waited] {
        assert!(
            *host == 0 && moved.contains(name) && reason.contains("another list of servers"),
            "host {host}: {}: {reason}",
            load.names[*name]
        );
    }
    assert_eq!(refused[waited..], [], "and then nobody is refused anything");
    assert!(waited > 0, "the host that finishes the change waits");
}
