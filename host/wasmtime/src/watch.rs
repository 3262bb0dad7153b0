//! Tells a host when one of the leases of a call is lost, so that it ends the call.
//!
//! The guest runs in one future, which borrows the store mutably; the watch is another future beside it, and needs
//! nothing of the store but the ends of the leases that are held now. A guest that spins does not escape it where the host
//! lets it yield at every tick of wasmtime's epoch.

use std::fmt;

use futures_util::future::{pending, select_all};
use namelock_lock::LeaseEnd;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// The ends of the leases of one call, by the index of the lease.
#[derive(Default)]
pub struct LeaseWatch {
    ends: Mutex<Vec<Option<LeaseEnd>>>,
    changed: Notify,
}

impl fmt::Debug for LeaseWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaseWatch").finish_non_exhaustive()
    }
}

impl LeaseWatch {
    /// Watches the lease with this index from now on; none: it is no longer held by the call.
    pub(crate) fn set(&self, index: usize, end: Option<LeaseEnd>) {
        let mut ends = self.ends.lock();
        if ends.len() <= index {
            ends.resize_with(index + 1, || None);
        }
        ends[index] = end;
        drop(ends);
        self.changed.notify_one();
    }

    /// Waits until a lease is lost while the call holds it.
    // Keeps P5: the call ends at once when this returns, so a handler cannot run on past its lease.
    pub async fn lost(&self) {
        loop {
            let ends: Vec<_> = self.ends.lock().iter().flatten().cloned().collect();
            let first = async {
                if ends.is_empty() {
                    pending().await
                } else {
                    drop(select_all(ends.into_iter().map(|end| Box::pin(end.lost()))).await);
                }
            };
            tokio::select! {
                () = first => return,
                () = self.changed.notified() => {}
            }
        }
    }
}
