//! Moves a tenant from one database to another, while others are served.
//!
//! # The steps
//!
//! 1. The move is written down in the first database. From then on hosts answer that the tenant is being moved.
//! 2. The tenant is gated in both databases: nobody but this mover writes its names in either.
//! 3. What an earlier life has left in the target is removed, and all rows are copied.
//! 4. Every row is read again in both, and compared.
//! 5. The place is written anew, in one transaction. Then the gate of the target is opened.
//! 6. The rows in the source are removed. Its gate stays, for hosts that still take the tenant to be there.
//!
//! Each can be done again, so whoever was interrupted begins again with the step that was written down, and copies anew. Until
//! the place is written anew the source has everything, and the move can be undone.
//!
//! # Two movers
//!
//! One of them holds an advisory lock in the first database. One that stands still loses it with its connection, and may wake
//! up when another has finished, so the lock alone is not enough: each attempt has a number, the gates let only the last one
//! write, and what an earlier one still sends is refused, also where the gate is open again: it neither writes there nor closes it.
//!
//! # Time
//!
//! Each database has its own. What has ended by the time of the source is put as freed, so it stays ended where the time is behind. Where
//! it is ahead, each end is put later by the difference, so that nothing ends early.

use std::time::Duration;

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;

use crate::config::NamesConfig;
use crate::placed::listed::{Listed, client, listed};
use crate::placed::steps::{MoveError, Step};
use crate::records::{Record, Records};
use crate::url::NamesUrl;

/// The first of the two numbers of the advisory lock of a mover.
const MOVER_LOCK: i32 = 0x6e6c_7403;

/// How often a tenant is gated again while others write for longer than it waits for them, and the pause between: what waits for the table
/// holds up everybody's writes, so most of the time nothing does.
const GATE_TRIES: u32 = 20;
const GATE_PAUSE: Duration = Duration::from_secs(3);

/// What is done next.
#[derive(Debug, Clone, Copy)]
enum Next {
    Gate { undo: bool },
    Clear { undo: bool },
    Copy,
    Compare,
    Switch,
    Open,
    Remove,
    Undo,
    End,
}

/// Moves one tenant, step by step.
#[derive(Debug)]
pub struct Mover {
    tenant: String,
    first: Records,
    source: Records,
    target: Records,
    target_id: String,
    attempt: i64,
    next: Next,
    is_new: bool,
    /// By how much ends are later in the target.
    shift: Duration,
    /// What time it was in the source when it was copied.
    now_ms: u64,
    copied: u64,
    after: String,
}

