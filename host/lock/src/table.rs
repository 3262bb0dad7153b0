//! What every table of locks can do.
//!
//! A table answers three questions about a key, each with the owner's token as proof. It knows nothing of names, deadlines
//! or waiting; whoever asks measures time. Both tables pass the same tests (`tests/suite.rs`).

use std::sync::Arc;
use std::time::Duration;

use namelock_types::FencingToken;
use tokio::sync::watch;

use crate::config::{LockConfig, LockUrl};
use crate::error::{Lost, OpenError};
use crate::key::LockKey;
use crate::memcached::Memcached;
use crate::memory::Memory;

/// Tells one attempt to take a lock from every other, on any machine.
///
/// It is random, 64 bits, and drawn anew for each attempt, so that finding it in the table proves that this very attempt took
/// the lock, even when the reply was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OwnerToken(pub(crate) u64);

impl OwnerToken {
    pub(crate) fn random() -> Self {
        Self(rand::random())
    }
}

/// A lock that was given.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Grant {
    /// Grows with every grant of a key.
    pub(crate) fencing_token: FencingToken,
    /// How the table finds it again without looking; `None` where it has to look.
    pub(crate) handle: Option<Handle>,
    /// Which life of the table it belongs to: a table that forgets its locks begins another one.
    pub(crate) life: u64,
}

/// The version of an item, as the server process behind one connection counts it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Handle {
    /// The connection over which `cas` came. A compare with `cas` means nothing to another server process, which counts from 1
    /// again, so it is never sent over another connection.
    pub(crate) connection: u64,
    pub(crate) cas: u64,
}

/// What is known of a lock when it is to be given back.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Trace {
    /// It was given.
    Granted(Grant),
    /// It was asked for, when the table was reached over this connection, and the answer is not known.
    Asked { connection: u64 },
}

/// What became of giving a lock back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Release {
    /// It was still ours, and nobody has it now.
    Done,
    /// It was not ours any more, and will not be.
    Gone,
    /// It was asked for and is not there; but the table may still have the request before it.
    NotFound,
    /// The table did not answer.
    Unknown,
}

/// Why a lock was not given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum GrantError {
    /// Somebody else has it, for at most this long where that is known.
    Held { remaining: Option<Duration> },
    /// Nothing was given.
    Unavailable(Refusal),
    /// It may have been given, or may still be: the request was sent and not answered, or the answer cannot be trusted.
    Unknown(Refusal),
}

/// Why the table does not grant now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) reason: String,
    /// When it may grant again, where that is known.
    pub(crate) retry_after: Option<Duration>,
}

impl<T: Into<String>> From<T> for Refusal {
    fn from(reason: T) -> Self {
        Self {
            reason: reason.into(),
            retry_after: None,
        }
    }
}

/// A table of locks. Two kinds exist, and each call goes to one of them, so this is an enum and not a trait.
#[derive(Debug)]
pub(crate) enum Table {
    Memory(Memory),
    Memcached(Memcached),
}

impl Table {
    pub(crate) fn open(url: &LockUrl, config: &Arc<LockConfig>) -> Result<Self, OpenError> {
        config.check()?;
        Ok(match url {
            LockUrl::Memory => Self::Memory(Memory::new(config)),
            LockUrl::Memcached(servers) => Self::Memcached(Memcached::new(servers, config)),
        })
    }

    /// Takes the lock if nobody has it.
    pub(crate) async fn grant(&self, key: &LockKey, token: OwnerToken) -> Result<Grant, GrantError> {
        match self {
            Self::Memory(memory) => memory.grant(key, token),
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

    /// What there is to know of a lock that is about to be asked for.
    pub(crate) fn trace(&self, key: &LockKey) -> Trace {
        Trace::Asked {
            connection: match self {
                Self::Memory(_) => 0,
                Self::Memcached(memcached) => memcached.connection(key),
            },
        }
    }

    /// Tells which life of the table keeps `key` now, and when that changes; none where it never forgets.
    pub(crate) fn life(&self, key: &LockKey) -> Option<watch::Receiver<u64>> {
        match self {
            Self::Memory(_) => None,
            Self::Memcached(memcached) => Some(memcached.life(key)),
        }
    }

    /// Gives the lock back if `token` still has it.
    pub(crate) async fn release(&self, key: &LockKey, token: OwnerToken, trace: Trace) -> Release {
        match self {
            Self::Memory(memory) => memory.release(key, token),
            Self::Memcached(memcached) => memcached.release(key, token, trace).await,
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
