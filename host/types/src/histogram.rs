//! How long something took, counted in buckets.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Upper bounds of the buckets, in microseconds: from a call with warm caches to one that reaches its deadline.
pub const BOUNDS_US: [u64; 16] = [
    50, 200, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000,
];

/// Times that were observed. To observe one costs two atomic additions, and waits for nobody.
#[derive(Debug, Default)]
pub struct Histogram {
    /// How many fell into each bucket, not cumulative; the last is for those beyond every bound.
    buckets: [AtomicU64; BOUNDS_US.len() + 1],
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
    /// Counts one.
    pub fn observe(&self, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.partition_point(|bound| *bound < us);
        self.buckets[bucket].fetch_add(1, Relaxed);
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.sum_ns.fetch_add(ns, Relaxed);
    }

    /// What was counted until now.
    pub fn observed(&self) -> Observed {
        let bounds = BOUNDS_US.iter().map(|us| *us as f64 / 1e6).chain([f64::INFINITY]);
        let counts = self.buckets.iter().map(|bucket| bucket.load(Relaxed));
        let buckets: Vec<_> = bounds.zip(counts).collect();
        Observed {
            count: buckets.iter().map(|(_, count)| count).sum(),
            sum: self.sum_ns.load(Relaxed) as f64 / 1e9,
            buckets,
        }
    }
}

impl Observed {
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
}
