//! A budget by time: so much in a second, and a burst after a silence.

use std::time::{Duration, Instant};

/// A token bucket, kept as the one instant at which it will be full again (the generic cell rate algorithm, ITU-T I.371).
#[derive(Debug)]
pub struct Bucket {
    full_at: Instant,
    /// Tokens that come in a second.
    rate: u32,
    burst: u32,
}

impl Bucket {
    /// A full bucket that gets `rate` tokens a second and holds `burst`; either is at least 1.
    pub fn new(rate: u32, burst: u32, now: Instant) -> Self {
        Self {
            full_at: now,
            rate: rate.max(1),
            burst: burst.max(1),
        }
    }

    /// Tokens that come in a second.
    pub fn rate(&self) -> u32 {
        self.rate
    }

    /// The most tokens that there can be.
    pub fn burst(&self) -> u32 {
        self.burst
    }

    /// How long `tokens` take to come.
    fn time_of(&self, tokens: u32) -> Duration {
        // In 128 bits: a burst may be billions, and a rate of 1 is allowed.
        let nanos = u128::from(tokens) * 1_000_000_000 / u128::from(self.rate);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// How many tokens there are.
    pub fn left(&self, now: Instant) -> u32 {
        let missing = self.full_at.saturating_duration_since(now);
        let missing = missing.as_nanos() * u128::from(self.rate) / 1_000_000_000;
        self.burst.saturating_sub(u32::try_from(missing).unwrap_or(u32::MAX))
    }

    /// Takes a token.
    ///
    /// # Errors
    ///
    /// How long it takes until there is one; none is taken.
    pub fn take(&mut self, now: Instant) -> Result<(), Duration> {
        self.take_many(1, now)
    }

    /// Takes `tokens` at once, or none of them.
    ///
    /// # Errors
    ///
    /// How long it takes until there are as many. More than the burst never come; the time is then the one until the
    /// bucket is full.
    pub fn take_many(&mut self, tokens: u32, now: Instant) -> Result<(), Duration> {
        let missing = self.full_at.saturating_duration_since(now) + self.time_of(tokens);
        let room = self.time_of(self.burst);
        if missing > room {
            let full = self.full_at.saturating_duration_since(now);
            return Err(if tokens > self.burst {
                full.max(Duration::from_nanos(1))
            } else {
                missing - room
            });
        }
        self.full_at = now + missing;
        Ok(())
    }

    /// Takes a token that may still have to come, and returns how long that takes; none is taken where it is longer than `most`.
    pub fn take_later(&mut self, now: Instant, most: Duration) -> Option<Duration> {
        let missing = self.full_at.saturating_duration_since(now) + self.time_of(1);
        let wait = missing.saturating_sub(self.time_of(self.burst));
        if wait > most {
            return None;
        }
        self.full_at = now + missing;
        Some(wait)
    }

    /// Changes the rate; as many tokens are missing as before, but never more than there can be.
    pub fn update(&mut self, rate: u32, burst: u32, now: Instant) {
        let missing = self
            .full_at
            .saturating_duration_since(now)
            .div_duration_f64(self.time_of(1));
        *self = Self::new(rate, burst, now);
        self.full_at = now + self.time_of(1).mul_f64(missing.min(f64::from(self.burst)));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_next_token_comes_when_it_was_said() {
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
    fn many_are_taken_together_or_not_at_all() {
        let now = Instant::now();
        let mut bucket = Bucket::new(10, 5, now);
        bucket.take_many(3, now).unwrap();
        assert_eq!(bucket.left(now), 2);
        assert_eq!(bucket.take_many(3, now), Err(Duration::from_millis(100)));
        assert_eq!(bucket.left(now), 2, "none was taken");
        assert_eq!(
            bucket.take_many(6, now),
            Err(Duration::from_millis(300)),
            "until it is full"
        );
        bucket.take_many(2, now).unwrap();
        assert_eq!(bucket.left(now), 0);
    }

    #[test]
    fn those_who_wait_for_their_token_come_one_after_another() {
        let now = Instant::now();
        let mut bucket = Bucket::new(10, 2, now);
        let waits = [(); 5].map(|()| bucket.take_later(now, Duration::from_millis(200)));
        let ms = |ms| Some(Duration::from_millis(ms));
        assert_eq!(waits, [ms(0), ms(0), ms(100), ms(200), None]);
        let later = now + Duration::from_millis(100);
        assert_eq!(
            bucket.take_later(later, Duration::from_millis(200)),
            ms(200),
            "none was taken"
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
        #[test]
        fn no_span_of_time_has_more_than_the_burst_and_what_comes_in_it(
            rate in 1u32..2000, burst in 1u32..50, steps in prop::collection::vec((0u64..20_000, 1u32..5), 1..300),
        ) {
            let begin = Instant::now();
            let (mut bucket, mut now, mut taken) = (Bucket::new(rate, burst, begin), begin, 0u32);
            for (step, tokens) in steps {
                now += Duration::from_micros(step);
                taken += if bucket.take_many(tokens, now).is_ok() { tokens } else { 0 };
            }
            let most = f64::from(burst) + (now - begin).as_secs_f64() * f64::from(rate);
            prop_assert!(f64::from(taken) <= most + 1e-2, "{} of {}", taken, most);
        }
    }
}
