//! Acquires a lease: the turn on this host, the attempt, the wait for other hosts.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::claim::{Claim, Handed};
use crate::clock::{LeaseClock, LeaseInstant};
use crate::config::LockConfig;
use crate::epochs::{EpochSource, OwnEpochs};
use crate::error::{AcquireError, OpenError};
use crate::fairness::Step;
use crate::figures::Figures;
use crate::grant::{GrantError, Mark, MarkChange};
use crate::held::{HeldLease, Holder};
use crate::key::LockKey;
use crate::lease::Lease;
use crate::local_queue::{NoTurn, Turn};
use crate::reaper::ReaperMessage;
use crate::shared::Shared;
use crate::url::LockUrl;
use namelock_types::{Safety, is_removed, milliseconds};

/// How long a caller pauses at least before it looks again at a lock that may expire at any moment.
const PAUSE_MIN: Duration = Duration::from_millis(2);

/// The lock service of this process. Clones share it, and act for the same holder.
#[derive(Debug, Clone)]
pub struct Locks {
    pub(crate) shared: Arc<Shared>,
    pub(crate) holder: Option<Holder>,
}

impl Locks {
    /// Sets up the lock service at `url` for a process that is alone: see [`open_with`](Self::open_with).
    ///
    /// What a memcached had granted before, such a process cannot know. So it waits for a grace period
    /// ([`LockConfig::grace`]) before a memcached grants whose sentinel is younger than that.
    ///
    /// # Errors
    ///
    /// A limit that could not work.
    pub fn open(url: &LockUrl, config: LockConfig) -> Result<Self, OpenError> {
        Self::open_with(url, config, Arc::new(OwnEpochs::default()))
    }

    /// Sets up the lock service at `url`, with fencing tokens of the epochs that `epochs` gives. All hosts of a fleet
    /// share their memory of epochs.
    ///
    /// It does not wait for a server: until one answers, nothing is granted.
    ///
    /// Must be called within a tokio runtime, which runs the lanes and the reaper.
    ///
    /// # Errors
    ///
    /// A limit that could not work.
    pub fn open_with(url: &LockUrl, config: LockConfig, epochs: Arc<dyn EpochSource>) -> Result<Self, OpenError> {
        let shared = Shared::open(url, config, LeaseClock::start(), &epochs)?;
        Ok(Self { shared, holder: None })
    }

