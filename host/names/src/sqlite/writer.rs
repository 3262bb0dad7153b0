//! The one thread that writes.
//!
//! # The transaction that writes
//!
//! 1. `BEGIN IMMEDIATE` takes the write lock, and waits for other processes to release it. From here on nobody else
//!    writes.
//! 2. Database time is read once for the whole batch, and kept where that is due: everything that the batch begins or
//!    ends, it does at this instant.
//! 3. Rows whose retention is over are deleted, where that is due, which makes room for the writes.
//! 4. Each write whose lease still lasts, and for which its tenant's quota has room, runs as one statement, which changes
//!    the row only if the name has no active registration and no newer fencing token. Triggers count what it changes. A
//!    statement that fails changes and counts nothing and does not affect the others.
//! 5. `COMMIT` flushes to the disk. Only then are the callers answered.
//!
//! The batch takes from each tenant in turn, so one that floods delays others by no more than the batch that runs.
//!
//! If `BEGIN` or `COMMIT` fails, or SQLite ends the transaction early, nothing of the batch was written, and every
//! caller of the batch is told so.
//!
//! # What has ended
//!
//! A registration has ended when its time has come, or when it was freed, which is a fact of its own: whatever becomes of
//! the clock, it does not come back. An end is compared with the later of the time and `created_ms`, and the next
//! registration begins no earlier than the one before it ended. So intervals neither overlap nor have a negative length,
//! also where a version of this program that went by the wall clock has written the row.

#[cfg(test)]
mod tests;

use std::time::Instant;

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, named_params};
use tokio::sync::oneshot;

use crate::config::{NamesConfig, PURGE_INTERVAL, PURGE_ROWS_MAX};
use crate::epoch::{EpochStanding, NewEpoch};
use crate::error::{NamesError, SaveError};
use crate::fair::{NO_TENANT, Taker};
use crate::quota::{QuotaKind, Usage};
use crate::registration::{Free, Registration, Save};
use crate::rules::{stored_attributes, stored_ms, stored_token};
use crate::sqlite::clock::Clock;
use crate::sqlite::epochs;
use crate::sqlite::rows::{active, registration, row_of, usage};

/// Where the answer to one write is sent.
type Reply<T, E = SaveError> = oneshot::Sender<Result<T, E>>;

/// One queued write.
pub(super) enum Write {
    Save(Save, Reply<Registration>),
    Free(Free, Reply<bool>),
    /// Gives a lock server an epoch.
    BeginEpoch(String, Reply<NewEpoch, NamesError>),
    /// Judges the epoch of a lock server.
    CheckEpoch(String, u64, Reply<EpochStanding, NamesError>),
    /// Nothing but what every transaction does: keeps the time, and purges.
    KeepTime,
    /// The same, and tells that it was done: whoever holds the write lock lets others have it.
    Try(Reply<(), NamesError>),
}

/// A write that has run, to be answered once it is committed.
enum Done {
    Save(Reply<Registration>, Result<Registration, SaveError>),
    Free(Reply<bool>, Result<bool, SaveError>),
    BeginEpoch(Reply<NewEpoch, NamesError>, Result<NewEpoch, NamesError>),
    CheckEpoch(Reply<EpochStanding, NamesError>, Result<EpochStanding, NamesError>),
    Try(Reply<(), NamesError>, Result<(), NamesError>),
}

/// Saves a registration.
// Keeps P1: the primary key allows one row per (tenant, name), and the row changes only after its registration has
// ended. The write lock is held from before the clock was read until the commit, so no other write comes in between.
const SAVE: &str = "
    INSERT INTO registrations (tenant, name, owner, created_ms, expires_ms, fencing_token, attributes)
    VALUES (:tenant, :name, :owner, :now, :now + :lifetime, :fencing_token, :attributes)
    ON CONFLICT (tenant, name) DO UPDATE SET
        owner = excluded.owner, created_ms = max(registrations.expires_ms, :now),
        expires_ms = max(registrations.expires_ms, :now) + :lifetime, fencing_token = excluded.fencing_token,
        freed_token = NULL, attributes = excluded.attributes
    WHERE (registrations.freed_token IS registrations.fencing_token
            OR registrations.expires_ms <= max(registrations.created_ms, :now))
        AND registrations.fencing_token <= excluded.fencing_token
    RETURNING name, owner, created_ms, expires_ms, fencing_token, attributes";

/// Ends the active registration. A process of the version before, which looks at its end alone, sees it ended too.
const FREE: &str = "
    UPDATE registrations SET expires_ms = max(created_ms, :now), fencing_token = :fencing_token,
        freed_token = :fencing_token
    WHERE tenant = :tenant AND name = :name AND freed_token IS NOT fencing_token AND (expires_ms IS NULL OR expires_ms > max(created_ms, :now))
        AND fencing_token <= :fencing_token";

/// Deletes rows of names without an active registration whose retention is over.
const PURGE: &str = "
    DELETE FROM registrations WHERE (tenant, name) IN
        (SELECT tenant, name FROM registrations WHERE expires_ms <= :before ORDER BY expires_ms LIMIT :rows)";

