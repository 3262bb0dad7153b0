//! How long something took, counted in buckets.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Upper bounds of the buckets, in microseconds: from a call with warm caches to one that reaches its deadline.
pub const BOUNDS_US: [u64; 16] = [
    50, 200, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000,
];

/// How many buckets there are; the last is for what is beyond every bound.
pub const BUCKETS: usize = BOUNDS_US.len() + 1;

/// How many times fell into each bucket, and into none before it.
pub type Counts = [u64; BUCKETS];

/// Times that were observed. To observe one costs two atomic additions, and waits for nobody.
#[derive(Debug, Default)]
pub struct Histogram {
    /// How many fell into each bucket, not cumulative.
    buckets: [AtomicU64; BUCKETS],
    sum_ns: AtomicU64,
}

/// What a histogram has counted until now.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observed {
    /// The upper bound of each bucket in seconds, and how many fell into it and into none before it.
    pub buckets: Vec<(f64, u64)>,
    /// The sum of all times, in seconds.
    pub sum: f64,
    /// How many there are.
    pub count: u64,
}

impl Histogram {
    /// The index of the bucket that a time falls into.
    pub fn bucket_of(time: Duration) -> usize {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        BOUNDS_US.partition_point(|bound| *bound < us)
    }

    /// Counts one.
    pub fn observe(&self, time: Duration) {
        self.buckets[Self::bucket_of(time)].fetch_add(1, Relaxed);
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.sum_ns.fetch_add(ns, Relaxed);
    }

    /// How many fell into each bucket until now.
    pub fn counts(&self) -> Counts {
        std::array::from_fn(|bucket| self.buckets[bucket].load(Relaxed))
    }

    /// What was counted until now.
    pub fn observed(&self) -> Observed {
        let bounds = BOUNDS_US.iter().map(|us| *us as f64 / 1e6).chain([f64::INFINITY]);
        let buckets: Vec<_> = bounds.zip(self.counts()).collect();
        Observed {
            count: buckets.iter().map(|(_, count)| count).sum(),
            sum: self.sum_ns.load(Relaxed) as f64 / 1e9,
            buckets,
        }
    }
}

/// Estimates the time that a share of those counted did not exceed, such as 0.99 of them; none: none was counted.
///
/// Within a bucket times are taken to be spread evenly, as `histogram_quantile` of Prometheus does. What is beyond every bound is
/// taken to be at the last one.
pub fn quantile(counts: &Counts, share: f64) -> Option<Duration> {
    let total: u64 = counts.iter().sum();
    let wanted = total as f64 * share.clamp(0.0, 1.0);
    let (mut below, mut lower) = (0, 0);
    for (upper, count) in BOUNDS_US.into_iter().zip(*counts) {
        if count > 0 && (below + count) as f64 >= wanted {
            let within = (wanted - below as f64) / count as f64;
            let us = lower as f64 + (upper - lower) as f64 * within;
            return Some(Duration::from_secs_f64(us / 1e6));
        }
        (below, lower) = (below + count, upper);
    }
    (total > 0).then_some(Duration::from_micros(lower))
}

impl Observed {
    /// How many fell into each bucket.
    pub fn counts(&self) -> Counts {
        std::array::from_fn(|bucket| self.buckets.get(bucket).map_or(0, |(_, count)| *count))
    }

    /// Adds what another histogram has counted.
    pub fn add(&mut self, other: &Self) {
        if self.buckets.is_empty() {
            self.buckets.clone_from(&other.buckets);
        } else {
            let pairs = self.buckets.iter_mut().zip(&other.buckets);
            pairs.for_each(|((_, count), (_, more))| *count += more);
        }
        self.sum += other.sum;
        self.count += other.count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_counted_in_the_first_bucket_that_holds_it() {
        let histogram = Histogram::default();
        for time in [
            Duration::ZERO,
            Duration::from_micros(50),
            Duration::from_micros(51),
            Duration::from_secs(60),
        ] {
            histogram.observe(time);
        }
        let observed = histogram.observed();
        let counted: Vec<_> = observed.buckets.iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted, [&(0.00005, 2), &(0.0002, 1), &(f64::INFINITY, 1)]);
        assert_eq!(observed.count, 4);
        assert!((observed.sum - 60.000_101).abs() < 1e-9, "{}", observed.sum);
    }

    #[test]
    fn a_quantile_is_estimated_within_its_bucket() {
        let mut counts = Counts::default();
        assert_eq!(quantile(&counts, 0.99), None);
        // From 1 to 2.5 ms.
        counts[4] = 100;
        assert_eq!(quantile(&counts, 0.5), Some(Duration::from_micros(1_750)));
        // From 5 to 10 ms.
        counts[6] = 100;
        assert_eq!(quantile(&counts, 0.5), Some(Duration::from_micros(2_500)));
        assert_eq!(quantile(&counts, 0.99), Some(Duration::from_micros(9_900)));
        counts[BUCKETS - 1] = 100;
        assert_eq!(quantile(&counts, 0.99), Some(Duration::from_secs(10)));
    }
}
