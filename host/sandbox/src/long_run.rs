//! Limits how many calls of tenants that run much are run at once, so that the calls of the others find a processor free.
//!
//! A call of an honest handler runs for a fraction of a millisecond. It needs no permit for that, unless its tenant has run
//! for more than a moment just now. Such a tenant's calls go on only with a *turn*: otherwise its next hundred calls, each
//! of them short, would all be ready to run before the one call of somebody else. A call that runs for longer goes on only
//! with a *long run*. Of both there are fewer than processors.
//!
//! - Of turns there are more while no tenant that calls little has called for some seconds: then a processor would be kept
//!   free for nobody, and on a host with two of them that is half of what it can do. They stay so few that hardly more than
//!   its turns is before the first call of whoever comes, and that call brings the processor back. What one tenant has in other
//!   queues, such as connections that can be read, is before it all the same: so it matters that a single call ends this.
//! - A permit is for one poll of the call's future, which the epoch ends at the first tick that finds it to have run for a
//!   moment. Then it goes to the next call, which may be the same one. A call that waits for a lock or the database has
//!   none.
//! - The time of a tenant's long runs is its debt, which is paid off slowly; what it has run lately in all is forgotten
//!   soon ([`Recent`](namelock_account::Recent)). Of the waiting tenants the one that owes least is next, of equals the one
//!   that has waited longest. So a tenant with many calls waits for itself.
//! - Of one tenant's calls the one that began first is next, so it runs to its end. In order of arrival all of them
//!   would advance together, and with many enough none would end in its time.
//! - A tenant that owes much needs a long run for all its calls, from their beginning. Otherwise one whose calls all spin
//!   would get the free beginning of each of them, all at once and again and again.
//! - Giving back the memory of a call that had much of it is such a run too, under a permit and charged to the debt. A
//!   tenant for which some waits needs a permit for all its calls, so memory is given back before more is taken.
//!
//! A queue needs no limit of its own: no more calls can wait than may run.

mod debts;
mod lane;
mod quiet;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use namelock_account::{Account, Counter};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};

use self::debts::Debts;
use self::lane::Lane;
use self::quiet::Quiet;
use crate::meter::{Meter, metered};

/// How long a call runs without a permit, and without being stopped by a tick of the epoch: several times what an honest one
/// takes, and less than a tick.
pub(crate) const FREE: Duration = Duration::from_micros(250);

/// What a tenant may have run lately before all its calls need a turn: a few short calls.
const RECENT_FREE: Duration = Duration::from_millis(2);

/// How long a processor is kept free after a call of a tenant that calls little. One that calls less often than that finds
/// the processors busy at its first call.
const LATELY: Duration = Duration::from_secs(10);

/// How many turns there are for one while none is kept free: so many that no processor waits for work, and so few that all of
/// a tenant's calls that are ready do not stand before whoever comes.
const TURNS_FOR_ONE: usize = 8;

/// The permits of one sandbox.
#[derive(Debug)]
pub(crate) struct LongRuns {
    /// False while no tenant owes anything, which is most of the time: then nobody locks the mutex.
    any_debt: AtomicBool,
    quiet: Quiet,
    /// How many calls have a permit of each kind at once, while a processor is kept free.
    permits: usize,
    /// The number of the next call.
    next_number: AtomicU64,
    /// How many values may wait to be given back by nobody's future.
    deferred: Arc<Semaphore>,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    long_runs: Lane<RunPermit>,
    turns: Lane<RunPermit>,
    debts: Debts,
}

/// What a permit is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    LongRun,
    Turn,
}

/// The place of a call among those of its tenant.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    runs: Arc<LongRuns>,
    account: Arc<Account>,
    number: u64,
}

/// The right to run until a tick. Dropping it gives it to the next call.
#[derive(Debug)]
pub(crate) struct RunPermit {
    kind: Kind,
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
    /// Permits for this many long runs at once, and as many turns while a processor is kept free; `deferred` values may wait to
    /// be given back after their calls are gone.
    pub(crate) fn new(permits: usize, deferred: usize) -> Arc<Self> {
        Arc::new(Self {
            any_debt: AtomicBool::new(false),
            quiet: Quiet::new(LATELY),
            permits,
            next_number: AtomicU64::new(0),
            deferred: Arc::new(Semaphore::new(deferred)),
            inner: Mutex::new(Inner {
                long_runs: Lane::new(),
                turns: Lane::new(),
                debts: Debts::default(),
            }),
        })
    }

    /// How many permits of a kind there are now.
    fn permits(&self, kind: Kind) -> usize {
        match kind {
            Kind::Turn if !self.quiet.called_lately() => self.permits * TURNS_FOR_ONE,
            Kind::Turn | Kind::LongRun => self.permits,
        }
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
        self.inner.lock().debts.defer(tenant);
        self.any_debt.store(true, Ordering::Relaxed);
    }

    /// Adds a long run to the debt of a tenant.
    fn charge(&self, tenant: &Arc<str>, ran: Duration) {
        self.inner.lock().debts.charge(tenant, ran);
        self.any_debt.store(true, Ordering::Relaxed);
    }

