//! Lock cycles of this project: a lease on a name that nobody else wants is acquired and released.

use std::time::{Duration, Instant};

use anyhow::Context;
use namelock_lock::{LockConfig, Locks};
use namelock_test_servers::Memcached;

use crate::closed_loop::{Work, closed_loop};

/// The namespace of all locks that are measured.
pub(crate) const NAMESPACE: &str = "bench";

/// How long it may take until locks are granted: a grace period, and a slow machine.
const READY: Duration = Duration::from_secs(60);

/// Opens the locks of a memcached, and waits until they are granted: who has just begun does not know what memcached has
/// granted to others before, and waits until that is over.
pub(crate) async fn open(memcached: &Memcached) -> anyhow::Result<Locks> {
    open_at(&memcached.url()).await
}

/// The same at an address, such as `memcached://127.0.0.1:11211`.
pub(crate) async fn open_at(url: &str) -> anyhow::Result<Locks> {
    open_with(url, LockConfig::default()).await
}

/// The same with limits and files of TLS of its own.
pub(crate) async fn open_with(url: &str, config: LockConfig) -> anyhow::Result<Locks> {
    let locks = Locks::open(&url.parse()?, config)?;
    let granted = async {
        while locks.acquire(NAMESPACE, "first", Duration::ZERO).await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(READY, granted)
        .await
        .context("no lock is granted")?;
    Ok(locks)
}

/// Lets callers lock names of their own for some time.
pub(crate) async fn measure(locks: &Locks, callers: usize, time: Duration) -> anyhow::Result<Work> {
    closed_loop(callers, time, |caller, end| {
        let locks = locks.clone();
        async move {
            let mut times = Vec::new();
            while Instant::now() < end {
                let begin = Instant::now();
                let name = format!("{caller} {}", times.len());
                let lease = locks.acquire(NAMESPACE, &name, Duration::ZERO).await?;
                lease.release().await?;
                times.push(begin.elapsed());
            }
            Ok(times)
        }
    })
    .await
}
