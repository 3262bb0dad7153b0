//! The leases that callers of this process hold now, so that an operator can see them, and end one.
//!
//! A lease that is ended is lost to its holder at once, as if it had expired. Its lock is given back by the holder as any other:
//! a write that is under way in its name keeps the lock as long as it would have without that (`Lease::keep`), so whoever comes
//! next decides on what is there to stay.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use namelock_types::FencingToken;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::clock::{LeaseClock, LeaseInstant};
use crate::key::LockKey;

/// For whom a caller holds leases, as an operator sees it. This crate does not look at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Whose caller it is: a tenant, say.
    pub client: Arc<str>,
    /// What it does for the client: the id of a request, say.
    pub request: Arc<str>,
}

/// A name that is locked. It is shown to whoever may see names, and never in a log: `Debug` leaves it out.
#[derive(Clone, PartialEq, Eq)]
pub struct HeldName(pub(crate) Arc<str>);

impl HeldName {
    /// The name, exactly as it was acquired.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for HeldName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HeldName")
    }
}

/// A lease that is held.
#[derive(Debug, Clone)]
pub struct HeldLease {
    /// Its number in this process.
    pub id: u64,
    /// The key of its lock: the namespace, and the digest of the name.
    pub key: LockKey,
    /// The name.
    pub name: HeldName,
    /// For whom it is held; none: the caller did not say.
    pub holder: Option<Holder>,
    /// Its fencing token.
    pub fencing_token: FencingToken,
    /// How long it has been held.
    pub age: Duration,
    /// How long it lasts, unless it is renewed.
    pub remaining: Duration,
    /// How many callers of this process wait for the name.
    pub waiting: usize,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct HeldLeases {
    next: AtomicU64,
    all: Mutex<HashMap<u64, Entry>>,
}

#[derive(Debug)]
struct Entry {
    key: LockKey,
    name: HeldName,
    holder: Option<Holder>,
    fencing_token: FencingToken,
    since: LeaseInstant,
    deadline: watch::Sender<LeaseInstant>,
}

/// The place of one lease among them, until this is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    of: Arc<HeldLeases>,
    id: u64,
}

impl HeldLeases {
    /// Adds a lease that was granted.
    pub(crate) fn add(
        self: &Arc<Self>,
        key: &LockKey,
        (name, holder): (&Arc<str>, Option<&Holder>),
        fencing_token: FencingToken,
        since: LeaseInstant,
        deadline: &watch::Sender<LeaseInstant>,
    ) -> Held {
        let id = self.next.fetch_add(1, Relaxed);
        let entry = Entry {
            key: key.clone(),
            name: HeldName(Arc::clone(name)),
            holder: holder.cloned(),
            fencing_token,
            since,
            deadline: deadline.clone(),
        };
        self.all.lock().insert(id, entry);
        Held {
            of: Arc::clone(self),
            id,
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.all.lock().len()
    }

    /// Those that have been held for longest, at most `limit` of them; `waiting` tells how many wait for a name.
    pub(crate) fn oldest(
        &self,
        limit: usize,
        clock: &LeaseClock,
        waiting: impl Fn(&LockKey) -> usize,
    ) -> Vec<HeldLease> {
        let now = clock.now();
        let held = |(id, entry): (&u64, &Entry)| HeldLease {
            id: *id,
            key: entry.key.clone(),
            name: entry.name.clone(),
            holder: entry.holder.clone(),
            fencing_token: entry.fencing_token,
            age: now.saturating_duration_since(entry.since),
            remaining: entry.deadline.borrow().saturating_duration_since(now),
            waiting: 0,
        };
        let mut all: Vec<_> = self.all.lock().iter().map(held).collect();
        // The numbers are in the order of the grants.
        all.sort_unstable_by_key(|lease| lease.id);
        all.truncate(limit);
        for lease in &mut all {
            lease.waiting = waiting(&lease.key);
        }
        all
    }

    /// Ends a lease now: whoever waits for its end hears of it, and nothing more is written in its name. False: nobody holds it.
    pub(crate) fn end(&self, id: u64, clock: &LeaseClock) -> bool {
        match self.all.lock().get(&id) {
            Some(entry) => {
                entry.deadline.send_replace(clock.now());
                true
            }
            None => false,
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.of.all.lock().remove(&self.id);
    }
}
