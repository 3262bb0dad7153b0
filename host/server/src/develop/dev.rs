//! `namelock dev`: serves a project while it is being written.
//!
//! It is `serve` with one tenant, whose directory this fills: whenever a file of the project changes, the project is built, what came of
//! it is put there, and the host reads its tenants again, as at SIGHUP. So a component that is refused leaves the one before it in
//! place, and calls that run end on the version that they began with. Locks and names are in this process and go with it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::Args;

use super::build;
use super::command;
use super::language::Language;
use super::subject::Subject;
use super::workshop;
use crate::config::source::ConfigError;
use crate::config::{Config, ServeFlags};
use crate::lifecycle::{self, Addresses, Manager, RunError};
use crate::output::print;
use crate::telemetry::{self, LogWriter};
use crate::tenants::{InvalidTenantId, TenantId};
use crate::text;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_millis(300);

/// Most files that are looked at.
const FILES_MAX: usize = 10_000;

/// What tools write into a project.
const MADE: [&str; 4] = ["target", "node_modules", "__pycache__", "handler.wasm"];

/// What is no part of the component.
const BESIDE: [&str; 2] = ["scenarios", "README.md"];

/// What to serve.
#[derive(Args, Debug)]
pub struct DevFlags {
    /// The directory of the project
    #[arg(value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// The address to listen on for requests
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: OsString,
    /// After how many seconds the tools of a build are ended
    #[arg(long, value_name = "SECONDS", default_value_t = 1800, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
    /// The configuration of the host, for its limits [default: those of a host without one]
    #[arg(long, value_name = "FILE")]
    config: Option<OsString>,
    /// Where compiled components are kept [default: namelock in the user's cache directory]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
}

/// Serves a project until a signal comes.
///
/// # Errors
///
/// See [`RunError`]; a build that fails is logged, and the next change is waited for.
pub fn run(flags: &DevFlags) -> Result<(), RunError> {
    let language = build::language(&flags.dir)?;
    let wrong = || {
        ConfigError::new(
            flags.dir.display().to_string(),
            format!("its name is that of the tenant: {InvalidTenantId}"),
        )
    };
    let id = TenantId::of_directory(&flags.dir).ok_or_else(wrong)?;
    let folder = tempfile::tempdir().map_err(RunError::Runtime)?;
    let tenants = folder.path().join("tenants");
    let place = tenants.join(id.as_str());
    fs::create_dir_all(&place).map_err(RunError::Runtime)?;
    let given = ServeFlags {
        config: flags.config.clone(),
        listen: Some(flags.listen.clone()),
        admin: Some("127.0.0.1:0".into()),
        lock: Some("memory:".into()),
        names: Some(format!("sqlite:{}", folder.path().join("names.db").display()).into()),
        tenants: Some(tenants.into()),
        cache: Some(flags.cache.clone().unwrap_or_else(workshop::cache).into()),
        open: false,
        admin_open: false,
    };
    let mut config = Config::load(&given, &|_| None)?;
    // The author has the versions before, and nothing of the host's is to appear in the project.
    config.versions.keep = 0;
    config.versions.dir = std::path::PathBuf::new();
    let (log, log_thread) = LogWriter::start(io::stderr(), config.log_queue).map_err(RunError::Runtime)?;
    // With a line for each request.
    let log = telemetry::init(Some("info,namelock::telemetry=debug".into()), None, log)?;
    let mut project = Project {
        config: &config,
        dir: flags.dir.clone(),
        place,
        language,
        timeout: Duration::from_secs(flags.timeout),
        seen: Files::default(),
    };
    let runtime = command::runtime()?;
    let served = runtime.block_on(async {
        let stop = lifecycle::stop_signals().map_err(RunError::Runtime)?;
        project.build().await;
        lifecycle::serve(
            config.clone(),
            log,
            Manager::default(),
            |addresses| announce(addresses, &id),
            stop,
            async || project.changed().await,
        )
        .await
    });
    runtime.shutdown_background();
    drop(log_thread);
    served
}

