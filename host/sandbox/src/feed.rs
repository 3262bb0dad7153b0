//! What happens to a tenant, for those who follow its log while it happens.
//!
//! A follower has a queue of bounded length and reads at its own speed. What does not fit is dropped: whoever writes never
//! waits. The follower is told how much that was, before the next event or when it asks; not for each of them, because telling
//! would then be as much work as what was dropped. Nothing is kept for followers who come later. To a tenant that nobody
//! follows a line costs one load of an atomic.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::SystemTime;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::request::TraceId;

/// How many bytes of events wait for one follower at most.
const QUEUE_BYTES_MAX: usize = 256 << 10;

/// What an event takes in a queue besides its texts, in bytes; an estimate.
const EVENT_OVERHEAD_BYTES: usize = 128;

/// The events of one tenant on this host, for its followers.
#[derive(Debug, Default)]
pub struct Feed {
    /// How many followers there are.
    followed: AtomicUsize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// How many events there were while somebody followed.
    events: u64,
    /// How many followers there ever were.
    begun: u64,
    queues: Vec<Queue>,
}

/// What waits for one follower.
#[derive(Debug)]
struct Queue {
    /// Which follower it is.
    follower: u64,
    waiting: VecDeque<Next>,
    bytes: usize,
    /// Events that were dropped since something was put into the queue.
    dropped: u64,
    /// Whether the follower has to look whether it still may follow.
    look: bool,
    wake: Arc<Notify>,
}

/// One event of a tenant.
#[derive(Debug, PartialEq, Eq)]
pub struct Event {
    /// Its number, counted from 1 while the tenant is followed; those of dropped events are left out.
    pub number: u64,
    /// What happened.
    pub what: What,
}

/// What happened.
#[derive(Debug, PartialEq, Eq)]
pub enum What {
    /// A line was written to the tenant's log.
    Line(Line),
    /// A request has ended. The layer above decides what is said of it, and how.
    Request(Box<str>),
}

/// A line of the tenant's log.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    /// When it was written.
    pub at: SystemTime,
    /// The id of the request during which it was written.
    pub request_id: Box<str>,
    /// The trace of the request, if it has one.
    pub trace_id: Option<TraceId>,
    /// Who wrote it.
    pub from: Writer,
    /// The line without its end. It may hold any character, those that control a terminal too.
    pub text: Box<str>,
}

/// Who writes lines to a tenant's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writer {
    /// Its handler, to standard output or standard error.
    Handler,
    /// The host, about a call of the handler.
    Host,
}

/// What a follower is to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Read this event.
    Event(Arc<Event>),
    /// Take notice that events were dropped.
    Dropped(Dropped),
    /// Look whether it still may follow.
    Look,
}

/// Events that were dropped one after another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dropped {
    /// The number of the last of them.
    pub last: u64,
    /// How many there were.
    pub events: u64,
}

/// The feed has as many followers as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// One follower, until it is dropped.
#[derive(Debug)]
pub struct Follower {
    feed: Arc<Feed>,
    number: u64,
    wake: Arc<Notify>,
}

impl Feed {
    /// Adds a follower, unless there are `max`. It reads what happens from now on.
    ///
    /// # Errors
    ///
    /// There are as many as may be.
    pub fn follow(self: &Arc<Self>, max: usize) -> Result<Follower, Full> {
        let mut inner = self.inner.lock();
        if inner.queues.len() >= max {
            return Err(Full);
        }
        inner.begun += 1;
        let (number, wake) = (inner.begun, Arc::<Notify>::default());
        inner.queues.push(Queue {
            follower: number,
            waiting: VecDeque::new(),
            bytes: 0,
            dropped: 0,
            look: false,
            wake: Arc::clone(&wake),
        });
        self.followed.store(inner.queues.len(), Relaxed);
        drop(inner);
        Ok(Follower {
            feed: Arc::clone(self),
            number,
            wake,
        })
    }

    /// How many followers there are.
    pub fn followers(&self) -> usize {
        self.followed.load(Relaxed)
    }

    /// Tells the followers what `what` returns; it is not called where there are none.
    // Keeps P6: who reads slowly loses events, and delays neither a call nor another follower.
    pub fn tell(&self, what: impl FnOnce() -> What) {
        if self.followers() == 0 {
            return;
        }
        let what = what();
        let mut inner = self.inner.lock();
        inner.events += 1;
        let event = Arc::new(Event {
            number: inner.events,
            what,
        });
        for queue in &mut inner.queues {
            queue.push(&event);
        }
    }

    /// Tells the followers that something was dropped before it became an event.
    pub fn lost(&self, events: u64) {
        if self.followers() == 0 || events == 0 {
            return;
        }
        let mut inner = self.inner.lock();
        inner.events += events;
        for queue in &mut inner.queues {
            queue.dropped += events;
        }
    }

    /// Has every follower look whether it still may follow, before it reads anything else.
    pub fn look(&self) {
        if self.followers() == 0 {
            return;
        }
        for queue in &mut self.inner.lock().queues {
            queue.look = true;
            queue.wake.notify_one();
        }
    }
}

impl Inner {
    fn queue(&mut self, follower: u64) -> Option<&mut Queue> {
        self.queues.iter_mut().find(|queue| queue.follower == follower)
    }
}

impl Queue {
    fn push(&mut self, event: &Arc<Event>) {
        let bytes = event.bytes();
        if self.bytes + bytes > QUEUE_BYTES_MAX {
            self.dropped += 1;
        } else {
            if self.dropped > 0 {
                // The number before this event's is that of the last one that was dropped.
                let (last, events) = (event.number - 1, std::mem::take(&mut self.dropped));
                self.waiting.push_back(Next::Dropped(Dropped { last, events }));
                self.bytes += EVENT_OVERHEAD_BYTES;
            }
            self.waiting.push_back(Next::Event(Arc::clone(event)));
            self.bytes += bytes;
        }
        self.wake.notify_one();
    }

