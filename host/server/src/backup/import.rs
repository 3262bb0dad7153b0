//! `namelock names import`.
//!
//! A file is read twice: first to its end, so that nothing is put of one that is broken anywhere; then it is put, page by page. Standard
//! input is read once, so there what comes before a broken line is put. Either way the same command again puts nothing twice.

use std::fs::File;
use std::future::pending;
use std::io::{BufRead, BufReader, Seek};
use std::path::PathBuf;

use clap::Args;
use futures_util::FutureExt as _;
use namelock_names::NamesConfig;
use namelock_names::records::{PAGE_MAX, Put, Record};

use super::database::{DatabaseFlags, open, path, shown, tenant};
use super::error::BackupError;
use super::format::{Problem, Reader};
use super::progress::Progress;
use crate::config::Config;
use crate::config::source::ConfigError;
use crate::lifecycle::{RunError, stop_signals};
use crate::output::print;

/// How many bytes the attributes of the records of one transaction have, beyond those of the last.
const PAGE_BYTES_MAX: usize = 1 << 20;

/// The arguments of `namelock names import`.
#[derive(Args, Debug)]
pub(super) struct ImportFlags {
    /// The tenant whose names they become
    tenant: String,
    /// The file to read; left out, or `-`: standard input
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// The tenant that it was exported from, if it is another one: its requests are not remembered then, so a retry is a new one
    #[arg(long, value_name = "TENANT")]
    from: Option<String>,
    /// Reads and checks all, and puts nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    database: DatabaseFlags,
}

pub(super) async fn run(flags: &ImportFlags) -> Result<(), RunError> {
    let tenant = tenant(&flags.tenant)?;
    let config = flags.database.config()?;
    let input = path(flags.input.as_ref());
    let source = Source {
        file: shown(input, "standard input"),
        tenant: tenant.as_str(),
        from: flags.from.as_deref().unwrap_or(tenant.as_str()),
        names: &config.names,
    };
    let Some(path) = input else {
        let stdin = std::io::stdin().lock();
        // Reading it would keep a signal from being heard, so there the signal ends it.
        return source.run(&config, flags.dry_run, 0, stdin, pending).await;
    };
    let not_read = |error| BackupError::File {
        doing: "read",
        file: path.display().to_string(),
        source: error,
        hint: "",
    };
    // Before it is opened, which waits for whoever writes to a pipe.
    if !std::fs::metadata(path).map_err(not_read)?.is_file() {
        let problem = "it is no file; what comes from a pipe is read from standard input";
        return Err(ConfigError::new(path.display().to_string(), problem).into());
    }
    let mut file = File::open(path).map_err(not_read)?;
    let all = source.check(BufReader::new(&file))?;
    file.rewind().map_err(not_read)?;
    let mut stop = stop_signals().map_err(RunError::Runtime)?;
    let stop = async move || _ = stop().await;
    let input = BufReader::new(&file);
    source.run(&config, flags.dry_run, all, input, stop).await
}

/// What is imported.
struct Source<'a> {
    file: String,
    tenant: &'a str,
    /// The tenant that it must be of.
    from: &'a str,
    names: &'a NamesConfig,
}

impl Source<'_> {
    /// Reads all of it, and returns how many names there are.
    fn check(&self, input: impl BufRead) -> Result<u64, BackupError> {
        let (mut reader, mut count) = (self.begin(input)?, 0);
        let mut progress = Progress::new("checked", 0);
        while self.next(&mut reader, "; nothing is imported")?.is_some() {
            count += 1;
            progress.at(count);
        }
        progress.end();
        Ok(count)
    }

    /// Puts all of it, unless it is only to be checked; `all`: how many there will be, if that is known.
    async fn run(
        &self,
        config: &Config,
        dry_run: bool,
        all: u64,
        input: impl BufRead,
        mut stop: impl AsyncFnMut(),
    ) -> Result<(), RunError> {
        if dry_run {
            let count = if all > 0 { all } else { self.check(input)? };
            let tenant = self.tenant;
            return print(&format!(
                "{}: nothing is wrong with it; {count} names for {tenant}\n",
                self.file
            ));
        }
        let mut reader = self.begin(input)?;
        let mut records = open(config).await?;
        let reach = records.reach().await.map_err(|error| BackupError::Database {
            done: 0,
            did: "imported",
            source: error.into(),
        })?;
        let mut progress = Progress::new("imported", all);
        let (mut sum, mut beyond) = (Put::default(), 0);
        loop {
            let page = self.page(&mut reader, &sum)?;
            if page.is_empty() {
                break;
            }
            // What is being put is let be decided.
            let put = records.put(self.tenant, &page).await;
            let put = put.map_err(|source| BackupError::Database {
                done: sum.written + sum.left,
                did: "imported",
                source,
            })?;
            sum.written += put.written;
            sum.left += put.left;
            let is_beyond = |record: &&Record| reach.is_some_and(|reach| record.registration.fencing_token >= reach);
            beyond += page.iter().filter(is_beyond).count();
            let done = sum.written + sum.left;
            progress.at(done);
            if stop().now_or_never().is_some() {
                let told = format!("the first {done} names are imported; the same command again goes on from there");
                return Err(BackupError::Stopped(told).into());
            }
        }
        let seconds = progress.end();
        let Put { written, left } = sum;
        let tenant = self.tenant;
        print(&format!(
            "{written} names of {tenant} are imported in {seconds:.1} s; {left} were left as they are, written since or imported before\n"
        ))?;
        if beyond > 0 {
            eprintln!(
                "warning: {beyond} names have fencing tokens greater than the lock servers of now will give: until these are restarted \
                 one by one, handlers that write such a name are told that their lease is lost"
            );
        }
        Ok(())
    }

    fn begin<R: BufRead>(&self, input: R) -> Result<Reader<R>, BackupError> {
        let begun = Reader::begin(input);
        let (reader, header) = begun.map_err(|(line, problem)| self.line(line, problem, "; nothing is imported"))?;
        if header.tenant != self.from {
            let problem = format!(
                "it is an export of the tenant {:?}, and not of {}; pass --from with that to put its names there",
                header.tenant, self.from
            );
            return Err(self.line(1, problem, "; nothing is imported"));
        }
        Ok(reader)
    }

    fn next<R: BufRead>(&self, reader: &mut Reader<R>, aftermath: &str) -> Result<Option<Record>, BackupError> {
        let next = reader.next(self.names);
        next.map_err(|problem| self.line(reader.line, problem, aftermath))
    }

    /// Reads the records of one transaction; none: all are read.
    fn page<R: BufRead>(&self, reader: &mut Reader<R>, before: &Put) -> Result<Vec<Record>, BackupError> {
        let (mut page, mut bytes) = (Vec::new(), 0);
        let done = before.written + before.left;
        let aftermath = format!(
            "; the first {done} names are imported; mend the line and run the same command again, which imports none twice"
        );
        while page.len() < PAGE_MAX && bytes < PAGE_BYTES_MAX {
            let Some(mut record) = self.next(reader, &aftermath)? else {
                break;
            };
            if self.from != self.tenant {
                // Their digests are of the other tenant.
                (record.saved_by, record.changed_by) = (None, None);
            }
            let attributes = record.registration.attributes.iter();
            bytes += attributes.map(|(key, value)| key.len() + value.len()).sum::<usize>();
            page.push(record);
        }
        Ok(page)
    }

    fn line(&self, line: u64, problem: Problem, aftermath: &str) -> BackupError {
        BackupError::Line {
            file: self.file.clone(),
            line,
            problem,
            aftermath: aftermath.to_owned(),
        }
    }
}
