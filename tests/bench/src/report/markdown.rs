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

/// The section of a row; `plot` is the address of its picture, if it has one.
pub(super) fn section(row: &Row, environment: &Environment, plot: Option<&str>) -> String {
    let mut parts = vec![
        format!("{}{}", measured_on(environment, row.pace), others(row)),
        targets(&row.targets),
        plot.map_or_else(String::new, |plot| picture(row, plot)),
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

fn picture(row: &Row, plot: &str) -> String {
    let Row { title, sizes, .. } = row;
    format!("![{title}: throughput, p50 and p99 of each client, by {sizes}]({plot})")
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
        let measured = shown(target.measured, |figure| format!("{figure:.2}"));
        line(&mut table, &[target.what.clone(), bound, measured, verdict.to_owned()]);
    }
    table.trim_end().to_owned()
}

fn measurements(row: &Row) -> String {
    let more = MoreColumns::of(row.measurements.iter());
    let mut table = format!(
        "| client | {} | {}/s | lowest to highest | p50 | p99 |",
        row.sizes, row.operations
    );
    more.end_head(&mut table);
    for measurement in &row.measurements {
        let mut cells = vec![measurement.peer.clone(), grouped(measurement.size as f64)];
        cells.extend(figures(measurement));
        cells.extend(more.cells(measurement));
        line(&mut table, &cells);
    }
    format!("{table}\nCPU is in seconds per 1,000 {}.", row.operations)
}

fn at_rates(row: &Row) -> String {
    if row.at_rates.is_empty() {
        return String::new();
    }
    let more = MoreColumns::of(row.at_rates.iter().map(|at_rate| &at_rate.measurement));
    let mut table = "| client | asked for each second | done each second | lowest to highest | p50 | p99 |".to_owned();
    more.end_head(&mut table);
    for at_rate in &row.at_rates {
        let measurement = &at_rate.measurement;
        let mut cells = vec![measurement.peer.clone(), grouped(at_rate.due_per_second)];
        cells.extend(figures(measurement));
        cells.extend(more.cells(measurement));
        line(&mut table, &cells);
    }
    format!(
        "At fixed rates, with times from when each of the {} was due:\n\n{}",
        row.operations,
        table.trim_end()
    )
}

/// The columns that not every table has: what else was counted, and the CPU time of processes.
struct MoreColumns<'a> {
    also: BTreeSet<&'a String>,
    processes: BTreeSet<&'a String>,
}

impl<'a> MoreColumns<'a> {
    fn of(measurements: impl Iterator<Item = &'a Measurement> + Clone) -> Self {
        let rounds = measurements.flat_map(|measurement| &measurement.rounds);
        Self {
            also: rounds.clone().flat_map(|round| round.also.keys()).collect(),
            processes: rounds.flat_map(|round| round.cpu_seconds_per_1000.keys()).collect(),
        }
    }

    /// Ends the head of a table that has six columns so far.
    fn end_head(&self, table: &mut String) {
        for title in &self.also {
            let _ = write!(table, " {title} |");
        }
        for process in &self.processes {
            let _ = write!(table, " CPU of {process} |");
        }
        table.push_str("\n|---|---:|---:|---:|---:|---:|");
        table.push_str(&"---:|".repeat(self.also.len() + self.processes.len()));
        table.push('\n');
    }

    fn cells(&self, measurement: &Measurement) -> impl Iterator<Item = String> {
        let cpu = |seconds| format!("{seconds:.4}");
        let also = self.also.iter().map(|title| shown(measurement.also(title), short));
        also.chain(
            self.processes
                .iter()
                .map(move |process| shown(measurement.cpu(process), cpu)),
        )
    }
}

/// Throughput, its range, p50 and p99.
fn figures(measurement: &Measurement) -> [String; 4] {
    let rates = || measurement.rounds.iter().map(|round| round.per_second);
    let range = rates().reduce(f64::min).zip(rates().reduce(f64::max));
    [
        shown(measurement.median(|round| round.per_second), grouped),
        range.map_or(NONE.to_owned(), |(lowest, highest)| {
            format!("{} to {}", grouped(lowest), grouped(highest))
        }),
        shown(measurement.median(|round| round.p50_us), milliseconds),
        shown(measurement.median(|round| round.p99_us), milliseconds),
    ]
}

fn line(table: &mut String, cells: &[String]) {
    let _ = writeln!(table, "| {} |", cells.join(" | "));
}

fn milliseconds(us: f64) -> String {
    format!("{:.2} ms", us / 1e3)
}

/// A figure in its unit, if there is one.
fn shown(figure: Option<f64>, unit: impl FnOnce(f64) -> String) -> String {
    figure.map_or(NONE.to_owned(), unit)
}

/// A figure with no more digits than say something.
fn short(figure: f64) -> String {
    if figure.abs() < 100.0 {
        format!("{figure:.2}")
    } else {
        grouped(figure)
    }
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
