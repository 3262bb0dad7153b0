//! The calls that the host runs at once, shared among its tenants.
//!
//! A fixed limit for each tenant either wastes the host while few tenants are busy, or lets a few of them fill it. So the limit
//! adapts: *a tenant may have no more calls running than there are free places*. This is the dynamic threshold of
//! shared-memory switches (Choudhury and Hahne, "Dynamic queue length thresholds for shared-memory packet switches",
//! IEEE/ACM Transactions on Networking 6(2), 1998), with α = 1:
//!
//! - a tenant that is alone gets half of the host at most, two get a third each, *n* get 1/(*n* + 1) each;
//! - however many tenants have filled their share, some places stay free, so whoever comes next runs at once;
//! - the limit needs no knowledge of who there is, and follows at once when tenants come and go.
//!
//! Who finds no place waits. When a call ends, the next one is of the tenant that has the fewest running; of equals,
//! the one that has waited longest. How many wait, and for how long, is bounded, and the room to wait is shared by the
//! same rule.
//!
//! Keeps P6: calls that sleep, or wait for a lock, take places of the host and no processor; they must not take them
//! from others.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::gate::RETRY_MIN;

/// The calls that the host runs at once, and those that wait for one of them to end.
#[derive(Debug)]
pub struct Calls {
    places: usize,
    waiting_max: usize,
    wait: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    running: usize,
    waiting: usize,
    /// Counts those that have begun to wait, to know who came first.
    arrivals: u64,
    /// The tenants with calls that run or wait.
    tenants: HashMap<Arc<str>, Tenant>,
    /// The tenants with calls that wait, by how many they have running and how long the oldest has waited.
    queue: BTreeSet<(usize, u64, Arc<str>)>,
}

#[derive(Debug, Default)]
struct Tenant {
    running: usize,
    waiting: VecDeque<(u64, oneshot::Sender<Place>)>,
}

/// There is no place, and no room to wait for one; or none came in time.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct HostFull {
    /// When it is worth trying again.
    pub(super) after: Duration,
}

/// A place of the host, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    /// None once it has been passed on.
    of: Option<(Arc<Calls>, Arc<str>)>,
}

impl Calls {
    /// Shares `places`; as many as `waiting_max` calls wait for one, each for `wait` at most.
    pub fn new(places: usize, waiting_max: usize, wait: Duration) -> Arc<Self> {
        Arc::new(Self {
            places,
            waiting_max,
            wait,
            state: Mutex::default(),
        })
    }

    /// How many calls run now.
    pub fn running(&self) -> usize {
        self.state.lock().running
    }

    /// How many calls wait for a place.
    pub fn waiting(&self) -> usize {
        self.state.lock().waiting
    }

    /// Takes a place for a call of this tenant, waiting for one if it must.
    ///
    /// # Errors
    ///
    /// [`HostFull`].
    pub(super) async fn enter(self: &Arc<Self>, tenant: &Arc<str>) -> Result<Place, HostFull> {
        let full = || HostFull {
            after: self.wait.max(RETRY_MIN),
        };
        let mut waiting = match self.arrive(tenant).ok_or_else(full)? {
            Arrival::Runs(place) => return Ok(place),
            Arrival::Waits(waiting) => waiting,
        };
        match tokio::time::timeout(self.wait, &mut waiting.place).await {
            // The sender is dropped only with the whole of this.
            Ok(place) => place.map_err(|_| full()),
            Err(_) => Err(full()),
        }
    }

    /// Takes a place, or joins the queue; none: there is no room in the queue either.
    fn arrive(self: &Arc<Self>, tenant: &Arc<str>) -> Option<Arrival> {
        let mut state = self.state.lock();
        if self.may_run(&state, tenant) {
            state.start(tenant);
            return Some(Arrival::Runs(self.place(tenant)));
        }
        let waiting = state.tenants.get(tenant).map_or(0, |tenant| tenant.waiting.len());
        if waiting >= self.waiting_max.saturating_sub(state.waiting) {
            return None;
        }
        let (sender, place) = oneshot::channel();
        let arrival = state.wait(tenant, sender);
        Some(Arrival::Waits(Waiting {
            share: Arc::clone(self),
            tenant: Arc::clone(tenant),
            arrival,
            place,
        }))
    }