    /// The same lock service, for a caller whose leases are seen as this holder's.
    #[must_use]
    pub fn acting_for(&self, holder: Holder) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            holder: Some(holder),
        }
    }

    pub(crate) fn holder(&self) -> Option<&Holder> {
        self.holder.as_ref()
    }

    /// Acquires the lease on `name` in `namespace`, trying for at most `wait`; zero tries once.
    ///
    /// Dropping the future is safe at any point: what it may have taken is released in the background.
    ///
    /// # Errors
    ///
    /// See [`AcquireError`].
    pub async fn acquire(&self, namespace: &str, name: &str, wait: Duration) -> Result<Lease, AcquireError> {
        let began = Instant::now();
        let answer = self.acquire_once(namespace, name, wait).await;
        self.shared.counts.asked(began.elapsed(), answer)
    }

    async fn acquire_once(&self, namespace: &str, name: &str, wait: Duration) -> Result<Lease, AcquireError> {
        let key = LockKey::new(namespace, name)?;
        let until = Instant::now() + wait.min(self.shared.config.max_wait);
        let (turn, handed) = self.wait_turn(&key, until).await?;
        if let Some(handed) = handed
            && let Some(lease) = self.take_over(name, &key, &turn, handed).await
        {
            return Ok(lease);
        }
        self.acquire_in_turn(name, &key, &turn, until).await
    }

    /// Acquires the lease of a caller that has the turn among those of this host.
    pub(crate) async fn acquire_in_turn(
        &self,
        name: &str,
        key: &LockKey,
        turn: &Arc<Turn>,
        until: Instant,
    ) -> Result<Lease, AcquireError> {
        let fairness = &self.shared.fairness;
        let mut step = if fairness.must_look(key, Instant::now()) {
            self.look(key, until).await
        } else {
            Step::Take { mark: None }
        };
        let mut looks = 0;
        loop {
            let remaining = match step {
                Step::Take { mark } => match self.take(name, key, turn, mark).await {
                    Ok(lease) => return Ok(lease),
                    Err(GrantError::Held { remaining }) => remaining,
                    Err(error) => return Err(self.refused(error)),
                },
                Step::Wait { remaining, .. } => remaining,
            };
            let now = Instant::now();
            if now >= until {
                return Err(self.busy(remaining));
            }
            let pause = fairness.pause(key, looks, now).min(until - now);
            tokio::time::sleep(remaining.map_or(pause, |remaining| pause.min(remaining.max(PAUSE_MIN)))).await;
            looks += 1;
            step = self.look(key, until).await;
        }
    }

    /// What the locks of this process have counted.
    pub fn figures(&self) -> Figures {
        let shared = &self.shared;
        shared.counts.figures(
            shared.held.count(),
            shared.local_queue.waiting(),
            shared.table.figures(),
        )
    }

    /// The leases that callers of this process hold, the oldest first, at most `limit` of them.
    pub fn held(&self, limit: usize) -> Vec<HeldLease> {
        let shared = &self.shared;
        let waiting = |key: &LockKey| shared.local_queue.waiting_for(key);
        shared.held.oldest(limit, &shared.clock, waiting)
    }

    /// Ends the lease of this number, as if it had expired: its holder hears that it is lost, and then gives the lock back.
    /// False: nobody holds it.
    pub fn end_lease(&self, id: u64) -> bool {
        self.shared.held.end(id, &self.shared.clock)
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
            tracing::warn!(
                within_ms = milliseconds(within),
                "some locks are left to expire: they could not be released in time"
            );
        }
    }

    /// Asks for the lock once, and takes this mark of ours away in the same batch.
    pub(crate) async fn take(
        &self,
        name: &str,
        key: &LockKey,
        turn: &Arc<Turn>,
        mark: Option<Mark>,
    ) -> Result<Lease, GrantError> {
        let shared = &self.shared;
        let asked = shared.clock.now();
        let remove = mark.map(|mark| MarkChange::Remove(mark.version));
        let (answer, ()) = tokio::join!(Claim::try_acquire(shared, key, turn), self.change_mark(key, remove));
        match answer {
            Ok((claim, grant)) => {
                shared.fairness.granted(key, Instant::now());
                if is_removed(Safety::PromptGrant) {
                    tokio::time::sleep(Duration::from_millis(400)).await;
                }
                Ok(Lease::new(
                    (name, self.holder()),
                    trusted_from(asked, &shared.clock),
                    claim,
                    grant,
                ))
            }
            Err(error) => {
                if matches!(error, GrantError::Held { .. }) {
                    shared.fairness.refused(key, Instant::now());
                    // Somebody was quicker, and must find the mark at the end of its run.
                    self.change_mark(key, mark.map(|mark| MarkChange::Leave(mark.place)))
                        .await;
                }
                Err(error)
            }
        }
    }

    /// Looks at the lock, and decides what to do. A host whose caller still waits leaves its mark.
    async fn look(&self, key: &LockKey, until: Instant) -> Step {
        let Some(sight) = self.shared.table.sight(key).await else {
            // Why that is, the table says when it is asked for the lock.
            return Step::Take { mark: None };
        };
        let now = Instant::now();
        let step = self.shared.fairness.decide(key, &sight, now < until, now);
        if let Step::Wait { change, .. } = step {
            self.change_mark(key, change).await;
        }
        step
    }

    async fn change_mark(&self, key: &LockKey, change: Option<MarkChange>) {
        if let Some(change) = change {
            self.shared.table.change_mark(key, change).await;
        }
    }

    /// Waits for the turn at `key` among the callers of this host. With it may come the lock, from the caller before.
    pub(crate) async fn wait_turn(
        &self,
        key: &LockKey,
        until: Instant,
    ) -> Result<(Arc<Turn>, Option<Handed>), AcquireError> {
        match self.shared.local_queue.wait_turn(key, until).await {
            Ok(turn) => {
                let handed = turn.take_left();
                Ok((Arc::new(turn), handed))
            }
            Err(NoTurn::Busy { remaining }) => Err(self.busy(remaining)),
            Err(NoTurn::Full) => Err(AcquireError::Unavailable {
                reason: format!(
                    "{} callers wait for a lock already; raise lock.waiters",
                    self.shared.config.waiters
                ),
                retry_after: None,
            }),
        }
    }

    pub(crate) fn busy(&self, remaining: Option<Duration>) -> AcquireError {
        AcquireError::Busy {
            retry_after: self.shared.hold_time.retry_after(remaining, &self.shared.config),
        }
    }

    /// What a caller is told that does not wait, or not for this.
    pub(crate) fn refused(&self, error: GrantError) -> AcquireError {
        match error {
            GrantError::Held { remaining } => self.busy(remaining),
            GrantError::NoEpoch(reason) => AcquireError::NoEpoch { reason },
            GrantError::Unavailable(refusal) | GrantError::Unknown(refusal) => AcquireError::Unavailable {
                reason: refusal.reason,
                retry_after: refusal.retry_after,
            },
        }
    }
}

