//! Measures how long a call has really run.
//!
//! A call runs while its future is polled, and not while it waits for a lock or the database. wasmtime's epoch cannot
//! tell the two apart; it only says when to check. So every poll is metered by the CPU clock of the thread that polls:
//! on a busy machine a thread may be suspended in the middle of a poll, and that time is not the call's.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// The running time of one call. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Meter {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// What the clock on the wall counts from.
    made: Instant,
    /// Nanoseconds of the polls that have ended.
    ended: AtomicU64,
    /// When the current poll began, by the clock of its thread.
    since: AtomicU64,
    /// When it began by the clock on the wall, in nanoseconds.
    since_wall: AtomicU64,
    /// Whether the guest was stopped by a tick and would run on.
    stopped: AtomicBool,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            made: Instant::now(),
            ended: AtomicU64::default(),
            since: AtomicU64::default(),
            since_wall: AtomicU64::default(),
            stopped: AtomicBool::default(),
        }
    }
}

impl Inner {
    fn wall(&self) -> u64 {
        u64::try_from(self.made.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Meter {
    /// Tells whether the current poll has run for this long. Called from within a poll, often: the clock of the thread costs
    /// twenty times as much as the one on the wall, and is looked at only when the latter says that it may be so.
    pub(crate) fn poll_ran(&self, time: Duration) -> bool {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let since = |now: u64, since: &AtomicU64| now.saturating_sub(since.load(Ordering::Relaxed));
        since(self.inner.wall(), &self.inner.since_wall) >= nanoseconds
            && since(thread_time(), &self.inner.since) >= nanoseconds
    }

    /// The running time up to now. Called from within a poll.
    pub(crate) fn running(&self) -> Duration {
        let poll = thread_time().saturating_sub(self.inner.since.load(Ordering::Relaxed));
        self.ran() + Duration::from_nanos(poll)
    }

    /// The running time up to the end of the last poll.
    pub(crate) fn ran(&self) -> Duration {
        Duration::from_nanos(self.inner.ended.load(Ordering::Relaxed))
    }

    /// Notes that a tick ends this poll, and the guest would run on. Called from within a poll.
    pub(crate) fn stop(&self) {
        self.inner.stopped.store(true, Ordering::Relaxed);
    }

    /// Tells whether a tick ended the last poll; otherwise the call waits for something.
    pub(crate) fn take_stopped(&self) -> bool {
        self.inner.stopped.load(Ordering::Relaxed) && self.inner.stopped.swap(false, Ordering::Relaxed)
    }

    /// Meters one poll, and returns how long it ran.
    pub(crate) fn poll<T>(&self, poll: impl FnOnce() -> T) -> (T, Duration) {
        let since = thread_time();
        self.inner.since.store(since, Ordering::Relaxed);
        self.inner.since_wall.store(self.inner.wall(), Ordering::Relaxed);
        let polled = poll();
        let ran = thread_time().saturating_sub(since);
        self.inner.ended.fetch_add(ran, Ordering::Relaxed);
        (polled, Duration::from_nanos(ran))
    }
}

/// Does work that is no poll of a call, and returns how long it ran.
pub(crate) fn metered<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let since = thread_time();
    let done = work();
    (done, Duration::from_nanos(thread_time().saturating_sub(since)))
}

/// Returns for how many nanoseconds this thread has run.
fn thread_time() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let (seconds, nanoseconds) = (u64::try_from(time.tv_sec), u64::try_from(time.tv_nsec));
    seconds.unwrap_or_default() * 1_000_000_000 + nanoseconds.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn running_counts_and_sleeping_does_not() {
        let meter = Meter::default();
        let inside = meter.clone();
        let begin = Instant::now();
        let (running, ran) = meter.poll(|| {
            std::thread::sleep(Duration::from_millis(20));
            assert!(!inside.poll_ran(Duration::from_millis(20)));
            while !inside.poll_ran(Duration::from_millis(20)) {}
            inside.running()
        });
        assert!(
            running >= Duration::from_millis(20) && ran >= running,
            "{running:?} {ran:?}"
        );
        assert!(
            ran < begin.elapsed() - Duration::from_millis(15),
            "{ran:?} of {:?}",
            begin.elapsed()
        );
        assert_eq!(meter.ran(), ran);
    }
}