/// Commits queued writes, batch by batch, until the queue is closed.
pub(super) fn run(mut connection: Connection, queue: &Taker<Write>, config: &NamesConfig, clock: &mut Clock) {
    let mut purged: Option<Instant> = None;
    let mut batch = Vec::new();
    while queue.take(&mut batch, config.batch) > 0 {
        let due = purged.is_none_or(|purged| purged.elapsed() >= PURGE_INTERVAL);
        match commit(&mut connection, &mut batch, clock, due) {
            Next::PurgeAtOnce => purged = None,
            Next::Purge if due => purged = Some(Instant::now()),
            Next::Purge => {}
        }
    }
    // Spares the next start from reading the log. Nothing is lost if this fails.
    let _ = connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)");
}

/// When the next purge is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// After the usual time.
    Purge,
    /// With the next batch: there may be more rows to purge, or a tenant that is at its quota needs their room.
    PurgeAtOnce,
}

/// Runs one batch as one transaction and answers its callers.
// Keeps P2: callers are answered only after the commit, and the commit flushes to the disk (`synchronous=FULL`).
fn commit(connection: &mut Connection, batch: &mut Vec<Write>, clock: &mut Clock, purges: bool) -> Next {
    let mut done = Vec::with_capacity(batch.len());
    let committed = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .and_then(|transaction| {
            let time = clock.time(&transaction)?;
            let next = if purges {
                purge(&transaction, time.purge_before_ms)
            } else {
                Next::Purge
            };
            done.extend(batch.drain(..).filter_map(|write| write.run(&transaction, time.now_ms)));
            transaction.commit()?;
            Ok(next)
        });
    match committed {
        Ok(mut next) => {
            if done.iter().any(Done::is_over_quota) {
                next = Next::PurgeAtOnce;
            }
            done.into_iter().for_each(Done::answer);
            next
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
            Next::Purge
        }
    }
}

/// Deletes rows whose retention is over. A failure is no reason to refuse a write.
fn purge(transaction: &Transaction<'_>, before: i64) -> Next {
    let parameters = named_params! { ":before": before, ":rows": PURGE_ROWS_MAX };
    match transaction.execute(PURGE, parameters) {
        Ok(deleted) if deleted == usize::from(PURGE_ROWS_MAX) => Next::PurgeAtOnce,
        Ok(_) => Next::Purge,
        Err(error) => {
            tracing::warn!(%error, "expired rows could not be deleted");
            Next::Purge
        }
    }
}

impl Write {
    /// Whose turn it is to write.
    pub(super) fn tenant(&self) -> &str {
        match self {
            Self::Save(save, _) => &save.tenant,
            Self::Free(free, _) => &free.tenant,
            Self::BeginEpoch(..) | Self::CheckEpoch(..) | Self::KeepTime | Self::Try(_) => NO_TENANT,
        }
    }

    /// Runs the write, unless its caller has gone.
    fn run(self, transaction: &Transaction<'_>, now: i64) -> Option<Done> {
        match self {
            Self::Save(_, reply) if reply.is_closed() => None,
            Self::Free(_, reply) if reply.is_closed() => None,
            Self::KeepTime => None,
            Self::Try(reply) => Some(Done::Try(reply, ends_not(transaction))),
            Self::Save(save, reply) => Some(Done::Save(reply, run_save(&save, transaction, now))),
            Self::Free(free, reply) => Some(Done::Free(reply, run_free(&free, transaction, now))),
            Self::BeginEpoch(server, reply) => {
                let begun = ends_not(transaction).and_then(|()| Ok(epochs::begin(transaction, &server, now)?));
                Some(Done::BeginEpoch(reply, begun))
            }
            Self::CheckEpoch(server, epoch, reply) => {
                let judged = ends_not(transaction).and_then(|()| Ok(epochs::check(transaction, &server, epoch, now)?));
                Some(Done::CheckEpoch(reply, judged))
            }
        }
    }

    fn refuse(self, error: &SaveError) {
        match self {
            Self::Save(_, reply) => drop(reply.send(Err(error.clone()))),
            Self::Free(_, reply) => drop(reply.send(Err(error.clone()))),
            Self::BeginEpoch(_, reply) => drop(reply.send(Err(unread(error)))),
            Self::CheckEpoch(_, _, reply) => drop(reply.send(Err(unread(error)))),
            Self::KeepTime => {}
            Self::Try(reply) => drop(reply.send(Err(unread(error)))),
        }
    }
}

impl Done {
    fn is_over_quota(&self) -> bool {
        matches!(self, Self::Save(_, Err(SaveError::Quota(_))))
    }

    /// Sends the answer. If the caller has gone by now, what was written stays written.
    fn answer(self) {
        match self {
            Self::Save(reply, result) => drop(reply.send(result)),
            Self::Free(reply, result) => drop(reply.send(result)),
            Self::BeginEpoch(reply, result) => drop(reply.send(result)),
            Self::CheckEpoch(reply, result) => drop(reply.send(result)),
            Self::Try(reply, result) => drop(reply.send(result)),
        }
    }

