//! Who may run for long.
//!
//! A call of an honest handler runs for a fraction of a millisecond, and has that for nothing. Whoever runs for longer goes on only
//! with one of a few permits, fewer than there are processors, so that whatever long runs do, short ones find a processor free.
//!
//! - Permits go round the tenants that wait, one each; within a tenant in order of arrival. So a tenant with many long calls waits for
//!   itself.
//! - A permit is held for a slice, and given up at its end when somebody waits. It is also given up before every call of the host,
//!   which may wait: a permit is for running.
//! - While a tenant has calls that wait here, its new calls wait here too before they begin. Otherwise a tenant whose calls all spin
//!   would have the free beginning of each of them, again and again.
//!
//! As many may wait as calls may run, so the queue needs no limit of its own.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

/// How long a call runs for nothing. Several times what an honest one takes, a fraction of a tick of the clock.
pub(crate) const FREE: Duration = Duration::from_micros(250);

/// How long a permit is kept when others wait.
const SLICE: Duration = Duration::from_millis(5);

/// The permits of one sandbox.
#[derive(Debug)]
pub(crate) struct LongRuns {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    free: usize,
    /// The tenants that wait, the next one first.
    waiting: VecDeque<Queue>,
}

#[derive(Debug)]
struct Queue {
    tenant: Arc<str>,
    calls: VecDeque<oneshot::Sender<Permit>>,
}

/// The right to run for long. Dropping it gives it to the next.
#[derive(Debug)]
pub(crate) struct Permit {
    runs: Arc<LongRuns>,
    since: Instant,
    /// False once it has been passed on.
    held: bool,
}

/// Where one call keeps its permit, if it has one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Slot(Arc<Mutex<Option<Permit>>>);

impl LongRuns {
    pub(crate) fn new(permits: usize) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                free: permits,
                waiting: VecDeque::new(),
            }),
        })
    }

    /// Waits for a permit. It is in the queue from now on, not only when it is polled.
    pub(crate) fn wait(self: &Arc<Self>, tenant: &Arc<str>) -> impl Future<Output = Permit> + Send + 'static {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.state();
        if state.free > 0 {
            state.free -= 1;
            // The receiver is here, so it is not refused.
            let _ = sender.send(Permit::new(self));
        } else {
            match state.waiting.iter_mut().find(|queue| queue.tenant == *tenant) {
                Some(queue) => queue.calls.push_back(sender),
                None => state.waiting.push_back(Queue {
                    tenant: Arc::clone(tenant),
                    calls: VecDeque::from([sender]),
                }),
            }
        }
        drop(state);
        async move {
            match receiver.await {
                Ok(permit) => permit,
                // Who waits is never dropped from the queue unanswered.
                Err(_) => std::future::pending().await,
            }
        }
    }

    /// Tells whether calls of this tenant wait.
    pub(crate) fn is_waiting(&self, tenant: &Arc<str>) -> bool {
        self.state().waiting.iter().any(|queue| queue.tenant == *tenant)
    }

    /// Tells whether anybody waits.
    fn is_contended(&self) -> bool {
        !self.state().waiting.is_empty()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The call that is next. Its tenant goes to the end of the round.
    fn next(&mut self) -> Option<oneshot::Sender<Permit>> {
        let mut queue = self.waiting.pop_front()?;
        let call = queue.calls.pop_front();
        if !queue.calls.is_empty() {
            self.waiting.push_back(queue);
        }
        call
    }
}

impl Permit {
    fn new(runs: &Arc<LongRuns>) -> Self {
        Self {
            runs: Arc::clone(runs),
            since: Instant::now(),
            held: true,
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.held {
            return;
        }
        loop {
            let mut state = self.runs.state();
            let Some(call) = state.next() else {
                state.free += 1;
                return;
            };
            drop(state);
            match call.send(Permit::new(&self.runs)) {
                Ok(()) => return,
                // That call has ended meanwhile: the permit is for the one after it.
                Err(mut refused) => refused.held = false,
            }
        }
    }
}

impl Slot {
    /// Tells whether the call may run on at once.
    pub(crate) fn may_run_on(&self) -> bool {
        let slot = self.permit();
        slot.as_ref()
            .is_some_and(|permit| permit.since.elapsed() < SLICE || !permit.runs.is_contended())
    }

    pub(crate) fn put(&self, permit: Permit) {
        *self.permit() = Some(permit);
    }

    /// Gives the permit up, if there is one.
    pub(crate) fn give_up(&self) {
        let permit = self.permit().take();
        drop(permit);
    }

    fn permit(&self) -> MutexGuard<'_, Option<Permit>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(id: &str) -> Arc<str> {
        id.into()
    }

    #[tokio::test]
    async fn permits_go_round_the_tenants() {
        let runs = LongRuns::new(1);
        let first = runs.wait(&tenant("greedy")).await;
        let (sender, mut order) = tokio::sync::mpsc::unbounded_channel();
        for id in ["greedy", "greedy", "greedy", "modest", "other"] {
            let (wait, sender) = (runs.wait(&tenant(id)), sender.clone());
            tokio::spawn(async move {
                let permit = wait.await;
                sender.send(id).unwrap();
                drop(permit);
            });
        }
        assert!(runs.is_waiting(&tenant("modest")) && !runs.is_waiting(&tenant("nobody")));
        drop(first);
        let mut seen = Vec::new();
        for _ in 0..5 {
            seen.push(order.recv().await.unwrap());
        }
        assert_eq!(seen, ["greedy", "modest", "other", "greedy", "greedy"]);
        assert_eq!(runs.state().free, 1);
    }

    #[tokio::test]
    async fn a_permit_is_not_lost_with_a_call_that_ends() {
        let runs = LongRuns::new(1);
        let first = runs.wait(&tenant("a")).await;
        let gone = runs.wait(&tenant("a"));
        let next = runs.wait(&tenant("b"));
        drop(gone);
        drop(first);
        let permit = next.await;
        // Also when it ends between being given the permit and taking it.
        let gone = runs.wait(&tenant("a"));
        drop(permit);
        drop(gone);
        assert_eq!(runs.state().free, 1);
        assert!(!runs.is_contended());
    }

    #[tokio::test]
    async fn a_permit_is_kept_for_longer_than_a_slice_only_when_nobody_waits() {
        let runs = LongRuns::new(1);
        let slot = Slot::default();
        assert!(!slot.may_run_on());
        slot.put(runs.wait(&tenant("a")).await);
        assert!(slot.may_run_on());
        let begin = Instant::now();
        while begin.elapsed() < SLICE {}
        assert!(slot.may_run_on());
        let _next = runs.wait(&tenant("b"));
        assert!(!slot.may_run_on());
        slot.give_up();
        assert!(!slot.may_run_on());
    }
}