    /// Makes a tenant owe much for long.
    fn penalize(&self, tenant: &Arc<str>) {
        self.inner.lock().debts.penalize(tenant);
        self.any_debt.store(true, Ordering::Relaxed);
    }

    /// Tells whether a tenant owes so much that all its calls need a permit.
    fn owes_much(&self, tenant: &Arc<str>) -> bool {
        if !self.any_debt.load(Ordering::Relaxed) {
            return false;
        }
        let debts = &mut self.inner.lock().debts;
        let is_much = debts.is_much(tenant);
        if debts.is_empty() {
            self.any_debt.store(false, Ordering::Relaxed);
        }
        is_much
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
        let permit = match self.needs(Duration::ZERO) {
            Some(kind) => self.wait(kind).await.ok(),
            None => None,
        };
        let (done, ran) = metered(work);
        self.account.charge_time(Counter::HostNanos, ran);
        self.ran(ran, ran);
        drop(permit);
        done
    }

    /// Which permit a call needs that has run for so long; notes how much its tenant calls.
    fn needs(&self, ran: Duration) -> Option<Kind> {
        if ran >= FREE || self.runs.owes_much(self.account.tenant()) {
            Some(Kind::LongRun)
        } else if self.account.recent().ran() >= RECENT_FREE {
            self.runs.quiet.is_not(&self.account);
            Some(Kind::Turn)
        } else {
            self.runs.quiet.called(&self.account);
            None
        }
    }

    /// Notes a run of a call that has run for `in_all`.
    pub(crate) fn ran(&self, run: Duration, in_all: Duration) {
        self.account.recent().add(run);
        if in_all >= FREE {
            self.runs.charge(self.account.tenant(), run);
        }
    }

    /// Queues for a permit.
    pub(crate) fn wait(&self, kind: Kind) -> oneshot::Receiver<RunPermit> {
        let (sender, receiver) = oneshot::channel();
        let permits = self.runs.permits(kind);
        let mut inner = self.runs.inner.lock();
        let lane = inner.lane(kind);
        if lane.is_empty() && lane.take(permits) {
            // The receiver still exists, so it is not refused.
            let _ = sender.send(RunPermit::new(&self.runs, kind));
        } else {
            lane.join(&self.account, self.number, sender);
        }
        receiver
    }

    /// Drops something whose memory takes long to give back, and charges the time. The caller has a permit.
    pub(crate) fn give_back<T>(&self, value: T) {
        let ((), ran) = metered(|| drop(value));
        self.ran(ran, ran.max(FREE));
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
            let permit = self.wait(Kind::LongRun).await;
            self.give_back(value);
            drop((permit, deferred, slot));
        });
    }
}

impl Drop for Deferred<'_> {
    fn drop(&mut self) {
        self.0.runs.inner.lock().debts.done(self.0.account.tenant());
    }
}

impl Inner {
    fn lane(&mut self, kind: Kind) -> &mut Lane<RunPermit> {
        match kind {
            Kind::LongRun => &mut self.long_runs,
            Kind::Turn => &mut self.turns,
        }
    }

    /// Takes the next call out of the queue, with a permit, if there are more than are taken.
    fn next(&mut self, kind: Kind, permits: usize) -> Option<oneshot::Sender<RunPermit>> {
        if self.lane(kind).is_empty() || !self.lane(kind).take(permits) {
            return None;
        }
        match kind {
            Kind::LongRun => self.long_runs.next(|account| self.debts.of(account.tenant())),
            Kind::Turn => self.turns.next(|account| account.recent().ran()),
        }
    }
}

impl RunPermit {
    fn new(runs: &Arc<LongRuns>, kind: Kind) -> Self {
        Self {
            kind,
            runs: Some(Arc::clone(runs)),
        }
    }
}

impl Drop for RunPermit {
    fn drop(&mut self) {
        let Some(runs) = self.runs.take() else { return };
        let permits = runs.permits(self.kind);
        runs.inner.lock().lane(self.kind).put();
        loop {
            let Some(call) = runs.inner.lock().next(self.kind, permits) else {
                return;
            };
            // That call has ended in the meantime: the permit is for the one after it.
            if let Err(mut refused) = call.send(Self::new(&runs, self.kind)) {
                refused.runs = None;
                runs.inner.lock().lane(self.kind).put();
            }
        }
    }
}

impl<F> Gated<F> {
    /// Queues, if the call needs a permit.
    fn queue(&mut self) {
        if let Some(kind) = self.place.needs(self.meter.ran()) {
            self.waiting = Some(self.place.wait(kind));
        }
    }
}

impl<F: Future> Future for Gated<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        if self.waiting.is_none() {
            self.queue();
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
        self.place.ran(ran, meter.ran());
        // A call that a tick has stopped queues again before its permit goes on, so that it competes for it.
        if meter.take_stopped() && poll.is_pending() {
            self.queue();
        }
        drop(permit);
        poll
    }
}

#[cfg(test)]
mod tests;
