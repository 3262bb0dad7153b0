//! `namelock-bench-check`: counts instructions, and compares them with the baseline; see the library.
//!
//! - `measured`: each thing that is counted, in a file of its own;
//! - `run`: starts this program again under valgrind; `auxv`: what is hidden from it there;
//! - `made_with`: what decides the counts beside the sources.

mod auxv;
mod made_with;
mod measured;
mod run;

use std::io::{stdin, stdout};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use namelock_bench_check::baseline::Baseline;
use namelock_bench_check::comparison::compare;
use namelock_bench_check::thing::Thing;
use namelock_sandbox::compiler::{self, ChildConfig};

/// As the host has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const USAGE: &str = "usage: namelock-bench-check compare FILE, or namelock-bench-check renew FILE";

fn main() -> anyhow::Result<ExitCode> {
    // The sandbox compiles a component by starting this very program again.
    if let Some(child) = ChildConfig::from_args(std::env::args().skip(1)) {
        compiler::compile(&child, stdin().lock(), stdout().lock())?;
        return Ok(ExitCode::SUCCESS);
    }
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match *arguments.as_slice() {
        ["compare", file] => check(file.as_ref()),
        ["renew", file] => renew(file.as_ref()),
        // Under valgrind.
        [run::MEASURE, thing, folder] => {
            let thing = Thing::of_key(thing).context(USAGE)?;
            println!("{}", made_with::processor());
            measured::measure(thing, folder.as_ref())?;
            Ok(ExitCode::SUCCESS)
        }
        _ => bail!(USAGE),
    }
}

fn check(file: &Path) -> anyhow::Result<ExitCode> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let baseline = Baseline::parse(&text).with_context(|| format!("cannot read {}", file.display()))?;
    let comparison = compare(&baseline, &run::count()?);
    print!("{}", comparison.text);
    Ok(ExitCode::from(u8::from(comparison.fails)))
}

fn renew(file: &Path) -> anyhow::Result<ExitCode> {
    let counts = run::count()?;
    let mut instructions = std::collections::BTreeMap::new();
    for (thing, count) in counts.things {
        let count = count.with_context(|| format!("{}: cannot be counted on this machine", thing.key()))?;
        println!("{:<16}{count:>14}", thing.key());
        instructions.insert(thing.key().to_owned(), count);
    }
    let baseline = Baseline {
        made_with: counts.made_with,
        instructions,
    };
    std::fs::write(file, baseline.text()).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(ExitCode::SUCCESS)
}