impl Mover {
    /// Finds out what is to be done to have the tenant in the database `to`, which is its address as it is shown, or its number in the
    /// list. None: to undo a move that is not finished.
    ///
    /// # Errors
    ///
    /// See [`MoveError`].
    pub async fn open(url: &NamesUrl, config: &NamesConfig, tenant: &str, to: Option<&str>) -> Result<Self, MoveError> {
        let refused = |why: String| Err(MoveError::Refused(why));
        let (first, all) = listed(url, config).await?;
        let choices = || {
            let all = all.iter().map(|one| format!("{}: {}", one.number, one.shown));
            all.collect::<Vec<_>>().join(", ")
        };
        let wanted = |to: &str| {
            let is_it = |one: &&Listed| to == one.number.to_string() || to == one.shown || to == one.url.to_string();
            all.iter().find(is_it)
        };
        let with_id = |id: &str| {
            let found = all.iter().find(|one| one.id == id);
            found.ok_or_else(|| {
                MoveError::Refused(format!(
                    "the database with the id {id} is not in the list or does not answer; there are {}",
                    choices()
                ))
            })
        };
        let to = match to {
            Some(to) => match wanted(to) {
                Some(one) => Some(one),
                None => {
                    return refused(format!(
                        "there is no database {to:?} that answers; there are {}",
                        choices()
                    ));
                }
            },
            None => None,
        };
        let asks = client(&first)?;
        let lock = "SELECT pg_try_advisory_lock($1, hashtext($2))";
        if !asks
            .query_one(lock, &[&MOVER_LOCK, &tenant])
            .await?
            .try_get::<_, bool>(0)?
        {
            return refused(format!(
                "tenant {tenant} is being moved by another command that runs now"
            ));
        }
        let sql = "UPDATE namelock_placement SET attempt = attempt + 1 WHERE tenant = $1
            RETURNING database, moving_to, moved_from, attempt";
        let Some(row) = asks.query_opt(sql, &[&tenant]).await? else {
            return refused(format!(
                "tenant {tenant} has no database yet; it gets one when it is used first"
            ));
        };
        let database: String = row.try_get(0)?;
        let (moving_to, moved_from): (Option<String>, Option<String>) = (row.try_get(1)?, row.try_get(2)?);
        let attempt: i64 = row.try_get(3)?;
        let (source, target, next) = match (moving_to, moved_from, to) {
            (Some(moving_to), _, None) => (with_id(&database)?, with_id(&moving_to)?, Next::Gate { undo: true }),
            (Some(moving_to), _, Some(to)) if to.id == moving_to => {
                (with_id(&database)?, to, Next::Gate { undo: false })
            }
            (Some(moving_to), _, Some(_)) => {
                let to = &with_id(&moving_to)?.shown;
                return refused(format!(
                    "tenant {tenant} is being moved to {to}; go on with --to {to}, or undo it with --back"
                ));
            }
            (None, Some(moved_from), Some(to)) if to.id == database => (with_id(&moved_from)?, to, Next::Open),
            (None, Some(_), _) => {
                let to = &with_id(&database)?.shown;
                return refused(format!(
                    "tenant {tenant} has been moved to {to}, and its old rows are not removed yet; finish that with --to {to}"
                ));
            }
            (None, None, None) => {
                return refused(format!(
                    "tenant {tenant} is not being moved, so there is nothing to undo"
                ));
            }
            // A gate that was left there by a mover which came too late is opened.
            (None, None, Some(to)) if to.id == database => (to, to, Next::Undo),
            (None, None, Some(to)) => (with_id(&database)?, to, Next::Gate { undo: false }),
        };
        let is_new = matches!(next, Next::Gate { .. })
            && asks
                .execute(
                    "UPDATE namelock_placement SET moving_to = $3 WHERE tenant = $1 AND attempt = $2 AND moving_to IS NULL",
                    &[&tenant, &attempt, &target.id],
                )
                .await?
                == 1;
        let mut records = Vec::new();
        for one in [source, target] {
            let one = Records::connect(&one.url, config).await?;
            let sql = "SELECT set_config('namelock.mover', $1, false)";
            client(&one)?.query_one(sql, &[&attempt.to_string()]).await?;
            records.push(one);
        }
        let (Some(target_records), Some(source_records)) = (records.pop(), records.pop()) else {
            return refused("there are no connections".to_owned());
        };
        Ok(Self {
            tenant: tenant.to_owned(),
            target_id: target.id.clone(),
            first,
            source: source_records,
            target: target_records,
            attempt,
            next,
            is_new,
            shift: Duration::ZERO,
            now_ms: 0,
            copied: 0,
            after: String::new(),
        })
    }

    /// Does the next step, and returns what it was; none: all is done.
    ///
    /// # Errors
    ///
    /// See [`MoveError`].
    pub async fn next(&mut self) -> Result<Option<Step>, MoveError> {
        if std::mem::take(&mut self.is_new) {
            return Ok(Some(Step::Recorded));
        }
        let (step, next) = match self.next {
            Next::Gate { undo } => {
                for records in [&self.source, &self.target] {
                    gate(client(records)?, &self.tenant, self.attempt).await?;
                }
                (Step::Gated, Next::Clear { undo })
            }
            Next::Clear { undo } => {
                while self.target.remove(&self.tenant).await? > 0 {}
                if undo {
                    (Step::Cleared, Next::Undo)
                } else {
                    self.now_ms = self.source.begin().await?;
                    let target_ms = self.target.begin().await?;
                    self.target.end().await?;
                    self.shift = Duration::from_millis(target_ms.saturating_sub(self.now_ms));
                    (Step::Cleared, Next::Copy)
                }
            }
            Next::Copy => {
                let mut page = self.source.read(&self.tenant, &self.after).await?;
                match page.last() {
                    Some(last) => self.after.clone_from(&last.registration.name),
                    None => {
                        self.source.end().await?;
                        self.next = Next::Compare;
                        return Ok(Some(Step::Copied(self.copied)));
                    }
                }
                page.iter_mut().for_each(|record| record.shift(self.shift));
                self.target.put(&self.tenant, &page).await?;
                self.copied += page.len() as u64;
                (Step::Copied(self.copied), Next::Copy)
            }
            Next::Compare => (Step::Compared(self.compare().await?), Next::Switch),
            Next::Switch => {
                self.first(
                    "UPDATE namelock_placement SET moved_from = database, database = $3, moving_to = NULL
                    WHERE tenant = $1 AND attempt = $2 AND moving_to = $3",
                    &[&self.target_id],
                )
                .await?;
                (Step::Switched, Next::Open)
            }
            Next::Open => {
                self.open_gate(&self.target).await?;
                (Step::Opened, Next::Remove)
            }
            Next::Remove => {
                // As its last attempt, or nothing would be removed.
                gate(client(&self.source)?, &self.tenant, self.attempt).await?;
                while self.source.remove(&self.tenant).await? > 0 {}
                let sql = "UPDATE namelock_placement SET moved_from = NULL WHERE tenant = $1 AND attempt = $2";
                self.first(sql, &[]).await?;
                (Step::Removed, Next::End)
            }
            Next::Undo => {
                // In this order: whoever is interrupted in between can undo it again.
                self.open_gate(&self.source).await?;
                let sql = "UPDATE namelock_placement SET moving_to = NULL WHERE tenant = $1 AND attempt = $2";
                self.first(sql, &[]).await?;
                (Step::Undone, Next::End)
            }
            Next::End => return Ok(None),
        };
        self.next = next;
        Ok(Some(step))
    }