    fn pop(&mut self) -> Option<Next> {
        if std::mem::take(&mut self.look) {
            return Some(Next::Look);
        }
        let next = self.waiting.pop_front()?;
        self.bytes -= next.bytes();
        Some(next)
    }
}

impl Event {
    fn bytes(&self) -> usize {
        let texts = match &self.what {
            What::Line(line) => line.request_id.len() + line.text.len(),
            What::Request(text) => text.len(),
        };
        EVENT_OVERHEAD_BYTES + texts
    }
}

impl Next {
    fn bytes(&self) -> usize {
        match self {
            Self::Event(event) => event.bytes(),
            Self::Dropped(_) | Self::Look => EVENT_OVERHEAD_BYTES,
        }
    }
}

impl Follower {
    /// Waits for what comes next. When this future is dropped, nothing is lost.
    pub async fn next(&self) -> Next {
        loop {
            if let Some(next) = self.pop() {
                return next;
            }
            self.wake.notified().await;
        }
    }

    fn pop(&self) -> Option<Next> {
        let mut inner = self.feed.inner.lock();
        inner.queue(self.number)?.pop()
    }

    /// What was dropped after the last event that it has read, if it has read all others.
    pub fn dropped(&self) -> Option<Dropped> {
        let mut inner = self.feed.inner.lock();
        let last = inner.events;
        let queue = inner.queue(self.number).filter(|queue| queue.waiting.is_empty())?;
        let events = std::mem::take(&mut queue.dropped);
        (events > 0).then_some(Dropped { last, events })
    }

    /// Whether this is the feed that it follows.
    pub fn follows(&self, feed: &Arc<Feed>) -> bool {
        Arc::ptr_eq(&self.feed, feed)
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let mut inner = self.feed.inner.lock();
        inner.queues.retain(|queue| queue.follower != self.number);
        self.feed.followed.store(inner.queues.len(), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(text: &str) -> What {
        What::Request(text.into())
    }

    fn event(number: u64, text: &str) -> Next {
        Next::Event(Arc::new(Event {
            number,
            what: request(text),
        }))
    }

    #[tokio::test]
    async fn a_follower_reads_what_happens_after_it_has_come_in_order() {
        let feed = Arc::<Feed>::default();
        feed.tell(|| panic!("nobody follows"));
        let follower = feed.follow(1).unwrap();
        feed.tell(|| request("a"));
        feed.tell(|| request("b"));
        assert_eq!(
            [follower.next().await, follower.next().await],
            [event(1, "a"), event(2, "b")]
        );
        let ((), next) = tokio::join!(async { feed.tell(|| request("c")) }, follower.next());
        assert_eq!(next, event(3, "c"));
        assert_eq!(follower.pop(), None);
    }

    // Shows P6: what waits for a follower that does not read is bounded, and it hears what it has missed.
    #[tokio::test]
    async fn a_follower_that_does_not_read_hears_how_much_was_dropped() {
        let feed = Arc::<Feed>::default();
        let (slow, quick) = (feed.follow(2).unwrap(), feed.follow(2).unwrap());
        let text = "x".repeat(1000);
        let told = 1000;
        for number in 1..=told {
            feed.tell(|| request(&text));
            assert_eq!(quick.next().await, event(number, &text));
        }
        let fit = (QUEUE_BYTES_MAX / (EVENT_OVERHEAD_BYTES + text.len())) as u64;
        for number in 1..=fit {
            assert_eq!(slow.next().await, event(number, &text));
        }
        feed.tell(|| request("later"));
        let dropped = Dropped {
            last: told,
            events: told - fit,
        };
        assert_eq!(
            [slow.next().await, slow.next().await],
            [Next::Dropped(dropped), event(told + 1, "later")]
        );
        assert_eq!(slow.dropped(), None);
        assert_eq!(slow.pop(), None);
        assert_eq!(feed.inner.lock().queues[0].bytes, 0);
    }

    #[tokio::test]
    async fn what_was_dropped_last_is_told_when_it_is_asked_for() {
        let feed = Arc::<Feed>::default();
        let follower = feed.follow(1).unwrap();
        feed.tell(|| request("a"));
        feed.lost(3);
        assert_eq!(follower.dropped(), None, "an event comes first");
        assert_eq!(follower.next().await, event(1, "a"));
        assert_eq!(follower.pop(), None);
        assert_eq!(follower.dropped(), Some(Dropped { last: 4, events: 3 }));
        feed.tell(|| request("b"));
        assert_eq!(follower.next().await, event(5, "b"));
    }

    #[tokio::test]
    async fn a_follower_looks_before_it_reads() {
        let feed = Arc::<Feed>::default();
        let follower = feed.follow(1).unwrap();
        feed.tell(|| request("a"));
        feed.look();
        assert_eq!(
            [follower.next().await, follower.next().await],
            [Next::Look, event(1, "a")]
        );
    }

    #[test]
    fn a_feed_has_no_more_followers_than_it_may_and_forgets_those_that_are_gone() {
        let feed = Arc::<Feed>::default();
        assert_eq!(feed.follow(0).unwrap_err(), Full);
        let first = feed.follow(2).unwrap();
        let second = feed.follow(2).unwrap();
        assert_eq!(feed.follow(2).unwrap_err(), Full);
        drop(first);
        assert_eq!(feed.followers(), 1);
        let _third = feed.follow(2).unwrap();
        drop(second);
        assert_eq!(feed.followers(), 1);
    }
}
