//! Limits how many long-running calls run at once, so that short ones find a processor free.
//!
//! A call of an honest handler runs for a fraction of a millisecond, and needs no permit for that. A call that runs for
//! longer goes on only with one of a few permits, fewer than there are processors.
//!
//! - A permit is for one poll of the call's future, which the epoch ends after a tick. Then it goes to the next call. A
//!   call that waits for a lock or the database has none.
//! - The time of a tenant's long runs is its debt, which is paid off slowly. Of the waiting tenants the one that owes
//!   least is next, of equals the one that has waited longest; calls of one tenant are served in order of arrival. So a
//!   tenant with many long calls waits for itself.
//! - A tenant that owes much needs a permit for all its calls, from their beginning. Otherwise one whose calls all spin
//!   would get the free beginning of each of them, all at once and again and again.
//!
//! The queue needs no limit of its own: no more calls can wait than may run.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::meter::Meter;

/// How long a call runs without a permit: several times what an honest one takes, and less than a tick of the epoch.
const FREE: Duration = Duration::from_micros(250);

/// What a tenant may owe before all its calls need a permit; and the most that it can owe, which is paid off in two
/// seconds.
const CREDIT: Duration = Duration::from_millis(10);
const DEBT_MAX: Duration = Duration::from_millis(50);

/// The seconds in which one second of debt is paid off: long runs of a tenant may take a fortieth of a processor's
/// time.
const PAY_OFF_FACTOR: u32 = 40;

/// The permits of one sandbox.
#[derive(Debug)]
pub(crate) struct LongRuns {
    /// False while no tenant owes anything, which is most of the time: then nobody locks the mutex.
    any_debt: AtomicBool,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    free: usize,
    /// The waiting tenants, in the order in which they were served last.
    waiting: VecDeque<Queue>,
    /// What each tenant owes. A tenant that owes nothing has no entry.
    debts: HashMap<Arc<str>, Debt>,
}

/// The time of a tenant's long runs, less what was paid off until `at`.
#[derive(Debug)]
struct Debt {
    time: Duration,
    at: Instant,
}

#[derive(Debug)]
struct Queue {
    tenant: Arc<str>,
    calls: VecDeque<oneshot::Sender<RunPermit>>,
}

/// The right to run for a tick. Dropping it gives it to the next call.
#[derive(Debug)]
pub(crate) struct RunPermit {
    /// None in a permit that was refused by a call that had ended; the loop that offered it still has the right.
    runs: Option<Arc<LongRuns>>,
}

/// A call's future, which is polled only when the call may run.
pub(crate) struct Gated<F> {
    runs: Arc<LongRuns>,
    tenant: Arc<str>,
    meter: Meter,
    call: Pin<Box<F>>,
    waiting: Option<oneshot::Receiver<RunPermit>>,
}

impl LongRuns {
    pub(crate) fn new(permits: usize) -> Arc<Self> {
        Arc::new(Self {
            any_debt: AtomicBool::new(false),
            inner: Mutex::new(Inner {
                free: permits,
                waiting: VecDeque::new(),
                debts: HashMap::new(),
            }),
        })
    }

    /// Meters a call of a tenant, and polls it only when it may run.
    // Keeps P6: however long the calls of one tenant run, they leave a processor to the others.
    pub(crate) fn gate<F: Future>(self: &Arc<Self>, tenant: &Arc<str>, meter: &Meter, call: F) -> Gated<F> {
        Gated {
            runs: Arc::clone(self),
            tenant: Arc::clone(tenant),
            meter: meter.clone(),
            call: Box::pin(call),
            waiting: None,
        }
    }

