//! A row as Markdown.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::target::{Bound, Verdict};
use super::{Environment, Measurement, Row, Target};
use crate::pace::Pace;

/// The share of the processors that others may have.
const BUSY: f64 = 0.1;

/// What stands where there is no figure.
const NONE: &str = "–";

/// The section of a row; `plot` is the address of its picture.
pub(super) fn section(row: &Row, environment: &Environment, pace: Pace, plot: &str) -> String {
    let mut parts = vec![
        format!("{}{}", measured_on(environment, pace), others(row)),
        targets(&row.targets),
        format!(
            "![{}: throughput, p50 and p99 over the number of callers, for each client]({plot})",
            row.title
        ),
        measurements(row),
        at_rates(row),
    ];
    parts.extend(row.notes.iter().cloned());
    parts.extend(row.missing.iter().map(|missing| {
        format!(
            "{} was not measured: it is not installed. `{}` installs it.",
            missing.peer, missing.install
        )
    }));
    parts.retain(|part| !part.is_empty());
    parts.join("\n\n")
}

/// When, where and with what.
fn measured_on(environment: &Environment, pace: Pace) -> String {
    let versions: Vec<_> = environment
        .versions
        .iter()
        .map(|(name, version)| format!("{name} {version}"))
        .collect();
    format!(
        "Measured {} UTC on {} × {}, {}, at commit {} ({} build); medians of {pace}.\n{}.",
        environment.date,
        environment.cpus,
        environment.cpu,
        environment.kernel,
        environment.commit,
        environment.profile,
        versions.join(", ")
    )
}

/// How much of the machine others had: who sleeps wakes up faster on a processor that does not, and everything else is
/// slower, so that even ratios are not those of an idle machine.
fn others(row: &Row) -> String {
    let shares: Vec<_> = row
        .measurements
        .iter()
        .flat_map(|measurement| &measurement.rounds)
        .map(|round| round.others)
        .collect();
    if shares.is_empty() {
        return String::new();
    }
    // A rest is short and its figure coarse, so it is their mean that says something.
    let mean = shares.iter().sum::<f64>() / shares.len() as f64;
    let warning = if mean > BUSY {
        " **The machine was busy: measure again when it is not.**"
    } else {
        ""
    };
    format!(
        " Other programs had {:.0} % of the processors between the rounds.{warning}",
        mean * 100.0
    )
}

fn targets(targets: &[Target]) -> String {
    let mut table = String::new();
    if targets.is_empty() {
        return table;
    }
    table.push_str("| target | bound | measured | |\n|---|---:|---:|---|\n");
    for target in targets {
        let bound = match target.bound {
            Bound::AtLeast(bound) => format!("≥ {bound}"),
            Bound::AtMost(bound) => format!("≤ {bound}"),
        };
        let verdict = match target.verdict() {
            Verdict::Met => "met",
            Verdict::Missed => "**missed**",
            Verdict::NotMeasured => "not measured",
        };
        let measured = target.measured.map_or(NONE.to_owned(), |figure| format!("{figure:.2}"));
        line(&mut table, &[target.what.clone(), bound, measured, verdict.to_owned()]);
    }
    table.trim_end().to_owned()
}

fn measurements(row: &Row) -> String {
    let processes = processes(row.measurements.iter());
    let mut table = format!(
        "| client | callers | {}/s | lowest to highest | p50 | p99 |",
        row.operations
    );
    cpu_columns(&mut table, &processes);
    for measurement in &row.measurements {
        let mut cells = vec![measurement.peer.clone(), grouped(measurement.callers as f64)];
        cells.extend(figures(measurement));
        cells.extend(cpu(measurement, &processes));
        line(&mut table, &cells);
    }
    format!("{table}\nCPU is in seconds per 1,000 {}.", row.operations)
}

fn at_rates(row: &Row) -> String {
    if row.at_rates.is_empty() {
        return String::new();
    }
    let processes = processes(row.at_rates.iter().map(|at_rate| &at_rate.measurement));
    let mut table = "| client | asked for each second | done each second | lowest to highest | p50 | p99 |".to_owned();
    cpu_columns(&mut table, &processes);
    for at_rate in &row.at_rates {
        let measurement = &at_rate.measurement;
        let mut cells = vec![measurement.peer.clone(), grouped(at_rate.due_per_second)];
        cells.extend(figures(measurement));
        cells.extend(cpu(measurement, &processes));
        line(&mut table, &cells);
    }
    format!(
        "At fixed rates, with times from when each of the {} was due:\n\n{}",
        row.operations,
        table.trim_end()
    )
}

/// The names of all processes of which the CPU time is told.
fn processes<'a>(measurements: impl Iterator<Item = &'a Measurement>) -> BTreeSet<&'a String> {
    let rounds = measurements.flat_map(|measurement| &measurement.rounds);
    rounds.flat_map(|round| round.cpu_seconds_per_1000.keys()).collect()
}

/// Ends the head of a table that has six columns so far.
fn cpu_columns(table: &mut String, processes: &BTreeSet<&String>) {
    for process in processes {
        let _ = write!(table, " CPU of {process} |");
    }
    table.push_str("\n|---|---:|---:|---:|---:|---:|");
    table.push_str(&"---:|".repeat(processes.len()));
    table.push('\n');
}

fn cpu<'a>(measurement: &'a Measurement, processes: &'a BTreeSet<&String>) -> impl Iterator<Item = String> + 'a {
    let show = |seconds: f64| format!("{seconds:.4}");
    processes
        .iter()
        .map(move |process| measurement.cpu(process).map_or(NONE.to_owned(), show))
}

/// Throughput, its range, p50 and p99.
fn figures(measurement: &Measurement) -> [String; 4] {
    let show = |figure: Option<f64>, unit: fn(f64) -> String| figure.map_or(NONE.to_owned(), unit);
    let rates = || measurement.rounds.iter().map(|round| round.per_second);
    let range = rates().reduce(f64::min).zip(rates().reduce(f64::max));
    [
        show(measurement.median(|round| round.per_second), grouped),
        range.map_or(NONE.to_owned(), |(lowest, highest)| {
            format!("{} to {}", grouped(lowest), grouped(highest))
        }),
        show(measurement.median(|round| round.p50_us), milliseconds),
        show(measurement.median(|round| round.p99_us), milliseconds),
    ]
}

fn line(table: &mut String, cells: &[String]) {
    let _ = writeln!(table, "| {} |", cells.join(" | "));
}

fn milliseconds(us: f64) -> String {
    format!("{:.2} ms", us / 1e3)
}

/// A whole number, with a comma between thousands.
pub(super) fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}
