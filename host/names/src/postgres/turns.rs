//! Who gets the next free connection: tenants take turns.
//!
//! The pool would serve callers in the order in which they came, so that all would wait behind everything that one
//! tenant has queued. Here a caller first takes a turn, of which there are as many as connections, so that the pool has
//! one for everybody who asks it.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::fair::Fair;

/// The turns of one pool.
#[derive(Clone)]
pub(super) struct Turns(Arc<Mutex<State>>);

struct State {
    free: usize,
    waiting: Fair<Waiter>,
    /// How many have waited so far.
    waited: u64,
}

struct Waiter {
    number: u64,
    turn: oneshot::Sender<Turn>,
}

/// The right to one connection, which goes to the next caller when it is dropped.
pub(super) struct Turn(Option<Turns>);

/// As many of the tenant wait as may.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Turns {
    /// As many turns as there are `connections`, for which at most `queue` callers wait.
    pub(super) fn new(connections: usize, queue: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            free: connections,
            waiting: Fair::new(queue),
            waited: 0,
        })))
    }

    /// Waits until it is the tenant's turn.
    // Keeps P6: a tenant that floods waits behind itself. Keeps P7: one that the queue has no room for does not wait.
    pub(super) async fn take(&self, tenant: &str) -> Result<Turn, Full> {
        let (number, turn) = {
            let mut state = self.0.lock();
            // While somebody waits there is none free.
            if let Some(free) = state.free.checked_sub(1) {
                state.free = free;
                return Ok(Turn(Some(self.clone())));
            }
            let (sender, turn) = oneshot::channel();
            let number = state.waited;
            let waiter = Waiter { number, turn: sender };
            state.waiting.push(tenant, waiter).map_err(|_| Full)?;
            state.waited += 1;
            (number, turn)
        };
        // A caller that gives up leaves its place to others; a turn that it was given meanwhile is dropped with `turn`.
        let leave = scopeguard::guard((), |()| {
            self.0.lock().waiting.remove(tenant, |waiter| waiter.number == number);
        });
        let turn = turn.await;
        scopeguard::ScopeGuard::into_inner(leave);
        // Nobody drops a waiter but the one who waits.
        turn.map_err(|_| Full)
    }

    /// Gives a turn to the next that waits.
    fn pass_on(self) {
        loop {
            let next = {
                let mut state = self.0.lock();
                match state.waiting.pop() {
                    Some(next) => next,
                    None => {
                        state.free += 1;
                        return;
                    }
                }
            };
            match next.turn.send(Turn(Some(self.clone()))) {
                Ok(()) => return,
                // It has just given up. What comes back is no turn any longer.
                Err(mut turn) => turn.0 = None,
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(turns) = self.0.take() {
            turns.pass_on();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    /// Polls once.
    fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn tenants_take_turns_and_a_turn_is_not_lost_with_a_caller_that_gives_up() {
        let turns = Turns::new(1, 10);
        let Poll::Ready(Ok(first)) = poll(pin!(turns.take("a"))) else {
            panic!("nobody else has it")
        };
        let mut waiting = pin!(turns.take("a"));
        let mut second = pin!(turns.take("a"));
        let mut other = pin!(turns.take("b"));
        assert!(poll(waiting.as_mut()).is_pending() && poll(second.as_mut()).is_pending());
        assert!(poll(other.as_mut()).is_pending());
        drop(first);
        let Poll::Ready(Ok(turn)) = poll(waiting.as_mut()) else {
            panic!("it came first")
        };
        assert!(poll(second.as_mut()).is_pending());
        {
            // It gives up while it waits, and another one after it was given the turn.
            let mut gone = Box::pin(turns.take("c"));
            assert!(poll(gone.as_mut()).is_pending());
            drop(gone);
            let mut late = Box::pin(turns.take("d"));
            assert!(poll(late.as_mut()).is_pending());
            drop(turn);
            let Poll::Ready(Ok(turn)) = poll(other.as_mut()) else {
                panic!("before the second of a")
            };
            drop(turn);
            let Poll::Ready(Ok(turn)) = poll(second.as_mut()) else {
                panic!("it is a's turn again")
            };
            drop(turn);
            drop(late);
        }
        assert_eq!(turns.0.lock().free, 1);
    }

    #[test]
    fn a_tenant_that_floods_leaves_places_to_wait_in() {
        let turns = Turns::new(1, 4);
        let Poll::Ready(Ok(_first)) = poll(pin!(turns.take("a"))) else {
            panic!("nobody else has it")
        };
        let mut waiting: Vec<_> = (0..2).map(|_| Box::pin(turns.take("a"))).collect();
        assert!(waiting.iter_mut().all(|turn| poll(turn.as_mut()).is_pending()));
        assert!(matches!(poll(pin!(turns.take("a"))), Poll::Ready(Err(Full))));
        assert!(poll(pin!(turns.take("b"))).is_pending());
        // Places of those who have gone are free.
        waiting.pop();
        assert!(poll(pin!(turns.take("a"))).is_pending());
    }
}
