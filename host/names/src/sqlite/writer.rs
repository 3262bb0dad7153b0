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

#[cfg(test)]
mod tests;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use tokio::sync::oneshot;

use crate::config::{NamesConfig, PURGE_INTERVAL};
use crate::epoch::{EpochStanding, NewEpoch};
use crate::error::{ApplyError, NamesError, SaveError};
use crate::fair::{NO_TENANT, Taker};
use crate::keep::Keep;
use crate::registration::{Free, Registration, Save, Update};
use crate::room::Room;
use crate::rules::stored_ms;
use crate::sqlite::apply::apply;
use crate::sqlite::clock::Clock;
use crate::sqlite::epochs;
use crate::sqlite::statements::{self, ends_not};
use crate::sweep::{Sweep, Swept};
use crate::transaction::Writes;

/// Where the answer to one write is sent.
type Reply<T, E = SaveError> = oneshot::Sender<Result<T, E>>;

/// One queued write.
pub(super) enum Write {
    Save(Save, Reply<Registration>),
    Update(Update, Reply<Option<Registration>>),
    Free(Free, Reply<bool>),
    /// All of them, or none, of one tenant.
    Apply(String, Writes, Reply<Vec<Option<Registration>>, ApplyError>),
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
    Update(Reply<Option<Registration>>, Result<Option<Registration>, SaveError>),
    Free(Reply<bool>, Result<bool, SaveError>),
    Apply(
        Reply<Vec<Option<Registration>>, ApplyError>,
        Result<Vec<Option<Registration>>, ApplyError>,
    ),
    BeginEpoch(Reply<NewEpoch, NamesError>, Result<NewEpoch, NamesError>),
    CheckEpoch(Reply<EpochStanding, NamesError>, Result<EpochStanding, NamesError>),
    Try(Reply<(), NamesError>, Result<(), NamesError>),
}

/// Deletes rows of names without an active registration whose retention is over, and which are held for nobody: the first and
/// last end that is read, the last end of a hold, and how many rows are read.
const PURGE: &str = "
    DELETE FROM registrations WHERE (tenant, name) IN (
        SELECT tenant, name FROM (
            SELECT tenant, name, expires_ms, hold_ms FROM registrations INDEXED BY registrations_by_end
            WHERE expires_ms >= ?1 AND expires_ms <= ?2 ORDER BY expires_ms, tenant, name LIMIT ?4)
        WHERE hold_ms IS NULL OR expires_ms + hold_ms <= ?3)";

/// How many rows a purge reads, and when the last of them ended.
const PURGED: &str = "
    SELECT count(*), max(expires_ms) FROM (
        SELECT expires_ms FROM registrations INDEXED BY registrations_by_end
        WHERE expires_ms >= ?1 AND expires_ms <= ?2 ORDER BY expires_ms, tenant, name LIMIT ?3)";

/// What the thread has beside its queue.
pub(super) struct Writer {
    connection: Connection,
    clock: Clock,
    retention_ms: i64,
    room: Room,
    sweep: Sweep,
    /// When the next purge is due.
    purge_at: Instant,
}

impl Writer {
    pub(super) fn new(connection: Connection, clock: Clock, config: &NamesConfig) -> Self {
        Self {
            connection,
            clock,
            retention_ms: stored_ms(config.retention),
            room: Room::default(),
            sweep: Sweep::default(),
            purge_at: Instant::now(),
        }
    }

    /// Commits queued writes, batch by batch, until the queue is closed.
    pub(super) fn run(mut self, queue: &Taker<Write>, batch_max: usize) {
        let mut batch = Vec::new();
        while queue.take(&mut batch, batch_max) > 0 {
            self.commit(&mut batch);
        }
        // Spares the next start from reading the log. Nothing is lost if this fails.
        let _ = self.connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)");
    }

    /// Runs one batch as one transaction and answers its callers.
    // Keeps P2: callers are answered only after the commit, and the commit flushes to the disk (`synchronous=FULL`).
    fn commit(&mut self, batch: &mut Vec<Write>) {
        let mut done = Vec::with_capacity(batch.len());
        // Until the transaction has ended, however it does.
        let mut keep = Vec::new();
        let purges = self.purge_at <= Instant::now();
        let committed = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .and_then(|transaction| {
                let time = self.clock.time(&transaction)?;
                if purges {
                    // A failure is no reason to refuse a write.
                    let pause = purge(&transaction, time.purge_before_ms, self.retention_ms, &mut self.sweep);
                    self.clock.told.purge_fails.store(pause.is_err(), Ordering::Relaxed);
                    self.purge_at = Instant::now()
                        + pause.unwrap_or_else(|error| {
                            tracing::warn!(%error, "expired rows could not be deleted");
                            PURGE_INTERVAL
                        });
                }
                let room = &self.room;
                for write in batch.drain(..) {
                    keep.extend(write.keep());
                    done.extend(write.run(&transaction, time.now_ms, room));
                }
                transaction.commit()
            });
        // Whoever is answered finds what it keeps its own again.
        drop(keep);
        match committed {
            Ok(()) => {
                if done.iter().any(Done::is_over_quota) {
                    self.purge_at = Instant::now();
                }
                done.into_iter().for_each(Done::answer);
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
            }
        }
    }
}

/// Deletes rows whose retention is over, and returns how long the next purge waits.
fn purge(
    transaction: &Transaction<'_>,
    before_ms: i64,
    retention_ms: i64,
    sweep: &mut Sweep,
) -> rusqlite::Result<Duration> {
    let Sweep { from_ms, rows } = *sweep;
    let read = params![from_ms, before_ms, rows];
    let (read, last_ms) = transaction.query_row(PURGED, read, |row| Ok((row.get(0)?, row.get(1)?)))?;
    // A hold, too, is over once its time has passed that somebody has seen pass.
    let held_ms = before_ms.saturating_add(retention_ms);
    let deleted = transaction.execute(PURGE, params![from_ms, before_ms, held_ms, rows])?;
    Ok(sweep.go_on(Swept {
        read,
        last_ms,
        deleted: i64::try_from(deleted).unwrap_or(i64::MAX),
    }))
}

