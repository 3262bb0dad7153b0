//! Callers of one name.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use namelock_lock::{AcquireError, Locks};

use super::{CALLERS, NAME};
use crate::closed_loop::{Work, closed_loop};
use crate::contest::Contestant;
use crate::cycles::NAMESPACE;
use crate::idiom::REFUSED;

/// Callers of some hosts, each of which has as many as the others. A time is how long it took from asking to the grant.
pub(super) struct Callers {
    hosts: Vec<Locks>,
    wait: Duration,
}

impl Callers {
    /// Each waits for so long; zero: it tries once.
    pub(super) fn of(hosts: &[Locks], wait: Duration) -> Self {
        Self {
            hosts: hosts.to_vec(),
            wait,
        }
    }
}

#[async_trait]
impl Contestant for Callers {
    async fn work(&mut self, time: Duration) -> anyhow::Result<Work> {
        let refused = Arc::new(AtomicU64::new(0));
        let wait = self.wait;
        let mut work = closed_loop(CALLERS, time, |caller, end| {
            let locks = self.hosts[caller % self.hosts.len()].clone();
            let refused = Arc::clone(&refused);
            async move {
                let mut times = Vec::new();
                while Instant::now() < end {
                    let asked = Instant::now();
                    match locks.acquire(NAMESPACE, NAME, wait).await {
                        Ok(lease) => {
                            times.push(asked.elapsed());
                            lease.release().await?;
                        }
                        Err(AcquireError::Busy { .. }) => {
                            refused.fetch_add(1, Relaxed);
                            // A host that knows who has the name refuses without waiting for anything, and the others
                            // have to have their turn.
                            tokio::task::yield_now().await;
                        }
                        Err(error) => return Err(error.into()),
                    }
                }
                Ok(times)
            }
        })
        .await?;
        work.also
            .insert(REFUSED, refused.load(Relaxed) as f64 / work.took.as_secs_f64());
        Ok(work)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cycles;

    #[tokio::test(flavor = "multi_thread")]
    async fn who_waits_is_granted_the_name_and_who_does_not_is_refused_too() {
        let hosts = [cycles::open_at("memory:").await.unwrap()];
        for (wait, is_refused) in [(Duration::from_secs(30), false), (Duration::ZERO, true)] {
            let work = Callers::of(&hosts, wait).work(Duration::from_millis(50)).await.unwrap();
            assert_eq!(work.also[REFUSED] > 0.0, is_refused, "{wait:?}");
            assert!(!work.times.is_empty());
        }
    }
}
