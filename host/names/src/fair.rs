//! A queue that serves tenants in turn.
//!
//! Each tenant has a queue of its own, and whoever takes gets one entry of each tenant in turn, so an entry waits for at
//! most one of every other tenant before each that its own tenant queued earlier. A tenant that floods makes its own
//! queue longer, and nobody else's.
//!
//! All queues together are bounded, and one tenant may have no more entries than there is room left: the dynamic
//! threshold of shared-memory switches, with alpha = 1 (Choudhury and Hahne, "Dynamic queue length thresholds for
//! shared-memory packet switches", 1998). One that floods alone gets half of the room, two a third each, so there is room
//! left for whoever comes next.

use std::collections::{HashMap, VecDeque};

use parking_lot::{Condvar, Mutex};

/// The host itself takes turns with the tenants as one of them, whose id none of them has.
pub(crate) const NO_TENANT: &str = "";

/// The entries of all tenants, at most `capacity`.
pub(crate) struct Fair<T> {
    capacity: usize,
    len: usize,
    /// Of each tenant that has entries, these.
    queues: HashMap<String, VecDeque<T>>,
    /// Each tenant that has entries, once, in the order in which they are served.
    turns: VecDeque<String>,
}

impl<T> Fair<T> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            len: 0,
            queues: HashMap::new(),
            turns: VecDeque::new(),
        }
    }

    /// Queues an entry; refuses it, and gives it back, if its tenant has as many as there is room left.
    pub(crate) fn push(&mut self, tenant: &str, entry: T) -> Result<(), T> {
        let room = self.capacity - self.len;
        match self.queues.get_mut(tenant) {
            Some(queue) if queue.len() < room => queue.push_back(entry),
            None if room > 0 => {
                self.queues.insert(tenant.to_owned(), VecDeque::from([entry]));
                self.turns.push_back(tenant.to_owned());
            }
            Some(_) | None => return Err(entry),
        }
        self.len += 1;
        Ok(())
    }

    /// Takes the oldest entry of the tenant whose turn it is.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let tenant = self.turns.pop_front()?;
        let queue = self.queues.get_mut(&tenant)?;
        let entry = queue.pop_front();
        if queue.is_empty() {
            self.queues.remove(&tenant);
        } else {
            self.turns.push_back(tenant);
        }
        self.len -= usize::from(entry.is_some());
        entry
    }

    /// Removes the first entry of a tenant that fits.
    pub(crate) fn remove(&mut self, tenant: &str, fits: impl Fn(&T) -> bool) -> Option<T> {
        let queue = self.queues.get_mut(tenant)?;
        let entry = queue.iter().position(fits)?;
        let entry = queue.remove(entry);
        self.len -= 1;
        if queue.is_empty() {
            self.queues.remove(tenant);
            self.turns.retain(|other| other != tenant);
        }
        entry
    }
}

/// Why a queue refused an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Its tenant may not queue more.
    Full,
    /// It is closed, or whoever took from it has gone.
    Closed,
}

/// A fair queue between tasks that put into it and threads that take from it.
pub(crate) struct FairQueue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    waiting: Fair<T>,
    is_open: bool,
}

impl<T> FairQueue<T> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            state: Mutex::new(State {
                waiting: Fair::new(capacity),
                is_open: true,
            }),
            changed: Condvar::new(),
        }
    }

    // Keeps P7: what the queue has no room for is refused at once instead of waiting.
    pub(crate) fn push(&self, tenant: &str, entry: T) -> Result<(), Refused> {
        let mut state = self.state.lock();
        if !state.is_open {
            return Err(Refused::Closed);
        }
        state.waiting.push(tenant, entry).map_err(|_| Refused::Full)?;
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// Waits until there are entries, and takes at most `max` of them; none: the queue is closed and empty.
    // Keeps P6: a batch is filled with one entry of each tenant in turn.
    pub(crate) fn take(&self, batch: &mut Vec<T>, max: usize) -> usize {
        let mut state = self.state.lock();
        loop {
            let before = batch.len();
            batch.extend(std::iter::from_fn(|| state.waiting.pop()).take(max));
            match batch.len() - before {
                0 if state.is_open => self.changed.wait(&mut state),
                taken => return taken,
            }
        }
    }

    /// Lets nobody put in anything else. What is in it can still be taken.
    pub(crate) fn close(&self) {
        self.state.lock().is_open = false;
        self.changed.notify_all();
    }

    /// Closes the queue and drops what is in it.
    fn abandon(&self) {
        let mut state = self.state.lock();
        state.is_open = false;
        let capacity = state.waiting.capacity;
        let left = std::mem::replace(&mut state.waiting, Fair::new(capacity));
        drop(state);
        drop(left);
    }
}

