//! Who watches over the leases of a call: a handler must not run on past one.
//!
//! The guest runs in one future, which has the store to itself; the watch is another one beside it, and needs nothing of the store but
//! the ends of the leases that are held now. At the first that is lost the call ends. A spinning guest does not escape it: it yields
//! at every tick of the clock.

use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::future::{pending, select_all};
use namelock_lock::LeaseEnd;
use tokio::sync::Notify;

/// The ends of the leases of one call, by their places.
#[derive(Default)]
pub(crate) struct Vigil {
    ends: Mutex<Vec<Option<LeaseEnd>>>,
    changed: Notify,
}

impl Vigil {
    /// Watches over the lease in this place from now on; none: it has been given back.
    pub(crate) fn watch(&self, place: usize, end: Option<LeaseEnd>) {
        let mut ends = self.ends();
        if ends.len() <= place {
            ends.resize_with(place + 1, || None);
        }
        ends[place] = end;
        drop(ends);
        self.changed.notify_one();
    }

    /// Waits until a lease is lost that is held then.
    pub(crate) async fn lost(&self) {
        loop {
            let ends: Vec<_> = self.ends().iter().flatten().cloned().collect();
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

    /// Nothing that holds this mutex can panic half way through a change, so a poisoned one is still sound.
    fn ends(&self) -> MutexGuard<'_, Vec<Option<LeaseEnd>>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
