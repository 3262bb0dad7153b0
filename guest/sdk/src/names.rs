//! The tenant's registrations: find, save, free.

use std::time::Duration;

use crate::{bindings::namelock::registration::names as wit, duration::millis, lease::Lease};

pub use wit::Registration;

/// Finds the active registration of `name`. This needs no lease.
///
/// # Errors
///
/// [`NamesError`] if the database does not answer, or if `name` is not 1 to 255 bytes long.
pub fn find(name: &str) -> Result<Option<Registration>, NamesError> {
    Ok(wit::find(name)?)
}

impl Lease {
    /// Saves a registration of this lease's name. It begins now and lasts `lifetime`; none: without end.
    ///
    /// The registration is durable when this returns. `lifetime` is rounded up to whole milliseconds, and is at most
    /// 100 years; a lifetime of zero is refused.
    ///
    /// # Errors
    ///
    /// [`SaveError::Taken`] if the name has an active registration, as the database decides in the transaction that
    /// writes. The other cases of [`SaveError`] say what prevented the write.
    pub fn save(
        &self,
        owner: &str,
        lifetime: Option<Duration>,
        attributes: &[(String, String)],
    ) -> Result<Registration, SaveError> {
        Ok(wit::save(&self.0, owner, lifetime.map(millis), attributes)?)
    }

    /// Ends the active registration of this lease's name, now. Returns whether there was one.
    ///
    /// # Errors
    ///
    /// [`SaveError`] says what prevented the write; it is never [`SaveError::Taken`].
    pub fn free(&self) -> Result<bool, SaveError> {
        Ok(wit::free(&self.0)?)
    }
}

/// Why the names database could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NamesError {
    /// The database does not answer.
    #[error("the names database does not answer: {reason}")]
    Unavailable {
        /// What failed; meant for the tenant's log.
        reason: String,
    },
    /// The name is empty or longer than 255 bytes.
    #[error("the name is not valid: {reason}")]
    Invalid {
        /// Which of the two it is.
        reason: String,
    },
}

impl From<wit::NamesError> for NamesError {
    fn from(error: wit::NamesError) -> Self {
        match error {
            wit::NamesError::Unavailable(reason) => Self::Unavailable { reason },
            wit::NamesError::Invalid(reason) => Self::Invalid { reason },
        }
    }
}

/// Why nothing was written, or why it is unknown whether something was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SaveError {
    /// The name has this active registration.
    #[error("the name is taken")]
    Taken(Registration),
    /// The lease is lost, or does not last as long as a write may take, or the name has been granted to another holder
    /// since.
    #[error("the lease on the name was lost")]
    LeaseLost,
    /// The database does not answer. The write may or may not have been done.
    #[error("the names database does not answer, and the write may or may not have been done: {reason}")]
    Unavailable {
        /// What failed; meant for the tenant's log.
        reason: String,
    },
    /// The owner, the lifetime or the attributes break a rule.
    #[error("this cannot be saved: {reason}")]
    Invalid {
        /// Which of them, and which rule.
        reason: String,
    },
}

impl From<wit::SaveError> for SaveError {
    fn from(error: wit::SaveError) -> Self {
        match error {
            wit::SaveError::Taken(registration) => Self::Taken(registration),
            wit::SaveError::LeaseLost => Self::LeaseLost,
            wit::SaveError::Unavailable(reason) => Self::Unavailable { reason },
            wit::SaveError::Invalid(reason) => Self::Invalid { reason },
        }
    }
}
