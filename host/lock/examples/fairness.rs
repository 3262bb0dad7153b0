//! Measures how two hosts share one name: `cargo run --release --package namelock-lock --example fairness`.
//!
//! Each caller wants the name again as soon as it has released it. What one host had of the grants, and the longest
//! that a caller waited, stand beside the bound that `fairness` in this crate states. Ends with an error when somebody
//! waited longer.

#![expect(clippy::unwrap_used, reason = "a measurement fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use namelock_lock::{LockConfig, Locks};
use namelock_test_servers::Memcached;
use tokio::task::JoinSet;

const TIME: Duration = Duration::from_secs(10);
const WAIT: Duration = Duration::from_secs(30);
const HOLDS_MS: [u64; 3] = [1, 5, 20];
const CALLERS: [[usize; 2]; 2] = [[8, 1], [32, 32]];

/// The constants of the bound, from the documentation of `fairness`.
const RUN: Duration = Duration::from_millis(100);
const HOSTS: u32 = 2;

/// One grant.
#[derive(Debug, Clone, Copy)]
struct Grant {
    host: usize,
    asked: Instant,
    granted: Instant,
    released: Instant,
}

#[tokio::main]
async fn main() {
    println!("callers | hold   | host | grants | share | longest wait | bound    | longest run | longest change");
    let mut broken = false;
    for callers in CALLERS {
        for hold in HOLDS_MS.map(Duration::from_millis) {
            let mut grants = measure(callers, hold).await;
            grants.sort_by_key(|grant| grant.granted);
            for (host, callers_here) in callers.into_iter().enumerate() {
                let here = || grants.iter().filter(|grant| grant.host == host);
                let wait = here()
                    .map(|grant| grant.granted - grant.asked)
                    .max()
                    .unwrap_or_default();
                let bound = bound(&grants, callers_here);
                broken |= wait > bound;
                println!(
                    "{:>3}+{:<3} | {:>3} ms | {host:>4} | {:>6} | {:>4.0}% | {:>9} ms | {:>5} ms | {:>8} ms | {:>11} ms",
                    callers[0],
                    callers[1],
                    hold.as_millis(),
                    here().count(),
                    100.0 * here().count() as f64 / grants.len() as f64,
                    wait.as_millis(),
                    bound.as_millis(),
                    longest_run(&grants, host).as_millis(),
                    longest_change(&grants, host).as_millis(),
                );
            }
        }
    }
    assert!(!broken, "somebody waited longer than the bound");
}

/// The longest that the last of so many callers of a host may wait.
fn bound(grants: &[Grant], callers: usize) -> Duration {
    // From one grant to the next one of the same host.
    let cycles = grants
        .windows(2)
        .filter(|pair| pair[0].host == pair[1].host)
        .map(|pair| pair[1].granted - pair[0].granted);
    let hold = cycles.max().unwrap_or_default();
    let patience =
        (hold / 4).clamp(Duration::from_millis(10), Duration::from_millis(250)) * 2 + Duration::from_millis(10);
    let own = hold * u32::try_from(callers).unwrap();
    let interruptions = 1 + u32::try_from(own.as_micros() / RUN.as_micros()).unwrap();
    own + ((RUN + hold) * (HOSTS - 1) + patience * HOSTS) * interruptions
}

/// The longest from a host's first grant in a row to its last release.
fn longest_run(grants: &[Grant], host: usize) -> Duration {
    let runs = grants.chunk_by(|a, b| a.host == b.host);
    let own = runs.filter(|run| run[0].host == host);
    own.map(|run| run[run.len() - 1].released - run[0].granted)
        .max()
        .unwrap_or_default()
}

/// The longest that nobody had the name before this host had it after the other one.
fn longest_change(grants: &[Grant], host: usize) -> Duration {
    let changes = grants
        .windows(2)
        .filter(|pair| pair[0].host != host && pair[1].host == host);
    changes
        .map(|pair| pair[1].granted.saturating_duration_since(pair[0].released))
        .max()
        .unwrap_or_default()
}

/// Lets the callers of two hosts want one name for a while.
async fn measure(callers: [usize; 2], hold: Duration) -> Vec<Grant> {
    let server = Memcached::start();
    let stop = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    for (host, callers) in callers.into_iter().enumerate() {
        let locks = Locks::open(&server.url().parse().unwrap(), LockConfig::default()).unwrap();
        locks.acquire("t", "warm", WAIT).await.unwrap().release().await.unwrap();
        for _ in 0..callers {
            let (locks, stop) = (locks.clone(), Arc::clone(&stop));
            tasks.spawn(async move {
                let mut grants = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let asked = Instant::now();
                    let lease = locks.acquire("t", "hot", WAIT).await.unwrap();
                    let granted = Instant::now();
                    tokio::time::sleep(hold).await;
                    lease.release().await.unwrap();
                    grants.push(Grant {
                        host,
                        asked,
                        granted,
                        released: Instant::now(),
                    });
                }
                grants
            });
        }
    }
    tokio::time::sleep(TIME).await;
    stop.store(true, Ordering::Relaxed);
    let mut grants = Vec::new();
    while let Some(done) = tasks.join_next().await {
        grants.extend(done.unwrap());
    }
    grants
}