/// Says where the tenant is served; a reader that has gone is no reason to stop.
fn announce(addresses: Addresses, id: &TenantId) {
    let Addresses { public, admin } = addresses;
    let text = format!("listening on {public} (admin {admin})\nthe tenant {id} is at {public}/v1/{id}/names\n");
    if let Err(error) = print(&text) {
        tracing::warn!(%error, "cannot write to standard output");
    }
}

/// The files of a project, with when they were changed and how long they are.
type Files = BTreeMap<PathBuf, (Option<SystemTime>, u64)>;

/// A project, and the directory of its tenant.
struct Project<'a> {
    config: &'a Config,
    dir: PathBuf,
    place: PathBuf,
    language: Language,
    timeout: Duration,
    /// The files at the last build.
    seen: Files,
}

impl Project<'_> {
    /// Waits for a change that makes another version.
    async fn changed(&mut self) {
        loop {
            tokio::time::sleep(LOOK).await;
            if files(&self.dir) != self.seen && self.build().await {
                return;
            }
        }
    }

    /// Builds the files as they are now, and puts the component where the host reads it; false: it cannot be built.
    async fn build(&mut self) -> bool {
        // Before the build: what changes meanwhile is built once more.
        self.seen = files(&self.dir);
        let built = build::build(&self.dir, self.timeout, self.language).await;
        let put = built.and_then(|_| {
            let subject = Subject::read(&self.dir, self.config).map_err(RunError::Tenant)?;
            if let Some(refused) = subject.refused {
                return Err(RunError::Tenant(refused));
            }
            let write = |source| RunError::Write {
                path: self.place.clone(),
                source,
            };
            self.put().map_err(write)
        });
        match &put {
            Ok(()) => tracing::info!(dir = %self.dir.display(), "built"),
            Err(error) => {
                tracing::error!(error = %text::chain(error), "not built; the version before is served, if there is one")
            }
        }
        put.is_ok()
    }

    /// Copies what a tenant's directory has.
    fn put(&self) -> io::Result<()> {
        for name in ["tenant.toml", "handler.wasm"] {
            let (from, to) = (self.dir.join(name), self.place.join(name));
            if !from.exists() {
                fs::remove_file(to).or_else(|error| match error.kind() {
                    io::ErrorKind::NotFound => Ok(()),
                    _ => Err(error),
                })?;
                continue;
            }
            let part = self.place.join(format!(".{name}"));
            fs::copy(from, &part)?;
            fs::rename(part, to)?;
        }
        Ok(())
    }
}

/// The files of a project that are written by people, up to a bound.
fn files(dir: &Path) -> Files {
    let mut files = Files::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        // What is gone by now is seen to be gone at the next look.
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let is_made =
                MADE.iter().chain(&BESIDE).any(|made| name == *made) || name.as_encoded_bytes().starts_with(b".");
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            if is_made || files.len() == FILES_MAX {
                continue;
            }
            if metadata.is_dir() {
                folders.push(entry.path());
            } else {
                files.insert(entry.path(), (metadata.modified().ok(), metadata.len()));
            }
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_looked_at_and_what_tools_make_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        for path in [
            "src/lib.rs",
            "tenant.toml",
            "handler.wasm",
            "target/a",
            "node_modules/a",
            ".venv/a",
            "src/__pycache__/a",
        ] {
            write(path, "1");
        }
        let before = files(folder.path());
        let names: Vec<_> = before
            .keys()
            .map(|path| path.strip_prefix(folder.path()).unwrap().to_str().unwrap())
            .collect();
        assert_eq!(names, ["src/lib.rs", "tenant.toml"]);
        write("target/b", "1");
        write("handler.wasm", "22");
        assert_eq!(files(folder.path()), before);
        write("src/lib.rs", "22");
        assert_ne!(files(folder.path()), before);
        assert_eq!(files(&folder.path().join("none")), Files::new());
    }
}
