//! The one thread that writes.
//!
//! # The transaction that writes
//!
//! 1. `BEGIN IMMEDIATE` takes the write lock, waiting for other processes. From here on nobody else can write.
//! 2. The clock is read, by SQLite, once for the whole batch: whatever the batch creates or ends, it does at this instant.
//! 3. Each write whose lease still lasts runs as one statement, which changes the row only if the name has no active
//!    registration and no newer fencing token. A statement that fails changes nothing and leaves the others alone.
//! 4. `COMMIT` flushes. Only then is anybody answered.
//!
//! When `BEGIN` or `COMMIT` fails, or SQLite ends the transaction before, nothing of the batch was written, and each is told so.
//!
//! # A clock that is set back
//!
//! An end is compared with the later of the clock and `created_ms`, and a registration that is freed ends no earlier than it
//! began. So what was freed before its own beginning has lasted for no time at all, and the name is free at once.

#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use namelock_types::FencingToken;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, named_params};
use tokio::sync::{mpsc, oneshot};

use crate::error::SaveError;
use crate::names::NamesConfig;
use crate::registration::{Free, Registration, Save, stored};

/// The reply to one write.
type Reply<T> = oneshot::Sender<Result<T, SaveError>>;

/// One write that has queued.
pub(super) enum Write {
    Save(Save, Reply<Registration>),
    Free(Free, Reply<bool>),
}

/// A write that was done, to be answered when it is committed.
enum Done {
    Save(Reply<Registration>, Result<Registration, SaveError>),
    Free(Reply<bool>, Result<bool, SaveError>),
}

/// How often it is looked for rows that nobody needs any more, and how many one transaction deletes. While there are more, each
/// transaction deletes some: names that end faster than they are looked for must not fill the disk.
const PURGE_EVERY: Duration = Duration::from_secs(10);
const PURGE_ROWS: u16 = 1000;

const SAVE: &str = "
    INSERT INTO registrations (tenant, name, owner, created_ms, expires_ms, fencing_token, attributes)
    VALUES (:tenant, :name, :owner, :now, :now + :lifetime, :fencing_token, :attributes)
    ON CONFLICT (tenant, name) DO UPDATE SET
        owner = excluded.owner, created_ms = excluded.created_ms, expires_ms = excluded.expires_ms,
        fencing_token = excluded.fencing_token, attributes = excluded.attributes
    WHERE registrations.expires_ms <= max(registrations.created_ms, :now)
        AND registrations.fencing_token <= excluded.fencing_token
    RETURNING name, owner, created_ms, expires_ms, fencing_token, attributes";

const FREE: &str = "
    UPDATE registrations SET expires_ms = max(created_ms, :now), fencing_token = :fencing_token
    WHERE tenant = :tenant AND name = :name AND (expires_ms IS NULL OR expires_ms > max(created_ms, :now))
        AND fencing_token <= :fencing_token";

const ROW: &str = "
    SELECT name, owner, created_ms, expires_ms, fencing_token, attributes FROM registrations
    WHERE tenant = :tenant AND name = :name AND (expires_ms IS NULL OR expires_ms > max(created_ms, :now))";

const PURGE: &str = "
    DELETE FROM registrations WHERE (tenant, name) IN
        (SELECT tenant, name FROM registrations WHERE expires_ms <= :before ORDER BY expires_ms LIMIT :rows)";

/// SQLite's clock in whole milliseconds since 1970.
pub(super) const NOW: &str = "SELECT CAST(round(unixepoch('subsec') * 1000) AS INTEGER)";

/// Commits what has queued until nobody can ask any more.
pub(super) fn run(mut connection: Connection, mut queue: mpsc::Receiver<Write>, config: &NamesConfig) {
    let mut purged: Option<Instant> = None;
    let mut batch = Vec::new();
    while let Some(first) = queue.blocking_recv() {
        batch.push(first);
        while batch.len() < config.batch {
            let Ok(next) = queue.try_recv() else { break };
            batch.push(next);
        }
        let due = purged.is_none_or(|purged| purged.elapsed() >= PURGE_EVERY);
        let left = commit(&mut connection, &mut batch, due.then_some(config.retention));
        if due {
            purged = (!left).then(Instant::now);
        }
    }
    // A later start need not read the log. It is no loss if this fails.
    let _ = connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)");
}

/// Runs one batch as one transaction, and answers it. Tells whether there may be more rows to delete.
fn commit(connection: &mut Connection, batch: &mut Vec<Write>, retention: Option<Duration>) -> bool {
    let mut done = Vec::with_capacity(batch.len());
    let committed = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .and_then(|transaction| {
            let now: i64 = transaction.query_row(NOW, [], |row| row.get(0))?;
            done.extend(batch.drain(..).filter_map(|write| write.run(&transaction, now)));
            let left = retention.is_some_and(|retention| purge(&transaction, now, retention));
            transaction.commit()?;
            Ok(left)
        });
    match committed {
        Ok(left) => {
            done.into_iter().for_each(Done::answer);
            left
        }
        Err(error) => {
            tracing::error!(writes = done.len() + batch.len(), %error, "a batch of writes was not committed");
            let error = SaveError::from(error);
            for done in done {
                done.refuse(&error);
            }
            for write in batch.drain(..) {
                write.refuse(&error);
            }
            false
        }
    }
}

