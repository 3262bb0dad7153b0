//! Passes each call to the table of locks in use.
//!
//! A table is asked four things about a key, each with the owner's token as proof: grant, renew, hand over, release. Beside
//! that it shows which host waits for a key. It knows nothing of names, deadlines or waiting; its caller measures time. Both
//! tables pass the same tests (`tests/suite.rs`).

use std::sync::Arc;

use tokio::sync::watch;

use crate::clock::LeaseClock;
use crate::config::LockConfig;
use crate::epochs::EpochSource;
use crate::error::{Lost, OpenError};
use crate::fencing::ServerEpoch;
use crate::figures::ServerFigures;
use crate::grant::{Attempt, Both, Grant, GrantError, HandOver, MarkChange, OwnerToken, ReleaseOutcome, Sight};
use crate::key::LockKey;
use crate::memcached::Memcached;
use crate::memory::Memory;
use crate::url::LockUrl;

/// A table of locks. There are two kinds, and each call goes to one of them, so this is an enum and not a trait.
#[derive(Debug)]
pub(crate) enum Table {
    Memory(Memory),
    Memcached(Memcached),
}

impl Table {
    pub(crate) fn open(
        url: &LockUrl,
        config: &Arc<LockConfig>,
        clock: &Arc<LeaseClock>,
        epochs: &Arc<dyn EpochSource>,
    ) -> Result<Self, OpenError> {
        config.check(url)?;
        Ok(match url {
            LockUrl::Memory => Self::Memory(Memory::new(config, Arc::clone(clock), epochs)),
            LockUrl::Memcached(url) => Self::Memcached(Memcached::open(url, config, clock, epochs)?),
        })
    }

    /// What was counted of each server.
    pub(crate) fn figures(&self) -> Vec<ServerFigures> {
        match self {
            Self::Memory(_) => Vec::new(),
            Self::Memcached(memcached) => memcached.figures(),
        }
    }

    /// Takes the lock if nobody has it.
    pub(crate) async fn grant(&self, key: &LockKey, token: OwnerToken) -> Result<Grant, GrantError> {
        match self {
            Self::Memory(memory) => memory.grant(key, token).await,
            Self::Memcached(memcached) => memcached.grant(key, token).await,
        }
    }

    /// Makes the lock last its full time again if `token` still has it.
    pub(crate) async fn renew(&self, key: &LockKey, token: OwnerToken, grant: &mut Grant) -> Result<(), Lost> {
        match self {
            Self::Memory(memory) => memory.renew(key, token),
            Self::Memcached(memcached) => memcached.renew(key, token, grant).await,
        }
    }

    /// Gives the lock back if `token` still has it.
    pub(crate) async fn release(&self, key: &LockKey, token: OwnerToken, attempt: Attempt) -> ReleaseOutcome {
        match self {
            Self::Memory(memory) => memory.release(key, token),
            Self::Memcached(memcached) => memcached.release(key, token, attempt).await,
        }
    }

    /// Hands the lock that was granted to `token` on to `next`, for its full time, if `token` still has it.
    pub(crate) async fn hand_over(
        &self,
        key: &LockKey,
        token: OwnerToken,
        grant: &Grant,
        next: OwnerToken,
    ) -> HandOver {
        match self {
            Self::Memory(memory) => memory.hand_over(key, token, grant, next),
            Self::Memcached(memcached) => memcached.hand_over(key, grant, next).await,
        }
    }

    /// Looks who has the lock, and which host waits for it; none when the table does not tell.
    pub(crate) async fn sight(&self, key: &LockKey) -> Option<Sight> {
        match self {
            Self::Memory(memory) => Some(memory.sight(key)),
            Self::Memcached(memcached) => memcached.sight(key).await,
        }
    }

    /// Changes the mark of the hosts that wait for a lock. Nothing depends on it but who is next, so what becomes of it
    /// is not told.
    pub(crate) async fn change_mark(&self, key: &LockKey, change: MarkChange) {
        match self {
            // No other host waits here.
            Self::Memory(_) => {}
            Self::Memcached(memcached) => memcached.change_mark(key, change).await,
        }
    }

    /// Describes an attempt at `key` that is about to be made.
    pub(crate) fn begin_attempt(&self, key: &LockKey) -> Attempt {
        Attempt::Asked {
            connections: match self {
                Self::Memory(_) => Both::one(None),
                Self::Memcached(memcached) => memcached.connection(key),
            },
        }
    }

    /// Tells in which epoch the table keeps `key` now, and when that changes; none where it never forgets.
    pub(crate) fn epoch(&self, key: &LockKey) -> Option<Both<watch::Receiver<Option<ServerEpoch>>>> {
        match self {
            Self::Memory(_) => None,
            Self::Memcached(memcached) => Some(memcached.epoch(key)),
        }
    }

    /// Tells whether the table answers.
    pub(crate) async fn ready(&self) -> Result<(), String> {
        match self {
            Self::Memory(_) => Ok(()),
            Self::Memcached(memcached) => memcached.ready().await,
        }
    }
}
