//! What the busiest tenants have used, and the rest together.
//!
//! A tenant that becomes one of the busiest, or no longer is one, moves between the rest and a series of its own.
//! Prometheus then sees a counter of the rest fall and takes it for a restart of the host: a rate over the rest may be
//! too high for a moment.

use std::cmp::Reverse;
use std::fmt::{self, Write};
use std::sync::Arc;

use namelock_account::{Account, Counter, Level, Limit};

use crate::error::Outcome;

/// The label of those that have no series of their own. A tenant of this id is always among them.
const OTHER: &str = "other";

/// One tenant's account, and what it uses now.
#[derive(Clone, Debug)]
pub struct TenantUsage {
    /// What it has used.
    pub account: Arc<Account>,
    /// Its calls that hold one of `limits.calls`.
    pub running: usize,
    /// Its calls that wait for one, or for their body.
    pub waiting: usize,
}

/// What is counted of a tenant by time, and the unit of the metric is seconds.
const TIMES: [(&str, &str, Counter); 4] = [
    (
        "guest_seconds_total",
        "Time for which its calls ran.",
        Counter::GuestNanos,
    ),
    (
        "host_seconds_total",
        "Time for which the host worked because of it outside of its calls.",
        Counter::HostNanos,
    ),
    (
        "database_seconds_total",
        "Time between its requests to the names database and their answers.",
        Counter::DatabaseNanos,
    ),
    (
        "compile_seconds_total",
        "Time for which its components were compiled.",
        Counter::CompileNanos,
    ),
];

const COUNTS: [(&str, &str, Counter); 3] = [
    ("log_bytes_total", "Bytes of its lines in the log.", Counter::LogBytes),
    (
        "log_lines_dropped_total",
        "Lines that were not written, because a budget was used up.",
        Counter::LogLinesDropped,
    ),
    (
        "writes_total",
        "Writes to the names database that were begun.",
        Counter::Writes,
    ),
];

const LEVELS: [(&str, &str, Level); 4] = [
    (
        "memory_peak_bytes",
        "The most memory that one call ever had.",
        Level::MemoryPeak,
    ),
    ("registrations", "Rows in the names database.", Level::Registrations),
    ("registration_bytes", "Bytes of these rows.", Level::RegistrationBytes),
    (
        "artifact_bytes",
        "Bytes of what its component was compiled to.",
        Level::ArtifactBytes,
    ),
];

/// The tenants behind one value of the label.
struct Series<'a> {
    label: &'a str,
    tenants: &'a [&'a TenantUsage],
}

impl Series<'_> {
    fn sum(&self, of: impl Fn(&TenantUsage) -> u64) -> u64 {
        self.tenants
            .iter()
            .map(|tenant| of(tenant))
            .fold(0, u64::saturating_add)
    }

    fn level(&self, level: Level) -> u64 {
        match level {
            // The highest of all: nobody ever had the sum.
            Level::MemoryPeak => self
                .tenants
                .iter()
                .map(|tenant| tenant.account.level(level))
                .max()
                .unwrap_or(0),
            Level::Registrations | Level::RegistrationBytes | Level::ArtifactBytes => {
                self.sum(|tenant| tenant.account.level(level))
            }
        }
    }
}

/// Writes the metrics of the busiest `max` tenants, and of the rest.
// Keeps P6: however many tenants there are, and whatever they are called, there are no more series than the operator wants.
pub(super) fn write(text: &mut String, tenants: &[TenantUsage], max: usize) -> fmt::Result {
    let mut all: Vec<_> = tenants.iter().collect();
    let time = |usage: &TenantUsage| {
        let times = [Counter::GuestNanos, Counter::HostNanos].map(|counter| usage.account.used(counter));
        times.into_iter().fold(0, u64::saturating_add)
    };
    all.sort_by_cached_key(|usage| {
        (
            &**usage.account.tenant() == OTHER,
            Reverse(time(usage)),
            Arc::clone(usage.account.tenant()),
        )
    });
    let own = all
        .iter()
        .filter(|usage| &**usage.account.tenant() != OTHER)
        .count()
        .min(max);
    let (busiest, rest) = all.split_at(own);
    let mut series: Vec<_> = busiest
        .chunks(1)
        .map(|tenants| Series {
            label: tenants[0].account.tenant(),
            tenants,
        })
        .collect();
    if !rest.is_empty() {
        series.push(Series {
            label: OTHER,
            tenants: rest,
        });
    }
    write_series(text, &series)
}

