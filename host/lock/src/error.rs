//! What can go wrong at the edge of this crate.

use std::time::Duration;

use namelock_types::LengthError;

/// Why a lease was not granted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AcquireError {
    /// Somebody else holds the name.
    #[error("the name is locked by somebody else; it may be free in {} ms", retry_after.as_millis())]
    Busy {
        /// When it makes sense to try again: from how long leases were held lately, or what is left of the holder's.
        retry_after: Duration,
    },
    /// The lock service cannot answer, or may not grant now.
    #[error("the lock service cannot grant: {reason}")]
    Unavailable {
        /// What failed, for a log.
        reason: String,
        /// When it may grant again, where that is known.
        retry_after: Option<Duration>,
    },
    /// The source of epochs does not answer, so there is no fencing token for a lock: of a server that this host does not know
    /// yet, or the first lock inside this process.
    #[error("there is no epoch for a lock: {reason}")]
    NoEpoch {
        /// What failed, for a log.
        reason: String,
    },
    /// The name cannot be locked.
    #[error(transparent)]
    InvalidName(#[from] LengthError),
    /// The same lock was asked for twice in one call.
    #[error("the name {name:?} is given twice; a call takes each name once")]
    Doubled {
        /// The name that came second.
        name: String,
    },
}

/// Why a lease is not, or is not known to be, held any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// It expired, or the lock service forgot it, or somebody else holds the name now.
    #[error("the lease is gone: it expired, or the lock service forgot it")]
    Gone,
    /// The lock service did not answer; the lease may or may not still be held.
    #[error("the lock service did not answer; the lease may still be held until it expires")]
    Unknown,
}

/// Why the lock service could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL does not name a lock service.
    #[error("cannot use {url:?} as the lock service: {reason}")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A limit has a value that could not work.
    #[error("cannot set up the lock service: {0}")]
    Config(String),
}
