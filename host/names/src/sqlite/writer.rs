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
//! When `BEGIN` or `COMMIT` fails, nothing of the batch was written, and each is told so.

use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, named_params};
use tokio::sync::{mpsc, oneshot};

use crate::error::SaveError;
use crate::names::NamesConfig;
use crate::registration::{Free, Registration, Save};

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

/// How often it is looked for rows that nobody needs any more, and how many are deleted at once.
const PURGE_EVERY: Duration = Duration::from_secs(10);
const PURGE_ROWS: i64 = 1000;

const SAVE: &str = "
    INSERT INTO registrations (tenant, name, owner, created_ms, expires_ms, fencing_token, attributes)
    VALUES (:tenant, :name, :owner, :now, :now + :lifetime, :fencing_token, :attributes)
    ON CONFLICT (tenant, name) DO UPDATE SET
        owner = excluded.owner, created_ms = excluded.created_ms, expires_ms = excluded.expires_ms,
        fencing_token = excluded.fencing_token, attributes = excluded.attributes
    WHERE registrations.expires_ms <= :now AND registrations.fencing_token <= excluded.fencing_token
    RETURNING name, owner, created_ms, expires_ms, fencing_token, attributes";

const FREE: &str = "
    UPDATE registrations SET expires_ms = max(created_ms, :now), fencing_token = :fencing_token
    WHERE tenant = :tenant AND name = :name AND (expires_ms IS NULL OR expires_ms > :now)
        AND fencing_token <= :fencing_token";

const ROW: &str = "
    SELECT name, owner, created_ms, expires_ms, fencing_token, attributes FROM registrations
    WHERE tenant = :tenant AND name = :name AND (expires_ms IS NULL OR expires_ms > :now)";

const PURGE: &str = "
    DELETE FROM registrations WHERE (tenant, name) IN
        (SELECT tenant, name FROM registrations WHERE expires_ms <= :before ORDER BY expires_ms LIMIT :rows)";

/// SQLite's clock in whole milliseconds since 1970.
pub(super) const NOW: &str = "SELECT CAST(round(unixepoch('subsec') * 1000) AS INTEGER)";

/// Commits what has queued until nobody can ask any more.
pub(super) fn run(mut connection: Connection, mut queue: mpsc::Receiver<Write>, config: &NamesConfig) {
    let mut purged: Option<Instant> = None;
    let mut batch = Vec::with_capacity(config.batch);
    while let Some(first) = queue.blocking_recv() {
        batch.push(first);
        while batch.len() < config.batch {
            let Ok(next) = queue.try_recv() else { break };
            batch.push(next);
        }
        let purge = purged.is_none_or(|purged| purged.elapsed() >= PURGE_EVERY);
        if purge {
            purged = Some(Instant::now());
        }
        commit(&mut connection, &mut batch, purge.then_some(config.retention));
    }
    // A later start need not read the log. It is no loss if this fails.
    let _ = connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)");
}

/// Runs one batch as one transaction, and answers it.
fn commit(connection: &mut Connection, batch: &mut Vec<Write>, purge: Option<Duration>) {
    let mut done = Vec::with_capacity(batch.len());
    let committed = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .and_then(|transaction| {
            let now: i64 = transaction.query_row(NOW, [], |row| row.get(0))?;
            done.extend(batch.drain(..).filter_map(|write| write.run(&transaction, now)));
            if let Some(retention) = purge {
                let before = now.saturating_sub(i64::try_from(retention.as_millis()).unwrap_or(i64::MAX));
                transaction.execute(PURGE, named_params! { ":before": before, ":rows": PURGE_ROWS })?;
            }
            transaction.commit()
        });
    match committed {
        Ok(()) => done.into_iter().for_each(Done::answer),
        Err(error) => {
            tracing::error!(writes = done.len() + batch.len(), %error, "a batch of writes was not committed");
            let error = SaveError::from(error);
            for done in done {
                done.refuse(&error);
            }
            for write in batch.drain(..) {
                write.refuse(&error);
            }
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

    fn refuse(self, error: &SaveError) {
        match self {
            Self::Save(reply, _) => drop(reply.send(Err(error.clone()))),
            Self::Free(reply, _) => drop(reply.send(Err(error.clone()))),
        }
    }
}

fn run_save(save: &Save, transaction: &Transaction<'_>, now: i64) -> Result<Registration, SaveError> {
    // Only now does nobody else write; how long it took to get here is not known before.
    if save.deadline <= tokio::time::Instant::now() {
        return Err(SaveError::LeaseLost);
    }
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
    if free.deadline <= tokio::time::Instant::now() {
        return Err(SaveError::LeaseLost);
    }
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
    let number = |column| -> rusqlite::Result<u64> { Ok(row.get::<_, i64>(column)?.try_into().unwrap_or_default()) };
    let attributes: String = row.get("attributes")?;
    Ok(Registration {
        name: row.get("name")?,
        owner: row.get("owner")?,
        created_ms: number("created_ms")?,
        expires_ms: row
            .get::<_, Option<i64>>("expires_ms")?
            .map(|at| at.try_into().unwrap_or_default()),
        fencing_token: number("fencing_token")?,
        attributes: serde_json::from_str(&attributes)
            .map_err(|error| rusqlite::Error::FromSqlConversionFailure(5, rusqlite::types::Type::Text, error.into()))?,
    })
}

/// SQLite's numbers are signed. A fencing token that does not fit is centuries away.
fn stored(fencing_token: u64) -> Result<i64, SaveError> {
    i64::try_from(fencing_token).map_err(|_| SaveError::Invalid {
        reason: format!("the fencing token {fencing_token} is too large to be stored"),
    })
}
