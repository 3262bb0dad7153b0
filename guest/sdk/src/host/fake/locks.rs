//! The interface `locks`, in memory.

use std::{
    cell::RefCell,
    rc::{Rc, Weak},
};

use super::{
    seen::Seen,
    state::{Holder, Lock, Service, State, check_name, state},
};
use crate::bindings::namelock::registration::locks::{AcquireError, Lost};

/// How many leases a call holds at most: the default of `limits.leases`.
pub(crate) const LEASES_MAX: usize = 8;

/// How long a lease lasts: the default of `lock.lease`.
const LEASE_MS: u64 = 10_000;

/// How long a lease lasts at most if it is renewed: the default of `lock.max_hold`.
const HOLD_MAX_MS: u64 = 60_000;

/// How long the host waits at most: the default of `lock.max_wait`.
const WAIT_MAX_MS: u64 = 30_000;

/// The right to a name in the world in which it was acquired.
#[derive(Debug)]
pub(crate) struct Lease {
    name: String,
    token: u64,
    world: Weak<RefCell<State>>,
}

impl Lease {
    pub(crate) fn name(&self) -> String {
        self.name.clone()
    }

    pub(crate) fn fencing_token(&self) -> u64 {
        self.token
    }

    pub(crate) fn remaining_ms(&self) -> u64 {
        let Some(world) = self.world.upgrade() else { return 0 };
        let state = world.borrow();
        let own = state.lock(&self.name).filter(|lock| lock.token == self.token);
        own.and_then(|lock| lock.ends_ms).map_or(0, |ends| ends - state.now_ms)
    }

    pub(crate) fn renew(&self) -> Result<(), Lost> {
        if self.remaining_ms() == 0 {
            return Err(Lost::Gone);
        }
        let world = state();
        let mut state = world.borrow_mut();
        if state.lock_service == Service::Down {
            return Err(Lost::Unknown);
        }
        let renewed_ms = state.now_ms + LEASE_MS;
        if let Some(lock) = state.locks.get_mut(&self.name) {
            lock.ends_ms = Some(renewed_ms.min(lock.granted_ms + HOLD_MAX_MS));
        }
        Ok(())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.remaining_ms() == 0 {
            return;
        }
        if let Some(world) = self.world.upgrade() {
            world.borrow_mut().locks.remove(&self.name);
        }
    }
}

pub(crate) fn acquire(name: &str, wait_ms: u32) -> Result<Lease, AcquireError> {
    let world = state();
    let mut state = world.borrow_mut();
    if state.held().len() >= LEASES_MAX {
        return Err(too_many());
    }
    check_name(name).map_err(AcquireError::InvalidName)?;
    wait(&mut state, &[name], wait_ms)?;
    Ok(grant(&world, &mut state, name))
}

pub(crate) fn acquire_all(names: &[String], wait_ms: u32) -> Result<Vec<Lease>, AcquireError> {
    let invalid = |reason: String| Err(AcquireError::InvalidName(reason));
    let world = state();
    let mut state = world.borrow_mut();
    let held = state.held();
    if names.is_empty() {
        return invalid("no name was given".to_owned());
    }
    if held.len() + names.len() > LEASES_MAX {
        return Err(too_many());
    }
    if let Some(name) = names.iter().find(|name| held.contains(name)) {
        return invalid(format!("this call holds {name:?} already"));
    }
    for (index, name) in names.iter().enumerate() {
        check_name(name).map_err(AcquireError::InvalidName)?;
        if names[..index].contains(name) {
            return invalid(format!("the name {name:?} is given twice"));
        }
    }
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    wait(&mut state, &names, wait_ms)?;
    Ok(names.iter().map(|name| grant(&world, &mut state, name)).collect())
}

pub(crate) fn release(lease: Lease) -> Result<(), Lost> {
    if lease.remaining_ms() == 0 {
        return Err(Lost::Gone);
    }
    let is_down = state().borrow().lock_service == Service::Down;
    if is_down { Err(Lost::Unknown) } else { Ok(()) }
}

fn too_many() -> AcquireError {
    AcquireError::Limit(format!("a call holds at most {LEASES_MAX} leases at once"))
}

/// Moves the clock until none of the names is held, or by the whole wait.
fn wait(state: &mut State, names: &[&str], wait_ms: u32) -> Result<(), AcquireError> {
    if state.lock_service == Service::Down {
        return Err(AcquireError::Unavailable(
            "the lock service cannot grant now".to_owned(),
        ));
    }
    let until_ms = state.now_ms + u64::from(wait_ms).min(WAIT_MAX_MS);
    let in_the_way: Vec<_> = names.iter().filter_map(|name| state.lock(name)).collect();
    let free_ms = in_the_way.iter().map(|lock| match lock {
        // A call that waits for itself waits in vain.
        Lock {
            holder: Holder::ThisCall,
            ..
        }
        | Lock { ends_ms: None, .. } => None,
        Lock { ends_ms, .. } => *ends_ms,
    });
    let Some(free_ms) = free_ms.collect::<Option<Vec<_>>>() else {
        state.now_ms = until_ms;
        return Err(AcquireError::Busy(LEASE_MS));
    };
    match free_ms.into_iter().max() {
        Some(free_ms) if free_ms > until_ms => {
            state.now_ms = until_ms;
            Err(AcquireError::Busy(free_ms - until_ms))
        }
        Some(free_ms) => {
            state.now_ms = free_ms;
            Ok(())
        }
        None => Ok(()),
    }
}

fn grant(world: &Rc<RefCell<State>>, state: &mut State, name: &str) -> Lease {
    let token = state.next_token();
    let lock = Lock {
        holder: Holder::ThisCall,
        token,
        granted_ms: state.now_ms,
        ends_ms: Some(state.now_ms + LEASE_MS),
        seen: Seen::Unread,
    };
    state.locks.insert(name.to_owned(), lock);
    Lease {
        name: name.to_owned(),
        token,
        world: Rc::downgrade(world),
    }
}
