//! What the busiest tenants have used, and the rest together.
//!
//! A tenant that becomes one of the busiest, or no longer is one, moves between the rest and a series of its own.
//! Prometheus then sees a counter of the rest fall and takes it for a restart of the host: a rate over the rest may be
//! too high for a moment.

use std::cmp::Reverse;
use std::fmt;
use std::sync::Arc;

use namelock_account::{Account, Counter, Level, Limit};

use super::write::{About, Writer};
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

/// What is counted of a tenant by time.
const TIMES: [(&str, &str, Counter); 4] = [
    (
        "tenant_guest",
        "Of a tenant: time for which its calls ran.",
        Counter::GuestNanos,
    ),
    (
        "tenant_host",
        "Of a tenant: time for which the host worked because of it outside of its calls.",
        Counter::HostNanos,
    ),
    (
        "tenant_database",
        "Of a tenant: time between its requests to the names database and their answers.",
        Counter::DatabaseNanos,
    ),
    (
        "tenant_compile",
        "Of a tenant: time for which its components were compiled.",
        Counter::CompileNanos,
    ),
];

fn counts() -> [(About<'static>, Counter); 3] {
    [
        (
            About::bytes("tenant_log", "Of a tenant: bytes of its lines in the log."),
            Counter::LogBytes,
        ),
        (
            About::count(
                "tenant_log_lines_dropped",
                "Of a tenant: lines that were not written, because a budget was used up.",
            ),
            Counter::LogLinesDropped,
        ),
        (
            About::count(
                "tenant_writes",
                "Of a tenant: writes to the names database that were begun.",
            ),
            Counter::Writes,
        ),
    ]
}

fn levels() -> [(About<'static>, Level); 4] {
    [
        (
            About::bytes(
                "tenant_memory_peak",
                "Of a tenant: the most memory that one call ever had.",
            ),
            Level::MemoryPeak,
        ),
        (
            About::count("tenant_registrations", "Of a tenant: rows in the names database."),
            Level::Registrations,
        ),
        (
            About::bytes("tenant_registration", "Of a tenant: bytes of these rows."),
            Level::RegistrationBytes,
        ),
        (
            About::bytes(
                "tenant_artifact",
                "Of a tenant: bytes of what its component was compiled to.",
            ),
            Level::ArtifactBytes,
        ),
    ]
}

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
pub(super) fn write(writer: &mut Writer<'_>, tenants: &[TenantUsage], max: usize) -> fmt::Result {
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
    write_series(writer, &series)
}

fn write_series(writer: &mut Writer<'_>, all: &[Series<'_>]) -> fmt::Result {
    let about = About::count("tenant_requests", "Of a tenant: its requests that ended, by code.");
    let requests = all.iter().flat_map(|series| {
        Outcome::all().map(move |outcome| {
            let count = series.sum(|tenant| tenant.account.outcomes(outcome.index()));
            (vec![("tenant", series.label), ("code", outcome.label())], count)
        })
    });
    writer.counter(about, requests.filter(|(_, count)| *count > 0))?;
    let about = About::count("tenant_refusals", "Of a tenant: what was refused or dropped, by limit.");
    let refusals = all.iter().flat_map(|series| {
        Limit::ALL.into_iter().map(move |limit| {
            let count = series.sum(|tenant| tenant.account.refusals(limit));
            (vec![("tenant", series.label), ("limit", limit.key())], count)
        })
    });
    writer.counter(about, refusals.filter(|(_, count)| *count > 0))?;
    let each = || all.iter().map(|series| (vec![("tenant", series.label)], series));
    for (name, help, counter) in TIMES {
        let seconds = |series: &Series<'_>| series.sum(|tenant| tenant.account.used(counter)) as f64 / 1e9;
        let series = each().map(|(labels, series)| (labels, seconds(series)));
        writer.counter(About::seconds(name, help), series)?;
    }
    for (about, counter) in counts() {
        let used = |series: &Series<'_>| series.sum(|tenant| tenant.account.used(counter));
        writer.counter(about, each().map(|(labels, series)| (labels, used(series))))?;
    }
    for (about, level) in levels() {
        writer.gauge(about, each().map(|(labels, series)| (labels, series.level(level))))?;
    }
    let about = About::count(
        "tenant_calls_running",
        "Of a tenant: its calls that hold one of limits.calls.",
    );
    let running = |series: &Series<'_>| series.sum(|tenant| tenant.running as u64);
    writer.gauge(about, each().map(|(labels, series)| (labels, running(series))))?;
    let about = About::count(
        "tenant_calls_waiting",
        "Of a tenant: its calls that wait to run, or for their body.",
    );
    let waiting = |series: &Series<'_>| series.sum(|tenant| tenant.waiting as u64);
    writer.gauge(about, each().map(|(labels, series)| (labels, waiting(series))))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use namelock_account::Budgets;

    use super::*;
    use crate::metrics::{Metrics, Now};

    fn usage(id: &str, ms: u64) -> TenantUsage {
        let account = Arc::new(Account::new(id, &Budgets::default()));
        account.charge_time(Counter::GuestNanos, Duration::from_millis(ms));
        account.raise(Level::MemoryPeak, ms);
        account.count_request(Outcome::Ok.index(), Duration::from_millis(1));
        TenantUsage {
            account,
            running: 1,
            waiting: 2,
        }
    }

    fn rendered(tenants: &[TenantUsage], tenants_max: usize) -> String {
        Arc::<Metrics>::default().render(Now {
            tenants: tenants.to_vec(),
            tenants_max,
            ..Now::default()
        })
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
        let text = rendered(&all, 2);
        let lines = |name: &str| -> Vec<_> {
            let is_series = |line: &&str| line.starts_with(&format!("{name}{{"));
            text.lines().filter(is_series).collect()
        };
        assert_eq!(
            lines("namelock_tenant_guest_seconds_total"),
            [
                r#"namelock_tenant_guest_seconds_total{tenant="b"} 3.0"#,
                r#"namelock_tenant_guest_seconds_total{tenant="c"} 2.0"#,
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
        let text = rendered(&[usage("a", 1)], 2);
        assert!(!text.contains("tenant=\"other\""), "{text}");
    }
}
