//! What was measured, and what is told of it.
//!
//! A report has rows, and a row compares one thing with its peers. A row module is given the report and the pace, and adds
//! what it has:
//!
//! ```ignore
//! let row = report.row("lock", "Lock alone", "lock cycles");
//! row.missing("Redis", "make setup-redis");
//! row.measurements.extend(contest::alternate(pace, entries).await?);
//! let ratio = row.ratio(("namelock", 64), &[("Redis", 64)]);
//! row.targets.push(Target::at_least("64 callers: namelock / Redis", 1.5, ratio));
//! ```
//!
//! All of a report is from one run on one machine. Absolute figures say more of the machine than of what was measured, so
//! targets are ratios of medians; and a round counts once, however much was done in it, so that a bad second of the machine is
//! one bad round.

mod environment;
mod markdown;
mod plot;
mod scale;
mod section;
mod svg;
mod target;
mod write;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::ensure;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::closed_loop::Work;
use crate::pace::Pace;

pub(crate) use environment::{Environment, locked};
pub(crate) use target::Target;
pub(crate) use write::{require_sections, write};

/// The longest operation that a histogram tells from a longer one, in nanoseconds: a minute.
const LONGEST_NS: u64 = 60_000_000_000;

/// Significant digits of a histogram: three, so 0.1 %.
const DIGITS: u8 = 3;

/// Everything of one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) environment: Environment,
    pub(crate) pace: Pace,
    pub(crate) rows: Vec<Row>,
}

/// One thing, and its peers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    /// Names its section of the document and its files.
    pub(crate) id: String,
    pub(crate) title: String,
    /// What an operation is, in the plural.
    pub(crate) operations: String,
    /// What the size of a measurement counts, such as callers.
    pub(crate) sizes: String,
    pub(crate) pace: Pace,
    pub(crate) measurements: Vec<Measurement>,
    /// What was asked for at fixed rates.
    pub(crate) at_rates: Vec<AtRate>,
    pub(crate) targets: Vec<Target>,
    pub(crate) missing: Vec<Missing>,
    /// What else a reader has to know of this run, each a paragraph.
    pub(crate) notes: Vec<String>,
}

/// One peer with so many callers, or of so many of whatever the row counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Measurement {
    pub(crate) peer: String,
    pub(crate) size: usize,
    pub(crate) rounds: Vec<Round>,
}

/// One peer that is asked so often, however long it takes. Times count from when each request was due.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct AtRate {
    pub(crate) due_per_second: f64,
    /// Its size is how many may be waiting at once.
    pub(crate) measurement: Measurement,
}

/// What one round showed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Round {
    pub(crate) per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    /// CPU seconds per 1,000 operations, by process.
    pub(crate) cpu_seconds_per_1000: BTreeMap<String, f64>,
    /// What else was counted, by the title of its column.
    pub(crate) also: BTreeMap<String, f64>,
    /// The share of the machine's processors that other programs had just before it, 1 for all of them.
    pub(crate) others: f64,
}

/// A peer that could not be measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Missing {
    pub(crate) peer: String,
    /// The command that installs it.
    pub(crate) install: String,
}

impl Report {
    /// A report of this machine, with nothing in it yet.
    pub(crate) fn new(pace: Pace) -> anyhow::Result<Self> {
        Ok(Self {
            environment: Environment::of_this_machine()?,
            pace,
            rows: Vec::new(),
        })
    }

    /// Begins a row. `operations` says what is counted.
    pub(crate) fn row(&mut self, id: &str, title: &str, operations: &str) -> &mut Row {
        let pace = self.pace;
        self.rows.push_mut(Row {
            id: id.to_owned(),
            title: title.to_owned(),
            operations: operations.to_owned(),
            sizes: "callers".to_owned(),
            pace,
            measurements: Vec::new(),
            at_rates: Vec::new(),
            targets: Vec::new(),
            missing: Vec::new(),
            notes: Vec::new(),
        })
    }
}

impl Row {
    /// Says that a peer is not installed, and which command installs it.
    pub(crate) fn missing(&mut self, peer: &str, install: &str) {
        println!("{peer} is not measured: it is not installed ({install})");
        self.missing.push(Missing {
            peer: peer.to_owned(),
            install: install.to_owned(),
        });
    }

