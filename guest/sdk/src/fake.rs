//! An in-memory host for the tests of a handler: locks, names and settings, without WebAssembly and without servers.
//!
//! A [`World`] is of the thread that made it, so tests that run at the same time do not meet. Everything in it happens
//! at one instant until the clock is moved: by [`World::advance`], or by a call that waits for a lock.
//!
//! ```
//! use std::time::Duration;
//! use namelock_guest::{Rejection, fake::{World, request}};
//! # use namelock_guest::{Handler, Registration, Request, find, name_lock};
//! # struct Codes;
//! # impl Handler for Codes {
//! #     fn register(request: Request) -> Result<Registration, Rejection> {
//! #         name_lock(&request.name, Duration::ZERO, |lease| Ok(lease.save(&request.owner, None, &[])?))
//! #     }
//! #     fn free(_: String, _: String) -> Result<(), Rejection> {
//! #         Ok(())
//! #     }
//! # }
//!
//! let world = World::new();
//! world.hold_lock_for("AB12", Duration::from_secs(3));
//! let busy = world.register::<Codes>(request("AB12", "ada")).unwrap_err();
//! assert_eq!(busy, Rejection::Busy { retry_after: Duration::from_secs(3) });
//!
//! world.advance(Duration::from_secs(3));
//! assert_eq!(world.register::<Codes>(request("AB12", "ada"))?.owner, "ada");
//! assert!(world.locks().is_empty());
//! # Ok::<_, Rejection>(())
//! ```
//!
//! It keeps the rules of the contract: lengths and sizes, leases of 10 s, at most 8 of them at once, fencing tokens that
//! grow, one active registration of a name, holds, [`apply`](crate::apply) as a whole or not at all, no write that was
//! decided on what another lease has overwritten since. It does not have the limits of time, memory, rate, log and
//! writes, nor requests that are sent again with an idempotency key.

use std::{cell::RefCell, fmt::Display, rc::Rc, time::Duration};

use crate::{
    bindings::namelock::registration::names::{Action, Change, New, Registration},
    duration::millis,
    handler::{Handler, Rejection, Request},
    host::fake::{
        seen::Seen,
        state::{self, Event, Holder, Lock, Service, State},
        writes,
    },
    updates::{UpdateRejection, UpdateRequest, Updates},
};

/// The fake host of one thread. It ends with its last clone; a thread has one at a time.
#[derive(Debug, Clone)]
pub struct World(Rc<RefCell<State>>);

