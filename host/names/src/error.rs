//! What can go wrong at the edge of this crate.

use std::error::Error;
use std::time::Duration;

use namelock_types::LengthError;

use crate::quota::QuotaKind;
use crate::registration::Registration;

/// Why the database could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NamesError {
    /// The database does not answer, or not in time.
    #[error("the names database cannot be used: {reason}")]
    Unavailable {
        /// What failed, for a log.
        reason: String,
    },
    /// The tenant's names are not in this database, not yet or no longer.
    #[error("{MOVED}")]
    Moved,
}

/// What is told of a tenant whose names are not in this database.
const MOVED: &str =
    "the tenant's names are in another database, or are being moved to one; list all databases in names.url";

impl NamesError {
    /// Makes the error of a database that does not answer, for this reason.
    pub fn unavailable(reason: impl Into<String>) -> Self {
        Self::Unavailable { reason: reason.into() }
    }
}

/// Why nothing was written, or why it is unknown whether something was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SaveError {
    /// The name has this active registration.
    #[error("the name is taken")]
    Taken(Box<Registration>),
    /// The lease had ended when the write began, or a newer lease has written the name, or the registration is not what was
    /// [`Seen`](crate::Seen) of it. Nothing was written.
    #[error("the lease was lost before the name was written")]
    LeaseLost,
    /// The database does not answer. The write may or may not have been done.
    #[error("the names database cannot be used: {reason}")]
    Unavailable {
        /// What failed, for a log.
        reason: String,
    },
    /// The tenant's names are not in this database, not yet or no longer. Nothing was written.
    #[error("{MOVED}")]
    Moved,
    /// The tenant would keep more than it may.
    #[error("the tenant may not keep more {} in the names database", match .0 {
        QuotaKind::Registrations => "registrations",
        QuotaKind::Bytes => "bytes",
    })]
    Quota(QuotaKind),
    /// The name was another owner's, who alone can take it for a while.
    #[error("the name is held for its last owner for another {} ms", .retry_after.as_millis())]
    Held {
        /// The registration that has ended.
        last: Box<Registration>,
        /// After how long everybody can take it.
        retry_after: Duration,
    },
    /// The same request has succeeded before, with this registration. Nothing was written now.
    #[error("the request was repeated: it has succeeded before")]
    Replayed(Box<Registration>),
    /// Another request that has succeeded had the same key.
    #[error("the key of the request was used for another request; use a new key for each request")]
    KeyReused,
    /// The write breaks a rule.
    #[error("{reason}")]
    Invalid {
        /// Which rule it breaks.
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
        match error {
            NamesError::Unavailable { reason } => Self::Unavailable { reason },
            NamesError::Moved => Self::Moved,
        }
    }
}

/// Why none of several writes was done, or why it is unknown whether they were.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// One of the writes is refused.
    #[error("none of the writes was done, because of the one with index {index}: {error}")]
    Write {
        /// Which one, counted from 0.
        index: usize,
        /// Why it is refused.
        error: SaveError,
    },
    /// One of the writes would change or free a name that has no active registration.
    #[error("none of the writes was done: the one with index {index} is of a name without an active registration")]
    NoRegistration {
        /// Which one, counted from 0.
        index: usize,
    },
    /// All of them together are refused, or the database does not answer.
    #[error(transparent)]
    All(SaveError),
}

impl ApplyError {
    /// Returns why, if it is an error that a single write can have too.
    pub fn save_error(&self) -> Option<&SaveError> {
        match self {
            Self::Write { error, .. } | Self::All(error) => Some(error),
            Self::NoRegistration { .. } => None,
        }
    }
}

impl From<NamesError> for ApplyError {
    fn from(error: NamesError) -> Self {
        Self::All(error.into())
    }
}

/// Why the database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL is not that of a names database.
    #[error("cannot use {url:?} as the names database: {reason}")]
    Url {
        /// The URL, without a password.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The server was reached, but cannot be used.
    #[error("cannot use the names database {url}: {problem}")]
    Server {
        /// Which server, without a password.
        url: String,
        /// What is wrong, and how to fix it.
        problem: String,
    },
    /// TLS cannot be set up.
    #[error("cannot set up TLS to the names database: {0}; check names.tls_roots")]
    Tls(String),
    /// A limit has a value that could not work.
    #[error("cannot set up the names database: {0} is 0; it must be at least 1")]
    Config(&'static str),
    /// The file cannot be opened, created or migrated.
    #[error("cannot open the names database {path}: {hint}")]
    File {
        /// Which file.
        path: String,
        /// How to fix it.
        hint: String,
        /// What SQLite or the operating system reported.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The file belongs to another program.
    #[error("{path} is a database of another program; choose another file")]
    Foreign {
        /// Which file.
        path: String,
    },
    /// The file was written by a newer version of this program.
    #[error(
        "{path} has version {found} of the names database, but this program knows only versions up to {known}; \
         use a newer namelock"
    )]
    Newer {
        /// Which file.
        path: String,
        /// The version of the file.
        found: i64,
        /// The newest version that this program knows.
        known: i64,
    },
}
