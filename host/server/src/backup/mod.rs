//! `namelock names`: what a tenant keeps in the names database, written to a file and put back.
//!
//! - `format`: the lines of such a file, and how they are read;
//! - `export`: writes them; `import`: reads them, and puts what they say;
//! - `database`: which database, tenant and file; `error`: why it was not done; `progress`: how far it is.

mod database;
mod error;
mod export;
mod format;
mod import;
mod moves;
mod progress;

use clap::{Args, Subcommand};

pub use self::error::BackupError;
use self::export::ExportFlags;
use self::import::ImportFlags;
use self::moves::{MoveFlags, PlacementFlags};
use crate::lifecycle::RunError;

/// The arguments of `namelock names`.
#[derive(Args, Debug)]
pub struct NamesFlags {
    #[command(subcommand)]
    command: NamesCommand,
}

#[derive(Debug, Subcommand)]
enum NamesCommand {
    /// Writes all that the names database keeps of a tenant, as lines of JSON
    ///
    /// The lines are of one instant, while hosts go on. They have owners and attributes in the clear: keep them as safe as the database.
    Export(ExportFlags),
    /// Puts what was exported, into the same database or another one
    ///
    /// A name that was written since stays as it is, and what is put twice is there once, so an import that was interrupted is begun
    /// again. A file is read to its end before anything is put; standard input cannot be.
    Import(ImportFlags),
    /// Moves a tenant from one of several databases to another
    ///
    /// Others are served meanwhile; its own calls are answered `names_unavailable`. If it is interrupted, the same command goes on, and
    /// `--back` undoes it until the tenant is in its new place.
    Move(MoveFlags),
    /// Lists in which of several databases each tenant is
    Placement(PlacementFlags),
}

/// Runs a command.
///
/// # Errors
///
/// See [`RunError`].
pub fn run(flags: &NamesFlags) -> Result<(), RunError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(RunError::Runtime)?;
    match &flags.command {
        NamesCommand::Export(flags) => runtime.block_on(export::run(flags)),
        NamesCommand::Import(flags) => runtime.block_on(import::run(flags)),
        NamesCommand::Move(flags) => runtime.block_on(moves::run(flags)),
        NamesCommand::Placement(flags) => runtime.block_on(moves::list(flags)),
    }
}
