//! One caller of a name at a time on this host, in order of arrival.
//!
//! Only the caller whose turn it is asks the table for the lock; it keeps its turn for as long as it holds the lease. So the
//! table sees one attempt per grant, however many callers of this host want one name, a caller that does not wait is refused
//! without any traffic, and the next in the queue goes on the moment a lease of this host ends.
//!
//! A turn excludes nobody for good: the table does that. So when the lock of whoever has the turn must have expired in the table
//! by now, whoever waits goes on at another gate, one at a time as before.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::key::LockKey;

/// How often somebody who waits looks whether the lock before it has an end by now; when the wait began, it may not have had.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The turns of every name that somebody on this host has or waits for. A name that nobody wants takes no memory.
#[derive(Debug)]
pub(crate) struct Turnstile {
    gates: Mutex<HashMap<LockKey, Arc<Gate>>>,
    waiting: AtomicUsize,
    waiting_max: usize,
}

#[derive(Debug)]
struct Gate {
    turns: Arc<Semaphore>,
    /// When the lock of whoever has the turn will have expired; none: nothing was granted yet.
    expires: Mutex<Option<Instant>>,
}

/// Why it was nobody's turn.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoTurn {
    /// Somebody of this host has the turn, and had it for as long as the caller would wait; its lock may last for this long, where
    /// it has one.
    Busy { remaining: Option<Duration> },
    /// As many callers wait as may, over all names.
    Crowded,
}

/// The turn at one name. Dropping it lets the next one in.
#[derive(Debug)]
pub(crate) struct Turn {
    // Given back before the visit ends.
    _permit: OwnedSemaphorePermit,
    visit: Visit,
}

impl Turn {
    /// Says until when the lock that was granted in this turn may stand in the table.
    pub(crate) fn expires(&self, at: Instant) {
        *self.visit.gate.expires() = Some(at);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *self.visit.gate.expires() = None;
    }
}

impl Gate {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            turns: Arc::new(Semaphore::new(1)),
            expires: Mutex::default(),
        })
    }

    fn expires(&self) -> MutexGuard<'_, Option<Instant>> {
        self.expires.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody who has or waits for a turn; the last one takes the gate away.
#[derive(Debug)]
struct Visit {
    turnstile: Arc<Turnstile>,
    key: LockKey,
    gate: Arc<Gate>,
}

impl Drop for Visit {
    fn drop(&mut self) {
        let mut gates = self.turnstile.gates();
        // The map's own and this one: no other visitor, and none can come while the map is locked. Another gate may have taken its
        // place in the map.
        let mine = gates.get(&self.key).is_some_and(|gate| Arc::ptr_eq(gate, &self.gate));
        if mine && Arc::strong_count(&self.gate) == 2 {
            gates.remove(&self.key);
        }
    }
}

impl Turnstile {
    pub(crate) fn new(waiting_max: usize) -> Arc<Self> {
        Arc::new(Self {
            gates: Mutex::default(),
            waiting: AtomicUsize::new(0),
            waiting_max,
        })
    }

    /// Waits for the turn at `key` until `until`; an instant that has passed tries once.
    pub(crate) async fn enter(self: &Arc<Self>, key: &LockKey, until: Instant) -> Result<Turn, NoTurn> {
        let mut place = None;
        loop {
            let visit = self.visit(key);
            if let Some(permit) = self.turn(&visit.gate, until, &mut place).await? {
                return Ok(Turn { _permit: permit, visit });
            }
            self.close(&visit);
        }
    }

    /// Waits for the turn at this gate, in one place of its queue; none when whoever has it is no reason to wait any more.
    async fn turn<'a>(
        &'a self,
        gate: &Gate,
        until: Instant,
        place: &mut Option<Place<'a>>,
    ) -> Result<Option<OwnedSemaphorePermit>, NoTurn> {
        if let Ok(permit) = Arc::clone(&gate.turns).try_acquire_owned() {
            return Ok(Some(permit));
        }
        let mut turn = pin!(Arc::clone(&gate.turns).acquire_owned());
        loop {
            let (now, expires) = (Instant::now(), *gate.expires());
            if expires.is_some_and(|expires| expires <= now) {
                return Ok(None);
            }
            if until <= now {
                let remaining = expires.map(|expires| expires - now);
                return Err(NoTurn::Busy { remaining });
            }
            if place.is_none() {
                *place = Some(self.wait()?);
            }
            let awake = expires.unwrap_or(now + LOOK_AGAIN).min(until);
            if let Ok(Ok(permit)) = timeout_at(awake, &mut turn).await {
                return Ok(Some(permit));
            }
        }
    }

    /// Lets whoever comes from now on, and whoever waits, go to another gate.
    fn close(&self, visit: &Visit) {
        let mut gates = self.gates();
        if let Some(gate) = gates.get_mut(&visit.key)
            && Arc::ptr_eq(gate, &visit.gate)
        {
            *gate = Gate::new();
        }
    }

    fn visit(self: &Arc<Self>, key: &LockKey) -> Visit {
        let gate = Arc::clone(self.gates().entry(key.clone()).or_insert_with(Gate::new));
        Visit {
            turnstile: Arc::clone(self),
            key: key.clone(),
            gate,
        }
    }

    fn wait(&self) -> Result<Place<'_>, NoTurn> {
        let place = Place(&self.waiting);
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= self.waiting_max {
            return Err(NoTurn::Crowded);
        }
        Ok(place)
    }

    fn gates(&self) -> MutexGuard<'_, HashMap<LockKey, Arc<Gate>>> {
        self.gates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One place among those who may wait.
struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
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

    #[tokio::test(start_paused = true)]
    async fn turns_are_given_in_order_of_arrival() {
        let turnstile = Turnstile::new(100);
        let first = turnstile.enter(&key("a"), Instant::now()).await.unwrap();
        let (sender, mut receiver) = tokio::sync::mpsc::channel(10);
        for number in 0..10 {
            let (turnstile, sender) = (Arc::clone(&turnstile), sender.clone());
            tokio::spawn(async move {
                let _turn = turnstile
                    .enter(&key("a"), Instant::now() + Duration::from_secs(1))
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
        let turnstile = Turnstile::new(100);
        let turn = turnstile.enter(&key("a"), Instant::now()).await.unwrap();
        let soon = Instant::now() + Duration::from_millis(5);
        assert_eq!(turnstile.enter(&key("a"), soon).await.unwrap_err(), BUSY);
        assert_eq!(turnstile.gates().len(), 1);
        drop(turn);
        assert_eq!(turnstile.gates().len(), 0);

        // Also when the turn ends before one who gave up waiting has left.
        let turn = turnstile.enter(&key("a"), Instant::now()).await.unwrap();
        let a = key("a");
        let mut waiter = Box::pin(turnstile.enter(&a, Instant::now() + Duration::from_secs(1)));
        assert!(poll_once(&mut waiter).await.is_none());
        drop(turn);
        drop(waiter);
        assert_eq!(turnstile.gates().len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_whose_lock_has_expired_keeps_nobody_out() {
        let turnstile = Turnstile::new(100);
        let start = Instant::now();
        let stuck = turnstile.enter(&key("a"), start).await.unwrap();
        let (sender, mut turns) = tokio::sync::mpsc::channel(3);
        for _ in 0..3 {
            let (turnstile, sender) = (Arc::clone(&turnstile), sender.clone());
            tokio::spawn(async move {
                let turn = turnstile.enter(&key("a"), start + Duration::from_secs(60)).await;
                sender.send(turn.unwrap()).await.unwrap();
            });
        }
        tokio::task::yield_now().await;
        stuck.expires(start + Duration::from_secs(13));
        assert_eq!(
            turnstile.enter(&key("a"), start).await.unwrap_err(),
            NoTurn::Busy {
                remaining: Some(Duration::from_secs(13))
            }
        );
        let mut turn = turns.recv().await.unwrap();
        assert!((13..=14).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
        // One after the other, and the next one at once; what comes back late disturbs nobody.
        let mut stuck = Some(stuck);
        for _ in 0..2 {
            tokio::time::sleep(Duration::from_secs(3)).await;
            assert!(turns.try_recv().is_err(), "two have the turn");
            let released = Instant::now();
            drop((stuck.take(), turn));
            turn = turns.recv().await.unwrap();
            assert_eq!(released.elapsed(), Duration::ZERO);
        }
        drop(turn);
        assert_eq!(turnstile.gates().len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_wait_than_may() {
        let turnstile = Turnstile::new(1);
        let _turn = turnstile.enter(&key("a"), Instant::now()).await.unwrap();
        let later = Instant::now() + Duration::from_secs(1);
        let a = key("a");
        let mut waiter = Box::pin(turnstile.enter(&a, later));
        assert!(poll_once(&mut waiter).await.is_none());
        assert_eq!(turnstile.enter(&key("a"), later).await.unwrap_err(), NoTurn::Crowded);
        drop(waiter);
        assert_eq!(turnstile.enter(&key("a"), later).await.unwrap_err(), BUSY);
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
