//! The binary `namelock`; see [`namelock::cli`].

use std::io::Write;
use std::process::ExitCode;

use namelock::cli;
use namelock::text::one_line;

/// A request makes hundreds of small allocations on at least two threads, and this allocator needs a fraction of the
/// time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Longest line that reports a failure, in bytes.
const LINE_MAX: usize = 4096;

fn main() -> ExitCode {
    let Err(error) = cli::run(std::env::args_os()) else {
        return ExitCode::SUCCESS;
    };
    let code = error.exit_code();
    let chain = format!("{:#}", anyhow::Error::new(error));
    // If standard error is closed too, there is nowhere to report it.
    let _ = writeln!(std::io::stderr(), "namelock: {}", one_line(&chain, LINE_MAX));
    ExitCode::from(code)
}
