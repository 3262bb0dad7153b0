//! What one connection is doing, as far as others must know: whether it is idle and since when, and whether its request
//! has begun.
//!
//! It is written by the connection's own task, a few atomic operations for each request, and read by whoever needs room.

use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// From here on the connection is busy with as many requests, and answers that its peer has not taken yet, as are above it. An
/// HTTP/2 connection has several at once.
const BUSY: u64 = 1 << 63;

/// The connection was idle and has to end.
const CLOSED: u64 = u64::MAX;

/// No request has begun yet, so the first head is still to come.
const NEW: u8 = 0;

/// Between requests.
const WAITING: u8 = 1;

/// The body of a request is still to come, or to be read.
const READING: u8 = 2;

/// A request has come whole and is not answered yet.
const RUNNING: u8 = 3;

/// A request has an answer that is made while it is sent.
const ANSWERING: u8 = 4;

/// How often to look whether only answers without an end are left.
const LOOK: Duration = Duration::from_millis(20);

/// What one connection is doing.
#[derive(Debug)]
pub(super) struct Activity {
    /// Since when it is idle, in microseconds since `epoch`; or what the constants say.
    idle_since: AtomicU64,
    phase: AtomicU8,
    /// Whether the last request was of HTTP/1.1.
    http_1_1: AtomicBool,
    /// Requests whose answer is not said to its end.
    requests: AtomicU32,
    /// How many of them have an answer that has no end of its own.
    endless: AtomicU32,
    /// Whether there ever was one.
    had_endless: AtomicBool,
    epoch: Instant,
    /// Told when a connection becomes idle.
    rested: Arc<Notify>,
    /// Told when the connection is closed to make room, or cut off.
    closed: Notify,
}

impl Activity {
    /// A connection that is idle from now on; `epoch` is the same for all connections that are compared.
    pub(super) fn new(epoch: Instant, rested: Arc<Notify>) -> Self {
        let activity = Self {
            idle_since: AtomicU64::new(0),
            phase: AtomicU8::new(NEW),
            http_1_1: AtomicBool::new(false),
            requests: AtomicU32::new(0),
            endless: AtomicU32::new(0),
            had_endless: AtomicBool::new(false),
            epoch,
            rested,
            closed: Notify::new(),
        };
        activity.idle_since.store(activity.now(), Release);
        activity
    }

    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_micros()).map_or(BUSY, |now| now.min(BUSY))
    }

    /// Begins a request; false: the connection has to end instead.
    pub(super) fn begin(&self, http_1_1: bool) -> bool {
        self.http_1_1.store(http_1_1, Release);
        self.phase.store(READING, Release);
        let begins = self.work();
        if begins {
            self.requests.fetch_add(1, AcqRel);
        }
        begins
    }

    /// The request has come whole.
    pub(super) fn run(&self) {
        let _ = self.phase.compare_exchange(READING, RUNNING, AcqRel, Acquire);
    }

    /// The answer is made while it is sent. From now on there is no place in it for another one.
    pub(super) fn answer(&self) {
        self.phase.store(ANSWERING, Release);
    }

    /// The answer has no end of its own.
    pub(super) fn begin_endless(&self) {
        self.had_endless.store(true, Release);
        self.endless.fetch_add(1, AcqRel);
    }

    /// Such an answer has ended all the same.
    pub(super) fn end_endless(&self) {
        self.endless.fetch_sub(1, AcqRel);
    }

    /// Waits until nothing is left but answers without an end, or what a peer has not read of one.
    pub(super) async fn only_endless(&self) {
        loop {
            let only = self.endless.load(Acquire) == self.requests.load(Acquire);
            if only && self.had_endless.load(Acquire) {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The request has its answer, or is dropped.
    pub(super) fn end(&self) {
        self.requests.fetch_sub(1, AcqRel);
        self.phase.store(WAITING, Release);
        self.rest();
    }

    /// Notes that an answer waits for its peer to take it, or does not wait any more.
    pub(super) fn is_blocked(&self, blocked: bool) {
        if blocked {
            self.work();
        } else {
            self.rest();
        }
    }

    /// Begins one thing more; false: the connection is closed.
    fn work(&self) -> bool {
        let busier = |state: u64| (state != CLOSED).then(|| state.max(BUSY) + 1);
        self.idle_since.fetch_update(AcqRel, Acquire, busier).is_ok()
    }

    /// Ends one thing; after the last one the connection is idle.
    fn rest(&self) {
        let calmer = |state: u64| match state {
            CLOSED => None,
            state if state > BUSY + 1 => Some(state - 1),
            _ => Some(self.now()),
        };
        if self.idle_since.fetch_update(AcqRel, Acquire, calmer) == Ok(BUSY + 1) {
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
        (since <= BUSY).then_some(since)
    }

    /// Waits until it has been idle for so long.
    pub(super) async fn idle_for(&self, time: Duration) {
        loop {
            let since = self.idle_since().map(Duration::from_micros);
            let rest = since.map_or(time, |since| (since + time).saturating_sub(self.epoch.elapsed()));
            if rest.is_zero() {
                return;
            }
            tokio::time::sleep(rest).await;
        }
    }

    /// Closes the connection if it is still idle since then.
    pub(super) fn close(&self, since: u64) -> bool {
        let closed = self.idle_since.compare_exchange(since, CLOSED, AcqRel, Acquire).is_ok();
        if closed {
            self.closed.notify_one();
        }
        closed
    }

    /// Has the connection closed, whatever it is doing.
    pub(super) fn cut_off(&self) {
        self.closed.notify_one();
    }

    /// Waits until the connection is closed to make room, or cut off.
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
        activity.is_blocked(true);
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

    #[test]
    fn a_connection_with_several_requests_is_idle_after_the_last_of_them() {
        let activity = Activity::new(Instant::now(), Arc::default());
        assert!(activity.begin(false) && activity.begin(false));
        activity.end();
        assert_eq!(activity.idle_since(), None);
        activity.end();
        assert!(activity.close(activity.idle_since().unwrap()));
        activity.end();
        assert!(!activity.begin(false), "what is closed stays closed");
    }

    #[tokio::test]
    async fn a_connection_is_idle_for_some_time_only_without_a_request() {
        let activity = Activity::new(Instant::now(), Arc::default());
        let time = Duration::from_millis(5);
        activity.begin(false);
        assert!(tokio::time::timeout(time * 4, activity.idle_for(time)).await.is_err());
        activity.end();
        let idle = Duration::from_micros(activity.idle_since().unwrap());
        activity.idle_for(time).await;
        assert!(activity.epoch.elapsed() >= idle + time);
    }
}
