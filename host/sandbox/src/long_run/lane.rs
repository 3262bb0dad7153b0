//! Who waits for permits of one kind, and who is next.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use namelock_account::Account;
use tokio::sync::oneshot;

/// Permits of one kind, and those that wait for one.
#[derive(Debug)]
pub(super) struct Lane<P> {
    /// How many permits somebody has.
    taken: usize,
    /// The waiting tenants, in the order in which they were served last.
    waiting: VecDeque<Queue<P>>,
}

#[derive(Debug)]
struct Queue<P> {
    account: Arc<Account>,
    /// By the number of the call: the one that began first comes first.
    calls: BTreeMap<u64, oneshot::Sender<P>>,
}

impl<P> Lane<P> {
    pub(super) fn new() -> Self {
        Self {
            taken: 0,
            waiting: VecDeque::new(),
        }
    }

    /// How many permits somebody has.
    #[cfg(test)]
    pub(super) fn taken(&self) -> usize {
        self.taken
    }

    /// Takes a permit, if there are more than are taken.
    pub(super) fn take(&mut self, permits: usize) -> bool {
        let is_free = self.taken < permits;
        self.taken += usize::from(is_free);
        is_free
    }

    /// Gives a permit back.
    pub(super) fn put(&mut self) {
        self.taken -= 1;
    }

    /// Tells whether no call waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Lets a call of this number wait.
    pub(super) fn join(&mut self, account: &Arc<Account>, number: u64, call: oneshot::Sender<P>) {
        match self
            .waiting
            .iter_mut()
            .find(|queue| queue.account.tenant() == account.tenant())
        {
            Some(queue) => drop(queue.calls.insert(number, call)),
            None => self.waiting.push_back(Queue {
                account: Arc::clone(account),
                calls: BTreeMap::from([(number, call)]),
            }),
        }
    }

    /// Takes the next call out of the queue: the oldest of the tenant that owes least, of equals of the one that has waited
    /// longest. Its tenant goes to the end of the round.
    pub(super) fn next(&mut self, owes: impl Fn(&Account) -> Duration) -> Option<oneshot::Sender<P>> {
        let debts = self.waiting.iter().map(|queue| owes(&queue.account));
        let (next, _) = debts.enumerate().min_by_key(|(_, debt)| *debt)?;
        let mut queue = self.waiting.remove(next)?;
        let call = queue.calls.pop_first().map(|(_, call)| call);
        if !queue.calls.is_empty() {
            self.waiting.push_back(queue);
        }
        call
    }
}