/// Deletes rows that nobody needs any more, and tells whether there may be others. It is no reason to refuse a write if this fails.
fn purge(transaction: &Transaction<'_>, now: i64, retention: Duration) -> bool {
    let before = now.saturating_sub(i64::try_from(retention.as_millis()).unwrap_or(i64::MAX));
    let parameters = named_params! { ":before": before, ":rows": PURGE_ROWS };
    match transaction.execute(PURGE, parameters) {
        Ok(deleted) => deleted == usize::from(PURGE_ROWS),
        Err(error) => {
            tracing::warn!(%error, "rows that nobody needs any more were not deleted");
            false
        }
    }
}

impl Write {
    /// Runs the write, unless its caller is gone.
    fn run(self, transaction: &Transaction<'_>, now: i64) -> Option<Done> {
        match self {
            Self::Save(_, reply) if reply.is_closed() => None,
            Self::Free(_, reply) if reply.is_closed() => None,
            Self::Save(save, reply) => Some(Done::Save(reply, run_save(&save, transaction, now))),
            Self::Free(free, reply) => Some(Done::Free(reply, run_free(&free, transaction, now))),
        }
    }

    fn refuse(self, error: &SaveError) {
        match self {
            Self::Save(_, reply) => drop(reply.send(Err(error.clone()))),
            Self::Free(_, reply) => drop(reply.send(Err(error.clone()))),
        }
    }
}

impl Done {
    /// A caller that is gone meanwhile need not know: what was written is written.
    fn answer(self) {
        match self {
            Self::Save(reply, result) => drop(reply.send(result)),
            Self::Free(reply, result) => drop(reply.send(result)),
        }
    }

    /// Whatever it found rests on a transaction that has not happened; only a failure of its own still stands.
    fn refuse(self, error: &SaveError) {
        match self {
            Self::Save(reply, Err(own @ SaveError::Unavailable { .. })) => drop(reply.send(Err(own))),
            Self::Free(reply, Err(own @ SaveError::Unavailable { .. })) => drop(reply.send(Err(own))),
            Self::Save(reply, _) => drop(reply.send(Err(error.clone()))),
            Self::Free(reply, _) => drop(reply.send(Err(error.clone()))),
        }
    }
}

/// Tells whether a write may begin.
fn may_begin(transaction: &Transaction<'_>, deadline: tokio::time::Instant) -> Result<(), SaveError> {
    // A disk that is full or fails makes SQLite end the transaction by itself; what ran now would be committed alone.
    if transaction.is_autocommit() {
        let reason = "another write of the same transaction made SQLite roll it back".to_owned();
        return Err(SaveError::Unavailable { reason });
    }
    // Only now does nobody else write; how long it took to get here is not known before.
    if deadline <= tokio::time::Instant::now() {
        return Err(SaveError::LeaseLost);
    }
    Ok(())
}

fn run_save(save: &Save, transaction: &Transaction<'_>, now: i64) -> Result<Registration, SaveError> {
    may_begin(transaction, save.deadline)?;
    let lifetime = save
        .lifetime
        .map(|lifetime| i64::try_from(lifetime.as_millis()).unwrap_or(i64::MAX - now));
    let attributes = serde_json::to_string(&save.attributes).map_err(|error| SaveError::Invalid {
        reason: format!("the attributes cannot be stored: {error}"),
    })?;
    let saved = transaction
        .prepare_cached(SAVE)?
        .query_row(
            named_params! {
                ":tenant": save.tenant,
                ":name": save.name,
                ":owner": save.owner,
                ":now": now,
                ":lifetime": lifetime,
                ":fencing_token": stored(save.fencing_token)?,
                ":attributes": attributes,
            },
            registration,
        )
        .optional()?;
    match saved {
        Some(saved) => Ok(saved),
        // The row did not give way: it is active, or it has seen a newer lease.
        None => match active(transaction, &save.tenant, &save.name, now)? {
            Some(active) => Err(SaveError::Taken(Box::new(active))),
            None => Err(SaveError::LeaseLost),
        },
    }
}

fn run_free(free: &Free, transaction: &Transaction<'_>, now: i64) -> Result<bool, SaveError> {
    may_begin(transaction, free.deadline)?;
    let ended = transaction.prepare_cached(FREE)?.execute(named_params! {
        ":tenant": free.tenant,
        ":name": free.name,
        ":now": now,
        ":fencing_token": stored(free.fencing_token)?,
    })?;
    match ended {
        0 if active(transaction, &free.tenant, &free.name, now)?.is_some() => Err(SaveError::LeaseLost),
        0 => Ok(false),
        _ => Ok(true),
    }
}

/// Finds the registration that is active at `now`.
pub(super) fn active(
    connection: &Connection,
    tenant: &str,
    name: &str,
    now: i64,
) -> rusqlite::Result<Option<Registration>> {
    let parameters = named_params! { ":tenant": tenant, ":name": name, ":now": now };
    connection
        .prepare_cached(ROW)?
        .query_row(parameters, registration)
        .optional()
}

fn registration(row: &Row<'_>) -> rusqlite::Result<Registration> {
    let attributes: String = row.get("attributes")?;
    Ok(Registration {
        name: row.get("name")?,
        owner: row.get("owner")?,
        created_ms: unsigned(2, row.get("created_ms")?)?,
        expires_ms: row
            .get::<_, Option<i64>>("expires_ms")?
            .map(|at| unsigned(3, at))
            .transpose()?,
        fencing_token: FencingToken::new(unsigned(4, row.get("fencing_token")?)?),
        attributes: serde_json::from_str(&attributes)
            .map_err(|error| rusqlite::Error::FromSqlConversionFailure(5, rusqlite::types::Type::Text, error.into()))?,
    })
}

/// Refuses a number that this program never writes, so that a broken row is seen.
fn unsigned(column: usize, number: i64) -> rusqlite::Result<u64> {
    u64::try_from(number).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, number))
}
