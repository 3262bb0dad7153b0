//! The leases that one call holds.
//!
//! The host keeps them itself, outside of the guest and of its table of handles, so that it finds them all when the
//! call ends, however it ends.

use std::sync::Arc;

use namelock_lock::Lease;
use namelock_names::Seen;

use crate::lease_watch::LeaseWatch;

/// What a guest's handle of a lease stands for: an index into the leases of its call.
#[derive(Debug)]
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct LeaseHandle(usize);

impl LeaseHandle {
    /// The handle of a lease that a recorded call had; it stands for none of this one.
    pub(crate) fn of_replay() -> Self {
        Self(usize::MAX)
    }
}

/// A lease, and what the call has read of its name since it has it.
struct Held {
    lease: Lease,
    seen: Seen,
}

/// The leases of one call, no more than a limit at once.
pub(crate) struct Leases {
    entries: Vec<Option<Held>>,
    watch: Arc<LeaseWatch>,
    limit: usize,
    /// How many it held at once.
    most: usize,
}

impl Leases {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            entries: Vec::new(),
            watch: Arc::default(),
            limit,
            most: 0,
        }
    }

    /// Returns the handle for one more lease; none when the call holds as many as it may.
    pub(crate) fn reserve(&mut self) -> Option<LeaseHandle> {
        if let Some(free) = self.entries.iter().position(Option::is_none) {
            return Some(LeaseHandle(free));
        }
        if self.entries.len() >= self.limit {
            return None;
        }
        self.entries.push(None);
        self.most = self.entries.len();
        Some(LeaseHandle(self.entries.len() - 1))
    }

    pub(crate) fn insert(&mut self, handle: &LeaseHandle, lease: Lease) {
        self.watch.set(handle.0, Some(lease.end()));
        self.entries[handle.0] = Some(Held {
            lease,
            seen: Seen::Unread,
        });
    }

    pub(crate) fn get(&self, handle: &LeaseHandle) -> Option<&Lease> {
        Some(&self.entries.get(handle.0)?.as_ref()?.lease)
    }

    /// Notes what the call has read of a name. Before it has the lease on it, that says nothing: others may write.
    pub(crate) fn saw(&mut self, name: &str, seen: Seen) {
        let held = self.entries.iter_mut().flatten().find(|held| held.lease.name() == name);
        if let Some(held) = held {
            held.seen = seen;
        }
    }

    /// What the call has read of the name of this lease.
    pub(crate) fn seen(&self, handle: &LeaseHandle) -> Seen {
        let held = self.entries.get(handle.0).and_then(Option::as_ref);
        held.map_or(Seen::Unread, |held| held.seen)
    }

    pub(crate) fn get_mut(&mut self, handle: &LeaseHandle) -> Option<&mut Lease> {
        Some(&mut self.entries.get_mut(handle.0)?.as_mut()?.lease)
    }

    pub(crate) fn take(&mut self, handle: &LeaseHandle) -> Option<Lease> {
        let lease = self.entries.get_mut(handle.0)?.take()?.lease;
        self.watch.set(handle.0, None);
        Some(lease)
    }

    /// Takes everything that is still held.
    pub(crate) fn take_all(&mut self) -> impl Iterator<Item = Lease> {
        std::mem::take(&mut self.entries)
            .into_iter()
            .flatten()
            .map(|held| held.lease)
    }

    /// Returns the watch that tells when one of them is lost.
    pub(crate) fn watch(&self) -> Arc<LeaseWatch> {
        Arc::clone(&self.watch)
    }

    /// How many the call held at most, or asked for.
    pub(crate) fn most(&self) -> usize {
        self.most
    }

    /// How many more it may hold.
    pub(crate) fn room(&self) -> usize {
        self.limit - self.entries.iter().flatten().count().min(self.limit)
    }

    /// Whether it holds the lease on this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.entries.iter().flatten().any(|held| held.lease.name() == name)
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }
}
