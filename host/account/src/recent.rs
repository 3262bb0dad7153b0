//! How much a tenant has run lately.
//!
//! A leaky bucket: what runs flows in, and a share of the time that passes flows out. It is kept as the one instant at
//! which it will be empty (the generic cell rate algorithm, ITU-T I.371), in an atomic, because it is used in each poll of
//! each call.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// The seconds in which one second of running is forgotten: a tenant may run for a quarter of a processor's time without
/// any of it being remembered.
const FORGOTTEN_IN: u64 = 4;

/// The most that is remembered, so that a tenant is judged by what it does now.
const MOST: Duration = Duration::from_millis(20);

/// The running time of one tenant that is not forgotten yet.
#[derive(Debug)]
pub struct Recent {
    began: Instant,
    /// When all of it will be forgotten, in nanoseconds since `began`.
    empty_at: AtomicU64,
}

impl Recent {
    pub(crate) fn new(began: Instant) -> Self {
        Self {
            began,
            empty_at: AtomicU64::new(0),
        }
    }

    /// Adds a run that has just ended.
    pub fn add(&self, ran: Duration) {
        let (now, most) = (self.now(), nanos(MOST) * FORGOTTEN_IN);
        let after = |empty_at: u64| {
            let left = empty_at
                .saturating_sub(now)
                .saturating_add(nanos(ran).saturating_mul(FORGOTTEN_IN));
            now + left.min(most)
        };
        self.empty_at.update(Relaxed, Relaxed, after);
    }

    /// How much is remembered.
    pub fn ran(&self) -> Duration {
        Duration::from_nanos(self.empty_at.load(Relaxed).saturating_sub(self.now()) / FORGOTTEN_IN)
    }

    fn now(&self) -> u64 {
        nanos(self.began.elapsed())
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_run_is_forgotten_in_four_times_as_long() {
        let recent = Recent::new(Instant::now());
        assert_eq!(recent.ran(), Duration::ZERO);
        let begin = Instant::now();
        recent.add(Duration::from_millis(10));
        let ran = recent.ran();
        assert!(ran <= Duration::from_millis(10), "{ran:?}");
        assert!(
            ran + begin.elapsed() / 4 >= Duration::from_millis(10) - Duration::from_nanos(9),
            "{ran:?}"
        );
        while recent.ran() > Duration::ZERO {}
        assert!(begin.elapsed() >= Duration::from_millis(40), "{:?}", begin.elapsed());
    }

    #[test]
    fn no_more_is_remembered_than_there_may_be() {
        let recent = Recent::new(Instant::now());
        for _ in 0..3 {
            recent.add(Duration::from_secs(u64::MAX));
        }
        assert!(recent.ran() <= MOST, "{:?}", recent.ran());
        assert!(recent.ran() > Duration::ZERO || recent.now() > nanos(MOST) * FORGOTTEN_IN);
    }
}