/// The instant from which a lease is trusted.
// Keeps P5: the table may have begun to count at any time after it was asked, so trust begins before that.
pub(crate) fn trusted_from(asked: LeaseInstant, clock: &LeaseClock) -> LeaseInstant {
    if is_removed(Safety::EarlyDeadline) {
        clock.now()
    } else {
        asked
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::url::MemcachedUrl;

    #[tokio::test]
    async fn a_shared_namespace_has_one_memcached() {
        let open = |servers: &[&str], shared_with_idiom| {
            let url = LockUrl::Memcached(MemcachedUrl::plain(servers.iter().copied()));
            let config = LockConfig {
                shared_with_idiom,
                ..LockConfig::default()
            };
            Locks::open(&url, config).map(drop).map_err(|error| error.to_string())
        };
        assert_eq!(open(&["a:1"], true), Ok(()));
        assert_eq!(open(&["a:1", "b:1"], false), Ok(()));
        let error = open(&["a:1", "b:1"], true).unwrap_err();
        assert!(error.contains("share no namespace (lock.shared_namespace)"), "{error}");
    }

    // Shows P6: the queue of releases has a limit, and what is over it does no harm.
    #[tokio::test(start_paused = true)]
    async fn a_release_over_the_reaper_queue_limit_is_left_to_expire() {
        let config = LockConfig {
            reaper_queue: 1,
            ..LockConfig::default()
        };
        let locks = Locks::open(&"memory:".parse().unwrap(), config.clone()).unwrap();
        let acquire = async |name| locks.acquire("t", name, Duration::ZERO).await;
        let leases = (acquire("a").await.unwrap(), acquire("b").await.unwrap());
        // The reaper does nothing before this task waits.
        drop(leases);
        locks.close(Duration::from_secs(1)).await;
        acquire("a").await.unwrap();
        acquire("b").await.unwrap_err();
        tokio::time::advance(config.lease).await;
        acquire("b").await.unwrap();
    }

    fn in_memory(clock: &Arc<LeaseClock>) -> Locks {
        let epochs: Arc<dyn EpochSource> = Arc::new(OwnEpochs::default());
        let shared = Shared::open(&LockUrl::Memory, LockConfig::default(), Arc::clone(clock), &epochs);
        Locks {
            shared: shared.unwrap(),
            holder: None,
        }
    }

    // Shows P5: a lease is not trusted after a suspend in which its lock may have expired.
    #[tokio::test(start_paused = true)]
    async fn a_lease_ends_while_the_machine_is_suspended() {
        let clock = LeaseClock::of_test();
        let locks = in_memory(&clock);
        let mut lease = locks.acquire("t", "a", Duration::ZERO).await.unwrap();
        let (begin, deadline) = (Instant::now(), lease.deadline());
        clock.suspend(Duration::from_secs(4));
        assert_eq!(lease.remaining(), Duration::from_secs(6));
        assert_eq!(lease.deadline(), deadline - Duration::from_secs(4));

        lease.renew().await.unwrap();
        assert_eq!(lease.remaining(), Duration::from_secs(10));
        clock.suspend(Duration::from_secs(13));
        assert_eq!(
            (lease.remaining(), lease.renew().await),
            (Duration::ZERO, Err(crate::Lost::Gone))
        );
        assert_eq!(
            begin.elapsed(),
            Duration::ZERO,
            "no time has passed by the monotonic clock"
        );
        locks.acquire("t", "a", Duration::ZERO).await.unwrap();
    }

    // Shows P5: whoever must not run on past the end of a lease is told within a second of a suspend.
    #[tokio::test(start_paused = true)]
    async fn who_waits_for_the_end_of_a_lease_is_woken_when_a_suspend_has_ended_it() {
        let clock = LeaseClock::of_test();
        let locks = in_memory(&clock);
        let lease = locks.acquire("t", "a", Duration::ZERO).await.unwrap();
        let begin = Instant::now();
        let lost = tokio::spawn(lease.end().lost());
        tokio::time::sleep(Duration::from_millis(2500)).await;
        clock.suspend(Duration::from_secs(3600));
        lost.await.unwrap();
        assert!(begin.elapsed() <= Duration::from_millis(3500), "{:?}", begin.elapsed());
        assert_eq!(lease.remaining(), Duration::ZERO);
    }
}
