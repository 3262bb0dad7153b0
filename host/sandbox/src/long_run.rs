//! Limits how many long-running calls run at once, so that short ones find a processor free.
//!
//! A call of an honest handler runs for a fraction of a millisecond, and needs no permit for that. A call that runs for
//! longer goes on only with one of a few permits, fewer than there are processors.
//!
//! - A permit is for one poll of the call's future, which the epoch ends after a tick. Then it goes to the next call,
//!   which may be the same one. A call that waits for a lock or the database has none.
//! - The time of a tenant's long runs is its debt, which is paid off slowly. Of the waiting tenants the one that owes
//!   least is next, of equals the one that has waited longest. So a tenant with many long calls waits for itself.
//! - Of one tenant's calls the one that began first is next, so it runs to its end. In order of arrival all of them
//!   would advance together, and with many enough none would end in its time.
//! - A tenant that owes much needs a permit for all its calls, from their beginning. Otherwise one whose calls all spin
//!   would get the free beginning of each of them, all at once and again and again.
//! - Giving back the memory of a call that had much of it is such a run too, under a permit and charged to the debt. A
//!   tenant for which some waits needs a permit for all its calls, so memory is given back before more is taken.
//!
//! The queue needs no limit of its own: no more calls can wait than may run.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use namelock_account::{Account, Counter};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};

use crate::meter::{Meter, metered};

/// How long a call runs without a permit: several times what an honest one takes, and less than a tick of the epoch.
const FREE: Duration = Duration::from_micros(250);

/// What a tenant may owe before all its calls need a permit; and the most that its runs make it owe, which is paid off in two
/// seconds.
const CREDIT: Duration = Duration::from_millis(10);
const DEBT_MAX: Duration = Duration::from_millis(50);

/// What a tenant owes whose guest could not be stopped, which is paid off in forty seconds: as long as all its calls at
/// once keep the processors busy until they are ended, several times over.
const PENALTY: Duration = Duration::from_secs(1);

/// The seconds in which one second of debt is paid off: long runs of a tenant may take a fortieth of a processor's
/// time.
const PAY_OFF_FACTOR: u32 = 40;

/// The permits of one sandbox.
#[derive(Debug)]
pub(crate) struct LongRuns {
    /// False while no tenant owes anything, which is most of the time: then nobody locks the mutex.
    any_debt: AtomicBool,
    /// The number of the next call.
    next_number: AtomicU64,
    /// How many values may wait to be given back by nobody's future.
    deferred: Arc<Semaphore>,
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
    /// How many of its calls have ended and wait to give their memory back.
    deferred: usize,
}

#[derive(Debug)]
struct Queue {
    tenant: Arc<str>,
    /// By the number of the call: the one that began first comes first.
    calls: BTreeMap<u64, oneshot::Sender<RunPermit>>,
}

/// The place of a call among those of its tenant.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    runs: Arc<LongRuns>,
    account: Arc<Account>,
    number: u64,
}

/// The right to run for a tick. Dropping it gives it to the next call.
#[derive(Debug)]
pub(crate) struct RunPermit {
    /// None in a permit that was refused by a call that had ended; the loop that offered it still has the right.
    runs: Option<Arc<LongRuns>>,
}

/// A call's future, which is polled only when the call may run.
pub(crate) struct Gated<F> {
    place: Place,
    meter: Meter,
    call: Pin<Box<F>>,
    waiting: Option<oneshot::Receiver<RunPermit>>,
}

/// A tenant for which something waits to be given back, until this is dropped.
struct Deferred<'a>(&'a Place);

impl LongRuns {
    /// Permits for this many runs at once; `deferred` values may wait to be given back after their calls are gone.
    pub(crate) fn new(permits: usize, deferred: usize) -> Arc<Self> {
        Arc::new(Self {
            any_debt: AtomicBool::new(false),
            next_number: AtomicU64::new(0),
            deferred: Arc::new(Semaphore::new(deferred)),
            inner: Mutex::new(Inner {
                free: permits,
                waiting: VecDeque::new(),
                debts: HashMap::new(),
            }),
        })
    }

