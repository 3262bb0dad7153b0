//! Overload: a host that is asked for more than it can do, by callers who do not care what they are told.
//!
//! The callers share the processors with the host, so what they and the refusals cost, the registrations lack: it is all of
//! the machine that is overloaded, and not a limit that was made small, as for the command `overload`.

mod connection;
mod flood;

use namelock_test_artifacts::ROOMS;

use self::flood::Flood;
use crate::contest::{self, Entry};
use crate::host::{Host, UNLIMITED};
use crate::pace::Pace;
use crate::report::{AtRate, Report, Row, Target};

pub(crate) const ID: &str = "overload";

/// A tenant with the limits on calls that every tenant has, and the same where callers are refused as fast as they come.
const NAMELOCK: &str = "namelock";
const AT_ONCE: &str = "namelock, refusing at once";

/// Connections that the host has no trouble with; what it does for them is the peak.
const PEAK: usize = 64;

/// As many as there are at most: a host takes no more of one address than half of its own `http.connections`.
const MANY: usize = 2000;

/// How many times the peak is asked for at a fixed rate.
const FACTOR: f64 = 8.0;

/// How much of the peak is to be left.
const GOODPUT: f64 = 0.8;

/// Titles of what else is counted.
const REFUSED: &str = "refused/s";
const REFUSAL_P99: &str = "p99 of a refusal, ms";
const NOT_SENT: &str = "not sent/s";
const LOST: &str = "closed without an answer/s";
const MOST_MEMORY: &str = "host: MiB at most";

/// Of each, its tenant.
const TENANTS: [(&str, &str); 2] = [(NAMELOCK, "rooms"), (AT_ONCE, "at-once")];

pub(crate) async fn run(report: &mut Report, pace: Pace) -> anyhow::Result<()> {
    let (limits, at_once) = (limits(), format!("{}refusal_rate = 1000000\n", limits()));
    let host = Host::start("", &[("rooms", ROOMS, &limits), ("at-once", ROOMS, &at_once)])?;
    host.grants("rooms").await?;
    let row = report.row(ID, "Overload", "registrations");
    // What is refused comes again a second later, and that takes some seconds to show.
    row.pace = Pace {
        rounds: pace.rounds.div_ceil(3),
        round: pace.round * 3,
    };
    let idle = host.memory_mib()?;
    let search = Pace {
        rounds: 1,
        round: pace.round,
    };
    let [ours, _] = TENANTS;
    let peak = contest::alternate(search, vec![entry(&host, ours, PEAK, None)?]).await?;
    let peak = peak[0].median(|round| round.per_second).unwrap_or_default();
    let rate = FACTOR * peak;
    let mut entries = vec![entry(&host, ours, PEAK, None)?];
    for per_second in [None, Some(rate)] {
        for tenant in TENANTS {
            entries.push(entry(&host, tenant, MANY, per_second)?);
        }
    }
    row.measurements = contest::alternate(row.pace, entries).await?;
    let at_rates = row.measurements.split_off(row.measurements.len() - TENANTS.len());
    row.at_rates.extend(at_rates.into_iter().map(|measurement| AtRate {
        due_per_second: rate,
        measurement,
    }));
    row.notes
        .push(format!("Before the first request the host had {idle:.0} MiB resident."));
    add_targets(row);
    Ok(())
}

/// The rates of a tenant are lifted, and what it may keep; how many of its calls may run and wait is as by default, and so is
/// how fast it is refused.
fn limits() -> String {
    let is_lifted = |line: &&str| !line.starts_with("calls");
    UNLIMITED
        .lines()
        .filter(is_lifted)
        .flat_map(|line| [line, "\n"])
        .collect()
}

fn entry(
    host: &Host,
    (peer, tenant): (&'static str, &str),
    connections: usize,
    per_second: Option<f64>,
) -> anyhow::Result<Entry> {
    let process = host.process.id();
    let path = format!("/v1/{tenant}/names");
    Ok(Entry {
        peer,
        size: connections,
        processes: vec![("bench", std::process::id()), ("host", process)],
        contestant: Box::new(Flood::of((host.address, process), path, connections, per_second)?),
    })
}

fn add_targets(row: &mut Row) {
    let peak = row
        .find((NAMELOCK, PEAK))
        .and_then(|found| found.median(|round| round.per_second));
    let at_rate = row
        .at_rates
        .iter()
        .find(|at_rate| at_rate.measurement.peer == NAMELOCK)
        .and_then(|at_rate| at_rate.measurement.median(|round| round.per_second));
    let targets = [
        Target::at_least(
            "asked for 8 × the peak at a fixed rate: registrations / the peak",
            GOODPUT,
            at_rate.zip(peak).map(|(served, peak)| served / peak),
        ),
        Target::at_least(
            "2,000 connections that ask again at once: registrations / the peak",
            GOODPUT,
            row.ratio((NAMELOCK, MANY), &[(NAMELOCK, PEAK)]),
        ),
    ];
    row.targets.extend(targets);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_lifted_and_the_limits_of_calls_stay() {
        let limits = limits();
        assert!(
            limits.starts_with("[limits]\n") && limits.contains("\nrate = 1000000\n"),
            "{limits}"
        );
        assert!(
            !limits.contains("calls") && !limits.contains("refusal_rate"),
            "{limits}"
        );
    }
}
