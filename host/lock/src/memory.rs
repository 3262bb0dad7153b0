//! The table of locks inside one process: memcached's semantics without memcached.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use namelock_types::FencingToken;
use tokio::time::Instant;

use crate::config::LockConfig;
use crate::error::Lost;
use crate::key::LockKey;
use crate::table::{Grant, GrantError, OwnerToken, Release};

/// Locks in a map. One mutex guards it: what is done under it takes well under a microsecond.
#[derive(Debug)]
pub(crate) struct Memory {
    lease: Duration,
    locks_max: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    locks: HashMap<LockKey, Lock>,
    /// The fencing token that was given last. It starts at the nanoseconds since 1970, so that it also grows over restarts of
    /// this process: no process grants a lock every nanosecond. It does not grow where the clock was set back meanwhile; the
    /// names database then refuses to write until it has caught up.
    fencing_token: u64,
}

#[derive(Debug)]
struct Lock {
    token: OwnerToken,
    expires: Instant,
}

impl Memory {
    pub(crate) fn new(config: &LockConfig) -> Self {
        let since_1970 = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            lease: config.lease,
            locks_max: config.memory_locks,
            state: Mutex::new(State {
                locks: HashMap::new(),
                fencing_token: u64::try_from(since_1970.as_nanos()).unwrap_or_default(),
            }),
        }
    }

    pub(crate) fn grant(&self, key: &LockKey, token: OwnerToken) -> Result<Grant, GrantError> {
        let now = Instant::now();
        let mut state = self.state();
        if let Some(held) = state.held(key, now) {
            return Err(GrantError::Held {
                remaining: Some(held.expires - now),
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
        state.fencing_token += 1;
        let expires = now + self.lease;
        state.locks.insert(key.clone(), Lock { token, expires });
        Ok(Grant {
            fencing_token: FencingToken::new(state.fencing_token),
            handle: None,
            life: 0,
        })
    }

    pub(crate) fn renew(&self, key: &LockKey, token: OwnerToken) -> Result<(), Lost> {
        let now = Instant::now();
        match self.state().held(key, now) {
            Some(lock) if lock.token == token => {
                lock.expires = now + self.lease;
                Ok(())
            }
            _ => Err(Lost::Gone),
        }
    }

    pub(crate) fn release(&self, key: &LockKey, token: OwnerToken) -> Release {
        let mut state = self.state();
        match state.held(key, Instant::now()) {
            Some(lock) if lock.token == token => {
                state.locks.remove(key);
                Release::Done
            }
            _ => Release::Gone,
        }
    }

    /// Nothing that holds the mutex can panic half way through a change, so a poisoned one is still sound.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn held(&mut self, key: &LockKey, now: Instant) -> Option<&mut Lock> {
        self.locks.get_mut(key).filter(|lock| lock.expires > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_full_table_refuses_until_a_lock_is_over() {
        let config = LockConfig {
            memory_locks: 2,
            ..LockConfig::default()
        };
        let memory = Memory::new(&config);
        let key = |name| LockKey::new("t", name).unwrap();
        let grant = |name| memory.grant(&key(name), OwnerToken::random());
        grant("a").unwrap();
        tokio::time::advance(Duration::from_secs(1)).await;
        grant("b").unwrap();
        let refused = grant("c").unwrap_err();
        assert!(
            matches!(&refused, GrantError::Unavailable(refusal) if refusal.reason.contains("lock.memory_locks")),
            "{refused:?}"
        );
        assert!(matches!(grant("a"), Err(GrantError::Held { .. })), "it is still held");
        tokio::time::advance(config.lease - Duration::from_secs(1)).await;
        grant("c").unwrap();
        assert!(
            matches!(grant("b"), Err(GrantError::Held { .. })),
            "only what is over makes room"
        );
    }
}