fn write_series(text: &mut String, all: &[Series<'_>]) -> fmt::Result {
    head(text, "requests_total", "Its requests that ended, by code.", "counter")?;
    for series in all {
        for outcome in Outcome::all() {
            let count = series.sum(|tenant| tenant.account.outcomes(outcome.index()));
            if count > 0 {
                let (tenant, code) = (series.label, outcome.label());
                writeln!(
                    text,
                    "namelock_tenant_requests_total{{tenant=\"{tenant}\",code=\"{code}\"}} {count}"
                )?;
            }
        }
    }
    head(
        text,
        "refusals_total",
        "What was refused or dropped, by limit.",
        "counter",
    )?;
    for series in all {
        for limit in Limit::ALL {
            let count = series.sum(|tenant| tenant.account.refusals(limit));
            if count > 0 {
                let (tenant, limit) = (series.label, limit.key());
                writeln!(
                    text,
                    "namelock_tenant_refusals_total{{tenant=\"{tenant}\",limit=\"{limit}\"}} {count}"
                )?;
            }
        }
    }
    for (name, help, counter) in TIMES {
        let seconds = |series: &Series<'_>| series.sum(|tenant| tenant.account.used(counter)) as f64 / 1e9;
        metric(text, all, (name, help, "counter"), seconds)?;
    }
    for (name, help, counter) in COUNTS {
        metric(text, all, (name, help, "counter"), |series| {
            series.sum(|tenant| tenant.account.used(counter))
        })?;
    }
    for (name, help, level) in LEVELS {
        metric(text, all, (name, help, "gauge"), |series| series.level(level))?;
    }
    let running = ("calls_running", "Its calls that hold one of limits.calls.", "gauge");
    metric(text, all, running, |series| series.sum(|tenant| tenant.running as u64))?;
    let waiting = (
        "calls_waiting",
        "Its calls that wait to run, or for their body.",
        "gauge",
    );
    metric(text, all, waiting, |series| series.sum(|tenant| tenant.waiting as u64))
}

fn head(text: &mut String, name: &str, help: &str, kind: &str) -> fmt::Result {
    writeln!(text, "# HELP namelock_tenant_{name} Of a tenant: {help}")?;
    writeln!(text, "# TYPE namelock_tenant_{name} {kind}")
}

fn metric<T: fmt::Display>(
    text: &mut String,
    all: &[Series<'_>],
    (name, help, kind): (&str, &str, &str),
    value: impl Fn(&Series<'_>) -> T,
) -> fmt::Result {
    head(text, name, help, kind)?;
    for series in all {
        writeln!(
            text,
            "namelock_tenant_{name}{{tenant=\"{}\"}} {}",
            series.label,
            value(series)
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use namelock_account::Budgets;

    use super::*;

    fn usage(id: &str, ms: u64) -> TenantUsage {
        let account = Arc::new(Account::new(id, &Budgets::default()));
        account.charge_time(Counter::GuestNanos, Duration::from_millis(ms));
        account.raise(Level::MemoryPeak, ms);
        account.count_outcome(Outcome::Ok.index());
        TenantUsage {
            account,
            running: 1,
            waiting: 2,
        }
    }

    // Shows P6: many tenants make no more series than are wanted.
    #[test]
    fn the_busiest_have_series_of_their_own_and_the_rest_share_one() {
        let all = [
            usage("a", 1000),
            usage("b", 3000),
            usage("c", 2000),
            usage("other", 9000),
            usage("e", 500),
        ];
        let mut text = String::new();
        write(&mut text, &all, 2).unwrap();
        let lines = |name: &str| -> Vec<_> { text.lines().filter(|line| line.starts_with(name)).collect() };
        assert_eq!(
            lines("namelock_tenant_guest_seconds_total"),
            [
                r#"namelock_tenant_guest_seconds_total{tenant="b"} 3"#,
                r#"namelock_tenant_guest_seconds_total{tenant="c"} 2"#,
                r#"namelock_tenant_guest_seconds_total{tenant="other"} 10.5"#,
            ]
        );
        assert_eq!(
            lines("namelock_tenant_requests_total"),
            [
                r#"namelock_tenant_requests_total{tenant="b",code="ok"} 1"#,
                r#"namelock_tenant_requests_total{tenant="c",code="ok"} 1"#,
                r#"namelock_tenant_requests_total{tenant="other",code="ok"} 3"#,
            ]
        );
        assert_eq!(
            lines("namelock_tenant_memory_peak_bytes").last().unwrap(),
            &r#"namelock_tenant_memory_peak_bytes{tenant="other"} 9000"#
        );
        assert_eq!(
            lines("namelock_tenant_calls_waiting").last().unwrap(),
            &r#"namelock_tenant_calls_waiting{tenant="other"} 6"#
        );
    }

    #[test]
    fn a_host_with_few_tenants_has_no_rest() {
        let mut text = String::new();
        write(&mut text, &[usage("a", 1)], 2).unwrap();
        assert!(!text.contains("other"), "{text}");
    }
}