    /// Answers that the transaction failed. Its result holds no longer, except for a failure of the write itself.
    fn refuse(self, error: &SaveError) {
        match self {
            Self::Save(reply, Err(own @ SaveError::Unavailable { .. })) => drop(reply.send(Err(own))),
            Self::Free(reply, Err(own @ SaveError::Unavailable { .. })) => drop(reply.send(Err(own))),
            Self::Save(reply, _) => drop(reply.send(Err(error.clone()))),
            Self::Free(reply, _) => drop(reply.send(Err(error.clone()))),
            Self::BeginEpoch(reply, _) => drop(reply.send(Err(unread(error)))),
            Self::CheckEpoch(reply, _) => drop(reply.send(Err(unread(error)))),
            Self::Try(reply, _) => drop(reply.send(Err(unread(error)))),
        }
    }
}

/// The same of something that is not under a lease.
fn unread(error: &SaveError) -> NamesError {
    match error {
        SaveError::Unavailable { reason } => NamesError::unavailable(reason),
        error => NamesError::unavailable(error.to_string()),
    }
}

/// Refuses a write of a transaction that has ended.
fn ends_not(transaction: &Transaction<'_>) -> Result<(), NamesError> {
    // A full or failing disk makes SQLite end the transaction by itself; a write that ran now would be committed alone.
    if transaction.is_autocommit() {
        let reason = "another write of the same transaction made SQLite roll it back";
        return Err(NamesError::unavailable(reason));
    }
    Ok(())
}

/// Checks that a write may begin.
// Keeps P5: the lease is checked once the write lock is held, because the wait for the lock is over only then.
fn may_begin(transaction: &Transaction<'_>, deadline: tokio::time::Instant) -> Result<(), SaveError> {
    ends_not(transaction)?;
    if deadline <= tokio::time::Instant::now() {
        return Err(SaveError::LeaseLost);
    }
    Ok(())
}

fn run_save(save: &Save, transaction: &Transaction<'_>, now: i64) -> Result<Registration, SaveError> {
    may_begin(transaction, save.deadline)?;
    let attributes = stored_attributes(&save.attributes)?;
    if let Err(kind) = check_quota(save, &attributes, transaction)? {
        return Err(refusal(save, transaction, now)?.unwrap_or(SaveError::Quota(kind)));
    }
    let saved = transaction
        .prepare_cached(SAVE)?
        .query_row(
            named_params! {
                ":tenant": save.tenant,
                ":name": save.name,
                ":owner": save.owner,
                ":now": now,
                ":lifetime": save.lifetime.map(stored_ms),
                ":fencing_token": stored_token(save.fencing_token)?,
                ":attributes": attributes,
            },
            registration,
        )
        .optional()?;
    match saved {
        Some(saved) => Ok(saved),
        // The row was not changed: its registration is active, or it has seen a newer fencing token.
        None => Err(refusal(save, transaction, now)?.unwrap_or(SaveError::LeaseLost)),
    }
}

/// Checks that the tenant's quota has room for a save.
// Keeps P6: what a tenant keeps on the disk is bounded, in the transaction that writes.
fn check_quota(
    save: &Save,
    attributes: &str,
    transaction: &Transaction<'_>,
) -> rusqlite::Result<Result<(), QuotaKind>> {
    let has = usage(transaction, &save.tenant)?;
    let new = Usage::of_row(&save.tenant, &save.name, &save.owner, attributes);
    if has.check(None, new, save.quota).is_ok() {
        return Ok(Ok(()));
    }
    // It has no room for another row, but the row may replace one.
    let old = row_of(transaction, &save.tenant, &save.name)?.map(|(usage, _)| usage);
    Ok(has.check(old, new, save.quota))
}

/// Returns why the row of a name cannot be changed by a save, whatever the quota is.
fn refusal(save: &Save, transaction: &Transaction<'_>, now: i64) -> rusqlite::Result<Option<SaveError>> {
    if let Some(active) = active(transaction, &save.tenant, &save.name, now)? {
        return Ok(Some(SaveError::Taken(Box::new(active))));
    }
    let row = row_of(transaction, &save.tenant, &save.name)?;
    Ok(row
        .filter(|(_, fencing_token)| *fencing_token > save.fencing_token)
        .map(|_| SaveError::LeaseLost))
}

fn run_free(free: &Free, transaction: &Transaction<'_>, now: i64) -> Result<bool, SaveError> {
    may_begin(transaction, free.deadline)?;
    let ended = transaction.prepare_cached(FREE)?.execute(named_params! {
        ":tenant": free.tenant,
        ":name": free.name,
        ":now": now,
        ":fencing_token": stored_token(free.fencing_token)?,
    })?;
    match ended {
        0 if active(transaction, &free.tenant, &free.name, now)?.is_some() => Err(SaveError::LeaseLost),
        0 => Ok(false),
        _ => Ok(true),
    }
}