    /// Queues for a permit.
    fn wait(self: &Arc<Self>, tenant: &Arc<str>) -> oneshot::Receiver<RunPermit> {
        let (sender, receiver) = oneshot::channel();
        let mut inner = self.inner.lock();
        if inner.free > 0 {
            inner.free -= 1;
            // The receiver still exists, so it is not refused.
            let _ = sender.send(RunPermit::new(self));
            return receiver;
        }
        match inner.waiting.iter_mut().find(|queue| queue.tenant == *tenant) {
            Some(queue) => queue.calls.push_back(sender),
            None => inner.waiting.push_back(Queue {
                tenant: Arc::clone(tenant),
                calls: VecDeque::from([sender]),
            }),
        }
        receiver
    }

    /// Adds a long run to the debt of a tenant.
    fn charge(&self, tenant: &Arc<str>, ran: Duration) {
        let mut inner = self.inner.lock();
        let time = (inner.debt(tenant) + ran).min(DEBT_MAX);
        inner.debts.insert(
            Arc::clone(tenant),
            Debt {
                time,
                at: Instant::now(),
            },
        );
        self.any_debt.store(true, Ordering::Relaxed);
    }

    /// Tells whether a tenant owes so much that all its calls need a permit.
    fn owes_much(&self, tenant: &Arc<str>) -> bool {
        if !self.any_debt.load(Ordering::Relaxed) {
            return false;
        }
        let mut inner = self.inner.lock();
        let debt = inner.debt(tenant);
        if debt.is_zero() && inner.debts.remove(tenant).is_some() && inner.debts.is_empty() {
            self.any_debt.store(false, Ordering::Relaxed);
        }
        debt >= CREDIT
    }
}

impl Inner {
    fn debt(&self, tenant: &Arc<str>) -> Duration {
        let debt = self.debts.get(tenant);
        debt.map_or(Duration::ZERO, |debt| {
            debt.time.saturating_sub(debt.at.elapsed() / PAY_OFF_FACTOR)
        })
    }

    /// Takes the next call out of the queue. Its tenant goes to the end of the round.
    fn next(&mut self) -> Option<oneshot::Sender<RunPermit>> {
        let debts: Vec<_> = self.waiting.iter().map(|queue| self.debt(&queue.tenant)).collect();
        let (next, _) = debts.iter().enumerate().min_by_key(|(_, debt)| **debt)?;
        let mut queue = self.waiting.remove(next)?;
        let call = queue.calls.pop_front();
        if !queue.calls.is_empty() {
            self.waiting.push_back(queue);
        }
        call
    }
}

impl RunPermit {
    fn new(runs: &Arc<LongRuns>) -> Self {
        Self {
            runs: Some(Arc::clone(runs)),
        }
    }
}

impl Drop for RunPermit {
    fn drop(&mut self) {
        let Some(runs) = self.runs.take() else { return };
        loop {
            let mut inner = runs.inner.lock();
            let Some(call) = inner.next() else {
                inner.free += 1;
                return;
            };
            drop(inner);
            match call.send(Self::new(&runs)) {
                Ok(()) => return,
                // That call has ended in the meantime: the permit is for the one after it.
                Err(mut refused) => refused.runs = None,
            }
        }
    }
}

impl<F> Gated<F> {
    fn needs_permit(&self) -> bool {
        self.meter.ran() >= FREE || self.runs.owes_much(&self.tenant)
    }
}

