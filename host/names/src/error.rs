//! What can go wrong at the edge of this crate.

use std::error::Error;

use namelock_types::LengthError;

use crate::registration::Registration;

/// Why the database could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NamesError {
    /// It does not answer, or not in time.
    #[error("the names database cannot be used: {reason}")]
    Unavailable {
        /// What failed, for a log.
        reason: String,
    },
}

/// Why nothing was written, or is not known to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SaveError {
    /// The name has this active registration.
    #[error("the name is taken")]
    Taken(Box<Registration>),
    /// The lease was over when the write began, or a newer lease has written the name.
    #[error("the lease was lost before the name was written")]
    LeaseLost,
    /// The database does not answer. What was asked may or may not have been done.
    #[error("the names database cannot be used: {reason}")]
    Unavailable {
        /// What failed, for a log.
        reason: String,
    },
    /// What was to be written breaks a rule.
    #[error("{reason}")]
    Invalid {
        /// Which rule.
        reason: String,
    },
}

impl From<LengthError> for SaveError {
    fn from(error: LengthError) -> Self {
        Self::Invalid {
            reason: error.to_string(),
        }
    }
}

impl From<NamesError> for SaveError {
    fn from(error: NamesError) -> Self {
        let NamesError::Unavailable { reason } = error;
        Self::Unavailable { reason }
    }
}

/// Why the database could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL is not one of a names database.
    #[error("cannot use {url:?} as the names database: {reason}")]
    Url {
        /// What was given, without a password.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The server was reached, and cannot be used.
    #[error("cannot use the names database {url}: {problem}")]
    Server {
        /// Which one, without a password.
        url: String,
        /// What is wrong, and how to mend it.
        problem: String,
    },
    /// TLS cannot be set up.
    #[error("cannot set up TLS to the names database: {0}; check names.tls_roots")]
    Tls(String),
    /// A limit has a value that could not work.
    #[error("cannot set up the names database: {0} is 0; it must be at least 1")]
    Config(&'static str),
    /// The file cannot be opened, made or brought up to date.
    #[error("cannot open the names database {path}: {hint}")]
    File {
        /// Which file.
        path: String,
        /// How to mend it.
        hint: String,
        /// What SQLite or the system said.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The file belongs to something else.
    #[error("{path} is a database of another program; name another file")]
    Foreign {
        /// Which file.
        path: String,
    },
    /// The file was written by a newer version of this program.
    #[error(
        "{path} has version {found} of the names database, and this program knows versions up to {known}; use a newer namelock"
    )]
    Newer {
        /// Which file.
        path: String,
        /// Its version.
        found: i64,
        /// What this program knows.
        known: i64,
    },
}
