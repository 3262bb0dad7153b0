//! `namelock-calls`: calls a component, and says how long that took; see the library.
//!
//! - `namelock-calls fresh COMPONENT ANSWER FOLDER` and `namelock-calls reused COMPONENT` say how long the first answer took
//!   ([`FirstAnswers`](namelock_calls::told::FirstAnswers)). Then each line of their input is for how many seconds how many callers
//!   are to work, and each answer is as [`Work::write`](namelock_calls::callers::Work::write) has it.
//! - `namelock-calls hold COMPONENT FOLDER COUNT` says what memory so many calls have ([`Held`](namelock_calls::told::Held)).
//!
//! COMPONENT is a file, ANSWER is what it answers: `saved` or `made-up`. In FOLDER is kept what was compiled.

use std::io::{BufRead, stdin, stdout};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use namelock_calls::callers::{Callers, Way};
use namelock_calls::fresh::Fresh;
use namelock_calls::hold::hold;
use namelock_calls::reused::Reused;
use namelock_calls::stage::Answer;
use namelock_calls::told::FirstAnswers;
use namelock_sandbox::compiler::{self, ChildConfig};
use tokio::runtime::Runtime;

/// As the host has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const USAGE: &str = "usage: namelock-calls fresh COMPONENT saved|made-up FOLDER, namelock-calls reused COMPONENT, or \
                     namelock-calls hold COMPONENT FOLDER COUNT";

fn main() -> anyhow::Result<()> {
    // The sandbox compiles a component by starting this very program again.
    if let Some(child) = ChildConfig::from_args(std::env::args().skip(1)) {
        return Ok(compiler::compile(&child, stdin().lock(), stdout().lock())?);
    }
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    // As that of the host: a thread for each processor.
    let runtime = Runtime::new()?;
    match *arguments.as_slice() {
        ["fresh", component, answer, folder] => {
            let answer = Answer::parse(answer)?;
            let loaded = Fresh::first_answers(component.as_ref(), folder.as_ref(), answer);
            let (fresh, first) = runtime.block_on(loaded)?;
            serve(&runtime, Way::Fresh(fresh), &first)
        }
        ["reused", component] => {
            let (reused, first) = runtime.block_on(Reused::first_answer(component.as_ref()))?;
            serve(&runtime, Way::Reused(reused), &first)
        }
        ["hold", component, folder, count] => {
            let held = runtime.block_on(hold(Path::new(component), Path::new(folder), count.parse()?))?;
            println!("{}", serde_json::to_string(&held)?);
            Ok(())
        }
        _ => bail!(USAGE),
    }
}

/// Works as it is told until its input ends.
fn serve(runtime: &Runtime, way: Way, first: &FirstAnswers) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(first)?);
    let mut callers = Callers::new(way);
    for line in stdin().lock().lines() {
        let line = line?;
        let (seconds, count) = line.split_once(' ').context("a line is SECONDS CALLERS")?;
        let time = Duration::try_from_secs_f64(seconds.parse()?)?;
        // Callers are tasks of the threads of the runtime, and this one waits for them.
        let work = runtime.block_on(callers.work(count.parse()?, time))?;
        work.write(&mut stdout().lock())?;
    }
    Ok(())
}
