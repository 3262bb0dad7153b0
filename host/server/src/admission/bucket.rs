//! A token bucket.

use std::time::{Duration, Instant};

/// A token bucket, kept as the one instant at which it will be full again (the generic cell rate algorithm).
#[derive(Debug)]
pub(super) struct Bucket {
    full_at: Instant,
    /// Tokens that come per second.
    rate: u32,
    burst: u32,
}

impl Bucket {
    /// Creates a full bucket; a rate or burst of zero counts as one.
    pub(super) fn new(rate: u32, burst: u32, now: Instant) -> Self {
        Self {
            full_at: now,
            rate: rate.max(1),
            burst: burst.max(1),
        }
    }

    /// The rate and the burst.
    pub(super) fn limits(&self) -> (u32, u32) {
        (self.rate, self.burst)
    }

    /// How long one token takes to come.
    fn interval(&self) -> Duration {
        Duration::from_secs(1) / self.rate
    }

    /// Takes a token, or returns how long until the next one comes.
    pub(super) fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let missing = self.full_at.saturating_duration_since(now) + self.interval();
        let capacity = self.interval() * self.burst;
        if missing > capacity {
            return Err(missing - capacity);
        }
        self.full_at = now + missing;
        Ok(())
    }

    /// Changes the rate and the burst; as many tokens are missing as before, but never more than fit.
    pub(super) fn update(&mut self, rate: u32, burst: u32, now: Instant) {
        let missing = self
            .full_at
            .saturating_duration_since(now)
            .div_duration_f64(self.interval());
        *self = Self::new(rate, burst, now);
        self.full_at = now + self.interval().mul_f64(missing.min(f64::from(self.burst)));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_next_token_comes_when_promised() {
        let mut now = Instant::now();
        let mut bucket = Bucket::new(10, 3, now);
        for _ in 0..3 {
            bucket.take(now).unwrap();
        }
        let after = bucket.take(now).unwrap_err();
        assert_eq!(after, Duration::from_millis(100));
        now += after - Duration::from_nanos(1);
        assert_eq!(bucket.take(now), Err(Duration::from_nanos(1)));
        now += Duration::from_nanos(1);
        assert_eq!(bucket.take(now), Ok(()));
        assert!(bucket.take(now).is_err());
        now += Duration::from_secs(60);
        assert_eq!(
            (0..9).filter(|_| bucket.take(now).is_ok()).count(),
            3,
            "no more than the burst"
        );
    }

    #[test]
    fn a_new_rate_does_not_fill_the_bucket() {
        let now = Instant::now();
        let mut bucket = Bucket::new(10, 3, now);
        while bucket.take(now).is_ok() {}
        bucket.update(1000, 3, now);
        assert_eq!(bucket.take(now), Err(Duration::from_millis(1)));
        bucket.update(1, 1, now);
        assert_eq!(bucket.take(now), Err(Duration::from_secs(1)));
    }

    proptest! {
        // Shows P6: in any span of time a tenant gets at most its burst and what its rate adds.
        #[test]
        fn no_span_of_time_exceeds_the_burst_plus_the_rate(
            rate in 1u32..2000, burst in 1u32..50, steps in prop::collection::vec(0u64..20_000, 1..300),
        ) {
            let begin = Instant::now();
            let (mut bucket, mut now, mut taken) = (Bucket::new(rate, burst, begin), begin, 0u32);
            for step in steps {
                now += Duration::from_micros(step);
                taken += u32::from(bucket.take(now).is_ok());
            }
            let most = f64::from(burst) + (now - begin).as_secs_f64() * f64::from(rate);
            prop_assert!(f64::from(taken) <= most + 1e-3, "{} of {}", taken, most);
        }
    }
}
