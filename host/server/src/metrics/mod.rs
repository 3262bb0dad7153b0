//! The counters of this host, and what is true of it now, in the OpenMetrics text format.
//!
//! Every label value comes from a closed list, but for the addresses of memcached servers, which the configuration has, and
//! tenants' ids: of them the busiest `metrics.tenants` have series of their own (`tenants`), so that their number is bounded,
//! and an id has a closed alphabet.
//!
//! - `operation`: what a request asks for;
//! - `now`: what others count, or what is true when somebody asks; `process`: what the kernel says of this process;
//! - `exemplars`: requests that are traced, beside the buckets that they fell into;
//! - `mishaps`: what has gone wrong with what the host needs;
//! - `classic`: the same in the text format of before;
//! - `tenants`: what the busiest tenants have used;
//! - `write`: writes one family after the other.

mod classic;
mod exemplars;
mod mishaps;
mod now;
mod operation;
mod process;
mod tenants;
mod write;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use namelock_sandbox::phases::Times;
use namelock_sandbox::{Phase, TraceId};
use namelock_types::histogram::{Counts, Histogram};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::registry::Registry;

pub use self::classic::{MEDIA_TYPE as CLASSIC_MEDIA_TYPE, classic, wants_openmetrics};
pub use self::now::{Backend, Now};
pub use self::operation::Operation;
pub use self::tenants::TenantUsage;

use self::exemplars::Exemplars;
use self::process::Process;
use self::write::{About, Labels, Writer};
use crate::error::Outcome;

/// The media type of what is rendered.
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Counters of one operation.
#[derive(Debug, Default)]
struct Counters {
    codes: [AtomicU64; Outcome::COUNT],
    durations: Histogram,
}

/// The counters of this host.
#[derive(Debug, Default)]
pub struct Metrics {
    operations: [Counters; Operation::ALL.len()],
    phases: [Histogram; Phase::ALL.len()],
    exemplars: Exemplars,
}

/// The counters, and what is true now, for one answer.
#[derive(Debug)]
struct Scrape {
    metrics: Arc<Metrics>,
    now: Now,
}

impl Metrics {
    /// Counts one request that ended, with what its phases took.
    pub fn record(&self, operation: Operation, outcome: Outcome, phases: &Times) {
        let counters = &self.operations[operation as usize];
        counters.codes[outcome.index()].fetch_add(1, Relaxed);
        counters.durations.observe(phases.iter().sum::<Duration>());
        let took = self.phases.iter().zip(phases).filter(|(_, time)| !time.is_zero());
        took.for_each(|(phase, time)| phase.observe(*time));
    }

    /// How long requests took, and how many of them were faults.
    pub fn requests(&self) -> (Counts, u64) {
        let faults = Outcome::all().filter(|outcome| outcome.is_fault());
        let of = |outcome: Outcome| {
            let counters = self.operations.iter();
            counters
                .map(|counters| counters.codes[outcome.index()].load(Relaxed))
                .sum::<u64>()
        };
        let durations = self.operations.iter().map(|counters| counters.durations.counts());
        (sum(durations), faults.map(of).sum())
    }

    /// How long requests waited for the names database.
    pub fn database(&self) -> Counts {
        sum([Phase::Find, Phase::Save].map(|phase| self.phases[phase as usize].counts()))
    }

    /// Notes that a request that was counted is traced, as an example of those that took as long.
    pub fn exemplify(&self, operation: Operation, phases: &Times, trace_id: TraceId) {
        self.exemplars.note(operation, phases.iter().sum(), trace_id);
    }

    /// Writes all there is in the OpenMetrics text format, version 1.0.
    pub fn render(self: &Arc<Self>, now: Now) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Process));
        let namelock = registry.sub_registry_with_prefix("namelock");
        namelock.register_collector(Box::new(Scrape {
            metrics: Arc::clone(self),
            now,
        }));
        let mut text = String::with_capacity(64 << 10);
        // Writing to a string cannot fail.
        let _ = text::encode(&mut text, &registry);
        self.exemplars.add_to(text)
    }

    fn write(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let of_all = || {
            Operation::ALL
                .into_iter()
                .map(|operation| (operation, &self.operations[operation as usize]))
        };
        let requests = of_all().flat_map(|(operation, counters)| {
            Outcome::all().map(move |outcome| {
                let labels = vec![("operation", operation.label()), ("code", outcome.label())];
                (labels, counters.codes[outcome.index()].load(Relaxed))
            })
        });
        let about = About::count("requests", "Requests that ended, by operation and code.");
        writer.counter(about, requests)?;
        let about = About::seconds("request_duration", "Time from a request's head to its answer.");
        let durations = of_all().map(|(operation, counters)| {
            let labels: Labels<'_> = vec![("operation", operation.label())];
            (labels, counters.durations.observed())
        });
        writer.histogram(about, durations)?;
        let about = About::seconds(
            "request_phase",
            "Time of a request in each of its phases, which add up to its duration.",
        );
        let phases = Phase::ALL.into_iter().map(|phase| {
            let labels: Labels<'_> = vec![("phase", phase.label())];
            (labels, self.phases[phase as usize].observed())
        });
        writer.histogram(about, phases)
    }
}

