//! The counters, and their text for Prometheus.
//!
//! Every label value comes from a closed list, but for tenants' ids: of them the busiest `metrics.tenants` have series
//! of their own (`tenants`), so that their number is bounded, and an id has a closed alphabet.

mod tenants;

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

pub use self::tenants::TenantUsage;

use crate::error::Outcome;

/// Upper bounds of the buckets, in microseconds: from a call with warm caches to one that reaches its deadline.
const BUCKETS_US: [u64; 14] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000,
];

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Operation {
    /// Register a name.
    Register,
    /// Find the registration of a name.
    Find,
    /// Free a name.
    Free,
    /// Change the registration of a name.
    Update,
    /// List registrations.
    List,
    /// None of these: an unknown path or method.
    Other,
}

impl Operation {
    /// Every operation, in the order of declaration.
    pub const ALL: [Self; 6] = [
        Self::Register,
        Self::Find,
        Self::Free,
        Self::Update,
        Self::List,
        Self::Other,
    ];

    /// The operation as written in metrics and log.
    pub fn label(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::Find => "find",
            Self::Free => "free",
            Self::Update => "update",
            Self::List => "list",
            Self::Other => "other",
        }
    }
}

/// Counters of one operation.
#[derive(Debug, Default)]
struct Counters {
    codes: [AtomicU64; Outcome::COUNT],
    /// How many requests fell into each bucket, not cumulative; the last is for those beyond every bound.
    buckets: [AtomicU64; BUCKETS_US.len() + 1],
    sum_us: AtomicU64,
}

/// The counters of this host.
#[derive(Debug, Default)]
pub struct Metrics {
    operations: [Counters; Operation::ALL.len()],
}

/// What others count, or what is true now.
#[derive(Debug)]
pub struct Now<'a> {
    /// Calls that hold one of `http.calls`.
    pub calls_running: usize,
    /// Lines of the log that found its queue full.
    pub log_lines_dropped: u64,
    /// Bytes of the log that are not written yet.
    pub log_queue_bytes: usize,
    /// What each tenant has used.
    pub tenants: &'a [TenantUsage],
    /// How many of them get series of their own.
    pub tenants_max: usize,
}

impl Metrics {
    /// Counts one request that ended.
    pub fn record(&self, operation: Operation, outcome: Outcome, took: Duration) {
        let counters = &self.operations[operation as usize];
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS_US.partition_point(|bound| *bound < us);
        counters.codes[outcome.index()].fetch_add(1, Relaxed);
        counters.buckets[bucket].fetch_add(1, Relaxed);
        counters.sum_us.fetch_add(us, Relaxed);
    }

    /// Writes the counters in the Prometheus text format, version 0.0.4.
    pub fn render(&self, now: &Now<'_>) -> String {
        let mut text = String::with_capacity(16 << 10);
        // Writing to a string cannot fail.
        let _ = self.write(&mut text, now);
        text
    }

    fn write(&self, text: &mut String, now: &Now<'_>) -> std::fmt::Result {
        writeln!(
            text,
            "# HELP namelock_requests_total Requests that ended, by operation and code."
        )?;
        writeln!(text, "# TYPE namelock_requests_total counter")?;
        for outcome in Outcome::all() {
            for operation in Operation::ALL {
                let count = self.operations[operation as usize].codes[outcome.index()].load(Relaxed);
                let (operation, code) = (operation.label(), outcome.label());
                writeln!(
                    text,
                    "namelock_requests_total{{operation=\"{operation}\",code=\"{code}\"}} {count}"
                )?;
            }
        }
        writeln!(
            text,
            "# HELP namelock_request_duration_seconds Time from a request's head to its answer."
        )?;
        writeln!(text, "# TYPE namelock_request_duration_seconds histogram")?;
        for operation in Operation::ALL {
            self.operations[operation as usize].write_histogram(text, operation.label())?;
        }
        writeln!(text, "# HELP namelock_calls_running Calls that hold one of http.calls.")?;
        writeln!(text, "# TYPE namelock_calls_running gauge")?;
        writeln!(text, "namelock_calls_running {}", now.calls_running)?;
        writeln!(
            text,
            "# HELP namelock_log_lines_dropped_total Lines of the log that found its queue full."
        )?;
        writeln!(text, "# TYPE namelock_log_lines_dropped_total counter")?;
        writeln!(text, "namelock_log_lines_dropped_total {}", now.log_lines_dropped)?;
        writeln!(
            text,
            "# HELP namelock_log_queue_bytes Bytes of the log that are not written yet."
        )?;
        writeln!(text, "# TYPE namelock_log_queue_bytes gauge")?;
        writeln!(text, "namelock_log_queue_bytes {}", now.log_queue_bytes)?;
        tenants::write(text, now.tenants, now.tenants_max)
    }
}

impl Counters {
    fn write_histogram(&self, text: &mut String, operation: &str) -> std::fmt::Result {
        let name = "namelock_request_duration_seconds";
        let bounds = BUCKETS_US
            .iter()
            .map(|us| seconds(*us).to_string())
            .chain(["+Inf".to_owned()]);
        let mut count = 0;
        for (bound, bucket) in bounds.zip(&self.buckets) {
            count += bucket.load(Relaxed);
            writeln!(
                text,
                "{name}_bucket{{operation=\"{operation}\",le=\"{bound}\"}} {count}"
            )?;
        }
        let sum = seconds(self.sum_us.load(Relaxed));
        writeln!(text, "{name}_sum{{operation=\"{operation}\"}} {sum}")?;
        writeln!(text, "{name}_count{{operation=\"{operation}\"}} {count}")
    }
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn an_operation_is_its_index() {
        for (index, operation) in Operation::ALL.into_iter().enumerate() {
            assert_eq!(operation as usize, index, "{}", operation.label());
        }
    }

    #[test]
    fn a_request_is_counted_under_its_operation_and_code() {
        let metrics = Metrics::default();
        metrics.record(Operation::Register, Outcome::Ok, Duration::from_micros(500));
        let failed = Outcome::Failed(ErrorKind::Internal);
        metrics.record(Operation::Register, failed, Duration::from_secs(60));
        metrics.record(Operation::Find, Outcome::ClientGone, Duration::ZERO);
        let text = metrics.render(&Now {
            calls_running: 3,
            log_lines_dropped: 7,
            log_queue_bytes: 9,
            tenants: &[],
            tenants_max: 0,
        });
        for line in [
            r#"namelock_requests_total{operation="register",code="ok"} 1"#,
            r#"namelock_requests_total{operation="register",code="internal"} 1"#,
            r#"namelock_requests_total{operation="free",code="internal"} 0"#,
            r#"namelock_request_duration_seconds_bucket{operation="register",le="0.0005"} 1"#,
            r#"namelock_request_duration_seconds_bucket{operation="register",le="10"} 1"#,
            r#"namelock_request_duration_seconds_bucket{operation="register",le="+Inf"} 2"#,
            r#"namelock_request_duration_seconds_sum{operation="register"} 60.0005"#,
            r#"namelock_request_duration_seconds_count{operation="register"} 2"#,
            r#"namelock_requests_total{operation="find",code="client_gone"} 1"#,
            "namelock_calls_running 3",
            "namelock_log_lines_dropped_total 7",
            "namelock_log_queue_bytes 9",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(text.ends_with('\n'));
    }
}
