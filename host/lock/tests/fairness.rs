//! Two hosts that want one name at the same time, on a real memcached.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use namelock_lock::{AcquireError, LockConfig, LockKey, Locks};
use namelock_test_servers::Memcached;
use parking_lot::Mutex;
use tokio::task::JoinSet;

use crate::support::NewServers;

/// A wait that no caller needs, also on a slow machine.
const LONG: Duration = Duration::from_secs(60);

/// For how long a host goes on by itself while another one waits.
const RUN: Duration = Duration::from_millis(100);

/// Two hosts on one server, and who was granted the name, in the order of the grants.
struct Hosts {
    server: Memcached,
    locks: [Locks; 2],
    grants: Arc<Mutex<Vec<usize>>>,
}

/// Callers that stop when this is dropped.
struct Callers {
    stop: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Hosts {
    async fn start() -> Self {
        let server = Memcached::start();
        let config = LockConfig {
            max_wait: LONG,
            // A machine that keeps the server waiting is no stall of the server.
            exchange_timeout: Duration::from_secs(4),
            connect_timeout: Duration::from_secs(10),
            ..LockConfig::default()
        };
        let open = || {
            let epochs = Arc::new(NewServers);
            Locks::open_with(&server.url().parse().unwrap(), config.clone(), epochs).unwrap()
        };
        let hosts = Self {
            locks: [open(), open()],
            grants: Arc::default(),
            server,
        };
        for locks in &hosts.locks {
            let warm = async {
                loop {
                    match locks.acquire("t", "warm", LONG).await {
                        Ok(lease) => return lease.release().await.unwrap(),
                        // The other one makes the server known meanwhile.
                        Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                    }
                }
            };
            tokio::time::timeout(LONG, warm).await.unwrap();
        }
        hosts
    }

    /// The mark of the hot name.
    fn mark(&self) -> Option<String> {
        let key = LockKey::new("t", "hot").unwrap();
        self.server.raw().get(&key.as_str().replacen(':', ":@wait:", 1))
    }

    async fn until_marked(&self) {
        let marked = async {
            while self.mark().is_none() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(LONG, marked).await.unwrap();
    }

    /// Starts callers of one host that want the name again as soon as they have released it.
    fn call(&self, host: usize, callers: usize, hold: Duration, wait: Duration) -> Callers {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for _ in 0..callers {
            let (locks, grants, stop) = (self.locks[host].clone(), Arc::clone(&self.grants), Arc::clone(&stop));
            tasks.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    match locks.acquire("t", "hot", wait).await {
                        Ok(lease) => {
                            grants.lock().push(host);
                            tokio::time::sleep(hold).await;
                            // On a machine that stands still, the answer may come too late.
                            let _ = lease.release().await;
                        }
                        Err(AcquireError::Busy { .. }) if wait.is_zero() => tokio::task::yield_now().await,
                        Err(AcquireError::Unavailable { .. }) => tokio::time::sleep(Duration::from_millis(50)).await,
                        Err(error) => panic!("host {host}: {error}"),
                    }
                }
            });
        }
        Callers { stop, tasks }
    }

    async fn until_granted(&self, host: usize, times: usize) {
        let granted = || self.grants.lock().iter().filter(|granted| **granted == host).count();
        let enough = async {
            while granted() < times {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(LONG, enough)
            .await
            .unwrap_or_else(|_| panic!("host {host} was granted the name {} times in a minute", granted()));
    }

    /// The most grants in a row that each host had.
    fn longest_runs(&self) -> [usize; 2] {
        let grants = self.grants.lock();
        let mut longest = [0; 2];
        for run in grants.chunk_by(|a, b| a == b) {
            longest[run[0]] = longest[run[0]].max(run.len());
        }
        longest
    }
}

impl Callers {
    async fn stop(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(done) = self.tasks.join_next().await {
            done.unwrap();
        }
    }
}

/// How many grants one host may have in a row while the other one waits, on a machine so busy that the other one does
/// not come when it should four times running.
fn most(hold: Duration) -> usize {
    let run = RUN.as_millis() / hold.as_millis();
    5 * (usize::try_from(run).unwrap() + 2)
}

async fn neither_host_starves(first: usize, second: usize, hold: Duration) {
    let hosts = Hosts::start().await;
    let callers = [hosts.call(0, first, hold, LONG), hosts.call(1, second, hold, LONG)];
    for host in [1, 0] {
        hosts.until_granted(host, 30).await;
    }
    let runs = hosts.longest_runs();
    for callers in callers {
        callers.stop().await;
    }
    assert!(runs.iter().all(|run| *run <= most(hold)), "{runs:?} grants in a row");
}

macro_rules! holds {
    ($($test:ident: $first:literal and $second:literal callers, $hold:literal ms;)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            neither_host_starves($first, $second, Duration::from_millis($hold)).await;
        })*
    };
}

