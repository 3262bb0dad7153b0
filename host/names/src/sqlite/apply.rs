//! Several writes as one, inside the transaction that commits them with others.

use rusqlite::Transaction;

use crate::error::{ApplyError, SaveError};
use crate::registration::Registration;
use crate::room::Room;
use crate::sqlite::rows::usage;
use crate::sqlite::statements::{ends_not, free, save, update};
use crate::transaction::{WriteOne, Writes, in_given_order};

/// Does all writes, or undoes those that it has done.
pub(super) fn apply(
    tenant: &str,
    writes: Writes,
    transaction: &Transaction<'_>,
    now: i64,
    room: &Room,
) -> Result<Vec<Option<Registration>>, ApplyError> {
    ends_not(transaction)?;
    let run = |sql: &str| {
        transaction
            .execute_batch(sql)
            .map_err(SaveError::from)
            .map_err(ApplyError::All)
    };
    run("SAVEPOINT apply")?;
    let applied = apply_each(tenant, writes, transaction, now, room);
    if applied.is_err() && transaction.is_autocommit() {
        // SQLite has undone the whole transaction.
        return applied;
    }
    if applied.is_err() {
        run("ROLLBACK TO apply")?;
    }
    run("RELEASE apply")?;
    applied
}

fn apply_each(
    tenant: &str,
    writes: Writes,
    transaction: &Transaction<'_>,
    now: i64,
    room: &Room,
) -> Result<Vec<Option<Registration>>, ApplyError> {
    let usage = || usage(transaction, tenant).map_err(|error| ApplyError::All(error.into()));
    let before = usage()?;
    let mut results = Vec::with_capacity(writes.writes.len());
    for (index, write) in writes.writes {
        let refused = |error| ApplyError::Write { index, error };
        let none = || ApplyError::NoRegistration { index };
        let result = match write {
            WriteOne::Save(wish) => Some(save(wish, transaction, now, room).map_err(refused)?),
            WriteOne::Update(wish) => Some(update(&wish, transaction, now).map_err(refused)?.ok_or_else(none)?),
            WriteOne::Free(wish) => {
                if !free(&wish, transaction, now).map_err(refused)? {
                    return Err(none());
                }
                None
            }
        };
        results.push((index, result));
    }
    let quota = before.check(Some(before), usage()?, writes.quota);
    quota.map_err(|kind| ApplyError::All(SaveError::Quota(kind)))?;
    Ok(in_given_order(results))
}
