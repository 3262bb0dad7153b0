//! One caller of a name at a time on this host, in order of arrival.
//!
//! Only the caller whose turn it is asks the table for the lock, and it keeps its turn for as long as it holds the
//! lease. So the table sees one attempt per grant, however many callers of this host want one name; a caller that does
//! not wait is refused without any traffic; and the next caller goes on the moment a lease of this host ends.
//!
//! A turn excludes nobody for good: only the table does that. So when the lock of the caller that has the turn must
//! have expired in the table by now, its queue is replaced by a new one, where whoever waits goes on, one at a time as
//! before.
//!
//! Keeps P6: the number of waiting callers, over all names, has a limit.

use std::any::Any;
use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::clock::{LeaseClock, LeaseInstant};
use crate::fairness::Fairness;
use crate::key::LockKey;

/// How often a waiting caller checks when the lock before it expires: it may have had no expiry when the wait began, and
/// the machine may have been suspended since.
const EXPIRY_CHECK: Duration = Duration::from_secs(1);

/// The queues of every name that somebody on this host has or waits for. A name that nobody wants takes no memory.
#[derive(Debug)]
pub(crate) struct LocalQueue {
    names: Mutex<HashMap<LockKey, Arc<NameQueue>>>,
    waiting: AtomicUsize,
    waiting_max: usize,
    clock: Arc<LeaseClock>,
    fairness: Arc<Fairness>,
}

/// The queue of one name.
#[derive(Debug)]
struct NameQueue {
    turns: Arc<Semaphore>,
    /// When the lock of the caller that has the turn will have expired; none: nothing was granted yet.
    expires: Mutex<Option<LeaseInstant>>,
    /// What the caller before has left to whoever has the turn next; dropped with the queue, if nobody comes. What that is, is
    /// no concern of this queue.
    left: Mutex<Option<Box<dyn Any + Send + Sync>>>,
    /// How many wait for the turn.
    waiting: AtomicUsize,
}

/// Why a caller did not get its turn.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoTurn {
    /// Another caller of this host has the turn, and had it for as long as this one would wait. Its lock, if it has
    /// one, may last for this long.
    Busy { remaining: Option<Duration> },
    /// The waiter limit is reached, over all names.
    Full,
}

/// The turn at one name. Dropping it lets the next caller in.
#[derive(Debug)]
pub(crate) struct Turn {
    // Declared first, because it must be given back before the member leaves the queue.
    _permit: OwnedSemaphorePermit,
    member: Member,
}

/// A caller that has or waits for a turn. The last one of a queue removes it.
#[derive(Debug)]
struct Member {
    local_queue: Arc<LocalQueue>,
    key: LockKey,
    queue: Arc<NameQueue>,
}

/// One of those that wait, who are counted here.
struct WaiterPermit<'a>(&'a AtomicUsize);

impl Turn {
    /// Sets when the lock that was granted in this turn will have expired in the table.
    pub(crate) fn set_expiry(&self, at: LeaseInstant) {
        *self.member.queue.expires.lock() = Some(at);
    }

    /// Tells whether whoever is next may have the lock of this turn: somebody of this host waits, and no other host is to have it.
    pub(crate) fn may_hand_over(&self) -> bool {
        let member = &self.member;
        let is_wanted = member.queue.waiting.load(Ordering::Relaxed) > 0;
        is_wanted && !member.local_queue.fairness.must_look(&member.key, Instant::now())
    }

    /// Leaves something to whoever has the turn next.
    pub(crate) fn leave(&self, left: impl Any + Send + Sync) {
        *self.member.queue.left.lock() = Some(Box::new(left));
    }

    /// Takes what the caller before has left.
    pub(crate) fn take_left<T: Any>(&self) -> Option<T> {
        let left = self.member.queue.left.lock().take()?;
        left.downcast().ok().map(|left| *left)
    }

    /// Records that the lock that was granted in this turn was given back.
    pub(crate) fn given_back(&self) {
        let member = &self.member;
        *member.queue.expires.lock() = None;
        member.local_queue.fairness.released(&member.key, Instant::now());
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.given_back();
    }
}

impl LocalQueue {
    /// How many callers wait for this name.
    pub(crate) fn waiting_for(&self, key: &LockKey) -> usize {
        let names = self.names.lock();
        names.get(key).map_or(0, |queue| queue.waiting.load(Ordering::Relaxed))
    }

