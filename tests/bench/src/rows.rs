//! The report: `report [--quick] [ROW …]` measures these rows, or all of them.

use anyhow::{bail, ensure};

use crate::pace::Pace;
use crate::report::{self, Report};
use crate::{calls, contention, growth, lock_alone, registrations, saturation};

/// All rows, in the order of the document.
const ROWS: [&str; 6] = [
    lock_alone::ID,
    calls::ID,
    registrations::ID,
    contention::ID,
    saturation::ID,
    growth::ID,
];

pub(crate) async fn run(arguments: &[String]) -> anyhow::Result<()> {
    let (flags, chosen): (Vec<_>, Vec<_>) = arguments
        .iter()
        .map(String::as_str)
        .partition(|argument| argument.starts_with('-'));
    let pace = match flags[..] {
        [] => Pace::FULL,
        ["--quick"] => Pace::QUICK,
        _ => bail!("usage: report [--quick] [ROW …]"),
    };
    for row in &chosen {
        ensure!(
            ROWS.contains(row),
            "there is no row {row}; there are: {}",
            ROWS.join(", ")
        );
    }
    let is_chosen = |row: &&str| chosen.is_empty() || chosen.contains(row);
    let rows: Vec<_> = ROWS.into_iter().filter(is_chosen).collect();
    report::require_sections(rows.iter().copied())?;
    let mut report = Report::new(pace)?;
    for row in rows {
        match row {
            lock_alone::ID => lock_alone::run(&mut report, pace).await?,
            calls::ID => calls::run(&mut report, pace).await?,
            registrations::ID => registrations::run(&mut report, pace).await?,
            contention::ID => contention::run(&mut report, pace).await?,
            saturation::ID => saturation::run(&mut report, pace).await?,
            growth::ID => growth::run(&mut report, pace).await?,
            other => bail!("the row {other} is not measured anywhere"),
        }
    }
    report::write(&report)
}