    /// Says what was found once, and not in each round, of what was measured at this size.
    pub(crate) fn tell(&mut self, (peer, size): (&str, usize), figures: &[(&str, f64)]) {
        let found = self.measurements.iter_mut();
        for measurement in found.filter(|measurement| measurement.peer == peer && measurement.size == size) {
            for round in &mut measurement.rounds {
                round
                    .also
                    .extend(figures.iter().map(|(title, figure)| ((*title).to_owned(), *figure)));
            }
        }
    }

    /// What this peer did at this size.
    pub(crate) fn find(&self, (peer, size): (&str, usize)) -> Option<&Measurement> {
        self.measurements
            .iter()
            .find(|measurement| measurement.peer == peer && measurement.size == size)
    }

    /// How many times as much `ours` does in a second as the best of the others. None: one side was not measured.
    pub(crate) fn ratio(&self, ours: (&str, usize), others: &[(&str, usize)]) -> Option<f64> {
        let per_second = |which| {
            self.find(which)
                .and_then(|found| found.median(|round| round.per_second))
        };
        let best = others.iter().filter_map(|other| per_second(*other)).reduce(f64::max)?;
        Some(per_second(ours)? / best)
    }

    /// How many times as long as with `other` it takes at most, but for one in a hundred operations.
    pub(crate) fn p99_ratio(&self, ours: (&str, usize), other: (&str, usize)) -> Option<f64> {
        let p99 = |which| self.find(which).and_then(|found| found.median(|round| round.p99_us));
        Some(p99(ours)? / p99(other)?)
    }

    /// How many times as much CPU time a process of `ours` uses for an operation as the one of this name of the other.
    pub(crate) fn cpu_ratio(&self, process: &str, ours: (&str, usize), other: (&str, usize)) -> Option<f64> {
        let cpu = |which| self.find(which).and_then(|found| found.cpu(process));
        Some(cpu(ours)? / cpu(other)?)
    }
}

impl Measurement {
    /// The median of a figure over all rounds.
    pub(crate) fn median(&self, figure: impl Fn(&Round) -> f64) -> Option<f64> {
        median(self.rounds.iter().map(figure).collect())
    }

    /// The median of the CPU time of a process, in seconds per 1,000 operations. None: it does not work for this peer.
    pub(crate) fn cpu(&self, process: &str) -> Option<f64> {
        let used = |round: &Round| round.cpu_seconds_per_1000.get(process).copied();
        median(self.rounds.iter().map(used).collect::<Option<_>>()?)
    }

    /// The median of what else was counted under this title. None: that is not counted of this peer.
    pub(crate) fn also(&self, title: &str) -> Option<f64> {
        let counted = |round: &Round| round.also.get(title).copied();
        median(self.rounds.iter().map(counted).collect::<Option<_>>()?)
    }
}

impl Round {
    /// Sums up what was done, the CPU time that each process used for it, and the share of the processors that others have.
    pub(crate) fn of(work: &Work, used: &BTreeMap<&'static str, Duration>, others: f64) -> anyhow::Result<Self> {
        ensure!(!work.times.is_empty(), "nothing was done in a round");
        let mut histogram = Histogram::<u64>::new_with_bounds(1, LONGEST_NS, DIGITS)?;
        for time in &work.times {
            histogram.saturating_record(u64::try_from(time.as_nanos()).unwrap_or(LONGEST_NS));
        }
        let count = work.times.len() as f64;
        let us = |share| histogram.value_at_quantile(share) as f64 / 1e3;
        let cpu = |(name, time): (&&str, &Duration)| ((*name).to_owned(), time.as_secs_f64() * 1e3 / count);
        Ok(Self {
            per_second: count / work.took.as_secs_f64(),
            p50_us: us(0.5),
            p99_us: us(0.99),
            cpu_seconds_per_1000: used.iter().map(cpu).collect(),
            also: work
                .also
                .iter()
                .map(|(title, figure)| ((*title).to_owned(), *figure))
                .collect(),
            others,
        })
    }
}

/// The middle one; of an even number, the mean of the two in the middle.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = values[(values.len() - 1) / 2];
    Some(f64::midpoint(lower, upper))
}

#[cfg(test)]
mod tests;
