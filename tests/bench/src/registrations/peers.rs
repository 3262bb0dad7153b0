//! The servers that register names, each with a memcached and a database of its own.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, ensure};
use namelock_test_artifacts::ROOMS;
use namelock_test_servers::{Memcached, Postgres, Process};
use tempfile::TempDir;
use tokio::process::Command;

use crate::host::{Host, UNLIMITED};
use crate::http::Client;
use crate::python;

/// Names of the processes whose CPU time is told. The server is whoever answers HTTP, with all that it has started;
/// SQLite is part of it.
pub(super) const SERVER: &str = "server";
const MEMCACHED: &str = "memcached";
const POSTGRES: &str = "PostgreSQL";

/// How long a server may take to start.
const START: Duration = Duration::from_secs(60);

const PROGRAM: &str = "registrations.py";

/// From the folder of this crate, what cargo makes of `tests/native`.
const NATIVE: &str = "../../target/release/namelock-native";

/// Workers of gunicorn for each processor, of the two to four that its documentation recommends.
const WORKERS_FOR_EACH_CPU: usize = 2;

/// Where names are saved.
pub(super) enum Database {
    /// A file in a folder of its own.
    Sqlite(TempDir),
    Postgres(Postgres),
}

/// A server that registers names at a path of its address.
pub(super) struct Service {
    pub(super) peer: &'static str,
    pub(super) address: SocketAddr,
    pub(super) path: &'static str,
    /// Ends first: it would complain of the others.
    program: Program,
    memcached: Arc<Memcached>,
    database: Database,
}

enum Program {
    Host(Host),
    Other(Process),
}

impl Database {
    pub(super) fn sqlite() -> anyhow::Result<Self> {
        Ok(Self::Sqlite(tempfile::tempdir()?))
    }

    pub(super) fn postgres() -> anyhow::Result<Self> {
        Ok(Self::Postgres(Postgres::start()))
    }

    /// Its URL, as the host takes it.
    pub(super) fn url(&self) -> String {
        match self {
            Self::Sqlite(folder) => format!("sqlite:{}", folder.path().join("names.db").display()),
            Self::Postgres(server) => server.url(),
        }
    }
}

impl Service {
    /// A program that says on its standard output where it listens, and registers names at this path.
    pub(super) fn start(
        peer: &'static str,
        path: &'static str,
        command: &mut std::process::Command,
        memcached: Memcached,
        database: Database,
    ) -> anyhow::Result<Self> {
        let mut process = Process::spawn(command.stdout(Stdio::piped()));
        let line = process.first_line(START).unwrap_or_default();
        let address = line.strip_prefix("listening on http://");
        let address = address.with_context(|| format!("{peer} did not start, but said {line:?}"))?;
        Ok(Self {
            peer,
            address: address.parse()?,
            path,
            database,
            memcached: Arc::new(memcached),
            program: Program::Other(process),
        })
    }

    /// The processes that work for it, by the names under which their CPU time is told.
    pub(super) fn processes(&self) -> Vec<(&'static str, u32)> {
        let server = match &self.program {
            Program::Host(host) => host.process.id(),
            Program::Other(process) => process.id(),
        };
        let mut processes = vec![(SERVER, server), (MEMCACHED, self.memcached.id())];
        if let Database::Postgres(postgres) = &self.database {
            processes.push((POSTGRES, postgres.id()));
        }
        processes
    }

    /// Checks that a name is registered, and not a second time: what is measured is not how fast everything is refused,
    /// or granted.
    pub(super) async fn answers(&self) -> anyhow::Result<()> {
        let mut client = Client::connect(self.address).await?;
        for (owner, expected) in [("ann", 201), ("bob", 409)] {
            let body = format!("{{\"name\":\"the first\",\"owner\":\"{owner}\"}}");
            let (status, answer) = client.ask(self.path, &body).await?;
            ensure!(
                status == expected,
                "{} answered {status} to {owner}: {answer}",
                self.peer
            );
        }
        Ok(())
    }
}

/// The release build, with `rooms` as its only tenant.
pub(super) fn namelock(peer: &'static str, database: Database) -> anyhow::Result<Service> {
    let config = format!("[names]\nurl = \"{}\"\n", database.url());
    let host = Host::start(&config, &[("rooms", ROOMS, UNLIMITED)])?;
    Ok(Service {
        peer,
        address: host.address,
        path: "/v1/rooms/names",
        database,
        memcached: Arc::clone(&host.memcached),
        program: Program::Host(host),
    })
}

/// The release build of `tests/native`.
pub(super) fn native(peer: &'static str, memcached: Memcached, database: Database) -> anyhow::Result<Service> {
    let mut command = Process::command(Path::new(env!("CARGO_MANIFEST_DIR")).join(NATIVE), "run `make bench`");
    command.args([memcached.url(), database.url()]);
    Service::start(peer, "/v1/demo/names", &mut command, memcached, database)
}

/// `tests/bench/registrations.py`, in the virtual environment that the Makefile makes.
pub(super) struct Django;

impl Django {
    /// The versions of Django, gunicorn and Python; none: something is missing.
    pub(super) async fn versions() -> Option<[String; 3]> {
        python::versions(PROGRAM).await
    }

    pub(super) fn start(peer: &'static str, memcached: Memcached, database: Database) -> anyhow::Result<Service> {
        let workers = thread::available_parallelism()?.get() * WORKERS_FOR_EACH_CPU;
        let mut command = Process::command(python::interpreter(), python::INSTALL);
        command
            .arg(python::program(PROGRAM))
            .args([memcached.address().to_string(), workers.to_string()]);
        match &database {
            Database::Sqlite(folder) => command.arg("sqlite").arg(folder.path().join("names.db")),
            Database::Postgres(server) => {
                let address = server.address();
                command.args(["postgres", &address.ip().to_string(), &address.port().to_string()])
            }
        };
        Service::start(peer, "/", &mut command, memcached, database)
    }
}

/// A sentence that says where all databases are, because that decides what a flush costs.
pub(super) async fn where_the_data_is() -> String {
    let folder = std::env::temp_dir();
    let mut command = Command::new("stat");
    let asked = command
        .args(["--file-system", "--format=%T"])
        .arg(&folder)
        .output()
        .await;
    let kind = asked.ok().and_then(|output| String::from_utf8(output.stdout).ok());
    data_is_in(&folder.display().to_string(), kind.unwrap_or_default().trim())
}

fn data_is_in(folder: &str, kind: &str) -> String {
    let flushes = if kind == "tmpfs" {
        "in memory, so a flush costs a system call and no wait for a disk"
    } else {
        "and what it takes to flush decides much of this"
    };
    format!("The data of all databases was in `{folder}` ({kind}), {flushes}.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_the_data_is_says_whether_flushes_are_waited_for() {
        assert!(data_is_in("/dev/shm", "tmpfs").contains("`/dev/shm` (tmpfs), in memory"));
        assert!(data_is_in("/tmp", "ext2/ext3").contains("`/tmp` (ext2/ext3), and what it takes to flush"));
    }
}
