//! Measures how long a call has really run.
//!
//! A call runs while its future is polled, and not while it waits for a lock or the database. wasmtime's epoch cannot
//! tell the two apart; it only says when to check. So every poll is metered. On a busy machine a thread may be suspended in the
//! middle of a poll, and that time is not the call's: the clock that counts is that of the thread.
//!
//! That clock costs twenty times as much as the one on the wall, and most polls are shorter than what reading it twice would
//! be worth. So each thread keeps its last reading for [`PRECISION`]. A poll that took no longer than that by the clock on the
//! wall is charged just this. For a longer one the clock of the thread is read at its end, and what was read last before it
//! began stands for its beginning. No poll is charged too little, nor more than the precision too much.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// By how much more than it has run a poll may be charged at most.
const PRECISION: Duration = Duration::from_micros(100);

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
    /// When the current poll began, by the clock of its thread, in nanoseconds.
    since: AtomicU64,
    /// When it began by the clock on the wall, in nanoseconds.
    since_wall: AtomicU64,
    /// Whether the guest was stopped by a tick and would run on.
    stopped: AtomicBool,
}

/// The beginning of something that a thread does.
#[derive(Debug, Clone, Copy)]
struct Beginning {
    wall: Instant,
    /// What the thread has run by then, or by less than the precision before.
    thread: Duration,
}

thread_local! {
    /// The last reading of this thread's clock.
    static READING: Cell<Option<Beginning>> = const { Cell::new(None) };
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

impl Beginning {
    fn now() -> Self {
        let wall = Instant::now();
        let last = READING.get().filter(|last| wall - last.wall < PRECISION);
        Self {
            wall,
            thread: last.unwrap_or_else(|| Self::read(wall)).thread,
        }
    }

    /// How long the thread has run since. To be asked on the same thread.
    fn ran(self) -> Duration {
        let wall = Instant::now();
        let took = wall - self.wall;
        if took <= PRECISION {
            return took;
        }
        took.min(Self::read(wall).thread.saturating_sub(self.thread))
    }

    /// Reads the clock of this thread.
    fn read(wall: Instant) -> Self {
        let reading = Self {
            wall,
            thread: thread_time(),
        };
        READING.set(Some(reading));
        reading
    }
}

impl Meter {
    /// How long the current poll has run. Called from within it.
    pub(crate) fn poll_ran(&self) -> Duration {
        let nanoseconds = |at: &AtomicU64| Duration::from_nanos(at.load(Ordering::Relaxed));
        let beginning = Beginning {
            wall: self.inner.made + nanoseconds(&self.inner.since_wall),
            thread: nanoseconds(&self.inner.since),
        };
        beginning.ran()
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
        let beginning = Beginning::now();
        let since_wall = beginning.wall - self.inner.made;
        self.inner.since.store(nanoseconds(beginning.thread), Ordering::Relaxed);
        self.inner.since_wall.store(nanoseconds(since_wall), Ordering::Relaxed);
        let polled = poll();
        let ran = beginning.ran();
        self.inner.ended.fetch_add(nanoseconds(ran), Ordering::Relaxed);
        (polled, ran)
    }
}

/// Does work that is no poll of a call, and returns how long it ran.
pub(crate) fn metered<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let beginning = Beginning::now();
    let done = work();
    (done, beginning.ran())
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Returns for how long this thread has run.
fn thread_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs for this long by the clock of the thread.
    fn run(time: Duration) {
        let begin = thread_time();
        while thread_time() - begin < time {}
    }

    #[test]
    fn running_counts_and_sleeping_does_not() {
        let meter = Meter::default();
        let inside = meter.clone();
        let (running, ran) = meter.poll(|| {
            let begin = thread_time();
            std::thread::sleep(Duration::from_millis(200));
            let slept = inside.poll_ran();
            assert!(slept <= thread_time() - begin + PRECISION, "{slept:?}");
            run(Duration::from_millis(20));
            inside.poll_ran()
        });
        assert!(
            running >= Duration::from_millis(20) && ran >= running,
            "{running:?} {ran:?}"
        );
        assert_eq!(meter.ran(), ran);
    }

    #[test]
    fn nothing_is_charged_too_little_nor_more_than_the_precision_too_much() {
        // Lengths on both sides of the precision, one after another, so that readings are fresh and old.
        for micros in [0, 20, 90, 110, 30, 1000, 150, 5, 50, 400].repeat(20) {
            let begin = thread_time();
            let wall = Instant::now();
            let ((), ran) = metered(|| run(Duration::from_micros(micros)));
            let (took, most) = (wall.elapsed(), thread_time() - begin);
            assert!(ran >= Duration::from_micros(micros), "{ran:?} for {micros} us");
            assert!(
                ran <= (most + PRECISION).min(took),
                "{ran:?} for {micros} us, of {most:?} and {took:?}"
            );
        }
    }

    #[test]
    fn polls_of_one_thread_that_follow_each_other_are_not_charged_for_each_other() {
        let (all, each) = (Meter::default(), 50);
        let begin = thread_time();
        for _ in 0..each {
            all.poll(|| run(Duration::from_micros(400)));
        }
        let most = thread_time() - begin + PRECISION * each;
        assert!(all.ran() <= most, "{:?} of {most:?}", all.ran());
    }
}
