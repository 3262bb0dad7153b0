//! `namelock names`: what a tenant keeps in the names database, written to a file and put back.
//!
//! - `format`: the lines of such a file, and how they are read;
//! - `export`: writes them; `import`: reads them, and puts what they say;
//! - `progress`: how far it is.

mod export;
mod format;
mod import;
mod progress;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use namelock_names::NamesUrl;
use namelock_names::records::Records;

use self::export::ExportFlags;
use self::import::ImportFlags;
use crate::config::source::ConfigError;
use crate::config::{Config, ServeFlags};
use crate::lifecycle::RunError;
use crate::tenants::TenantId;

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
}

/// Which database it is.
#[derive(Args, Debug)]
struct DatabaseFlags {
    /// The file that `serve --config` is given, for its section names [env: NAMELOCK_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<OsString>,
    /// The names database: sqlite:PATH or postgres://… [env: NAMELOCK_NAMES] [default: sqlite:namelock.db]
    #[arg(long, value_name = "URL")]
    names: Option<OsString>,
}

impl DatabaseFlags {
    fn config(&self) -> Result<Config, RunError> {
        let flags = ServeFlags {
            config: self.config.clone(),
            names: self.names.clone(),
            ..ServeFlags::default()
        };
        Ok(Config::load(&flags, &|variable| std::env::var_os(variable))?)
    }
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
    }
}

fn tenant(id: &str) -> Result<TenantId, RunError> {
    let parsed = id.parse();
    parsed.map_err(|error| ConfigError::new(format!("tenant {id:?}"), format!("{error}")).into())
}

async fn open(config: &Config) -> Result<Records, RunError> {
    let opened = Records::open(&config.names_url, &config.names).await;
    opened.map_err(|source| RunError::Names {
        url: config.names_url.to_string(),
        source,
    })
}

/// Refuses a file that is not there, which would be created.
fn refuse_missing(url: &NamesUrl) -> Result<(), RunError> {
    match url {
        NamesUrl::Sqlite(path) if !path.exists() => {
            let problem = format!("there is no file {}; name the one that hosts use", path.display());
            Err(ConfigError::new("--names", problem).into())
        }
        _ => Ok(()),
    }
}

/// Why a backup was not made, or not put.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The tenant has no names.
    #[error("the names database {url} keeps nothing of the tenant {tenant}; check both")]
    Nothing {
        /// The database.
        url: String,
        /// The tenant.
        tenant: String,
    },
    /// The database did not answer.
    #[error("{done} names were {did}, then: {source}; run the same command again")]
    Database {
        /// How many it had done.
        done: u64,
        /// What is done with them.
        did: &'static str,
        /// What it said.
        source: namelock_names::SaveError,
    },
    /// What was exported cannot be read.
    #[error("{file}, line {line}: {problem}{aftermath}")]
    Line {
        /// Where it comes from.
        file: String,
        /// Which line, counted from 1.
        line: u64,
        /// What is wrong with it.
        problem: String,
        /// What has been done before.
        aftermath: String,
    },
    /// A file cannot be read or written.
    #[error("cannot {doing} {file}: {source}{hint}")]
    File {
        /// What was tried.
        doing: &'static str,
        /// Which file.
        file: String,
        /// What the system said.
        source: std::io::Error,
        /// How to mend it.
        hint: &'static str,
    },
    /// A signal came.
    #[error("stopped by a signal; nothing was left behind")]
    Stopped,
}

/// Where something is read from or written to.
fn shown(path: Option<&PathBuf>, standard: &str) -> String {
    path.map_or_else(|| standard.to_owned(), |path| path.display().to_string())
}

/// A path; none: standard input or output, also as `-`.
fn path(given: Option<&PathBuf>) -> Option<&PathBuf> {
    given.filter(|path| path.as_os_str() != "-")
}
