//! Starts this program again under valgrind, once for each thing.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, bail};
use namelock_bench_check::callgrind::{flags, rounds, typical};
use namelock_bench_check::comparison::Counts;
use namelock_bench_check::thing::Thing;

use crate::made_with::{made_with, runs_under_valgrind};
use crate::{auxv, measured};

/// The command of a process that is counted: it is followed by the thing, and by the folder that it works in.
pub(crate) const MEASURE: &str = "measure";

/// Counts each thing.
pub(crate) fn count() -> anyhow::Result<Counts> {
    let folder = tempfile::tempdir()?;
    let can_run = runs_under_valgrind();
    if can_run {
        // Not under valgrind, where that would take minutes.
        measured::prepare(folder.path()).context("cannot compile the component")?;
    }
    auxv::hide()?;
    let (mut things, mut processor) = (Vec::new(), String::new());
    for thing in Thing::ALL {
        if thing.runs_a_component() && !can_run {
            things.push((thing, None));
            continue;
        }
        let counted = measure(thing, folder.path()).with_context(|| format!("cannot count {}", thing.key()))?;
        things.push((thing, Some(counted.instructions)));
        processor = counted.processor;
    }
    Ok(Counts {
        made_with: made_with(processor)?,
        things,
    })
}

struct Counted {
    instructions: u64,
    processor: String,
}

fn measure(thing: Thing, folder: &Path) -> anyhow::Result<Counted> {
    let counts = tempfile::tempdir_in(folder)?;
    let this = std::env::current_exe()?;
    let output = Command::new("valgrind")
        .args(flags(counts.path()))
        .arg(this)
        .args([MEASURE, thing.key()])
        .arg(folder)
        .output()
        .context("cannot start valgrind")?;
    let Output { status, stdout, stderr } = output;
    if !status.success() {
        bail!("it ended with {status}: {}", String::from_utf8_lossy(&stderr).trim());
    }
    let rounds = rounds(counts.path())?;
    let round = typical(&rounds).context("there were no rounds")?;
    Ok(Counted {
        instructions: round / thing.times(),
        processor: String::from_utf8_lossy(&stdout).trim().to_owned(),
    })
}
