//! Measures the host on this machine, the callers included.
//!
//! What is compared is measured alternately in one run, and medians are printed. Each measurement that has a bound ends
//! with exit code 1 when the bound is broken.

mod attackers;
mod backup;
mod calls;
mod closed_loop;
mod compile;
mod component;
mod contention;
mod contest;
mod cpu;
mod cycles;
mod figures;
mod growth;
mod host;
mod http;
mod idiom;
mod languages;
mod load;
mod lock_alone;
mod memory;
mod neighbour;
mod one_thread;
mod overload;
mod pace;
mod python;
mod registrations;
mod report;
mod rows;
mod saturation;
mod waiting;
mod worker;

use anyhow::bail;

/// As the host has it, so that what is measured inside this program, or as a server of it, allocates as fast.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some("neighbour") => neighbour::run(&std::env::args().skip(2).collect::<Vec<_>>()).await,
        // What `neighbour` starts.
        Some("attack") => attackers::run(&std::env::args().skip(2).collect::<Vec<_>>()).await,
        // What the row `registrations` of the report starts.
        Some(registrations::BARE) => registrations::bare(&std::env::args().skip(2).collect::<Vec<_>>()).await,
        Some("overload") => overload::run().await,
        Some("backup") => backup::run(),
        Some("compile") => compile::run().await,
        Some("languages") => languages::run().await,
        Some("report") => rows::run(&std::env::args().skip(2).collect::<Vec<_>>()).await,
        None => rows::run(&[]).await,
        Some("waiting") => waiting::run().await,
        Some(other) => bail!("{other} is neither neighbour, overload, backup, compile, languages, report nor waiting"),
    }
}