impl Write {
    /// Whose turn it is to write.
    pub(super) fn tenant(&self) -> &str {
        match self {
            Self::Save(save, _) => &save.tenant,
            Self::Update(update, _) => &update.tenant,
            Self::Free(free, _) => &free.tenant,
            Self::Apply(tenant, ..) => tenant,
            Self::BeginEpoch(..) | Self::CheckEpoch(..) | Self::KeepTime | Self::Try(_) => NO_TENANT,
        }
    }

    /// What lasts until it is decided.
    fn keep(&self) -> Vec<Keep> {
        match self {
            Self::Save(save, _) => vec![save.keep.clone()],
            Self::Update(update, _) => vec![update.keep.clone()],
            Self::Free(free, _) => vec![free.keep.clone()],
            Self::Apply(_, writes, _) => writes.keeps().cloned().collect(),
            Self::BeginEpoch(..) | Self::CheckEpoch(..) | Self::KeepTime | Self::Try(_) => Vec::new(),
        }
    }

    /// Runs the write, unless its caller has gone.
    fn run(self, transaction: &Transaction<'_>, now: i64, room: &Room) -> Option<Done> {
        match self {
            Self::Save(_, reply) if reply.is_closed() => None,
            Self::Update(_, reply) if reply.is_closed() => None,
            Self::Free(_, reply) if reply.is_closed() => None,
            Self::Apply(_, _, reply) if reply.is_closed() => None,
            Self::KeepTime => None,
            Self::Try(reply) => Some(Done::Try(reply, ends_not(transaction))),
            Self::Save(save, reply) => Some(Done::Save(reply, statements::save(save, transaction, now, room))),
            Self::Update(update, reply) => Some(Done::Update(reply, statements::update(&update, transaction, now))),
            Self::Free(free, reply) => Some(Done::Free(reply, statements::free(&free, transaction, now))),
            Self::Apply(tenant, writes, reply) => {
                Some(Done::Apply(reply, apply(&tenant, writes, transaction, now, room)))
            }
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

    /// Answers that it is not done. What it keeps is given back before that.
    fn refuse(self, error: &SaveError) {
        match self {
            Self::Save(save, reply) => answer_without(save, reply, Err(error.clone())),
            Self::Update(update, reply) => answer_without(update, reply, Err(error.clone())),
            Self::Free(free, reply) => answer_without(free, reply, Err(error.clone())),
            Self::Apply(_, writes, reply) => answer_without(writes, reply, Err(ApplyError::All(error.clone()))),
            Self::BeginEpoch(_, reply) => drop(reply.send(Err(unread(error)))),
            Self::CheckEpoch(_, _, reply) => drop(reply.send(Err(unread(error)))),
            Self::KeepTime => {}
            Self::Try(reply) => drop(reply.send(Err(unread(error)))),
        }
    }
}

impl Done {
    fn is_over_quota(&self) -> bool {
        matches!(
            self,
            Self::Save(_, Err(SaveError::Quota(_)))
                | Self::Update(_, Err(SaveError::Quota(_)))
                | Self::Apply(_, Err(ApplyError::All(SaveError::Quota(_))))
        )
    }

    /// Sends the answer. If the caller has gone by now, what was written stays written.
    fn answer(self) {
        match self {
            Self::Save(reply, result) => drop(reply.send(result)),
            Self::Update(reply, result) => drop(reply.send(result)),
            Self::Free(reply, result) => drop(reply.send(result)),
            Self::Apply(reply, result) => drop(reply.send(result)),
            Self::BeginEpoch(reply, result) => drop(reply.send(result)),
            Self::CheckEpoch(reply, result) => drop(reply.send(result)),
            Self::Try(reply, result) => drop(reply.send(result)),
        }
    }

    /// Answers that the transaction failed. Its result holds no longer, except for a failure of the write itself.
    fn refuse(self, error: &SaveError) {
        match self {
            Self::Save(reply, Err(own @ SaveError::Unavailable { .. })) => drop(reply.send(Err(own))),
            Self::Update(reply, Err(own @ SaveError::Unavailable { .. })) => drop(reply.send(Err(own))),
            Self::Free(reply, Err(own @ SaveError::Unavailable { .. })) => drop(reply.send(Err(own))),
            Self::Update(reply, _) => drop(reply.send(Err(error.clone()))),
            Self::Apply(reply, _) => drop(reply.send(Err(ApplyError::All(error.clone())))),
            Self::Save(reply, _) => drop(reply.send(Err(error.clone()))),
            Self::Free(reply, _) => drop(reply.send(Err(error.clone()))),
            Self::BeginEpoch(reply, _) => drop(reply.send(Err(unread(error)))),
            Self::CheckEpoch(reply, _) => drop(reply.send(Err(unread(error)))),
            Self::Try(reply, _) => drop(reply.send(Err(unread(error)))),
        }
    }
}

fn answer_without<W, T, E>(write: W, reply: Reply<T, E>, answer: Result<T, E>) {
    drop(write);
    // Nobody may be there any longer.
    let _ = reply.send(answer);
}

/// The same of something that is not under a lease.
fn unread(error: &SaveError) -> NamesError {
    match error {
        SaveError::Unavailable { reason } => NamesError::unavailable(reason),
        error => NamesError::unavailable(error.to_string()),
    }
}
