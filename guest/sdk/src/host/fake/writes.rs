//! What a write does to the registrations, and what it must satisfy.

use super::{
    seen::Seen,
    state::{Row, State, check_owner},
};
use crate::bindings::namelock::registration::names::{Action, Change, Lifetime, New, Registration, SaveError};

/// What a handler is told when a write has no answer.
pub(crate) const WRITE_UNAVAILABLE: &str =
    "the names database does not answer, and the write may or may not have been done";

/// The longest lifetime: 100 years.
const LIFETIME_MAX_MS: u64 = 100 * 366 * 24 * 60 * 60 * 1000;

/// The default of `limits.attributes`.
const ATTRIBUTES_MAX: usize = 32;

/// The default of `limits.attribute_bytes`: of all keys and values together.
const ATTRIBUTE_BYTES_MAX: usize = 4096;

/// Checks the number and the size of the attributes.
pub(crate) fn check_attributes(action: &Action) -> Result<(), SaveError> {
    let attributes = match action {
        Action::Save(new) => &new.attributes[..],
        Action::Update(change) => change.attributes.as_deref().unwrap_or_default(),
        Action::Free => &[],
    };
    if attributes.len() > ATTRIBUTES_MAX {
        return invalid(format!("there are at most {ATTRIBUTES_MAX} attributes"));
    }
    let bytes: usize = attributes.iter().map(|(key, value)| key.len() + value.len()).sum();
    if bytes > ATTRIBUTE_BYTES_MAX {
        return invalid(format!(
            "all attributes together are at most {ATTRIBUTE_BYTES_MAX} bytes long"
        ));
    }
    Ok(())
}

/// Checks the owner and the lifetime.
pub(crate) fn check(action: &Action) -> Result<(), SaveError> {
    let (owner, lifetime_ms) = match action {
        Action::Save(new) => (Some(&new.owner), new.lifetime_ms),
        Action::Update(change) => (change.owner.as_ref(), from_now_ms(change)),
        Action::Free => (None, None),
    };
    if let Some(owner) = owner {
        check_owner(owner).or_else(invalid)?;
    }
    if lifetime_ms.is_some_and(|ms| !(1..=LIFETIME_MAX_MS).contains(&ms)) {
        return invalid("a lifetime is at least 1 ms and at most 100 years".to_owned());
    }
    Ok(())
}

/// Writes a name under a lease of the tested call, which has decided on it by what it has read under the lease.
pub(crate) fn write_under(
    state: &mut State,
    name: &str,
    token: u64,
    action: &Action,
) -> Result<Option<Registration>, SaveError> {
    let seen = state.lock(name).map_or(Seen::Unread, |lock| lock.seen);
    let written = write(state, name, token, seen, action);
    if let Err(SaveError::Taken(found)) = &written
        && state.is_active(found)
    {
        state.saw(name, Some(found));
    }
    written
}

/// Writes a name under a lease with this fencing token, whose holder has seen this of it. Returns the registration that
/// was saved, changed or ended; none: there is no active one to change or to end.
pub(crate) fn write(
    state: &mut State,
    name: &str,
    token: u64,
    seen: Seen,
    action: &Action,
) -> Result<Option<Registration>, SaveError> {
    if let Action::Save(new) = action {
        return save(state, name, token, new).map(Some);
    }
    let now_ms = state.now_ms;
    if state.active(name).is_none() {
        return Ok(None);
    }
    let Some(Row { registration, .. }) = state.rows.get_mut(name) else {
        return Ok(None);
    };
    if seen.forbids(registration.fencing_token, token) {
        return Err(SaveError::LeaseLost);
    }
    registration.fencing_token = token;
    match action {
        Action::Update(change) => alter(registration, change, now_ms),
        // What ends the moment it was saved still ends.
        Action::Save(_) | Action::Free => registration.expires_ms = Some(now_ms),
    }
    Ok(Some(registration.clone()))
}

fn save(state: &mut State, name: &str, token: u64, new: &New) -> Result<Registration, SaveError> {
    if let Some(Row { registration, hold_ms }) = state.rows.get(name) {
        if state.is_active(registration) {
            return Err(SaveError::Taken(registration.clone()));
        }
        if registration.fencing_token > token {
            return Err(SaveError::LeaseLost);
        }
        let ended_ms = registration.expires_ms.unwrap_or(state.now_ms);
        if registration.owner != new.owner && ended_ms + hold_ms > state.now_ms {
            return Err(SaveError::Taken(registration.clone()));
        }
    }
    let registration = Registration {
        name: name.to_owned(),
        owner: new.owner.clone(),
        created_ms: state.now_ms,
        expires_ms: new.lifetime_ms.map(|ms| state.now_ms + ms),
        fencing_token: token,
        attributes: new.attributes.clone(),
    };
    let row = Row {
        registration: registration.clone(),
        hold_ms: state.hold_ms,
    };
    state.rows.insert(name.to_owned(), row);
    Ok(registration)
}

fn alter(registration: &mut Registration, change: &Change, now_ms: u64) {
    if let Some(owner) = &change.owner {
        registration.owner.clone_from(owner);
    }
    if change.lifetime.is_some() {
        registration.expires_ms = from_now_ms(change).map(|ms| now_ms + ms);
    }
    if let Some(attributes) = &change.attributes {
        registration.attributes.clone_from(attributes);
    }
}

fn from_now_ms(change: &Change) -> Option<u64> {
    match change.lifetime {
        Some(Lifetime::FromNowMs(ms)) => Some(ms),
        Some(Lifetime::Endless) | None => None,
    }
}

fn invalid<T>(reason: String) -> Result<T, SaveError> {
    Err(SaveError::Invalid(reason))
}
