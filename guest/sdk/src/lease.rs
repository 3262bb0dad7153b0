//! The lock on a name: acquire, hold, let go.

use std::time::Duration;

use crate::{
    bindings::namelock::registration::locks as wit,
    duration::{millis, wait_millis},
};

/// Runs `block` while nobody else is at work on `name`, on any machine.
///
/// The lease is released however the block ends: when it returns, also early by `?`, the lease is dropped here. A panic
/// or a trap ends the whole call, and the host releases every lease that the call still held; so it does when the call's
/// time is over.
///
/// `wait` is how long to try while somebody else has the lease: [`Duration::ZERO`] tries once, part of a millisecond counts
/// as a whole one. The host has a limit of its own (`lock.max_wait`), and the wait counts towards the wall time of the call.
/// A name that this very call holds is busy too.
///
/// # Errors
///
/// Whatever `block` answers, or the [`AcquireError`] if it could not be run.
pub fn name_lock<T, E>(name: &str, wait: Duration, block: impl FnOnce(&Lease) -> Result<T, E>) -> Result<T, E>
where
    E: From<AcquireError>,
{
    let lease = acquire(name, wait)?;
    block(&lease)
}

/// Acquires the lease on `name`, 1 to 255 bytes, trying for as long as `wait` as [`name_lock`] does.
///
/// Dropping the lease releases it. Prefer [`name_lock`], which shows where that is.
///
/// # Errors
///
/// [`AcquireError`] tells which of its four cases it is; none of them disturbs whoever holds the name.
pub fn acquire(name: &str, wait: Duration) -> Result<Lease, AcquireError> {
    Ok(Lease(wit::acquire(name, wait_millis(wait))?))
}

/// The right to one name until a deadline. Dropping it releases it.
///
/// It belongs to the host: a handler can hold it and hand it back, never make one. To write a name a handler needs the
/// lease on it: see [`Lease::save`] and [`Lease::free`]. A call that still holds a lease when it is lost is ended there.
#[derive(Debug)]
pub struct Lease(pub(crate) wit::Lease);

impl Lease {
    /// Returns the name, exactly as it was acquired.
    pub fn name(&self) -> String {
        self.0.name()
    }

    /// Returns a number that grows with every grant of this name.
    ///
    /// The names database refuses a write that carries a smaller one than it has seen.
    pub fn fencing_token(&self) -> u64 {
        self.0.fencing_token()
    }

    /// Returns for how much longer the lease provably lasts; zero once it is lost.
    pub fn remaining(&self) -> Duration {
        Duration::from_millis(self.0.remaining_ms())
    }

    /// Makes the lease last its full time again, counted from now, but never beyond the host's `lock.max_hold` after it was acquired.
    ///
    /// # Errors
    ///
    /// [`Lost`] if it is not, or is not known to be, held any more.
    pub fn renew(&self) -> Result<(), Lost> {
        Ok(self.0.renew()?)
    }

    /// Releases the lease, and tells whether it was still held when it ended.
    ///
    /// Dropping it releases it as well. This is for a handler that wants to know.
    ///
    /// # Errors
    ///
    /// [`Lost`] if it was not, or is not known to have been, held to the end.
    pub fn release(self) -> Result<(), Lost> {
        Ok(wit::release(self.0)?)
    }
}

/// Why a lease was not given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AcquireError {
    /// Somebody else holds the name.
    #[error("the name is locked by somebody else; it may be free in {} ms", millis(*retry_after))]
    Busy {
        /// When it may be worth trying again.
        retry_after: Duration,
    },
    /// The lock service cannot answer, or may not grant now.
    #[error("the lock service cannot grant: {reason}")]
    Unavailable {
        /// What failed, for the tenant's log.
        reason: String,
    },
    /// This call holds as many leases as it may.
    #[error("{reason}")]
    Limit {
        /// How many that is.
        reason: String,
    },
    /// The name is empty or longer than 255 bytes.
    #[error("the name cannot be locked: {reason}")]
    InvalidName {
        /// Which of the two it is.
        reason: String,
    },
}

impl From<wit::AcquireError> for AcquireError {
    fn from(error: wit::AcquireError) -> Self {
        match error {
            wit::AcquireError::Busy(ms) => Self::Busy {
                retry_after: Duration::from_millis(ms),
            },
            wit::AcquireError::Unavailable(reason) => Self::Unavailable { reason },
            wit::AcquireError::Limit(reason) => Self::Limit { reason },
            wit::AcquireError::InvalidName(reason) => Self::InvalidName { reason },
        }
    }
}

/// Why a lease is not, or is not known to be, held any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// Its time was over, or the lock service forgot it, or somebody else holds the name now.
    #[error("the lease is gone: its time was over, or the lock service forgot it")]
    Gone,
    /// The lock service did not answer: the lease may or may not still be held.
    #[error("the lock service did not answer; the lease may or may not still be held")]
    Unknown,
}

impl From<wit::Lost> for Lost {
    fn from(lost: wit::Lost) -> Self {
        match lost {
            wit::Lost::Gone => Self::Gone,
            wit::Lost::Unknown => Self::Unknown,
        }
    }
}