impl<F: Future> Future for Gated<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        if self.waiting.is_none() && self.needs_permit() {
            self.waiting = Some(self.runs.wait(&self.tenant));
        }
        let permit = match &mut self.waiting {
            // The sender is dropped only with the sandbox.
            Some(waiting) => ready!(Pin::new(waiting).poll(context)).ok(),
            None => None,
        };
        self.waiting = None;
        let meter = self.meter.clone();
        let (poll, ran) = meter.poll(|| self.call.as_mut().poll(context));
        if meter.ran() >= FREE {
            self.runs.charge(&self.tenant, ran);
        }
        drop(permit);
        poll
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(id: &str) -> Arc<str> {
        id.into()
    }

    fn spin(time: Duration) {
        let begin = Instant::now();
        // Twice the time, because only the time counts that this thread really ran.
        while begin.elapsed() < time * 2 {}
    }

    #[tokio::test]
    async fn permits_are_given_to_tenants_in_turn() {
        let runs = LongRuns::new(1);
        let first = runs.wait(&tenant("greedy")).await.unwrap();
        let (sender, mut order) = tokio::sync::mpsc::unbounded_channel();
        for id in ["greedy", "greedy", "greedy", "modest", "other"] {
            let (wait, sender) = (runs.wait(&tenant(id)), sender.clone());
            tokio::spawn(async move {
                let permit = wait.await.unwrap();
                sender.send(id).unwrap();
                drop(permit);
            });
        }
        drop(first);
        let mut seen = Vec::new();
        for _ in 0..5 {
            seen.push(order.recv().await.unwrap());
        }
        assert_eq!(seen, ["greedy", "modest", "other", "greedy", "greedy"]);
        assert_eq!(runs.inner.lock().free, 1);
    }

    #[tokio::test]
    async fn a_call_that_ends_while_it_waits_does_not_lose_the_permit() {
        let runs = LongRuns::new(1);
        let first = runs.wait(&tenant("a")).await.unwrap();
        let gone = runs.wait(&tenant("a"));
        let next = runs.wait(&tenant("b"));
        drop(gone);
        drop(first);
        let permit = next.await.unwrap();
        // Nor when it ends between being given the permit and taking it.
        let gone = runs.wait(&tenant("a"));
        drop(permit);
        drop(gone);
        assert_eq!(runs.inner.lock().free, 1);
    }

    #[tokio::test]
    async fn the_tenant_that_owes_least_is_next() {
        let runs = LongRuns::new(1);
        let first = runs.wait(&tenant("greedy")).await.unwrap();
        runs.charge(&tenant("greedy"), DEBT_MAX * 2);
        runs.charge(&tenant("modest"), Duration::from_millis(1));
        let (mut greedy, mut modest) = (runs.wait(&tenant("greedy")), runs.wait(&tenant("modest")));
        drop(first);
        let permit = modest.try_recv().unwrap();
        assert!(greedy.try_recv().is_err());
        drop(permit);
        greedy.try_recv().unwrap();
    }

    // Shows P6: a tenant whose calls all run for long waits, the others do not.
    #[tokio::test]
    async fn a_tenant_that_owes_much_needs_a_permit_for_every_call() {
        let runs = LongRuns::new(1);
        let (long, other) = (tenant("long"), tenant("other"));
        let run = |tenant: &Arc<str>, time| runs.gate(tenant, &Meter::default(), async move { spin(time) });
        run(&long, Duration::ZERO).await;
        run(&long, FREE).await;
        assert!(!runs.owes_much(&long), "one long run is forgiven");
        run(&long, CREDIT * 2).await;
        assert!(runs.owes_much(&long) && !runs.owes_much(&other));

        // While the only permit is held, the other tenant runs and this one does not.
        let held = runs.wait(&other).await.unwrap();
        run(&other, Duration::ZERO).await;
        let mut waits = Box::pin(run(&long, Duration::ZERO));
        let poll = std::future::poll_fn(|context| Poll::Ready(waits.as_mut().poll(context))).await;
        assert!(poll.is_pending());
        drop(held);
        waits.await;
        assert_eq!(runs.inner.lock().free, 1);
    }

    #[tokio::test]
    async fn a_call_has_no_permit_while_it_waits_for_something_else() {
        let runs = LongRuns::new(1);
        let mut call = Box::pin(runs.gate(&tenant("a"), &Meter::default(), async {
            spin(FREE);
            tokio::task::yield_now().await;
            spin(FREE);
            std::future::pending::<()>().await;
        }));
        for _ in 0..3 {
            let poll = std::future::poll_fn(|context| Poll::Ready(call.as_mut().poll(context))).await;
            assert!(poll.is_pending());
            assert_eq!(runs.inner.lock().free, 1);
        }
    }
}
