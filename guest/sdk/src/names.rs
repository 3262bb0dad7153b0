//! The tenant's registrations: find, save, free.

use std::time::Duration;

use crate::{bindings::namelock::registration::names as wit, duration::millis, lease::Lease};

pub use wit::Registration;

/// Finds the active registration of `name`. It needs no lease.
///
/// # Errors
///
/// [`NamesError`] if the database does not answer or could have no such name.
pub fn find(name: &str) -> Result<Option<Registration>, NamesError> {
    Ok(wit::find(name)?)
}

impl Lease {
    /// Saves a registration of this lease's name, from now, for `lifetime`, or without end.
    ///
    /// What was saved is durable when this returns. Part of a millisecond of `lifetime` counts as a whole one, and a
    /// lifetime of zero is refused.
    ///
    /// # Errors
    ///
    /// [`SaveError::Taken`] if the name has an active registration: the database decides so in the transaction that writes.
    /// Otherwise the [`SaveError`] says what stood in the way.
    pub fn save(
        &self,
        owner: &str,
        lifetime: Option<Duration>,
        attributes: &[(String, String)],
    ) -> Result<Registration, SaveError> {
        Ok(wit::save(&self.0, owner, lifetime.map(millis), attributes)?)
    }

    /// Ends the active registration of this lease's name, now. Tells whether there was one.
    ///
    /// # Errors
    ///
    /// [`SaveError`] says what stood in the way; it is never [`SaveError::Taken`].
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
        /// What failed, for the tenant's log.
        reason: String,
    },
    /// The name is empty or longer than 255 bytes.
    #[error("there is no such name: {reason}")]
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

/// Why nothing was written, or is not known to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SaveError {
    /// The name has this active registration.
    #[error("the name is taken")]
    Taken(Registration),
    /// The lease does not last any more, or the name was granted to somebody else since.
    #[error("the lease on the name was lost")]
    LeaseLost,
    /// The database does not answer. What was asked may or may not have been done.
    #[error("the names database does not answer, and what was asked may or may not be done: {reason}")]
    Unavailable {
        /// What failed, for the tenant's log.
        reason: String,
    },
    /// The owner, the lifetime or the attributes are not ones that can be saved.
    #[error("this cannot be saved: {reason}")]
    Invalid {
        /// Which of them, and why.
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
