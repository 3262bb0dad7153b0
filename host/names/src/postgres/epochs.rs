//! Epochs of lock servers in a server: see the crate's `epoch`.

use tokio_postgres::Row;

use crate::epoch::{Epochs, NewEpoch};
use crate::error::NamesError;

/// Reads an epoch that was just given.
pub(super) fn new_epoch(row: &Row) -> Result<NewEpoch, NamesError> {
    let read = || -> Result<NewEpoch, tokio_postgres::Error> {
        Ok(NewEpoch {
            epoch: row.try_get::<_, i64>("last")?.cast_unsigned(),
            is_first: row.try_get("is_first")?,
        })
    };
    read().map_err(unreadable)
}

/// Reads what is known of the epochs of a server.
pub(super) fn epochs(row: &Row) -> Result<Epochs, NamesError> {
    let read = || -> Result<Epochs, tokio_postgres::Error> {
        Ok(Epochs {
            greatest: row.try_get("greatest")?,
            first: row.try_get("first")?,
            placed: row.try_get("placed")?,
        })
    };
    read().map_err(unreadable)
}

fn unreadable(error: tokio_postgres::Error) -> NamesError {
    NamesError::unavailable(format!("it returned an epoch that cannot be read: {error}"))
}