    fn may_run(&self, state: &State, tenant: &Arc<str>) -> bool {
        let running = state.tenants.get(tenant).map_or(0, |tenant| tenant.running);
        running < self.places.saturating_sub(state.running)
    }

    fn place(self: &Arc<Self>, tenant: &Arc<str>) -> Place {
        Place {
            of: Some((Arc::clone(self), Arc::clone(tenant))),
        }
    }

    /// Ends a call of this tenant, and gives its place to whoever is next.
    fn leave(self: &Arc<Self>, tenant: &Arc<str>) {
        let mut state = self.state.lock();
        state.end(tenant);
        // The tenant with the fewest running is the first of the queue: where it may not run, nobody may.
        while let Some(next) = state.queue.first().map(|(_, _, tenant)| Arc::clone(tenant)) {
            if !self.may_run(&state, &next) {
                break;
            }
            let Some(sender) = state.next_of(&next) else { break };
            state.start(&next);
            // A call that has given up meanwhile sends its place back, which must not happen under the lock.
            if let Err(mut refused) = sender.send(self.place(&next)) {
                refused.of = None;
                state.end(&next);
            }
        }
    }
}

enum Arrival {
    Runs(Place),
    Waits(Waiting),
}

/// A call that waits. Whoever gives up waiting, by its time or by going away, leaves the queue with this.
struct Waiting {
    share: Arc<Calls>,
    tenant: Arc<str>,
    arrival: u64,
    place: oneshot::Receiver<Place>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.share.state.lock().give_up(&self.tenant, self.arrival);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some((share, tenant)) = self.of.take() {
            share.leave(&tenant);
        }
    }
}

impl State {
    fn start(&mut self, tenant: &Arc<str>) {
        self.running += 1;
        self.change(tenant, |tenant| tenant.running += 1);
    }

    fn end(&mut self, tenant: &Arc<str>) {
        self.running -= 1;
        self.change(tenant, |tenant| tenant.running -= 1);
    }

    fn wait(&mut self, tenant: &Arc<str>, sender: oneshot::Sender<Place>) -> u64 {
        self.waiting += 1;
        self.arrivals += 1;
        let arrival = self.arrivals;
        self.change(tenant, |tenant| tenant.waiting.push_back((arrival, sender)));
        arrival
    }

    fn next_of(&mut self, tenant: &Arc<str>) -> Option<oneshot::Sender<Place>> {
        let next = self.change(tenant, |tenant| tenant.waiting.pop_front());
        self.waiting -= usize::from(next.is_some());
        next.map(|(_, sender)| sender)
    }

    fn give_up(&mut self, tenant: &Arc<str>, arrival: u64) {
        let before = self.tenants.get(tenant).map_or(0, |tenant| tenant.waiting.len());
        self.change(tenant, |tenant| tenant.waiting.retain(|(waits, _)| *waits != arrival));
        let after = self.tenants.get(tenant).map_or(0, |tenant| tenant.waiting.len());
        self.waiting -= before - after;
    }

