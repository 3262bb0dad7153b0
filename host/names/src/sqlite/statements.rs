//! What one write does, inside the transaction that commits it.
//!
//! # What has ended
//!
//! A registration has ended when its time has come, or when it was freed, which is a fact of its own: whatever becomes of
//! the clock, it does not come back. An end is compared with the later of the time and `created_ms`, and the next
//! registration begins no earlier than the one before it ended. So intervals neither overlap nor have a negative length,
//! also where a version of this program that went by the wall clock has written the row.
//!
//! # Extras
//!
//! The columns for requests and for the hold say something of the registration in the row, and a process of version 3
//! that saves another one there does not know them. So `extras_token` is the fencing token of whoever has set them last,
//! and a save under another token makes a trigger forget them. A save without extras makes that trigger do so too, instead
//! of touching the indexes of all those columns each time.

use rusqlite::{CachedStatement, Connection, OptionalExtension, Transaction, params};

use crate::error::{NamesError, SaveError};
use crate::quota::Usage;
use crate::registration::{Free, Lifetime, Registration, Save, Update};
use crate::request::RequestKey;
use crate::room::Room;
use crate::rules::{stored_attributes, stored_hold, stored_ms, stored_seen, stored_token};
use crate::sqlite::rows::{NameRow, find_request, name_row, registration, times, usage};

/// Saves a registration: tenant, name, owner, now, lifetime, fencing token, attributes. Returns when it begins and ends.
// Keeps P1: the primary key allows one row per (tenant, name), and the row changes only after its registration has
// ended. The write lock is held from before the clock was read until the commit, so no other write comes in between.
macro_rules! save {
    ($columns:literal, $values:literal, $changes:literal) => {
        concat!(
            "INSERT INTO registrations
                (tenant, name, owner, created_ms, expires_ms, fencing_token, attributes",
            $columns,
            ") VALUES (?1, ?2, ?3, ?4, ?4 + ?5, ?6, ?7",
            $values,
            ") ON CONFLICT (tenant, name) DO UPDATE SET
                owner = ?3, created_ms = max(registrations.expires_ms, ?4),
                expires_ms = max(registrations.expires_ms, ?4) + ?5, fencing_token = ?6, freed_token = NULL, attributes = ?7, ",
            $changes,
            " WHERE (registrations.freed_token IS registrations.fencing_token
                    OR registrations.expires_ms <= max(registrations.created_ms, ?4))
                AND registrations.fencing_token <= ?6
                AND (registrations.hold_ms IS NULL OR registrations.owner = ?3
                    OR max(registrations.created_ms, registrations.expires_ms) + registrations.hold_ms <= ?4)
            RETURNING created_ms, expires_ms"
        )
    };
}

/// No lease has a negative token, so the trigger forgets the extras of the registration before.
const SAVE: &str = save!("", "", "extras_token = extras_token * 0 - 1");

/// The same with a hold, and the key and fingerprint of a request.
const SAVE_WITH_EXTRAS: &str = save!(
    ", extras_token, hold_ms, request_key, request_fingerprint",
    ", ?6, ?8, ?9, ?10",
    "extras_token = ?6, hold_ms = ?8, request_key = ?9, request_fingerprint = ?10,
        update_key = NULL, update_fingerprint = NULL"
);

/// Changes the active registration: tenant, name, now, fencing token, owner, attributes, whether the end changes, lifetime,
/// key and fingerprint of the request.
const UPDATE: &str = "
    UPDATE registrations SET owner = coalesce(?5, owner), attributes = coalesce(?6, attributes),
        expires_ms = CASE WHEN ?7 THEN max(created_ms, ?3) + ?8 ELSE expires_ms END, fencing_token = ?4,
        extras_token = CASE WHEN ?9 IS NULL AND extras_token IS NULL THEN NULL ELSE ?4 END,
        update_key = coalesce(?9, update_key), update_fingerprint = coalesce(?10, update_fingerprint)
    WHERE tenant = ?1 AND name = ?2 AND freed_token IS NOT fencing_token
        AND (expires_ms IS NULL OR expires_ms > max(created_ms, ?3)) AND fencing_token <= ?4
    RETURNING name, owner, created_ms, expires_ms, fencing_token, attributes";

/// Ends the active registration: tenant, name, now, fencing token, and the one that was seen. A process of the version before, which looks at its end
/// alone, sees it ended too.
const FREE: &str = "
    UPDATE registrations SET expires_ms = max(created_ms, ?3), fencing_token = ?4, freed_token = ?4
    WHERE tenant = ?1 AND name = ?2 AND freed_token IS NOT fencing_token
        AND (expires_ms IS NULL OR expires_ms > max(created_ms, ?3)) AND fencing_token <= ?4
        AND (?5 IS NULL OR fencing_token IN (?4, ?5))";

