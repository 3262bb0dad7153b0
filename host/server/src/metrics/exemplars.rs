//! Of each bucket of `namelock_request_duration_seconds` the last request in it that is traced, so that a graph leads to a trace.
//!
//! They are added to the lines of the buckets once these are written: `prometheus-client` has exemplars for its own histograms alone,
//! which take a lock for every observation.

use std::time::{Duration, SystemTime};

use namelock_sandbox::TraceId;
use namelock_types::histogram::{BOUNDS_US, Histogram};
use parking_lot::Mutex;

use super::operation::Operation;

const BUCKETS: usize = BOUNDS_US.len() + 1;

/// The series that have them.
const SERIES: &str = "namelock_request_duration_seconds_bucket{le=\"";

/// One request that fell into a bucket.
#[derive(Clone, Copy, Debug)]
struct Exemplar {
    trace_id: TraceId,
    took: Duration,
    at: SystemTime,
}

/// The exemplars of all operations.
#[derive(Debug, Default)]
pub(super) struct Exemplars([Mutex<[Option<Exemplar>; BUCKETS]>; Operation::ALL.len()]);

impl Exemplars {
    /// Notes a request that is traced and has ended now.
    pub(super) fn note(&self, operation: Operation, took: Duration, trace_id: TraceId) {
        let at = SystemTime::now();
        let bucket = Histogram::bucket_of(took);
        self.0[operation as usize].lock()[bucket] = Some(Exemplar { trace_id, took, at });
    }

    /// Adds them to the lines of their buckets.
    pub(super) fn add_to(&self, text: String) -> String {
        let all = self.0.each_ref().map(|of_operation| *of_operation.lock());
        if all.as_flattened().iter().all(Option::is_none) {
            return text;
        }
        let mut more = String::with_capacity(text.len() + 128 * BUCKETS);
        for line in text.lines() {
            more.push_str(line);
            if let Some((operation, bucket)) = bucket_of_line(line)
                && let Some(exemplar) = &all[operation as usize][bucket]
            {
                let at = exemplar.at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                more.push_str(&format!(
                    " # {{trace_id=\"{}\"}} {:.9} {:.3}",
                    exemplar.trace_id,
                    exemplar.took.as_secs_f64(),
                    at.as_secs_f64()
                ));
            }
            more.push('\n');
        }
        more
    }
}

/// The operation and the bucket that a line is of, if it is of the histogram.
fn bucket_of_line(line: &str) -> Option<(Operation, usize)> {
    let (bound, rest) = line.strip_prefix(SERIES)?.split_once("\",operation=\"")?;
    let (label, _) = rest.split_once("\"}")?;
    let operation = Operation::ALL
        .into_iter()
        .find(|operation| operation.label() == label)?;
    let seconds: f64 = bound.parse().ok()?;
    let is_bound = |us: &u64| *us as f64 / 1e6 >= seconds;
    Some((
        operation,
        BOUNDS_US.iter().position(is_bound).unwrap_or(BOUNDS_US.len()),
    ))
}
