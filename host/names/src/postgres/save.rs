//! Writes of one name: the statement, and why it has changed nothing where it has not.

use tokio::time::Instant;

use crate::error::{NamesError, SaveError};
use crate::postgres::batches::Batches;
use crate::postgres::parameters::{Kind, Stored, of_free, of_save, of_update};
use crate::postgres::quotas::Quotas;
use crate::postgres::rows::{registration, times, usage};
use crate::postgres::server::Server;
use crate::postgres::together::Saves;
use crate::quota::Usage;
use crate::registration::{Free, Registration, Save, Update};
use crate::request::RequestKey;
use crate::rules::stored_attributes;

/// How often a write is tried that changed nothing although neither an active registration nor a newer token is in its
/// way: what was in its way has ended in between.
pub(super) const TRIES: usize = 3;

/// Why a write has changed nothing.
pub(super) enum Obstacle {
    /// It is refused.
    Refused(SaveError),
    /// There is no active registration.
    NoRegistration,
    /// None that is still there, but for the quota. With what the row counts.
    Gone(Option<Usage>),
}

pub(super) async fn save(
    server: &Server,
    quotas: &Quotas,
    saves: &Batches<Saves>,
    save: Save,
    until: Instant,
) -> Result<Registration, SaveError> {
    let stored = Stored::new(&save)?;
    let is_plain = save.hold.is_zero() && save.request.is_none();
    for _ in 0..TRIES {
        let begin = std::time::Instant::now();
        let saved = if is_plain && quotas.room.is_ample(&save.tenant, save.quota, begin) {
            saves.save(server, &save, &stored, until).await?
        } else {
            let (sql, kind) = match is_plain {
                true => (&server.sql.save, Kind::Plain),
                false => (&server.sql.save_with_extras, Kind::WithExtras),
            };
            let parameters = of_save(server, &save, &stored, kind, until);
            let row = server.write(&save.tenant, sql, parameters, until, &save.keep).await?;
            if let Some(row) = &row {
                quotas.room.saw(&save.tenant, usage(row)?, begin);
            }
            row.as_ref().map(times).transpose()?
        };
        if let Some((created_ms, expires_ms)) = saved {
            return Ok(save.registered(created_ms, expires_ms));
        }
        match obstacle_to_save(server, &save).await? {
            Obstacle::Refused(error) => return Err(error),
            Obstacle::NoRegistration => {}
            Obstacle::Gone(old) => {
                quotas
                    .check(server, &save.tenant, old, stored.usage, save.quota)
                    .await?;
            }
        }
    }
    Err(contended())
}

/// Looks why a save has changed nothing.
pub(super) async fn obstacle_to_save(server: &Server, save: &Save) -> Result<Obstacle, SaveError> {
    if let Some(error) = repetition(server, &save.tenant, save.request).await? {
        return Ok(Obstacle::Refused(error));
    }
    let old = server.row(&save.tenant, &save.name).await?;
    let usage = old.as_ref().map(|old| old.usage);
    let refused = old.and_then(|old| old.refuses(save));
    Ok(refused.map_or(Obstacle::Gone(usage), Obstacle::Refused))
}

pub(super) async fn update(
    server: &Server,
    quotas: &Quotas,
    update: Update,
    until: Instant,
) -> Result<Option<Registration>, SaveError> {
    for _ in 0..TRIES {
        let parameters = of_update(server, &update, until)?;
        let updated = server.write(&update.tenant, &server.sql.update, parameters, until, &update.keep);
        if let Some(row) = updated.await? {
            return Ok(Some(registration(&row)?));
        }
        let (obstacle, new) = obstacle_to_update(server, &update).await?;
        match obstacle {
            Obstacle::Refused(error) => return Err(error),
            Obstacle::NoRegistration => return Ok(None),
            Obstacle::Gone(old) => {
                quotas.check(server, &update.tenant, old, new, update.quota).await?;
            }
        }
    }
    Err(contended())
}

/// Looks why an update has changed nothing, and what its row would count.
pub(super) async fn obstacle_to_update(server: &Server, update: &Update) -> Result<(Obstacle, Usage), SaveError> {
    if let Some(error) = repetition(server, &update.tenant, update.request).await? {
        return Ok((Obstacle::Refused(error), Usage::default()));
    }
    let found = server.row(&update.tenant, &update.name).await?;
    let Some(found) = found.filter(|found| found.active) else {
        return Ok((Obstacle::NoRegistration, Usage::default()));
    };
    let old = &found.registration;
    if update.seen.forbids(old.fencing_token, update.fencing_token) {
        return Ok((Obstacle::Refused(SaveError::LeaseLost), Usage::default()));
    }
    let change = &update.change;
    let owner = change.owner.as_ref().unwrap_or(&old.owner);
    let attributes = stored_attributes(change.attributes.as_ref().unwrap_or(&old.attributes))?;
    let new = Usage::of_row(&update.tenant, &update.name, owner, &attributes);
    Ok((Obstacle::Gone(Some(found.usage)), new))
}

pub(super) async fn free(server: &Server, free: Free, until: Instant) -> Result<bool, SaveError> {
    for _ in 0..TRIES {
        let parameters = of_free(server, &free, until)?;
        let freed = server.write(&free.tenant, &server.sql.free, parameters, until, &free.keep);
        if freed.await?.is_some() {
            return Ok(true);
        }
        match obstacle_to_free(server, &free).await? {
            Obstacle::Refused(error) => return Err(error),
            Obstacle::NoRegistration => return Ok(false),
            Obstacle::Gone(_) => {}
        }
    }
    Err(contended())
}

/// Looks why a free has changed nothing.
pub(super) async fn obstacle_to_free(server: &Server, free: &Free) -> Result<Obstacle, SaveError> {
    let found = server.row(&free.tenant, &free.name).await?;
    Ok(match found.filter(|found| found.active) {
        Some(found) if free.seen.forbids(found.registration.fencing_token, free.fencing_token) => {
            Obstacle::Refused(SaveError::LeaseLost)
        }
        Some(found) => Obstacle::Gone(Some(found.usage)),
        None => Obstacle::NoRegistration,
    })
}

/// Returns why a request is refused that has succeeded before.
async fn repetition(
    server: &Server,
    tenant: &str,
    request: Option<RequestKey>,
) -> Result<Option<SaveError>, NamesError> {
    let Some(request) = request else {
        return Ok(None);
    };
    Ok(server.past_request(tenant, request).await?.refusal())
}

/// What was in the way of a write has gone each time before it could be read.
pub(super) fn contended() -> SaveError {
    NamesError::unavailable("others write the same name faster than it can be read").into()
}
