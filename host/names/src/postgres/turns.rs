//! Who gets the next free connection: tenants take turns.
//!
//! The pool would serve callers in the order in which they came, so that all would wait behind everything that one
//! tenant has queued. Here a caller first takes a turn, of which there are as many as connections, so that the pool has
//! one for everybody who asks it. A turn lasts as long as the server may be busy with its connection, also when nobody
//! waits for the answer any longer: so the server never has more connections of this host than there are turns.
//!
//! Reads may use every connection, writes all but a quarter, and at least one: writes may be stuck for as long as a
//! synchronous standby is gone, and reads never wait for one. A quarter is enough for reads, which are answered from
//! memory while a write waits for the disk. Where there is but one connection it serves both. Reads and writes queue
//! apart; of the two queues each is served in turn, and so is each tenant in them. Which writes may begin is said in
//! `writes`.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::fair::Fair;
use crate::postgres::writes::{Unanswered, Verdict, Write, Writes};

/// What a turn is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Read,
    Write,
}

/// The turns of one pool.
#[derive(Clone)]
pub(super) struct Turns(Arc<Mutex<State>>);

struct State {
    free: usize,
    writes: Writes,
    reading: Fair<Waiter>,
    writing: Fair<Waiter>,
    /// Which queue was served last.
    last: Kind,
    /// How many have waited so far.
    waited: u64,
}

struct Waiter {
    number: u64,
    turn: oneshot::Sender<Result<Turn, NoTurn>>,
}

/// The right to one connection, which goes to the next caller when it is dropped.
pub(super) struct Turn {
    /// None: there is nothing to pass on.
    turns: Option<Turns>,
    /// None: it is for a read.
    write: Option<Write>,
}

/// Why a caller gets no turn.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoTurn {
    /// As many of the tenant wait as may.
    #[error("too many reads and writes are queued (names.queue)")]
    Full,
    #[error(transparent)]
    Unanswered(Unanswered),
}

impl Turns {
    /// As many turns as there are `connections`, for which at most `queue` reads and as many writes wait. A write is to be
    /// answered within `deadline`.
    pub(super) fn new(connections: usize, queue: usize, deadline: Duration) -> Self {
        let writes = connections.saturating_sub((connections / 4).max(1)).max(1);
        Self(Arc::new(Mutex::new(State {
            free: connections,
            writes: Writes::new(writes, deadline),
            reading: Fair::new(queue),
            writing: Fair::new(queue),
            last: Kind::Write,
            waited: 0,
        })))
    }

    /// Waits until it is the tenant's turn.
    // Keeps P6: a tenant that floods waits behind itself. Keeps P7: one that the queue has no room for does not wait.
    pub(super) async fn take(&self, tenant: &str, kind: Kind) -> Result<Turn, NoTurn> {
        let (number, turn) = {
            let mut state = self.0.lock();
            match state.verdict(kind, Instant::now()) {
                // While somebody may begin nobody waits.
                Verdict::Begin => return Ok(state.begin(self, kind)),
                Verdict::Refused(unanswered) => return Err(NoTurn::Unanswered(unanswered)),
                Verdict::Wait => {}
            }
            let (sender, turn) = oneshot::channel();
            let number = state.waited;
            let waiter = Waiter { number, turn: sender };
            state.queue(kind).push(tenant, waiter).map_err(|_| NoTurn::Full)?;
            state.waited += 1;
            (number, turn)
        };
        // A caller that gives up leaves its place to others; a turn that it was given meanwhile is dropped with `turn`.
        let leave = scopeguard::guard((), |()| {
            let mut state = self.0.lock();
            state.queue(kind).remove(tenant, |waiter| waiter.number == number);
        });
        let turn = turn.await;
        scopeguard::ScopeGuard::into_inner(leave);
        // Nobody drops a waiter but the one who waits.
        turn.unwrap_or(Err(NoTurn::Full))
    }

    /// How many writes are overdue now, and how many ever were.
    pub(super) fn overdue(&self) -> (usize, u64) {
        self.0.lock().writes.overdue()
    }

    /// Gives turns to those that wait, as far as they may begin, and refuses those that need not wait.
    fn serve(&self) {
        loop {
            let (waiter, turn) = {
                let mut state = self.0.lock();
                let Some((waiter, served)) = state.next(Instant::now()) else {
                    return;
                };
                (waiter, served.map(|kind| state.begin(self, kind)))
            };
            // It may have given up just now.
            if let Err(Ok(mut turn)) = waiter.turn.send(turn) {
                turn.end();
            }
        }
    }
}

impl State {
    fn queue(&mut self, kind: Kind) -> &mut Fair<Waiter> {
        match kind {
            Kind::Read => &mut self.reading,
            Kind::Write => &mut self.writing,
        }
    }

    fn verdict(&self, kind: Kind, now: Instant) -> Verdict {
        let verdict = match kind {
            Kind::Read => Verdict::Begin,
            Kind::Write => self.writes.verdict(now),
        };
        match verdict {
            Verdict::Begin if self.free == 0 => Verdict::Wait,
            verdict => verdict,
        }
    }

    /// Takes the next waiter that need not wait any longer: it may begin, or is refused.
    fn next(&mut self, now: Instant) -> Option<(Waiter, Result<Kind, NoTurn>)> {
        let kinds = match self.last {
            Kind::Read => [Kind::Write, Kind::Read],
            Kind::Write => [Kind::Read, Kind::Write],
        };
        kinds.into_iter().find_map(|kind| {
            let served = match self.verdict(kind, now) {
                Verdict::Begin => Ok(kind),
                Verdict::Refused(unanswered) => Err(NoTurn::Unanswered(unanswered)),
                Verdict::Wait => return None,
            };
            let waiter = self.queue(kind).pop()?;
            self.last = kind;
            Some((waiter, served))
        })
    }

    fn begin(&mut self, turns: &Turns, kind: Kind) -> Turn {
        self.free -= 1;
        Turn {
            turns: Some(turns.clone()),
            write: (kind == Kind::Write).then(|| self.writes.begin(Instant::now())),
        }
    }
}

impl Turn {
    /// The statement is about to be sent.
    pub(super) fn send(&mut self) {
        if let (Some(turns), Some(write)) = (&self.turns, &mut self.write) {
            turns.0.lock().writes.send(write, Instant::now());
        }
    }

    /// The statement should have been answered by now.
    pub(super) fn note_overdue(&self) {
        let (Some(turns), Some(write)) = (&self.turns, self.write) else {
            return;
        };
        let first = turns.0.lock().writes.note_overdue(write, Instant::now());
        if let Some(unanswered) = first {
            tracing::warn!(
                unanswered = unanswered.writes,
                "PostgreSQL does not answer a write within names.timeout, nor any after it; \
                 check its synchronous standby; until one is answered, writes are sent one at a time"
            );
        }
        turns.serve();
    }

    /// The statement has committed a change.
    pub(super) fn note_commit(&self) {
        let (Some(turns), Some(write)) = (&self.turns, self.write) else {
            return;
        };
        if turns.0.lock().writes.note_commit(write) {
            tracing::info!("PostgreSQL answers writes");
        }
    }

    /// Ends it, unless it has ended, without giving it to another caller. Returns which turns it was one of.
    fn end(&mut self) -> Option<Turns> {
        let turns = self.turns.take()?;
        let mut state = turns.0.lock();
        state.free += 1;
        if let Some(write) = self.write {
            state.writes.end(write);
        }
        drop(state);
        Some(turns)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(turns) = self.end() {
            turns.serve();
        }
    }
}

#[cfg(test)]
mod tests;