    /// Gives a call that begins its place.
    pub(crate) fn place(self: &Arc<Self>, account: &Arc<Account>) -> Place {
        Place {
            runs: Arc::clone(self),
            account: Arc::clone(account),
            number: self.next_number.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// Makes a tenant need a permit for all its calls, until as many [`Deferred`] were dropped.
    fn defer(&self, tenant: &Arc<str>) {
        self.inner.lock().entry(tenant).deferred += 1;
        self.any_debt.store(true, Ordering::Relaxed);
    }

    /// Adds a long run to the debt of a tenant.
    fn charge(&self, tenant: &Arc<str>, ran: Duration) {
        let mut inner = self.inner.lock();
        let owed = inner.debt(tenant);
        let time = (owed + ran).min(DEBT_MAX.max(owed));
        let debt = inner.entry(tenant);
        (debt.time, debt.at) = (time, Instant::now());
        self.any_debt.store(true, Ordering::Relaxed);
    }

    /// Makes a tenant owe much for long.
    fn penalize(&self, tenant: &Arc<str>) {
        let mut inner = self.inner.lock();
        let debt = inner.entry(tenant);
        (debt.time, debt.at) = (PENALTY, Instant::now());
        self.any_debt.store(true, Ordering::Relaxed);
    }

    /// Tells whether a tenant owes so much that all its calls need a permit.
    fn owes_much(&self, tenant: &Arc<str>) -> bool {
        if !self.any_debt.load(Ordering::Relaxed) {
            return false;
        }
        let mut inner = self.inner.lock();
        if inner.debts.get(tenant).is_some_and(|debt| debt.deferred > 0) {
            return true;
        }
        let debt = inner.debt(tenant);
        if debt.is_zero() && inner.debts.remove(tenant).is_some() && inner.debts.is_empty() {
            self.any_debt.store(false, Ordering::Relaxed);
        }
        debt >= CREDIT
    }
}

impl Place {
    /// Meters the call, and polls it only when it may run.
    // Keeps P6: however long the calls of one tenant run, they leave a processor to the others.
    pub(crate) fn gate<F: Future>(&self, meter: &Meter, call: F) -> Gated<F> {
        Gated {
            place: self.clone(),
            meter: meter.clone(),
            call: Box::pin(call),
            waiting: None,
        }
    }

    /// Makes the tenant pay for a guest that could not be stopped.
    pub(crate) fn penalize(&self) {
        self.runs.penalize(self.account.tenant());
    }

    /// Does work of the host's for the tenant, with a permit if the tenant needs one, and books it.
    pub(crate) async fn run<T>(&self, work: impl FnOnce() -> T) -> T {
        let permit = match self.runs.owes_much(self.account.tenant()) {
            true => self.wait().await.ok(),
            false => None,
        };
        let (done, ran) = metered(work);
        self.account.charge_time(Counter::HostNanos, ran);
        if ran >= FREE {
            self.runs.charge(self.account.tenant(), ran);
        }
        drop(permit);
        done
    }

    /// Queues for a permit.
    pub(crate) fn wait(&self) -> oneshot::Receiver<RunPermit> {
        let (sender, receiver) = oneshot::channel();
        let mut inner = self.runs.inner.lock();
        if inner.free > 0 {
            inner.free -= 1;
            // The receiver still exists, so it is not refused.
            let _ = sender.send(RunPermit::new(&self.runs));
            return receiver;
        }
        let tenant = self.account.tenant();
        match inner.waiting.iter_mut().find(|queue| queue.tenant == *tenant) {
            Some(queue) => drop(queue.calls.insert(self.number, sender)),
            None => inner.waiting.push_back(Queue {
                tenant: Arc::clone(tenant),
                calls: BTreeMap::from([(self.number, sender)]),
            }),
        }
        receiver
    }

    /// Drops something whose memory takes long to give back, and charges the time. The caller has a permit.
    pub(crate) fn give_back<T>(&self, value: T) {
        let ((), ran) = metered(|| drop(value));
        self.runs.charge(self.account.tenant(), ran);
        self.account.charge_time(Counter::HostNanos, ran);
    }

    /// Drops it when it is the call's turn, though nobody waits for that: the call's own future is being dropped.
    // Keeps P6: hanging up spares nobody the time that its memory takes.
    pub(crate) fn give_back_later<T: Send + 'static>(self, value: T) {
        let (Ok(runtime), Ok(slot)) = (
            Handle::try_current(),
            Arc::clone(&self.runs.deferred).try_acquire_owned(),
        ) else {
            // More than may wait; the time is charged all the same.
            self.give_back(value);
            return;
        };
        self.runs.defer(self.account.tenant());
        // Nobody joins this: it ends by itself, there are only as many as the semaphore allows, and at the end of the
        // runtime all it has is dropped.
        runtime.spawn(async move {
            let deferred = Deferred(&self);
            let permit = self.wait().await;
            self.give_back(value);
            drop((permit, deferred, slot));
        });
    }
}

impl Drop for Deferred<'_> {
    fn drop(&mut self) {
        self.0.runs.inner.lock().entry(self.0.account.tenant()).deferred -= 1;
    }
}

impl Inner {
    fn entry(&mut self, tenant: &Arc<str>) -> &mut Debt {
        self.debts.entry(Arc::clone(tenant)).or_insert_with(|| Debt {
            time: Duration::ZERO,
            at: Instant::now(),
            deferred: 0,
        })
    }

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
        let call = queue.calls.pop_first().map(|(_, call)| call);
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
        self.meter.ran() >= FREE || self.place.runs.owes_much(self.place.account.tenant())
    }
}

impl<F: Future> Future for Gated<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        if self.waiting.is_none() && self.needs_permit() {
            self.waiting = Some(self.place.wait());
        }
        let permit = match &mut self.waiting {
            // The sender is dropped only with the sandbox.
            Some(waiting) => ready!(Pin::new(waiting).poll(context)).ok(),
            None => None,
        };
        self.waiting = None;
        let meter = self.meter.clone();
        let (poll, ran) = meter.poll(|| self.call.as_mut().poll(context));
        self.place.account.charge_time(Counter::GuestNanos, ran);
        if meter.ran() >= FREE {
            self.place.runs.charge(self.place.account.tenant(), ran);
        }
        // A call that a tick has stopped queues again before its permit goes on, so that it competes for it.
        if meter.take_stopped() && poll.is_pending() && self.needs_permit() {
            self.waiting = Some(self.place.wait());
        }
        drop(permit);
        poll
    }
}

#[cfg(test)]
mod tests;