holds! {
    a_host_with_one_caller_gets_its_turn_beside_eight_that_hold_for_1_ms: 8 and 1 callers, 1 ms;
    a_host_with_one_caller_gets_its_turn_beside_eight_that_hold_for_5_ms: 8 and 1 callers, 5 ms;
    a_host_with_one_caller_gets_its_turn_beside_eight_that_hold_for_20_ms: 8 and 1 callers, 20 ms;
    two_hosts_of_32_callers_that_hold_for_1_ms_take_turns: 32 and 32 callers, 1 ms;
    two_hosts_of_32_callers_that_hold_for_5_ms_take_turns: 32 and 32 callers, 5 ms;
    two_hosts_of_32_callers_that_hold_for_20_ms_take_turns: 32 and 32 callers, 20 ms;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_do_not_wait_do_not_starve_one_that_waits_on_another_host() {
    let hosts = Hosts::start().await;
    let hold = Duration::from_millis(5);
    let impatient = hosts.call(0, 4, hold, Duration::ZERO);
    hosts.until_granted(0, 1).await;
    let patient = hosts.call(1, 1, hold, LONG);
    hosts.until_granted(1, 30).await;
    let runs = hosts.longest_runs();
    for callers in [impatient, patient] {
        callers.stop().await;
    }
    assert!(runs[0] <= most(hold), "{runs:?} grants in a row");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_is_gone_keeps_a_hot_name_from_nobody() {
    let hosts = Hosts::start().await;
    let lease = hosts.locks[0].acquire("t", "hot", LONG).await.unwrap();
    let waiter = {
        let locks = hosts.locks[1].clone();
        tokio::spawn(async move { locks.acquire("t", "hot", LONG).await.map(drop) })
    };
    hosts.until_marked().await;
    waiter.abort();
    assert!(waiter.await.unwrap_err().is_cancelled());
    lease.release().await.unwrap();
    // The name is granted again and again, although its mark is still there at first.
    let callers = hosts.call(0, 2, Duration::from_millis(5), LONG);
    hosts.until_granted(0, 100).await;
    callers.stop().await;
    while hosts.mark().is_some() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn who_is_granted_the_name_takes_its_mark_away() {
    let hosts = Hosts::start().await;
    let lease = hosts.locks[0].acquire("t", "hot", LONG).await.unwrap();
    let waiter = {
        let locks = hosts.locks[1].clone();
        tokio::spawn(async move { locks.acquire("t", "hot", LONG).await })
    };
    hosts.until_marked().await;
    lease.release().await.unwrap();
    let lease = waiter.await.unwrap().unwrap();
    assert_eq!(hosts.mark(), None);
    lease.release().await.unwrap();
}

#[tokio::test]
async fn a_name_that_one_host_wants_costs_no_operation_for_fairness() {
    let hosts = Hosts::start().await;
    let gets = |hosts: &Hosts| hosts.server.raw().stat("get_misses").unwrap();
    let before = gets(&hosts);
    for number in 0..200 {
        let lease = hosts.locks[0].acquire("t", &number.to_string(), LONG).await.unwrap();
        lease.release().await.unwrap();
        hosts.locks[1]
            .acquire("t", &number.to_string(), Duration::ZERO)
            .await
            .unwrap()
            .release()
            .await
            .unwrap();
    }
    // A look at a mark that is not there would be a miss.
    assert_eq!(gets(&hosts), before);
}
