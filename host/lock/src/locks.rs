//! Acquiring: the turn on this host, the attempt, the wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::config::{LockConfig, LockUrl};
use crate::error::{AcquireError, OpenError};
use crate::key::LockKey;
use crate::lease::{Claim, Lease};
use crate::reaper::{self, ReaperMessage};
use crate::table::{GrantError, Table};
use crate::turnstile::{NoTurn, Turnstile};

/// How long a caller sleeps before it asks the table again for a lock that another host holds: at first, and at most.
const RETRY_MIN: Duration = Duration::from_millis(4);
const RETRY_MAX: Duration = Duration::from_millis(250);

/// A holder that has had its lock for longer than this is no longer expected to be as quick as most are.
const SLOW_HOLDER: Duration = Duration::from_secs(1);

/// The lock service of this process. Clones share it.
#[derive(Debug, Clone)]
pub struct Locks {
    shared: Arc<Shared>,
}

/// What leases need of the service that gave them.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) table: Arc<Table>,
    pub(crate) config: Arc<LockConfig>,
    pub(crate) reaper: mpsc::Sender<ReaperMessage>,
    pub(crate) hold: HoldTime,
    turnstile: Arc<Turnstile>,
}

impl Locks {
    /// Sets up the lock service at `url`. It does not wait for a server: until one answers, nothing is granted.
    ///
    /// Must be called within a tokio runtime, which runs the lanes and the reaper.
    ///
    /// # Errors
    ///
    /// A limit that could not work.
    pub fn open(url: &LockUrl, config: LockConfig) -> Result<Self, OpenError> {
        let config = Arc::new(config);
        let table = Arc::new(Table::open(url, &config)?);
        Ok(Self {
            shared: Arc::new(Shared {
                reaper: reaper::spawn(Arc::clone(&table), Arc::clone(&config)),
                table,
                hold: HoldTime::default(),
                turnstile: Turnstile::new(config.waiters),
                config,
            }),
        })
    }

    /// Acquires the lease on `name` in `namespace`, trying for at most `wait`; zero tries once.
    ///
    /// Dropping the future is safe at any point: what it may have taken is released in the background.
    ///
    /// # Errors
    ///
    /// See [`AcquireError`].
    pub async fn acquire(&self, namespace: &str, name: &str, wait: Duration) -> Result<Lease, AcquireError> {
        let shared = &self.shared;
        let key = LockKey::new(namespace, name)?;
        let until = Instant::now() + wait.min(shared.config.max_wait);
        let turn = match shared.turnstile.enter(&key, until).await {
            Ok(turn) => Arc::new(turn),
            Err(NoTurn::Busy { remaining }) => return Err(shared.busy(remaining)),
            Err(NoTurn::Crowded) => {
                return Err(AcquireError::Unavailable {
                    reason: format!(
                        "{} callers wait for a lock already (lock.waiters)",
                        shared.config.waiters
                    ),
                    retry_after: None,
                });
            }
        };
        let mut pause = RETRY_MIN;
        loop {
            let asked = Instant::now();
            let remaining = match Claim::stake(shared, &key, &turn).await {
                Ok(claim) => {
                    #[cfg(feature = "slow-grant")]
                    tokio::time::sleep(Duration::from_millis(400)).await;
                    return Ok(Lease::new(name, trusted_from(asked), claim));
                }
                Err(GrantError::Held { remaining }) => remaining,
                Err(GrantError::Unavailable(refusal) | GrantError::Unknown(refusal)) => {
                    return Err(AcquireError::Unavailable {
                        reason: refusal.reason,
                        retry_after: refusal.retry_after,
                    });
                }
            };
            let now = Instant::now();
            if now >= until {
                return Err(shared.busy(remaining));
            }
            // Jittered, so that the contenders of several hosts do not ask in step.
            let sleep = pause.mul_f64(rand::random_range(0.5..1.0)).min(until - now);
            tokio::time::sleep(remaining.map_or(sleep, |remaining| sleep.min(remaining))).await;
            pause = (pause * 2).min(RETRY_MAX);
        }
    }

    /// Tells whether the lock service answers.
    ///
    /// # Errors
    ///
    /// Why it does not, for an operator.
    pub async fn ready(&self) -> Result<(), String> {
        self.shared.table.ready().await
    }

    /// Waits until every lease that was dropped before this call is released, for at most `within`.
    pub async fn close(&self, within: Duration) {
        let (done, released) = tokio::sync::oneshot::channel();
        let wait = async {
            if self.shared.reaper.send(ReaperMessage::Flush(done)).await.is_ok() {
                // An error means that the reaper is gone, and with it everything that it could still do.
                let _ = released.await;
            }
        };
        if tokio::time::timeout(within, wait).await.is_err() {
            tracing::warn!("some locks are left to expire: they could not be released in time");
        }
    }
}

/// A lease is trusted from the instant before its request was sent: the table may have begun to count at any time after that.
#[cfg(not(feature = "without-early-deadline"))]
fn trusted_from(asked: Instant) -> Instant {
    asked
}

#[cfg(feature = "without-early-deadline")]
fn trusted_from(_asked: Instant) -> Instant {
    Instant::now()
}

impl Shared {
    fn busy(&self, remaining: Option<Duration>) -> AcquireError {
        AcquireError::Busy {
            retry_after: self.hold.retry_after(remaining, &self.config),
        }
    }
}

/// How long leases of this host were held lately, as a moving average, to tell callers when to come again.
#[derive(Debug, Default)]
pub(crate) struct HoldTime {
    micros: AtomicU64,
}

impl HoldTime {
    /// Two records at once may lose one of them, which an estimate can bear.
    pub(crate) fn record(&self, held: Duration) {
        let held = u64::try_from(held.as_micros()).unwrap_or(u64::MAX / 8);
        let before = self.micros.load(Ordering::Relaxed);
        self.micros.store(before - before / 8 + held / 8, Ordering::Relaxed);
    }

    /// When a name that is held may be free: twice the usual time; or, when its holder has already had it for much longer than
    /// usual, what is left until it expires, but no more than a lease. How long it has had it is known of holders whose locks live as
    /// long as ours; of others it is an estimate.
    fn retry_after(&self, remaining: Option<Duration>, config: &LockConfig) -> Duration {
        let usual = Duration::from_micros(self.micros.load(Ordering::Relaxed)) * 2;
        let usual = usual.clamp(Duration::from_millis(10), config.lease.max(Duration::from_millis(10)));
        let full = Duration::from_secs(config.ttl_seconds().into());
        match remaining {
            Some(remaining) if full.saturating_sub(remaining) > usual.max(SLOW_HOLDER) => {
                remaining.clamp(usual, config.lease.max(usual))
            }
            _ => usual,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_to_come_again_is_the_usual_one_until_the_holder_is_slow() {
        let config = LockConfig::default();
        let hold = HoldTime::default();
        assert_eq!(hold.retry_after(None, &config), Duration::from_millis(10));
        for _ in 0..100 {
            hold.record(Duration::from_millis(40));
        }
        let usual = hold.retry_after(None, &config);
        assert!((70..=80).contains(&usual.as_millis()), "{usual:?}");
        assert_eq!(hold.retry_after(Some(Duration::from_secs(13)), &config), usual);
        assert_eq!(
            hold.retry_after(Some(Duration::from_secs(7)), &config),
            Duration::from_secs(7)
        );
        let at_most = hold.retry_after(Some(Duration::from_millis(11_500)), &config);
        assert_eq!(at_most, config.lease);
    }
}