    /// Changes the place, if no later attempt has begun.
    async fn first(&self, sql: &str, more: &[&(dyn ToSql + Sync)]) -> Result<(), MoveError> {
        let mut all: Vec<&(dyn ToSql + Sync)> = vec![&self.tenant, &self.attempt];
        all.extend(more);
        match client(&self.first)?.execute(sql, &all).await? {
            0 => Err(overtaken(&self.tenant)),
            _ => Ok(()),
        }
    }

    /// Opens the gate of a database, whichever attempt made it but a later one.
    async fn open_gate(&self, records: &Records) -> Result<(), MoveError> {
        let sql = "UPDATE namelock_moved SET open = true, mover = $2 WHERE tenant = $1 AND mover <= $2";
        client(records)?.execute(sql, &[&self.tenant, &self.attempt]).await?;
        Ok(())
    }

    /// Reads all records again in both databases.
    async fn compare(&mut self) -> Result<u64, MoveError> {
        self.source.begin().await?;
        self.target.begin().await?;
        let (mut compared, mut after) = (0, String::new());
        loop {
            let mut source = self.source.read(&self.tenant, &after).await?;
            let mut target = self.target.read(&self.tenant, &after).await?;
            // What had ended when it was copied must have ended; what ends meanwhile does so in its own time.
            let now_ms = self.now_ms;
            let had_ended =
                |record: &Record| record.ended && record.registration.expires_ms.is_some_and(|end| end <= now_ms);
            let is_ended_alike = source
                .iter()
                .zip(&target)
                .all(|(one, other)| !had_ended(one) || other.ended);
            source.iter_mut().for_each(|record| record.shift(self.shift));
            source
                .iter_mut()
                .chain(&mut target)
                .for_each(|record| record.ended = false);
            if !is_ended_alike || source != target {
                return Err(MoveError::Refused(format!(
                    "what was copied is not the same after the name {after:?}; nothing is lost: run the same command again, or undo the move with --back"
                )));
            }
            compared += source.len() as u64;
            match source.pop() {
                Some(last) => after = last.registration.name,
                None => break,
            }
        }
        self.source.end().await?;
        self.target.end().await?;
        Ok(compared)
    }
}

fn overtaken(tenant: &str) -> MoveError {
    MoveError::Refused(format!(
        "another command has begun to move tenant {tenant} since; this one ends"
    ))
}

/// Has nobody but this attempt write the tenant's names there.
async fn gate(client: &Client, tenant: &str, attempt: i64) -> Result<(), MoveError> {
    let mut tries = 1;
    loop {
        match client
            .query_one("SELECT namelock_gate($1, $2)", &[&tenant, &attempt])
            .await
        {
            Ok(row) if row.try_get::<_, bool>(0)? => return Ok(()),
            Ok(_) => return Err(overtaken(tenant)),
            Err(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) && tries < GATE_TRIES => {
                tries += 1;
                tokio::time::sleep(GATE_PAUSE).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}