fn sum(all: impl IntoIterator<Item = Counts>) -> Counts {
    all.into_iter().fold(Counts::default(), |mut sum, counts| {
        sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        sum
    })
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut writer = Writer(encoder);
        self.metrics.write(&mut writer)?;
        self.now.write(&mut writer)?;
        tenants::write(&mut writer, &self.now.tenants, self.now.tenants_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn a_request_is_counted_under_its_operation_and_code_and_its_phases_add_up() {
        let metrics = Arc::<Metrics>::default();
        let mut phases = Times::default();
        phases[Phase::Queue as usize] = Duration::from_micros(500);
        metrics.record(Operation::Register, Outcome::Ok, &phases);
        phases[Phase::Guest as usize] = Duration::from_secs(60);
        let failed = Outcome::Failed(ErrorKind::Internal);
        metrics.record(Operation::Register, failed, &phases);
        metrics.record(Operation::Find, Outcome::ClientGone, &Times::default());
        let (durations, faults) = metrics.requests();
        assert_eq!((durations.iter().sum::<u64>(), faults), (3, 1));
        let text = metrics.render(Now {
            calls_running: 3,
            log_lines_dropped: 7,
            log_queue_bytes: 9,
            ..Now::default()
        });
        for line in [
            r#"namelock_requests_total{operation="register",code="ok"} 1"#,
            r#"namelock_requests_total{operation="register",code="internal"} 1"#,
            r#"namelock_requests_total{operation="free",code="internal"} 0"#,
            r#"namelock_request_duration_seconds_bucket{le="0.0005",operation="register"} 1"#,
            r#"namelock_request_duration_seconds_bucket{le="10.0",operation="register"} 1"#,
            r#"namelock_request_duration_seconds_bucket{le="+Inf",operation="register"} 2"#,
            r#"namelock_request_duration_seconds_sum{operation="register"} 60.001"#,
            r#"namelock_request_duration_seconds_count{operation="register"} 2"#,
            r#"namelock_request_phase_seconds_sum{phase="queue"} 0.001"#,
            r#"namelock_request_phase_seconds_sum{phase="guest"} 60.0"#,
            r#"namelock_request_phase_seconds_count{phase="guest"} 1"#,
            r#"namelock_request_phase_seconds_count{phase="save"} 0"#,
            r#"namelock_requests_total{operation="find",code="client_gone"} 1"#,
            "namelock_calls_running 3",
            "namelock_log_lines_dropped_total 7",
            "namelock_log_queue_bytes 9",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn a_request_that_is_traced_stands_beside_its_bucket_in_openmetrics_alone() {
        let metrics = Arc::<Metrics>::default();
        let mut phases = Times::default();
        for (millis, trace_id) in [(1, 0x11), (3, 0x22), (60_000, 0x33)] {
            phases[Phase::Guest as usize] = Duration::from_millis(millis);
            metrics.record(Operation::Find, Outcome::Ok, &phases);
            metrics.exemplify(Operation::Find, &phases, TraceId([trace_id; 16]));
        }
        let text = metrics.render(Now::default());
        let exemplars: Vec<_> = text.lines().filter_map(|line| line.split_once(" # ")).collect();
        let bucket = |le: &str| format!("namelock_request_duration_seconds_bucket{{le=\"{le}\",operation=\"find\"}}");
        let expect = [
            ("0.001", 1, "11", "0.001"),
            ("0.005", 2, "22", "0.003"),
            ("+Inf", 3, "33", "60.0"),
        ];
        assert_eq!(exemplars.len(), expect.len(), "{text}");
        for ((line, exemplar), (le, count, digits, value)) in exemplars.into_iter().zip(expect) {
            assert_eq!(line, format!("{} {count}", bucket(le)));
            let begin = format!("{{trace_id=\"{}\"}} {value}", digits.repeat(16));
            assert!(exemplar.starts_with(&begin), "{exemplar}");
        }
        assert!(text.ends_with("# EOF\n"));
        let classic = classic(&text);
        assert!(!classic.contains("trace_id"), "{classic}");
        assert!(classic.contains(&format!("{} 2\n", bucket("0.005"))), "{classic}");
    }

    // Shows P6: whatever is counted, no family comes twice, and no series.
    #[test]
    fn every_family_and_every_series_comes_once() {
        let text = Arc::<Metrics>::default().render(Now::default());
        let mut seen = std::collections::HashSet::new();
        for line in text
            .lines()
            .filter(|line| !line.starts_with("# HELP") && !line.starts_with("# UNIT"))
        {
            let series = line.rsplit_once(' ').map_or(line, |(series, _)| series);
            assert!(seen.insert(series.to_owned()), "{series} comes twice in\n{text}");
        }
    }
}
