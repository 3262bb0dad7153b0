//! What one connection is doing, as far as others must know: whether it is idle and since when, and whether its request
//! has begun.
//!
//! It is written by the connection's own task, a few atomic operations for each request, and read by whoever needs room.

use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64};
use std::time::Instant;

use tokio::sync::Notify;

/// The connection has a request, or an answer that its peer has not taken yet.
const BUSY: u64 = u64::MAX;

/// The connection was idle and has to end.
const CLOSED: u64 = u64::MAX - 1;

/// No request has begun yet, so the first head is still to come.
const NEW: u8 = 0;

/// Between requests.
const WAITING: u8 = 1;

/// The body of a request is still to come, or to be read.
const READING: u8 = 2;

/// A request has come whole and is not answered yet.
const RUNNING: u8 = 3;

/// What one connection is doing.
#[derive(Debug)]
pub(super) struct Activity {
    /// Since when it is idle, in microseconds since `epoch`; or one of the constants.
    idle_since: AtomicU64,
    phase: AtomicU8,
    /// Whether the last request was of HTTP/1.1.
    http_1_1: AtomicBool,
    epoch: Instant,
    /// Told when a connection becomes idle.
    rested: Arc<Notify>,
    /// Told when the connection is closed to make room.
    closed: Notify,
}

impl Activity {
    /// A connection that is idle from now on; `epoch` is the same for all connections that are compared.
    pub(super) fn new(epoch: Instant, rested: Arc<Notify>) -> Self {
        let activity = Self {
            idle_since: AtomicU64::new(0),
            phase: AtomicU8::new(NEW),
            http_1_1: AtomicBool::new(false),
            epoch,
            rested,
            closed: Notify::new(),
        };
        activity.idle_since.store(activity.now(), Release);
        activity
    }

    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_micros()).map_or(CLOSED - 1, |now| now.min(CLOSED - 1))
    }

    /// Begins a request; false: the connection has to end instead.
    pub(super) fn begin(&self, http_1_1: bool) -> bool {
        self.http_1_1.store(http_1_1, Release);
        self.phase.store(READING, Release);
        self.work()
    }

    /// The request has come whole.
    pub(super) fn run(&self) {
        let _ = self.phase.compare_exchange(READING, RUNNING, AcqRel, Acquire);
    }

    /// The request has its answer, or is dropped.
    pub(super) fn end(&self) {
        self.phase.store(WAITING, Release);
        self.rest();
    }

    /// Notes whether an answer waits for its peer to take it.
    pub(super) fn is_blocked(&self, blocked: bool) {
        if blocked {
            self.work();
        } else if !self.is_reading() && !self.is_running() {
            self.rest();
        }
    }

    fn work(&self) -> bool {
        let busy = |since| (since != CLOSED).then_some(BUSY);
        self.idle_since.fetch_update(AcqRel, Acquire, busy).is_ok()
    }

    fn rest(&self) {
        if self
            .idle_since
            .compare_exchange(BUSY, self.now(), AcqRel, Acquire)
            .is_ok()
        {
            self.rested.notify_one();
        }
    }

    /// Whether the body of a request is still to come, or to be read.
    pub(super) fn is_reading(&self) -> bool {
        self.phase.load(Acquire) == READING
    }

    /// Whether a request has come whole and is not answered yet.
    pub(super) fn is_running(&self) -> bool {
        self.phase.load(Acquire) == RUNNING
    }

    /// Whether there is a request, and its peer speaks HTTP/1.1.
    pub(super) fn may_ask(&self) -> bool {
        (self.is_reading() || self.is_running()) && self.http_1_1.load(Acquire)
    }

    /// Whether no request ever began.
    pub(super) fn is_new(&self) -> bool {
        self.phase.load(Acquire) == NEW
    }

    /// Since when it is idle; none: it is not.
    pub(super) fn idle_since(&self) -> Option<u64> {
        let since = self.idle_since.load(Acquire);
        (since < CLOSED).then_some(since)
    }

    /// Closes the connection if it is still idle since then.
    pub(super) fn close(&self, since: u64) -> bool {
        let closed = self.idle_since.compare_exchange(since, CLOSED, AcqRel, Acquire).is_ok();
        if closed {
            self.closed.notify_one();
        }
        closed
    }

    /// Waits until the connection is closed to make room.
    pub(super) async fn closed(&self) {
        self.closed.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_idle_connection_is_closed_and_then_it_begins_nothing() {
        let activity = Activity::new(Instant::now(), Arc::default());
        let since = activity.idle_since().unwrap();
        assert!(activity.begin(true));
        assert_eq!(activity.idle_since(), None);
        assert!(!activity.close(since));
        activity.run();
        assert!(activity.is_running() && activity.may_ask());
        activity.is_blocked(false);
        assert_eq!(activity.idle_since(), None, "its request is not answered yet");
        activity.end();
        assert!(activity.close(activity.idle_since().unwrap()));
        assert_eq!(activity.idle_since(), None);
        assert!(!activity.begin(true));
    }

    #[test]
    fn an_answer_that_is_not_taken_keeps_the_connection_busy() {
        let activity = Activity::new(Instant::now(), Arc::default());
        activity.begin(true);
        activity.end();
        activity.is_blocked(true);
        assert_eq!(activity.idle_since(), None);
        activity.is_blocked(false);
        assert!(activity.idle_since().is_some());
    }
}
