//! What the in-memory host knows.

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    fmt,
    rc::{Rc, Weak},
};

use super::seen::Seen;
use crate::bindings::namelock::registration::names::Registration;

/// The longest name and the longest owner, in bytes.
const TEXT_BYTES_MAX: usize = 255;

/// How many registrations a call may choose from when it returns one.
const RECEIVED_MAX: usize = 16;

/// When a world begins: 2026-01-01 UTC, in milliseconds since 1970.
const BEGIN_MS: u64 = 1_767_225_600_000;

thread_local! {
    static STATE: RefCell<Weak<RefCell<State>>> = const { RefCell::new(Weak::new()) };
}

/// The whole state of a world.
#[derive(Debug)]
pub(crate) struct State {
    /// The one clock of lock service and database, in milliseconds since 1970. It stands still unless it is moved.
    pub(crate) now_ms: u64,
    /// The last fencing token: each lease has a greater one than those before.
    last_token: u64,
    /// The locks that are held or were until they expired.
    pub(crate) locks: BTreeMap<String, Lock>,
    /// The last registration of each name, active or not.
    pub(crate) rows: BTreeMap<String, Row>,
    pub(crate) settings: BTreeMap<String, String>,
    /// For how long a name that is saved now is held for its owner after it became free.
    pub(crate) hold_ms: u64,
    pub(crate) lock_service: Service,
    pub(crate) names_database: Service,
    /// What happens when the next write has reached the host and has not begun.
    pub(crate) before_write: Vec<Event>,
    /// The last registrations that the current call was given.
    pub(crate) received: VecDeque<Registration>,
}

/// Whether a service answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    Up,
    Down,
}

/// The lock on a name.
#[derive(Debug)]
pub(crate) struct Lock {
    pub(crate) holder: Holder,
    pub(crate) token: u64,
    pub(crate) granted_ms: u64,
    /// When it expires; none: it does not.
    pub(crate) ends_ms: Option<u64>,
    /// What the tested call has read of the name since it holds it.
    pub(crate) seen: Seen,
}

/// Who has a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holder {
    /// The call that is tested.
    ThisCall,
    /// Another call, on some machine.
    AnotherCall,
}

/// A registration as the database keeps it.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) registration: Registration,
    pub(crate) hold_ms: u64,
}

/// Something that happens once.
pub(crate) struct Event(pub(crate) Box<dyn FnOnce()>);

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Event")
    }
}

/// Returns the state of this thread's world.
///
/// # Panics
///
/// Panics if there is none, with the words that mend it.
pub(crate) fn state() -> Rc<RefCell<State>> {
    STATE.with_borrow(Weak::upgrade).expect(
        "this thread has no fake host: a test makes a `namelock_guest::fake::World` first and keeps it, and a world is \
         of the thread that made it",
    )
}

/// Begins the world of this thread.
///
/// # Panics
///
/// Panics if it has one already.
pub(crate) fn begin() -> Rc<RefCell<State>> {
    let state = Rc::new(RefCell::new(State {
        now_ms: BEGIN_MS,
        last_token: 0,
        locks: BTreeMap::new(),
        rows: BTreeMap::new(),
        settings: BTreeMap::new(),
        hold_ms: 0,
        lock_service: Service::Up,
        names_database: Service::Up,
        before_write: Vec::new(),
        received: VecDeque::new(),
    }));
    STATE.with_borrow_mut(|current| {
        assert_eq!(
            current.strong_count(),
            0,
            "this thread has a `World` already: drop it, or clone it"
        );
        *current = Rc::downgrade(&state);
    });
    state
}

/// Checks the length of a name.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    check_length("a name", name)
}

/// Checks the length of an owner.
pub(crate) fn check_owner(owner: &str) -> Result<(), String> {
    check_length("an owner", owner)
}

fn check_length(what: &str, text: &str) -> Result<(), String> {
    match text.len() {
        1..=TEXT_BYTES_MAX => Ok(()),
        bytes => Err(format!(
            "{what} is 1 to {TEXT_BYTES_MAX} bytes of UTF-8; this one is {bytes}"
        )),
    }
}

impl State {
    /// Returns the active registration of a name.
    pub(crate) fn active(&self, name: &str) -> Option<&Registration> {
        let registration = &self.rows.get(name)?.registration;
        self.is_active(registration).then_some(registration)
    }

    /// Whether a registration has not ended. At the instant at which it ends, it has.
    pub(crate) fn is_active(&self, registration: &Registration) -> bool {
        registration.expires_ms.is_none_or(|ends| ends > self.now_ms)
    }

    /// Returns the lock on a name, if it has not expired.
    pub(crate) fn lock(&self, name: &str) -> Option<&Lock> {
        let lock = self.locks.get(name)?;
        lock.ends_ms.is_none_or(|ends| ends > self.now_ms).then_some(lock)
    }

    /// Returns the names that this call holds, in the order of their bytes.
    pub(crate) fn held(&self) -> Vec<String> {
        let names = self.locks.keys();
        let is_held = |name: &&String| self.lock(name).is_some_and(|lock| lock.holder == Holder::ThisCall);
        names.filter(is_held).cloned().collect()
    }

    /// Takes the leases of this call away.
    pub(crate) fn lose_leases(&mut self) {
        self.locks.retain(|_, lock| lock.holder != Holder::ThisCall);
    }

    /// Returns a fencing token that is greater than all before. The one below it is given to nobody, so that another
    /// call can have had it.
    pub(crate) fn next_token(&mut self) -> u64 {
        self.last_token += 2;
        self.last_token
    }

    /// Notes what the tested call has been told of a name. Before it holds the lock on it, that says nothing: others
    /// may write.
    pub(crate) fn saw(&mut self, name: &str, found: Option<&Registration>) {
        let lock = self.locks.get_mut(name);
        if let Some(lock) = lock.filter(|lock| lock.holder == Holder::ThisCall) {
            lock.seen = Seen::of(found);
        }
    }

    /// Notes a registration that the current call is given.
    pub(crate) fn receive(&mut self, registration: &Registration) {
        self.saw(&registration.name, Some(registration));
        if self.received.len() == RECEIVED_MAX {
            self.received.pop_front();
        }
        self.received.push_back(registration.clone());
    }
}