/// Returns a request for a name, with no wish for a lifetime and no attributes.
pub fn request(name: &str, owner: &str) -> Request {
    Request {
        name: name.to_owned(),
        owner: owner.to_owned(),
        lifetime: None,
        attributes: Vec::new(),
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

/// Calls of a handler, as the host makes them.
impl World {
    /// Begins the world of this thread: nothing is registered, locked or set, and every service answers.
    ///
    /// # Panics
    ///
    /// Panics if this thread has a world already.
    pub fn new() -> Self {
        Self(state::begin())
    }

    /// Calls [`Handler::register`], and releases the leases that it leaves.
    ///
    /// # Errors
    ///
    /// Returns what the handler returns.
    ///
    /// # Panics
    ///
    /// Panics where the host would treat the result as a trap: it is none of the last 16 registrations that the call
    /// was given. And if the host would not make the call: the name or the owner is not 1 to 255 bytes long.
    pub fn register<H: Handler>(&self, request: Request) -> Result<Registration, Rejection> {
        self.begin_call(&request.name, &request.owner);
        let registered = H::register(request);
        self.end_call(registered.as_ref().ok());
        registered
    }

    /// Calls [`Updates::update`], as [`World::register`] does its function.
    ///
    /// # Errors
    ///
    /// Returns what the handler returns.
    ///
    /// # Panics
    ///
    /// As [`World::register`].
    pub fn update<H: Updates>(&self, request: UpdateRequest) -> Result<Registration, UpdateRejection> {
        self.begin_call(&request.name, &request.owner);
        let updated = H::update(request);
        self.end_call(updated.as_ref().ok());
        updated
    }

    /// Calls [`Handler::free`], and releases the leases that it leaves.
    ///
    /// # Errors
    ///
    /// Returns what the handler returns.
    ///
    /// # Panics
    ///
    /// Panics if the name or the owner is not 1 to 255 bytes long: the host would not make the call.
    pub fn free<H: Handler>(&self, name: &str, owner: &str) -> Result<(), Rejection> {
        self.begin_call(name, owner);
        let freed = H::free(name.to_owned(), owner.to_owned());
        self.end_call(None);
        freed
    }

    #[track_caller]
    fn begin_call(&self, name: &str, owner: &str) {
        if let Err(error) = state::check_name(name).and(state::check_owner(owner)) {
            panic!("the host makes no such call: {error}");
        }
        self.0.borrow_mut().received.clear();
    }

    #[track_caller]
    fn end_call(&self, returned: Option<&Registration>) {
        let mut state = self.0.borrow_mut();
        state.lose_leases();
        if let Some(returned) = returned {
            assert!(
                state.received.contains(returned),
                "the host treats this as a trap: the handler returned {returned:?}, which is none of the last 16 \
                 registrations that `find`, `save`, `update` and `apply` returned in this call"
            );
        }
    }
}

/// What others have done before a call, and what the tenant has set.
impl World {
    /// Registers a name as another call, for a lifetime; none: without end.
    ///
    /// # Panics
    ///
    /// Panics if the name is taken, or if a part of this breaks a rule of the database.
    pub fn add(
        &self,
        name: &str,
        owner: &str,
        lifetime: Option<Duration>,
        attributes: &[(&str, &str)],
    ) -> Registration {
        let attributes = attributes
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let save = Action::Save(New {
            owner: owner.to_owned(),
            lifetime_ms: lifetime.map(millis),
            attributes: attributes.collect(),
        });
        let mut state = self.0.borrow_mut();
        let token = state.next_token();
        write_as_another(&mut state, name, token, &save)
    }

    /// Ends the active registration of a name, if there is one, as another call.
    pub fn end(&self, name: &str) {
        let mut state = self.0.borrow_mut();
        let token = state.next_token();
        // No newer token can be in the way of it.
        let _ = writes::write(&mut state, name, token, Seen::Unread, &Action::Free);
    }

    /// Holds the lock on a name as another call, until [`World::release_lock`]. A lease of the tested call on it is lost.
    pub fn hold_lock(&self, name: &str) {
        self.hold(name, None);
    }

    /// Holds the lock on a name as another call, for this long. A lease of the tested call on it is lost.
    pub fn hold_lock_for(&self, name: &str, time: Duration) {
        self.hold(name, Some(millis(time)));
    }

    fn hold(&self, name: &str, ms: Option<u64>) {
        let mut state = self.0.borrow_mut();
        let lock = Lock {
            holder: Holder::AnotherCall,
            token: state.next_token(),
            granted_ms: state.now_ms,
            ends_ms: ms.map(|ms| state.now_ms + ms),
            seen: Seen::Unread,
        };
        state.locks.insert(name.to_owned(), lock);
    }

    /// Releases the lock on a name, whoever holds it.
    pub fn release_lock(&self, name: &str) {
        self.0.borrow_mut().locks.remove(name);
    }

    /// Sets a setting of the tenant, in the place of what it was.
    pub fn set(&self, key: &str, value: impl Display) {
        self.0.borrow_mut().settings.insert(key.to_owned(), value.to_string());
    }

    /// Holds the names that are saved from now on for their owners after they became free, for this long; zero: not at
    /// all. It is `hold_ms` of the tenant's file.
    pub fn set_hold(&self, time: Duration) {
        self.0.borrow_mut().hold_ms = millis(time);
    }
}

/// What goes wrong.
impl World {
    /// Takes the lock service down, or brings it back.
    pub fn set_lock_service(&self, service: Answers) {
        self.0.borrow_mut().lock_service = service.into();
    }

    /// Takes the names database down, or brings it back. A write meanwhile is not done.
    pub fn set_names_database(&self, service: Answers) {
        self.0.borrow_mut().names_database = service.into();
    }

    /// Lets every lease of the tested call be lost, now. The real host also ends the call; this one goes on, and each
    /// write is answered with [`SaveError::LeaseLost`](crate::SaveError::LeaseLost).
    pub fn lose_leases(&self) {
        self.0.borrow_mut().lose_leases();
    }

    /// Lets every lease of the tested call be lost just before its next write.
    pub fn lose_leases_at_next_write(&self) {
        let state = Rc::downgrade(&self.0);
        self.before_next_write(move || {
            if let Some(state) = state.upgrade() {
                state.borrow_mut().lose_leases();
            }
        });
    }

    /// Lets something happen just before the next write, such as what another call does between a handler's `find` and
    /// its `save`. A clone of the world does it.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use namelock_guest::{AcquireError, SaveError, fake::World, name_lock};
    /// let world = World::new();
    /// let other = world.clone();
    /// world.before_next_write(move || drop(other.add("AB12", "bob", None, &[])));
    ///
    /// let lease = namelock_guest::acquire("AB12", Duration::ZERO)?;
    /// let saved = lease.save("ada", None, &[]);
    /// assert!(matches!(saved, Err(SaveError::Taken(found)) if found.owner == "bob"));
    /// # Ok::<_, AcquireError>(())
    /// ```
    pub fn before_next_write(&self, event: impl FnOnce() + 'static) {
        self.0.borrow_mut().before_write.push(Event(Box::new(event)));
    }

    /// Lets a write come late: another call, whose lease on the name ended before the tested call got its own, gives
    /// the name to `owner`. It hands the registration over that there is, or makes one without end.
    ///
    /// What a handler has decided on the registration that it read before is then refused as
    /// [`SaveError::LeaseLost`](crate::SaveError::LeaseLost).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use namelock_guest::{AcquireError, SaveError, fake::World};
    /// let world = World::new();
    /// world.add("AB12", "ada", None, &[]);
    ///
    /// let lease = namelock_guest::acquire("AB12", Duration::ZERO)?;
    /// assert_eq!(namelock_guest::find("AB12").unwrap().unwrap().owner, "ada");
    /// world.write_late("AB12", "bob");
    /// assert_eq!(lease.free(), Err(SaveError::LeaseLost));
    /// # Ok::<_, AcquireError>(())
    /// ```
    ///
    /// # Panics
    ///
    /// Panics if the tested call does not hold the lock on the name, or if the host would refuse the late write: the
    /// tested call has written the name, or the owner is not 1 to 255 bytes long.
    pub fn write_late(&self, name: &str, owner: &str) -> Registration {
        let mut state = self.0.borrow_mut();
        let own = state.lock(name).filter(|lock| lock.holder == Holder::ThisCall);
        let Some(own) = own.map(|lock| lock.token) else {
            panic!("no write of {name:?} can be late: the tested call does not hold the lock on it");
        };
        let owner = owner.to_owned();
        let action = match state.active(name) {
            Some(_) => Action::Update(Change {
                owner: Some(owner),
                lifetime: None,
                attributes: None,
            }),
            None => Action::Save(New {
                owner,
                lifetime_ms: None,
                attributes: Vec::new(),
            }),
        };
        write_as_another(&mut state, name, own - 1, &action)
    }

    /// Moves the clock, in whole milliseconds, rounded up: leases and registrations end.
    pub fn advance(&self, time: Duration) {
        self.0.borrow_mut().now_ms += millis(time);
    }
}

/// Writes a name as another call with this fencing token.
#[track_caller]
fn write_as_another(state: &mut State, name: &str, token: u64, action: &Action) -> Registration {
    let checked = writes::check_attributes(action).and_then(|()| writes::check(action));
    state::check_name(name).unwrap_or_else(|error| panic!("cannot add a registration: {error}"));
    match checked.and_then(|()| writes::write(state, name, token, Seen::Unread, action)) {
        Ok(Some(registration)) => registration,
        refused => panic!("another call cannot write {name:?} ({action:?}): {refused:?}"),
    }
}

/// Whether a service answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answers {
    /// It does.
    Yes,
    /// It is down: whatever needs it is answered with `Unavailable`.
    No,
}

impl From<Answers> for Service {
    fn from(answers: Answers) -> Self {
        match answers {
            Answers::Yes => Self::Up,
            Answers::No => Self::Down,
        }
    }
}

/// What there is after a call.
impl World {
    /// Returns the time, in milliseconds since 1970-01-01 UTC.
    pub fn now_ms(&self) -> u64 {
        self.0.borrow().now_ms
    }

    /// Returns the active registration of a name.
    pub fn registration(&self, name: &str) -> Option<Registration> {
        self.0.borrow().active(name).cloned()
    }

    /// Returns the active registrations, in the order of the bytes of their names.
    pub fn registrations(&self) -> Vec<Registration> {
        let state = self.0.borrow();
        let all = state.rows.values().map(|row| &row.registration);
        all.filter(|registration| state.is_active(registration))
            .cloned()
            .collect()
    }

    /// Returns the names whose locks the tested call holds, in the order of their bytes.
    pub fn locks(&self) -> Vec<String> {
        self.0.borrow().held()
    }
}
