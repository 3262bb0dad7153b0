//! Who waits for permits of one kind, and who is next.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use namelock_account::Account;
use tokio::sync::oneshot;

/// Permits of one kind, and those that wait for one.
#[derive(Debug)]
pub(super) struct Lane<P> {
    free: usize,
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
    pub(super) fn new(permits: usize) -> Self {
        Self {
            free: permits,
            waiting: VecDeque::new(),
        }
    }

    /// How many permits nobody has.
    #[cfg(test)]
    pub(super) fn free(&self) -> usize {
        self.free
    }

    /// Takes a permit, if there is one.
    pub(super) fn take(&mut self) -> bool {
        let is_free = self.free > 0;
        self.free -= usize::from(is_free);
        is_free
    }

    /// Gives back a permit that nobody waits for.
    pub(super) fn put(&mut self) {
        self.free += 1;
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
