//! The parameters of the statements that write under a lease.

use tokio::time::Instant;

use crate::error::SaveError;
use crate::postgres::server::Server;
use crate::postgres::statement::{Parameters, parameters};
use crate::postgres::time::Until;
use crate::quota::Usage;
use crate::registration::{Free, Lifetime, Save, Update};
use crate::request::RequestKey;
use crate::rules::{stored_attributes, stored_count, stored_hold, stored_ms, stored_seen, stored_token};

/// Which statement saves one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Plain,
    WithExtras,
}

/// A save as the database stores it.
pub(super) struct Stored {
    pub(super) token: i64,
    pub(super) attributes: String,
    /// What its row counts.
    pub(super) usage: Usage,
}

impl Stored {
    pub(super) fn new(save: &Save) -> Result<Self, SaveError> {
        let attributes = stored_attributes(&save.attributes)?;
        Ok(Self {
            token: stored_token(save.fencing_token)?,
            usage: Usage::of_row(&save.tenant, &save.name, &save.owner, &attributes),
            attributes,
        })
    }
}

pub(super) fn of_save(server: &Server, save: &Save, stored: &Stored, kind: Kind, until: Instant) -> Parameters {
    let quota = [save.quota.registrations, save.quota.bytes, stored.usage.bytes];
    let [registrations, bytes, new_bytes] = quota.map(stored_count);
    let mut all = parameters![
        save.tenant.clone(),
        save.name.clone().into_bytes(),
        save.owner.clone().into_bytes(),
        save.lifetime.map(stored_ms),
        stored.token,
        stored.attributes.clone(),
        server.now(),
        Until(until),
        registrations,
        bytes,
        new_bytes,
    ];
    if kind == Kind::WithExtras {
        let (key, fingerprint) = digests(save.request.as_ref());
        all.extend(parameters![stored_hold(save.hold), key, fingerprint]);
    }
    all
}

pub(super) fn of_update(server: &Server, update: &Update, until: Instant) -> Result<Parameters, SaveError> {
    let change = &update.change;
    let lifetime = match change.lifetime {
        Some(Lifetime::FromNow(lifetime)) => Some(stored_ms(lifetime)),
        Some(Lifetime::Endless) | None => None,
    };
    let (key, fingerprint) = digests(update.request.as_ref());
    Ok(parameters![
        update.tenant.clone(),
        update.name.clone().into_bytes(),
        stored_token(update.fencing_token)?,
        server.now(),
        Until(until),
        change.owner.clone().map(String::into_bytes),
        change.attributes.as_deref().map(stored_attributes).transpose()?,
        change.lifetime.is_some(),
        lifetime,
        stored_count(update.quota.bytes),
        key,
        fingerprint,
        stored_seen(update.seen)?,
    ])
}

pub(super) fn of_free(server: &Server, free: &Free, until: Instant) -> Result<Parameters, SaveError> {
    Ok(parameters![
        free.tenant.clone(),
        free.name.clone().into_bytes(),
        stored_token(free.fencing_token)?,
        server.now(),
        Until(until),
        stored_seen(free.seen)?,
    ])
}

fn digests(request: Option<&RequestKey>) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
    request
        .map(|request| (request.key.to_vec(), request.fingerprint.to_vec()))
        .unzip()
}