    /// How many callers wait, over all names.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    pub(crate) fn new(waiting_max: usize, clock: &Arc<LeaseClock>, fairness: &Arc<Fairness>) -> Arc<Self> {
        Arc::new(Self {
            names: Mutex::default(),
            waiting: AtomicUsize::new(0),
            waiting_max,
            clock: Arc::clone(clock),
            fairness: Arc::clone(fairness),
        })
    }

    /// Waits for the turn at `key` until `until`; an instant that has passed tries once.
    pub(crate) async fn wait_turn(self: &Arc<Self>, key: &LockKey, until: Instant) -> Result<Turn, NoTurn> {
        let mut waiter = None;
        loop {
            let member = self.join(key);
            if let Some(permit) = self.wait_in(&member.queue, until, &mut waiter).await? {
                return Ok(Turn {
                    _permit: permit,
                    member,
                });
            }
            self.replace(&member);
        }
    }

    /// Waits for the turn in this queue; none when the lock of the caller that has it has expired.
    async fn wait_in<'a>(
        &'a self,
        queue: &NameQueue,
        until: Instant,
        waiter: &mut Option<WaiterPermit<'a>>,
    ) -> Result<Option<OwnedSemaphorePermit>, NoTurn> {
        if let Ok(permit) = Arc::clone(&queue.turns).try_acquire_owned() {
            return Ok(Some(permit));
        }
        let mut turn = pin!(Arc::clone(&queue.turns).acquire_owned());
        let mut waits = None;
        loop {
            let expires = *queue.expires.lock();
            let remaining = expires.map(|expires| expires.saturating_duration_since(self.clock.now()));
            if remaining == Some(Duration::ZERO) {
                return Ok(None);
            }
            let now = Instant::now();
            if until <= now {
                return Err(NoTurn::Busy { remaining });
            }
            if waiter.is_none() {
                *waiter = Some(self.permit_waiter()?);
            }
            waits.get_or_insert_with(|| WaiterPermit::new(&queue.waiting));
            let check = remaining.map_or(EXPIRY_CHECK, |remaining| remaining.min(EXPIRY_CHECK));
            let awake = (now + check).min(until);
            if let Ok(Ok(permit)) = timeout_at(awake, &mut turn).await {
                return Ok(Some(permit));
            }
        }
    }

    fn join(self: &Arc<Self>, key: &LockKey) -> Member {
        let queue = Arc::clone(self.names.lock().entry(key.clone()).or_insert_with(NameQueue::new));
        Member {
            local_queue: Arc::clone(self),
            key: key.clone(),
            queue,
        }
    }

    /// Sends whoever comes from now on, and whoever waits, to a new queue.
    fn replace(&self, member: &Member) {
        if let Some(queue) = self.names.lock().get_mut(&member.key)
            && Arc::ptr_eq(queue, &member.queue)
        {
            *queue = NameQueue::new();
        }
    }

    fn permit_waiter(&self) -> Result<WaiterPermit<'_>, NoTurn> {
        let permit = WaiterPermit(&self.waiting);
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= self.waiting_max {
            return Err(NoTurn::Full);
        }
        Ok(permit)
    }
}

impl NameQueue {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            turns: Arc::new(Semaphore::new(1)),
            expires: Mutex::default(),
            left: Mutex::default(),
            waiting: AtomicUsize::new(0),
        })
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut names = self.local_queue.names.lock();
        // Another queue may have replaced this one in the map.
        let listed = names
            .get(&self.key)
            .is_some_and(|queue| Arc::ptr_eq(queue, &self.queue));
        // Two references, the map's and this one: there is no other member, and none can join while the map is locked.
        if listed && Arc::strong_count(&self.queue) == 2 {
            names.remove(&self.key);
        }
    }
}