    /// Changes what is known of a tenant, and keeps its place in the queue right.
    fn change<T>(&mut self, id: &Arc<str>, change: impl FnOnce(&mut Tenant) -> T) -> T {
        let mut tenant = self.tenants.remove(id).unwrap_or_default();
        let position = |tenant: &Tenant| {
            let oldest = tenant.waiting.front();
            oldest.map(|(arrival, _)| (tenant.running, *arrival, Arc::clone(id)))
        };
        if let Some(position) = position(&tenant) {
            self.queue.remove(&position);
        }
        let changed = change(&mut tenant);
        self.queue.extend(position(&tenant));
        if tenant.running > 0 || !tenant.waiting.is_empty() {
            self.tenants.insert(Arc::clone(id), tenant);
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn tenant(id: &str) -> Arc<str> {
        id.into()
    }

    fn fill(share: &Arc<Calls>, id: &str, most: usize) -> Vec<Place> {
        let mut places = Vec::new();
        while places.len() < most {
            match share.arrive(&tenant(id)) {
                Some(Arrival::Runs(place)) => places.push(place),
                Some(Arrival::Waits(_)) | None => break,
            }
        }
        places
    }

    // Shows P6: tenants whose calls only sleep leave room for whoever comes next.
    #[test]
    fn however_many_tenants_are_busy_there_is_room_for_the_next() {
        let share = Calls::new(256, 1024, LONG);
        let all = ["a", "b", "c", "d", "e", "f"].map(|id| fill(&share, id, 64));
        assert_eq!(all.each_ref().map(Vec::len), [64, 64, 64, 32, 16, 8]);
    }

    #[test]
    fn one_tenant_alone_gets_half() {
        let share = Calls::new(256, 0, LONG);
        assert_eq!(fill(&share, "a", 1000).len(), 128);
        let share = Calls::new(1, 0, LONG);
        assert_eq!(fill(&share, "a", 1000).len(), 1);
    }

    #[tokio::test]
    async fn whoever_has_least_running_is_next() {
        let share = Calls::new(8, 10, LONG);
        let mut busy = fill(&share, "busy", 10);
        let other = fill(&share, "other", 10);
        let third = fill(&share, "third", 10);
        assert_eq!((busy.len(), other.len(), third.len()), (4, 2, 1));
        let (busy_id, other_id) = (tenant("busy"), tenant("other"));
        let (mut first, mut second) = (Box::pin(share.enter(&busy_id)), Box::pin(share.enter(&other_id)));
        assert!(poll(&mut first).await.is_none() && poll(&mut second).await.is_none());
        drop((third, busy.pop()));
        let _place = poll(&mut second).await.unwrap().unwrap();
        assert!(
            poll(&mut first).await.is_none(),
            "it came first, and its tenant has more running"
        );
    }

    #[tokio::test]
    async fn nothing_is_lost_with_a_call_that_gives_up() {
        let share = Calls::new(1, 3, LONG);
        let a = tenant("a");
        let place = share.enter(&a).await.unwrap();
        let (mut gone, mut stays) = (Box::pin(share.enter(&a)), Box::pin(share.enter(&a)));
        assert!(poll(&mut gone).await.is_none() && poll(&mut stays).await.is_none());
        assert_eq!(share.enter(&a).await.unwrap_err().after, LONG, "no more may wait");
        drop(gone);
        drop(place);
        let place = poll(&mut stays).await.unwrap().unwrap();
        // Also one that was given the place and went away before it took it.
        let mut gone = Box::pin(share.enter(&a));
        assert!(poll(&mut gone).await.is_none());
        drop(place);
        assert_eq!(share.running(), 1);
        drop(gone);
        assert_eq!(share.running(), 0);
        assert!(share.state.lock().tenants.is_empty() && share.state.lock().queue.is_empty());
        assert_eq!(share.state.lock().waiting, 0);
    }

    // Shows P6: tenants that fill the queue leave room in it as well.
    #[tokio::test]
    async fn the_room_to_wait_is_shared_too() {
        let share = Calls::new(1, 8, LONG);
        let _place = share.enter(&tenant("a")).await.unwrap();
        let mut all = Vec::new();
        for (id, expect) in [("a", 4), ("b", 2), ("c", 1)] {
            let mut count = 0;
            while let Some(Arrival::Waits(waiting)) = share.arrive(&tenant(id)) {
                all.push(waiting);
                count += 1;
            }
            assert_eq!(count, expect, "{id}");
        }
        assert!(matches!(share.arrive(&tenant("d")), Some(Arrival::Waits(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_longer_than_allowed() {
        let share = Calls::new(1, 2, Duration::from_secs(1));
        let _place = share.enter(&tenant("a")).await.unwrap();
        let begin = tokio::time::Instant::now();
        assert_eq!(
            share.enter(&tenant("b")).await.unwrap_err().after,
            Duration::from_secs(1)
        );
        assert_eq!(begin.elapsed(), Duration::from_secs(1));
        assert_eq!(share.state.lock().waiting, 0);
    }

    async fn poll<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        std::future::poll_fn(|context| {
            Poll::Ready(match std::pin::Pin::new(&mut *future).poll(context) {
                Poll::Ready(output) => Some(output),
                Poll::Pending => None,
            })
        })
        .await
    }
}
