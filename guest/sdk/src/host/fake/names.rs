//! The interface `names`, in memory: finding and listing here, what writes do in `writes`.

use super::{
    locks::{LEASES_MAX, Lease},
    state::{Service, State, check_name, check_owner, state},
    writes::{self, WRITE_UNAVAILABLE},
};
use crate::bindings::namelock::registration::names::{
    Action, Change, NamesError, New, Page, Query, Registration, SaveError,
};

/// The most registrations of one page.
const LIMIT_MAX: u32 = 1000;

/// How long a write may take: what a lease must last for longer than.
const WRITE_MS: u64 = 2_000;

/// One of several writes.
#[derive(Debug)]
pub(crate) struct Write<'a> {
    pub(crate) lease: &'a Lease,
    pub(crate) action: Action,
}

pub(crate) fn find(name: &str) -> Result<Option<Registration>, NamesError> {
    check_name(name).map_err(NamesError::Invalid)?;
    let world = state();
    let mut state = world.borrow_mut();
    check_up(&state)?;
    let found = state.active(name).cloned();
    match &found {
        Some(registration) => state.receive(registration),
        None => state.saw(name, None),
    }
    Ok(found)
}

pub(crate) fn list(query: &Query) -> Result<Page, NamesError> {
    let Query {
        prefix,
        owner,
        after,
        limit,
    } = query;
    let prefix_check = if prefix.is_empty() { Ok(()) } else { check_name(prefix) };
    let owner_check = owner.as_deref().map_or(Ok(()), check_owner);
    let after_check = after.as_deref().map_or(Ok(()), check_name);
    prefix_check
        .and(owner_check)
        .and(after_check)
        .map_err(NamesError::Invalid)?;
    if !(1..=LIMIT_MAX).contains(limit) {
        return Err(NamesError::Invalid(format!(
            "a page has 1 to {LIMIT_MAX} registrations, and not {limit}"
        )));
    }
    let world = state();
    let state = world.borrow();
    check_up(&state)?;
    // The map is in the order of the names' bytes.
    let mut listed = state.rows.values().map(|row| &row.registration).filter(|registration| {
        state.is_active(registration)
            && registration.name.starts_with(prefix)
            && owner.as_ref().is_none_or(|owner| registration.owner == *owner)
            && after.as_ref().is_none_or(|after| registration.name > *after)
    });
    let registrations: Vec<_> = listed.by_ref().take(*limit as usize).cloned().collect();
    let last = registrations.last().map(|registration| registration.name.clone());
    let next = listed.next().and(last);
    Ok(Page { registrations, next })
}

pub(crate) fn save(
    lease: &Lease,
    owner: &str,
    lifetime_ms: Option<u64>,
    attributes: &[(String, String)],
) -> Result<Registration, SaveError> {
    let action = Action::Save(New {
        owner: owner.to_owned(),
        lifetime_ms,
        attributes: attributes.to_vec(),
    });
    let saved = write(lease, &action)?;
    Ok(saved.expect("a save that succeeds has a registration"))
}

pub(crate) fn free(lease: &Lease) -> Result<bool, SaveError> {
    Ok(write(lease, &Action::Free)?.is_some())
}

pub(crate) fn update(lease: &Lease, change: &Change) -> Result<Option<Registration>, SaveError> {
    write(lease, &Action::Update(change.clone()))
}

pub(crate) fn apply(writes: &[Write<'_>]) -> Result<Vec<Option<Registration>>, SaveError> {
    let invalid = |reason: String| Err(SaveError::Invalid(reason));
    if !(1..=LEASES_MAX).contains(&writes.len()) {
        return invalid(format!(
            "1 to {LEASES_MAX} writes are done together, and these are {}",
            writes.len()
        ));
    }
    let all: Vec<_> = writes.iter().map(|write| (write.lease, &write.action)).collect();
    begin(&all)?;
    for (index, write) in writes.iter().enumerate() {
        let name = write.lease.name();
        if writes[..index].iter().any(|before| before.lease.name() == name) {
            return invalid(format!("the name {name:?} is written twice"));
        }
    }
    let world = state();
    let mut state = world.borrow_mut();
    let before = state.rows.clone();
    let mut results = Vec::with_capacity(writes.len());
    for Write { lease, action } in writes {
        let name = lease.name();
        let written = match writes::write_under(&mut state, &name, lease.fencing_token(), action) {
            Ok(None) => Err(SaveError::Invalid(format!("{name:?} has no active registration"))),
            written => written,
        };
        match written {
            Ok(registration) => results.push(registration.filter(|_| !matches!(action, Action::Free))),
            Err(error) => {
                state.rows = before;
                return Err(error);
            }
        }
    }
    for (Write { lease, .. }, written) in writes.iter().zip(&results) {
        match written {
            Some(registration) => state.receive(registration),
            None => state.saw(&lease.name(), None),
        }
    }
    Ok(results)
}

fn check_up(state: &State) -> Result<(), NamesError> {
    match state.names_database {
        Service::Up => Ok(()),
        Service::Down => Err(NamesError::Unavailable("the names database does not answer".to_owned())),
    }
}

/// Does one write. Returns the registration that was saved, changed or ended.
fn write(lease: &Lease, action: &Action) -> Result<Option<Registration>, SaveError> {
    begin(&[(lease, action)])?;
    let world = state();
    let mut state = world.borrow_mut();
    let name = lease.name();
    let written = writes::write_under(&mut state, &name, lease.fencing_token(), action)?;
    match written.as_ref().filter(|_| !matches!(action, Action::Free)) {
        Some(registration) => state.receive(registration),
        None => state.saw(&name, None),
    }
    Ok(written)
}

/// Lets happen what is to happen before a write, and checks what does not depend on the registrations.
fn begin(writes: &[(&Lease, &Action)]) -> Result<(), SaveError> {
    let events = std::mem::take(&mut state().borrow_mut().before_write);
    for event in events {
        (event.0)();
    }
    for (lease, action) in writes {
        writes::check_attributes(action)?;
        if lease.remaining_ms() <= WRITE_MS {
            return Err(SaveError::LeaseLost);
        }
    }
    for (_, action) in writes {
        writes::check(action)?;
    }
    match state().borrow().names_database {
        Service::Up => Ok(()),
        Service::Down => Err(SaveError::Unavailable(WRITE_UNAVAILABLE.to_owned())),
    }
}