impl<'a> WaiterPermit<'a> {
    fn new(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for WaiterPermit<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUSY: NoTurn = NoTurn::Busy { remaining: None };

    fn key(name: &str) -> LockKey {
        LockKey::new("t", name).unwrap()
    }

    fn local_queue(waiting_max: usize) -> Arc<LocalQueue> {
        LocalQueue::new(waiting_max, &LeaseClock::of_test(), &Arc::default())
    }

    #[tokio::test(start_paused = true)]
    async fn turns_are_given_in_order_of_arrival() {
        let queue = local_queue(100);
        let first = queue.wait_turn(&key("a"), Instant::now()).await.unwrap();
        let (sender, mut receiver) = tokio::sync::mpsc::channel(10);
        for number in 0..10 {
            let (queue, sender) = (Arc::clone(&queue), sender.clone());
            tokio::spawn(async move {
                let _turn = queue
                    .wait_turn(&key("a"), Instant::now() + Duration::from_secs(1))
                    .await
                    .unwrap();
                sender.send(number).await.unwrap();
            });
            tokio::task::yield_now().await;
        }
        drop(first);
        for number in 0..10 {
            assert_eq!(receiver.recv().await, Some(number));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_nobody_wants_takes_no_memory() {
        let queue = local_queue(100);
        let turn = queue.wait_turn(&key("a"), Instant::now()).await.unwrap();
        let soon = Instant::now() + Duration::from_millis(5);
        assert_eq!(queue.wait_turn(&key("a"), soon).await.unwrap_err(), BUSY);
        assert_eq!(queue.names.lock().len(), 1);
        drop(turn);
        assert_eq!(queue.names.lock().len(), 0);

        // The same when the turn ends before a waiter that gave up has left.
        let turn = queue.wait_turn(&key("a"), Instant::now()).await.unwrap();
        let a = key("a");
        let mut waiter = Box::pin(queue.wait_turn(&a, Instant::now() + Duration::from_secs(1)));
        assert!(poll_once(&mut waiter).await.is_none());
        drop(turn);
        drop(waiter);
        assert_eq!(queue.names.lock().len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_whose_lock_has_expired_blocks_nobody() {
        let queue = local_queue(100);
        let start = Instant::now();
        let stuck = queue.wait_turn(&key("a"), start).await.unwrap();
        let (sender, mut turns) = tokio::sync::mpsc::channel(3);
        for _ in 0..3 {
            let (queue, sender) = (Arc::clone(&queue), sender.clone());
            tokio::spawn(async move {
                let turn = queue.wait_turn(&key("a"), start + Duration::from_secs(60)).await;
                sender.send(turn.unwrap()).await.unwrap();
            });
        }
        tokio::task::yield_now().await;
        stuck.set_expiry(queue.clock.now() + Duration::from_secs(13));
        assert_eq!(
            queue.wait_turn(&key("a"), start).await.unwrap_err(),
            NoTurn::Busy {
                remaining: Some(Duration::from_secs(13))
            }
        );
        let mut turn = turns.recv().await.unwrap();
        assert!((13..=14).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
        // One after the other, each at once; the turn that is dropped late disturbs nobody.
        let mut stuck = Some(stuck);
        for _ in 0..2 {
            tokio::time::sleep(Duration::from_secs(3)).await;
            assert!(turns.try_recv().is_err(), "two callers have the turn");
            let released = Instant::now();
            drop((stuck.take(), turn));
            turn = turns.recv().await.unwrap();
            assert_eq!(released.elapsed(), Duration::ZERO);
        }
        drop(turn);
        assert_eq!(queue.names.lock().len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_whose_lock_has_expired_in_suspend_blocks_nobody() {
        let queue = local_queue(100);
        let start = Instant::now();
        let stuck = queue.wait_turn(&key("a"), start).await.unwrap();
        stuck.set_expiry(queue.clock.now() + Duration::from_secs(13));
        let waiter = {
            let queue = Arc::clone(&queue);
            tokio::spawn(async move { queue.wait_turn(&key("a"), start + Duration::from_secs(60)).await })
        };
        tokio::task::yield_now().await;
        queue.clock.suspend(Duration::from_secs(12));
        waiter.await.unwrap().unwrap();
        assert!(start.elapsed() <= Duration::from_secs(1), "{:?}", start.elapsed());
    }

    // Shows P6: the waiter limit is kept, and given back by a waiter that gives up.
    #[tokio::test(start_paused = true)]
    async fn waiters_over_the_limit_are_refused() {
        let queue = local_queue(1);
        let _turn = queue.wait_turn(&key("a"), Instant::now()).await.unwrap();
        let later = Instant::now() + Duration::from_secs(1);
        let a = key("a");
        let mut waiter = Box::pin(queue.wait_turn(&a, later));
        assert!(poll_once(&mut waiter).await.is_none());
        assert_eq!(queue.wait_turn(&key("a"), later).await.unwrap_err(), NoTurn::Full);
        drop(waiter);
        assert_eq!(queue.wait_turn(&key("a"), later).await.unwrap_err(), BUSY);
    }

    async fn poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        std::future::poll_fn(|context| {
            std::task::Poll::Ready(match std::pin::Pin::new(&mut *future).poll(context) {
                std::task::Poll::Ready(output) => Some(output),
                std::task::Poll::Pending => None,
            })
        })
        .await
    }
}
