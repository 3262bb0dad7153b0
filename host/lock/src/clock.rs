//! The clock of leases, which goes on while the machine is suspended.
//!
//! Timers count by the monotonic clock, and that stands still in suspend; memcached, on another machine, goes on. By
//! the monotonic clock a lease would still be trusted after a suspend in which its lock has expired. So an instant of a
//! lease is one of the monotonic clock plus the time that this machine was suspended, which is what `CLOCK_BOOTTIME` is
//! ahead of `CLOCK_MONOTONIC` (clock_gettime(2)).
//!
//! Whoever asks for the time sees a suspend at once. Whoever sleeps is woken as soon as anybody has seen it, and one
//! task looks once a second.
//!
//! Not seen: a virtual machine that its host stops, and whose clocks all stand still with it.

use std::ops::Add;
use std::sync::Arc;
use std::time::Duration;

use namelock_types::milliseconds;
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

/// How often the clock is looked at when nobody asks for the time.
const LOOK: Duration = Duration::from_secs(1);

/// A difference of the two clocks up to this is how they were read. No machine is suspended and back so quickly.
const NOISE: Duration = Duration::from_millis(10);

/// Two readings of one clock that are this close have no pause between them.
const CLOSE: Duration = Duration::from_micros(100);

/// How often the clocks are read again when there was a pause.
const READINGS: usize = 5;

/// An instant by the clock of leases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LeaseInstant(Instant);

/// The clock of leases.
#[derive(Debug)]
pub(crate) struct LeaseClock {
    source: Source,
    /// How long the machine was suspended before this clock was set up.
    before: Duration,
    /// How long it was suspended since.
    suspended: watch::Sender<Duration>,
}

/// What tells how long the machine was suspended since it was started.
#[derive(Debug)]
enum Source {
    System,
    #[cfg(test)]
    Test(parking_lot::Mutex<Duration>),
}

impl LeaseClock {
    /// Sets the clock up, with the task that looks at it. The task ends with the last user of the clock.
    pub(crate) fn start() -> Arc<Self> {
        Self::start_with(Source::System)
    }

    /// A clock whose suspends a test makes.
    #[cfg(test)]
    pub(crate) fn of_test() -> Arc<Self> {
        Self::start_with(Source::Test(parking_lot::Mutex::default()))
    }

    /// Suspends the machine for this long, as this clock sees it.
    #[cfg(test)]
    pub(crate) fn suspend(&self, time: Duration) {
        if let Source::Test(suspended) = &self.source {
            *suspended.lock() += time;
        }
    }

    fn start_with(source: Source) -> Arc<Self> {
        let clock = Arc::new(Self {
            before: source.suspended(),
            source,
            suspended: watch::Sender::new(Duration::ZERO),
        });
        let looked_at = Arc::downgrade(&clock);
        tokio::spawn(async move {
            while let Some(clock) = looked_at.upgrade() {
                clock.look();
                drop(clock);
                sleep(LOOK).await;
            }
        });
        clock
    }

    pub(crate) fn now(&self) -> LeaseInstant {
        // In this order, so that a suspend between the two readings is seen.
        let now = Instant::now();
        LeaseInstant(now + self.look())
    }

    /// The instant of the monotonic clock at which it will be `at`, if the machine is not suspended until then.
    pub(crate) fn monotonic(&self, at: LeaseInstant) -> Instant {
        at.0.checked_sub(self.look()).unwrap_or(at.0)
    }

    /// Waits until it is `at`; after a suspend, for no longer than is left then.
    pub(crate) async fn sleep_until(&self, at: LeaseInstant) {
        let mut suspended = self.suspended.subscribe();
        loop {
            let left = at.saturating_duration_since(self.now());
            if left.is_zero() {
                return;
            }
            tokio::select! {
                () = sleep(left) => {}
                // The sender is this clock, so it is there.
                _ = suspended.changed() => {}
            }
        }
    }

    /// Looks how long the machine was suspended, and wakes whoever sleeps if it was since the last look.
    fn look(&self) -> Duration {
        let read = self.source.suspended().saturating_sub(self.before);
        let is_more = |known: Duration| read > known + NOISE;
        let known = *self.suspended.borrow();
        if !is_more(known) {
            return known;
        }
        let seen = self.suspended.send_if_modified(|known| {
            let more = is_more(*known);
            if more {
                *known = read;
            }
            more
        });
        if seen {
            let suspended_ms = milliseconds(read - known);
            tracing::warn!(suspended_ms, "this machine was suspended; leases counted on meanwhile");
        }
        read
    }
}

impl Source {
    fn suspended(&self) -> Duration {
        match self {
            Self::System => suspended_since_boot(),
            #[cfg(test)]
            Self::Test(suspended) => *suspended.lock(),
        }
    }
}

/// How far `CLOCK_BOOTTIME` is ahead of `CLOCK_MONOTONIC`. This thread may be kept waiting between two readings, so
/// those count that were closest together.
fn suspended_since_boot() -> Duration {
    let (mut closest, mut ahead) = (Duration::MAX, Duration::ZERO);
    for _ in 0..READINGS {
        let before = read(ClockId::Monotonic);
        let boot = read(ClockId::Boottime);
        let apart = read(ClockId::Monotonic).saturating_sub(before);
        if apart < closest {
            (closest, ahead) = (apart, boot.saturating_sub(before));
        }
        if closest < CLOSE {
            break;
        }
    }
    ahead
}

fn read(clock: ClockId) -> Duration {
    Duration::try_from(clock_gettime(clock)).unwrap_or_default()
}

impl LeaseInstant {
    /// This instant of the monotonic clock, on a machine that was not suspended.
    #[cfg(test)]
    pub(crate) fn of_test(monotonic: Instant) -> Self {
        Self(monotonic)
    }

    pub(crate) fn saturating_duration_since(self, earlier: Self) -> Duration {
        self.0.saturating_duration_since(earlier.0)
    }
}

impl Add<Duration> for LeaseInstant {
    type Output = Self;

    fn add(self, time: Duration) -> Self {
        Self(self.0 + time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn time_goes_on_while_the_machine_is_suspended() {
        let clock = LeaseClock::of_test();
        let begin = clock.now();
        clock.suspend(SECOND * 7);
        assert_eq!(clock.now().saturating_duration_since(begin), SECOND * 7);
        assert_eq!(
            clock.monotonic(begin + SECOND * 10),
            Instant::now() + SECOND * 3,
            "what is left is less by the suspend"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn who_sleeps_is_woken_within_a_second_of_a_suspend() {
        let clock = LeaseClock::of_test();
        let begin = Instant::now();
        let at = clock.now() + SECOND * 100;
        let sleeper = {
            let clock = Arc::clone(&clock);
            tokio::spawn(async move { clock.sleep_until(at).await })
        };
        sleep(SECOND * 10).await;
        clock.suspend(SECOND * 95);
        sleeper.await.unwrap();
        assert!((10..=11).contains(&begin.elapsed().as_secs()), "{:?}", begin.elapsed());
    }

    #[tokio::test]
    async fn the_clocks_of_this_machine_are_read_without_noise() {
        let clock = LeaseClock::start();
        for _ in 0..10_000 {
            clock.now();
        }
        assert_eq!(*clock.suspended.borrow(), Duration::ZERO);
    }
}
