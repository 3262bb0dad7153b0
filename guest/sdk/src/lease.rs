//! The lock on a name: acquire, renew, release.

use std::time::Duration;

use crate::{
    bindings::namelock::registration::locks as wit,
    duration::{millis, wait_millis},
    host::locks as host,
};

/// Runs `block` under the lock on `name`, which keeps every other call on any machine from working on the name.
///
/// The lease is released however the block ends. When it returns, even early by `?`, the lease is dropped here. A panic
/// or a trap ends the whole call, and the host releases every lease that the call still holds; it does the same when
/// the call's time is up.
///
/// `wait` is how long to try while another call holds the lease, rounded up to whole milliseconds; [`Duration::ZERO`]
/// tries once. The host has a limit of its own (`lock.max_wait`), and the wait counts towards the wall time of the
/// call. A name that this call holds already is busy too.
///
/// # Errors
///
/// Returns the error of `block`, or the [`AcquireError`] if the block was not run.
pub fn name_lock<T, E>(name: &str, wait: Duration, block: impl FnOnce(&Lease) -> Result<T, E>) -> Result<T, E>
where
    E: From<AcquireError>,
{
    let lease = acquire(name, wait)?;
    block(&lease)
}

/// Acquires the lease on `name`, 1 to 255 bytes, trying for at most `wait`, as [`name_lock`] does.
///
/// Dropping the lease releases it. Prefer [`name_lock`], which makes visible where that happens.
///
/// # Errors
///
/// [`AcquireError`] says why the lease was not granted. None of its cases disturbs the current holder of the name.
pub fn acquire(name: &str, wait: Duration) -> Result<Lease, AcquireError> {
    Ok(Lease(host::acquire(name, wait_millis(wait))?))
}

/// Runs `block` under the locks on all of `names`, as [`name_lock`] does for one: with all of them, or not at all. Its
/// leases come in the order of the names.
///
/// The host takes the locks in an order of its own, so calls that take all of their names at once never wait for each
/// other in a circle, in whatever order they give them. What is written under them together is written by
/// [`apply`](crate::apply).
///
/// # Errors
///
/// As those of [`name_lock`]. No name at all, a name that is given twice, and one that this call holds already are
/// [`AcquireError::InvalidName`].
pub fn name_locks<T, E>(names: &[&str], wait: Duration, block: impl FnOnce(&[Lease]) -> Result<T, E>) -> Result<T, E>
where
    E: From<AcquireError>,
{
    let leases = acquire_all(names, wait)?;
    block(&leases)
}

/// Acquires the leases on all of `names`, or on none, trying for at most `wait`, as [`name_locks`] does.
///
/// # Errors
///
/// [`AcquireError`] says why none was granted.
pub fn acquire_all(names: &[&str], wait: Duration) -> Result<Vec<Lease>, AcquireError> {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let leases = host::acquire_all(&names, wait_millis(wait))?;
    Ok(leases.into_iter().map(Lease).collect())
}

/// The right to one name until a deadline. Dropping it releases it.
///
/// It is a resource of the host: a handler can hold it and pass it back, but cannot forge one. A handler needs the
/// lease on a name to write the name: see [`Lease::save`], [`Lease::update`] and [`Lease::free`]. If a lease is lost
/// while a call holds it, the host ends the call at once.
#[derive(Debug)]
pub struct Lease(pub(crate) host::Lease);

impl Lease {
    /// Returns the name, exactly as it was acquired.
    pub fn name(&self) -> String {
        self.0.name()
    }

    /// Returns a number that grows with every grant of this name.
    ///
    /// The names database refuses a write with a smaller number than it has seen for the name.
    pub fn fencing_token(&self) -> u64 {
        self.0.fencing_token()
    }

    /// Returns how much longer the lease is certain to last; zero once it is lost.
    pub fn remaining(&self) -> Duration {
        Duration::from_millis(self.0.remaining_ms())
    }

    /// Extends the lease to its full time, counted from now, but never beyond the host's `lock.max_hold` after it was
    /// acquired.
    ///
    /// # Errors
    ///
    /// [`Lost`] if the lease is no longer held, or if that is unknown.
    pub fn renew(&self) -> Result<(), Lost> {
        Ok(self.0.renew()?)
    }

    /// Releases the lease, and returns whether it was held until now.
    ///
    /// Dropping it releases it too, but reports nothing.
    ///
    /// # Errors
    ///
    /// [`Lost`] if the lease was lost before, or if that is unknown.
    pub fn release(self) -> Result<(), Lost> {
        Ok(host::release(self.0)?)
    }
}

/// Why a lease was not granted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AcquireError {
    /// Another call holds the name, or this one does.
    #[error("the name is locked by another call; it may be free in {} ms", millis(*retry_after))]
    Busy {
        /// How long to wait at least before trying again.
        retry_after: Duration,
    },
    /// The lock service does not answer, or cannot grant a lease safely now.
    #[error("the lock service cannot grant: {reason}")]
    Unavailable {
        /// What failed; meant for the tenant's log.
        reason: String,
    },
    /// This call holds as many leases as `limits.leases` allows.
    #[error("{reason}")]
    Limit {
        /// The text that states the limit.
        reason: String,
    },
    /// A name is empty or longer than 255 bytes. Of several names: there is none, or one is given twice, or this call
    /// holds it already.
    #[error("the name cannot be locked: {reason}")]
    InvalidName {
        /// Which of these it is.
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

/// Why a lease is no longer held, or why it is unknown whether it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// The lease has expired, or the lock service has lost it, or another holder has the name now.
    #[error("the lease is gone: it has expired, or the lock service has lost it")]
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
