//! What is counted: the process under valgrind does each thing again and again, in rounds.

mod call;
mod lock_batch;
mod names;
mod registration;
mod rooms;

use std::path::Path;

use namelock_bench_check::thing::Thing;

/// Compiles what runs in the sandbox, into the folder in which [`measure`] works.
pub(crate) fn prepare(folder: &Path) -> anyhow::Result<()> {
    one_thread()?.block_on(rooms::prepare(folder))
}

/// Does all rounds of a thing.
pub(crate) fn measure(thing: Thing, folder: &Path) -> anyhow::Result<()> {
    one_thread()?.block_on(async {
        match thing {
            Thing::LockBatch => lock_batch::measure().await,
            Thing::SandboxCall => call::measure(folder).await,
            Thing::Names => names::measure(folder).await,
            Thing::Registration => registration::measure(folder).await,
        }
    })
}

/// One thread for all tasks, because threads that wait for each other do not do so in the same order each time.
fn one_thread() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}