/// The end of a queue from which is taken. When it is dropped, also by a panic, nobody waits for an answer any longer.
pub(crate) struct Taker<T>(pub(crate) std::sync::Arc<FairQueue<T>>);

impl<T> Taker<T> {
    /// See [`FairQueue::take`].
    pub(crate) fn take(&self, batch: &mut Vec<T>, max: usize) -> usize {
        self.0.take(batch, max)
    }
}

impl<T> Drop for Taker<T> {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn pop_all<T>(fair: &mut Fair<T>) -> Vec<T> {
        std::iter::from_fn(|| fair.pop()).collect()
    }

    #[test]
    fn tenants_are_served_in_turn_and_each_in_its_own_order() {
        let mut fair = Fair::new(100);
        for entry in ["a1", "a2", "a3", "b1", "c1", "c2"] {
            fair.push(&entry[..1], entry).unwrap();
        }
        assert_eq!(fair.pop(), Some("a1"));
        fair.push("d", "d1").unwrap();
        assert_eq!(pop_all(&mut fair), ["b1", "c1", "a2", "d1", "c2", "a3"]);
        assert_eq!(fair.len, 0);
        assert!(fair.queues.is_empty() && fair.turns.is_empty());
    }

    // Shows P6: whoever floods leaves room for the others.
    #[test]
    fn a_tenant_has_no_more_queued_than_there_is_room_left() {
        let mut fair = Fair::new(12);
        let mut flood = |tenant: &str| (0..100).take_while(|_| fair.push(tenant, ()).is_ok()).count();
        assert_eq!(flood("a"), 6);
        assert_eq!(flood("b"), 3);
        assert_eq!(flood("c"), 2);
        assert_eq!(flood("d"), 1);
        assert_eq!(flood("e"), 0, "every place is taken");
        assert_eq!(fair.len, 12);
    }

    #[test]
    fn an_entry_is_removed_together_with_the_turn_that_it_was_the_last_for() {
        let mut fair = Fair::new(10);
        for entry in ["a1", "a2", "b1"] {
            fair.push(&entry[..1], entry).unwrap();
        }
        fair.remove("a", |entry| *entry == "a1");
        fair.remove("b", |entry| *entry == "b1");
        fair.remove("b", |entry| *entry == "b1");
        fair.remove("a", |entry| *entry == "a9");
        assert_eq!((fair.len, pop_all(&mut fair)), (1, vec!["a2"]));
    }

    #[test]
    fn a_closed_queue_is_emptied_and_then_at_its_end() {
        let queue = Arc::new(FairQueue::new(10));
        let taker = Taker(Arc::clone(&queue));
        queue.push("a", 1).unwrap();
        queue.close();
        assert_eq!(queue.push("a", 2), Err(Refused::Closed));
        let mut batch = Vec::new();
        assert_eq!((taker.take(&mut batch, 9), taker.take(&mut batch, 9)), (1, 0));
    }

    #[test]
    fn entries_are_dropped_with_the_end_that_would_have_taken_them() {
        let queue = Arc::new(FairQueue::new(10));
        let taker = Taker(Arc::clone(&queue));
        let entry = Arc::new(());
        queue.push("a", Arc::clone(&entry)).unwrap();
        drop(taker);
        assert_eq!(Arc::strong_count(&entry), 1);
        assert_eq!(queue.push("a", entry), Err(Refused::Closed));
    }
}
