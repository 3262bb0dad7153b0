//! The leases that one call holds.
//!
//! The host keeps them itself, outside of the guest and of its table of handles, so that it finds them all when the
//! call ends, however it ends.

use std::sync::Arc;

use futures_util::future::join_all;
use namelock_lock::Lease;

use crate::watch::LeaseWatch;

/// What a guest's handle of a lease stands for: an index into the leases of its call.
#[derive(Debug)]
pub struct LeaseHandle(usize);

impl LeaseHandle {
    /// A handle that stands for no lease.
    pub fn of_none() -> Self {
        Self(usize::MAX)
    }
}

/// A lease, and what the host notes of it.
#[derive(Debug)]
struct Held<N> {
    lease: Lease,
    note: N,
}

/// The leases of one call, no more than a limit at once. Of each the host may note something, which begins as its default.
#[derive(Debug)]
pub struct Leases<N = ()> {
    entries: Vec<Option<Held<N>>>,
    watch: Arc<LeaseWatch>,
    limit: usize,
    /// How many it held at once.
    most: usize,
}

impl<N: Default> Leases<N> {
    /// No leases yet, and at most so many at once.
    pub fn new(limit: usize) -> Self {
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
            note: N::default(),
        });
    }

    /// The lease that a handle stands for.
    pub fn get(&self, handle: &LeaseHandle) -> Option<&Lease> {
        Some(&self.entries.get(handle.0)?.as_ref()?.lease)
    }

    /// What the host has noted of a lease.
    pub fn note(&self, handle: &LeaseHandle) -> Option<&N> {
        Some(&self.entries.get(handle.0)?.as_ref()?.note)
    }

    /// The same of the lease on this name, to be changed.
    pub fn note_of(&mut self, name: &str) -> Option<&mut N> {
        let mut held = self.entries.iter_mut().flatten();
        Some(&mut held.find(|held| held.lease.name() == name)?.note)
    }

    pub(crate) fn get_mut(&mut self, handle: &LeaseHandle) -> Option<&mut Lease> {
        Some(&mut self.entries.get_mut(handle.0)?.as_mut()?.lease)
    }

    pub(crate) fn take(&mut self, handle: &LeaseHandle) -> Option<Lease> {
        let lease = self.entries.get_mut(handle.0)?.take()?.lease;
        self.watch.set(handle.0, None);
        Some(lease)
    }

    /// Takes everything that is still held. A lease that is dropped is released in the background.
    pub fn take_all(&mut self) -> impl Iterator<Item = Lease> + use<N> {
        std::mem::take(&mut self.entries)
            .into_iter()
            .flatten()
            .map(|held| held.lease)
    }

    /// Releases everything that is still held, and waits until that is done, or known to take longer.
    pub async fn release_all(&mut self) {
        // Whether each was still held does not matter to a call that has ended.
        drop(join_all(self.take_all().map(Lease::release)).await);
    }

    /// Returns the watch that tells when one of them is lost.
    pub fn watch(&self) -> Arc<LeaseWatch> {
        Arc::clone(&self.watch)
    }

    /// How many the call held at most, or asked for.
    pub fn most(&self) -> usize {
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

    /// How many it may hold at once.
    pub fn limit(&self) -> usize {
        self.limit
    }
}
