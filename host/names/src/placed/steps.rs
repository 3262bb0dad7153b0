//! What a mover tells, and why a tenant was not moved.

use namelock_types::error_chain;

use crate::error::{NamesError, OpenError, SaveError};

/// Why a tenant was not moved.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// A database cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A database does not answer.
    #[error("{0}; run the same command again, it goes on from there")]
    Names(#[from] NamesError),
    /// Records could not be put.
    #[error("{0}; nothing is lost: run the same command again, or undo the move with --back")]
    Put(#[from] SaveError),
    /// It cannot be done as asked.
    #[error("{0}")]
    Refused(String),
}

impl From<tokio_postgres::Error> for MoveError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Names(NamesError::unavailable(error_chain(&error)))
    }
}

/// What has just been done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It is written down that the tenant is being moved.
    Recorded,
    /// Nobody else writes the tenant's names.
    Gated,
    /// The target is empty.
    Cleared,
    /// So many records are copied.
    Copied(u64),
    /// All records are the same in both.
    Compared(u64),
    /// The tenant is in the target.
    Switched,
    /// It is served there.
    Opened,
    /// What was left in the source is removed.
    Removed,
    /// The move is undone: the tenant is served where it was.
    Undone,
}
