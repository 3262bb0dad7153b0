//! The table of locks inside one process: memcached's semantics without memcached.
//!
//! Keeps P4: renewing and releasing compare the owner's token, and granting never touches a lock that is held.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::OnceCell;

use crate::clock::{LeaseClock, LeaseInstant};
use crate::config::LockConfig;
use crate::epochs::EpochSource;
use crate::error::Lost;
use crate::fencing::ServerEpoch;
use crate::grant::{Both, Grant, GrantError, HandOver, HeldLock, OwnerToken, ReleaseOutcome, Sight};
use crate::key::LockKey;

/// Locks in a map. One mutex guards it: what is done under it takes well under a microsecond.
#[derive(Debug)]
pub(crate) struct Memory {
    lease: Duration,
    locks_max: usize,
    epochs: Arc<dyn EpochSource>,
    /// Begins with the first lock.
    epoch: OnceCell<ServerEpoch>,
    clock: Arc<LeaseClock>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    locks: HashMap<LockKey, Lock>,
    /// How many locks were granted in this epoch, which numbers the next fencing token.
    grants: u64,
}

#[derive(Debug)]
struct Lock {
    token: OwnerToken,
    expires: LeaseInstant,
}

impl Memory {
    pub(crate) fn new(config: &LockConfig, clock: Arc<LeaseClock>, epochs: &Arc<dyn EpochSource>) -> Self {
        Self {
            lease: config.lease,
            locks_max: config.memory_locks,
            epochs: Arc::clone(epochs),
            epoch: OnceCell::new(),
            clock,
            state: Mutex::default(),
        }
    }

    pub(crate) async fn grant(&self, key: &LockKey, token: OwnerToken) -> Result<Grant, GrantError> {
        let epoch = self.epoch.get_or_try_init(|| self.begin_epoch()).await?;
        self.grant_in(*epoch, key, token)
    }

    async fn begin_epoch(&self) -> Result<ServerEpoch, GrantError> {
        match self.epochs.begin("memory:").await {
            Ok(new) => Ok(ServerEpoch::from_sentinel(new.epoch)),
            Err(reason) => Err(GrantError::NoEpoch(reason)),
        }
    }

    fn grant_in(&self, epoch: ServerEpoch, key: &LockKey, token: OwnerToken) -> Result<Grant, GrantError> {
        let now = self.clock.now();
        let mut state = self.state.lock();
        if let Some(held) = state.held(key, now) {
            return Err(GrantError::Held {
                remaining: Some(held.expires.saturating_duration_since(now)),
            });
        }
        if state.locks.len() >= self.locks_max && !state.locks.contains_key(key) {
            // Locks that nobody released have expired by now, or this table is really full.
            state.locks.retain(|_, lock| lock.expires > now);
            if state.locks.len() >= self.locks_max {
                let reason = format!(
                    "all {} locks of this process are held; raise lock.memory_locks",
                    self.locks_max
                );
                return Err(GrantError::Unavailable(reason.into()));
            }
        }
        state.grants += 1;
        let expires = now + self.lease;
        state.locks.insert(key.clone(), Lock { token, expires });
        Ok(Grant {
            fencing_token: epoch.token(state.grants),
            epochs: Both::one(epoch),
            versions: Both::one(None),
        })
    }

    pub(crate) fn renew(&self, key: &LockKey, token: OwnerToken) -> Result<(), Lost> {
        let now = self.clock.now();
        match self.state.lock().held(key, now) {
            Some(lock) if lock.token == token => {
                lock.expires = now + self.lease;
                Ok(())
            }
            _ => Err(Lost::Gone),
        }
    }

    pub(crate) fn hand_over(&self, key: &LockKey, token: OwnerToken, grant: &Grant, next: OwnerToken) -> HandOver {
        let now = self.clock.now();
        let mut state = self.state.lock();
        let grants = state.grants + 1;
        match state.held(key, now) {
            Some(lock) if lock.token == token => {
                *lock = Lock {
                    token: next,
                    expires: now + self.lease,
                };
                state.grants = grants;
                HandOver::Done(Grant {
                    fencing_token: grant.epochs.first.token(grants),
                    ..*grant
                })
            }
            _ => HandOver::Gone,
        }
    }

    pub(crate) fn sight(&self, key: &LockKey) -> Sight {
        let now = self.clock.now();
        let mut state = self.state.lock();
        let held = state.held(key, now).map(|lock| HeldLock {
            cas: lock.token.get(),
            remaining: Some(lock.expires.saturating_duration_since(now)),
        });
        Sight { held, mark: None }
    }

    pub(crate) fn release(&self, key: &LockKey, token: OwnerToken) -> ReleaseOutcome {
        let mut state = self.state.lock();
        match state.held(key, self.clock.now()) {
            Some(lock) if lock.token == token => {
                state.locks.remove(key);
                ReleaseOutcome::Released
            }
            _ => ReleaseOutcome::Gone,
        }
    }
}

impl State {
    fn held(&mut self, key: &LockKey, now: LeaseInstant) -> Option<&mut Lock> {
        self.locks.get_mut(key).filter(|lock| lock.expires > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::epochs::OwnEpochs;

    // Shows P6: the table does not grow without end.
    #[tokio::test(start_paused = true)]
    async fn a_full_table_refuses_until_a_lock_expires() {
        let config = LockConfig {
            memory_locks: 2,
            ..LockConfig::default()
        };
        let epochs: Arc<dyn EpochSource> = Arc::new(OwnEpochs::default());
        let memory = Memory::new(&config, LeaseClock::of_test(), &epochs);
        let key = |name| LockKey::new("t", name).unwrap();
        let grant = async |name| memory.grant(&key(name), OwnerToken::random()).await;
        grant("a").await.unwrap();
        tokio::time::advance(Duration::from_secs(1)).await;
        grant("b").await.unwrap();
        let refused = grant("c").await.unwrap_err();
        assert!(
            matches!(&refused, GrantError::Unavailable(refusal) if refusal.reason.contains("lock.memory_locks")),
            "{refused:?}"
        );
        assert!(
            matches!(grant("a").await, Err(GrantError::Held { .. })),
            "it is still held"
        );
        tokio::time::advance(config.lease - Duration::from_secs(1)).await;
        grant("c").await.unwrap();
        assert!(
            matches!(grant("b").await, Err(GrantError::Held { .. })),
            "only the lock that expired makes room"
        );
    }
}
