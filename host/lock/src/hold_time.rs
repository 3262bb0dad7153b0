//! How long leases are held, to tell callers when to try again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::config::LockConfig;

/// A holder that has had its lock for longer than this is no longer expected to be as quick as most are.
const SLOW_HOLDER: Duration = Duration::from_secs(1);

/// The shortest time after which a caller is told to try again.
const RETRY_AFTER_MIN: Duration = Duration::from_millis(10);

/// How long leases of this host were held lately, as a moving average.
#[derive(Debug, Default)]
pub(crate) struct HoldTime {
    micros: AtomicU64,
}

impl HoldTime {
    /// Adds one lease to the average. Two records at once may lose one of them, which an estimate can bear.
    pub(crate) fn record(&self, held: Duration) {
        let held = u64::try_from(held.as_micros()).unwrap_or(u64::MAX / 8);
        let before = self.micros.load(Ordering::Relaxed);
        self.micros.store(before - before / 8 + held / 8, Ordering::Relaxed);
    }

    /// Estimates when a name that is held may be free: after twice the usual time; or, when its holder has already had
    /// it for much longer than usual, when it expires, but no later than after a lease.
    ///
    /// How long the holder has had it follows from `remaining`, exactly where its lock lives as long as ours do, and
    /// otherwise as an estimate.
    pub(crate) fn retry_after(&self, remaining: Option<Duration>, config: &LockConfig) -> Duration {
        let usual = Duration::from_micros(self.micros.load(Ordering::Relaxed)) * 2;
        let usual = usual.clamp(RETRY_AFTER_MIN, config.lease.max(RETRY_AFTER_MIN));
        let full = Duration::from_secs(config.ttl_seconds().into());
        match remaining {
            Some(remaining) if full.saturating_sub(remaining) > usual.max(SLOW_HOLDER) => {
                remaining.clamp(usual, config.lease.max(usual))
            }
            _ => usual,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_retry_time_is_twice_the_usual_one_until_the_holder_is_slow() {
        let config = LockConfig::default();
        let hold = HoldTime::default();
        assert_eq!(hold.retry_after(None, &config), RETRY_AFTER_MIN);
        for _ in 0..100 {
            hold.record(Duration::from_millis(40));
        }
        let usual = hold.retry_after(None, &config);
        assert!((70..=80).contains(&usual.as_millis()), "{usual:?}");
        assert_eq!(hold.retry_after(Some(Duration::from_secs(13)), &config), usual);
        assert_eq!(
            hold.retry_after(Some(Duration::from_secs(7)), &config),
            Duration::from_secs(7)
        );
        let at_most = hold.retry_after(Some(Duration::from_millis(11_500)), &config);
        assert_eq!(at_most, config.lease);
    }
}