/// Refuses a write of a transaction that has ended.
pub(super) fn ends_not(transaction: &Transaction<'_>) -> Result<(), NamesError> {
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

pub(super) fn save(
    save: Save,
    transaction: &Transaction<'_>,
    now: i64,
    room: &Room,
) -> Result<Registration, SaveError> {
    may_begin(transaction, save.deadline)?;
    let token = stored_token(save.fencing_token)?;
    let attributes = stored_attributes(&save.attributes)?;
    refuse_repetition(transaction, &save.tenant, save.request)?;
    let new = Usage::of_row(&save.tenant, &save.name, &save.owner, &attributes);
    if !room.is_ample(&save.tenant, save.quota, std::time::Instant::now())
        && let Some(error) = refuse_growth(&save, new, transaction, now, room)?
    {
        return Err(error);
    }
    let lifetime = save.lifetime.map(stored_ms);
    let row = params![save.tenant, save.name, save.owner, now, lifetime, token, attributes];
    let saved = match (stored_hold(save.hold), save.request) {
        (None, None) => cached(transaction, SAVE)?.query_row(row, times).optional()?,
        (hold, request) => {
            let (key, fingerprint) = request.map(|request| (request.key, request.fingerprint)).unzip();
            let extras = params![hold, key, fingerprint];
            let row = [row, extras].concat();
            cached(transaction, SAVE_WITH_EXTRAS)?
                .query_row(&*row, times)
                .optional()?
        }
    };
    let Some((created_ms, expires_ms)) = saved else {
        // The row was not changed: its registration is active or held, or it has seen a newer fencing token.
        return Err(refusal(&save, transaction, now)?.unwrap_or(SaveError::LeaseLost));
    };
    Ok(save.registered(created_ms, expires_ms))
}

/// Refuses a row that the tenant's quota has no room for.
// Keeps P6: what a tenant keeps on the disk is bounded, in the transaction that writes.
fn refuse_growth(
    save: &Save,
    new: Usage,
    transaction: &Transaction<'_>,
    now: i64,
    room: &Room,
) -> Result<Option<SaveError>, SaveError> {
    let begin = std::time::Instant::now();
    let has = usage(transaction, &save.tenant)?;
    room.saw(&save.tenant, has, begin);
    if has.check(None, new, save.quota).is_ok() {
        return Ok(None);
    }
    // It has no room for another row, but the row may replace one.
    let old = name_row(transaction, &save.tenant, &save.name, now)?.map(|row| row.usage);
    let Err(kind) = has.check(old, new, save.quota) else {
        return Ok(None);
    };
    Ok(Some(refusal(save, transaction, now)?.unwrap_or(SaveError::Quota(kind))))
}

/// Returns why the row of a name cannot be changed by a save, whatever the quota is.
fn refusal(save: &Save, transaction: &Transaction<'_>, now: i64) -> rusqlite::Result<Option<SaveError>> {
    let row = name_row(transaction, &save.tenant, &save.name, now)?;
    Ok(row.and_then(|row| row.refuses(save, now)))
}

pub(super) fn update(
    update: &Update,
    transaction: &Transaction<'_>,
    now: i64,
) -> Result<Option<Registration>, SaveError> {
    may_begin(transaction, update.deadline)?;
    let token = stored_token(update.fencing_token)?;
    let change = &update.change;
    let attributes = change.attributes.as_deref().map(stored_attributes).transpose()?;
    refuse_repetition(transaction, &update.tenant, update.request)?;
    let Some(NameRow {
        active: true,
        usage: old,
        registration: found,
        ..
    }) = name_row(transaction, &update.tenant, &update.name, now)?
    else {
        return Ok(None);
    };
    if update.seen.forbids(found.fencing_token, update.fencing_token) {
        return Err(SaveError::LeaseLost);
    }
    let owner = change.owner.as_deref().unwrap_or(&found.owner);
    let kept = stored_attributes(&found.attributes)?;
    let new = Usage::of_row(
        &update.tenant,
        &update.name,
        owner,
        attributes.as_deref().unwrap_or(&kept),
    );
    let has = usage(transaction, &update.tenant)?;
    has.check(Some(old), new, update.quota).map_err(SaveError::Quota)?;
    let lifetime = match change.lifetime {
        Some(Lifetime::FromNow(lifetime)) => Some(stored_ms(lifetime)),
        Some(Lifetime::Endless) | None => None,
    };
    let (key, fingerprint) = update.request.map(|request| (request.key, request.fingerprint)).unzip();
    let updated = cached(transaction, UPDATE)?.query_row(
        params![
            update.tenant,
            update.name,
            now,
            token,
            change.owner,
            attributes,
            change.lifetime.is_some(),
            lifetime,
            key,
            fingerprint,
        ],
        registration,
    );
    Ok(Some(updated?))
}

pub(super) fn free(free: &Free, transaction: &Transaction<'_>, now: i64) -> Result<bool, SaveError> {
    may_begin(transaction, free.deadline)?;
    let token = stored_token(free.fencing_token)?;
    let ended =
        cached(transaction, FREE)?.execute(params![free.tenant, free.name, now, token, stored_seen(free.seen)?])?;
    if ended > 0 {
        return Ok(true);
    }
    match name_row(transaction, &free.tenant, &free.name, now)? {
        Some(row) if row.active => Err(SaveError::LeaseLost),
        Some(_) | None => Ok(false),
    }
}

/// Refuses a request that has succeeded before: nobody else writes until the commit.
fn refuse_repetition(
    transaction: &Transaction<'_>,
    tenant: &str,
    request: Option<RequestKey>,
) -> Result<(), SaveError> {
    let Some(request) = request else {
        return Ok(());
    };
    let refusal = find_request(transaction, tenant, &request)?.refusal();
    refusal.map_or(Ok(()), Err)
}

fn cached<'a>(connection: &'a Connection, sql: &str) -> rusqlite::Result<CachedStatement<'a>> {
    connection.prepare_cached(sql)
}
