//! `namelock names export`.
//!
//! A file is written under another name beside it, flushed to the disk, and then renamed: it is there whole or not at all.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use namelock_names::NamesError;
use tempfile::NamedTempFile;

use super::database::{DatabaseFlags, open, path, refuse_missing, shown, tenant};
use super::error::BackupError;
use super::format::{Header, Writer};
use super::progress::Progress;
use crate::config::source::ConfigError;
use crate::lifecycle::{RunError, stop_signals};

/// The arguments of `namelock names export`.
#[derive(Args, Debug)]
pub(super) struct ExportFlags {
    /// The tenant
    tenant: String,
    /// The file to write; left out, or `-`: standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replaces a file that is there
    #[arg(long, requires = "output")]
    force: bool,
    #[command(flatten)]
    database: DatabaseFlags,
}

pub(super) async fn run(flags: &ExportFlags) -> Result<(), RunError> {
    let tenant = tenant(&flags.tenant)?;
    let config = flags.database.config()?;
    refuse_missing(&config.names_url)?;
    let output = path(flags.output.as_ref());
    if let Some(file) = output {
        refuse_to_replace(file, flags.force)?;
    }
    let mut records = open(&config).await?;
    let failed = |done: u64| {
        move |error: NamesError| BackupError::Database {
            done,
            did: "exported",
            source: error.into(),
        }
    };
    let usage = records.usage(tenant.as_str()).await.map_err(failed(0))?;
    if usage.registrations == 0 {
        return Err(BackupError::Nothing {
            url: config.names_url.to_string(),
            tenant: tenant.to_string(),
        }
        .into());
    }
    let time_ms = records.begin().await.map_err(failed(0))?;
    let out = Output::new(output)?;
    let not_written = |source| BackupError::File {
        doing: "write",
        file: shown(output, "standard output"),
        source,
        hint: "",
    };
    let mut writer = Writer::begin(BufWriter::new(out), &Header::new(tenant.as_str(), time_ms)).map_err(not_written)?;
    let mut progress = Progress::new("exported", usage.registrations);
    let (mut done, mut after) = (0, String::new());
    // A pipe that nobody reads would keep the signal from being heard; there, nothing is left behind anyway.
    let mut stop = output.map(|_| stop_signals()).transpose().map_err(RunError::Runtime)?;
    loop {
        let read = records.read(tenant.as_str(), &after);
        let page = match &mut stop {
            Some(stop) => tokio::select! {
                biased;
                _ = stop() => return Err(BackupError::Stopped("nothing was left behind".to_owned()).into()),
                page = read => page,
            },
            None => read.await,
        };
        let page = page.map_err(failed(done))?;
        let Some(last) = page.last() else {
            break;
        };
        after.clone_from(&last.registration.name);
        for record in page {
            writer.record(record).map_err(not_written)?;
            done += 1;
        }
        progress.at(done);
    }
    let (out, bytes) = writer.end().map_err(not_written)?;
    let out = out.into_inner().map_err(|error| not_written(error.into_error()))?;
    out.keep(flags.force).map_err(not_written)?;
    let seconds = progress.end();
    eprintln!("exported {done} names of {tenant}, {bytes} bytes, in {seconds:.1} s");
    Ok(())
}

fn refuse_to_replace(file: &Path, force: bool) -> Result<(), ConfigError> {
    let problem = match file.exists() {
        // A device or a pipe would be replaced by a file of its name.
        true if !file.is_file() => "it is no file; leave out --output to write to standard output",
        true if !force => "it is there already; pass --force to replace it",
        true | false => return Ok(()),
    };
    Err(ConfigError::new(file.display().to_string(), problem))
}

/// Where the lines go.
enum Output {
    Standard(std::io::Stdout),
    File(NamedTempFile, PathBuf),
}

impl Output {
    fn new(path: Option<&PathBuf>) -> Result<Self, BackupError> {
        let Some(path) = path else {
            return Ok(Self::Standard(std::io::stdout()));
        };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        // Only its owner may read it.
        let file = NamedTempFile::new_in(folder.unwrap_or(Path::new(".")));
        let file = file.map_err(|source| BackupError::File {
            doing: "write",
            file: path.display().to_string(),
            source,
            hint: "; name a file in a folder that is there and that you may write",
        })?;
        Ok(Self::File(file, path.clone()))
    }

    fn keep(self, force: bool) -> std::io::Result<()> {
        let Self::File(file, path) = self else {
            return Ok(());
        };
        file.as_file().sync_all()?;
        let kept = if force {
            file.persist(&path)
        } else {
            file.persist_noclobber(&path)
        };
        kept.map(|_| ()).map_err(|error| error.error)
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Standard(out) => out.write(bytes),
            Self::File(file, _) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::Standard(out) => out.flush(),
            Self::File(file, _) => file.flush(),
        }
    }
}
