//! The Python idiom with which this project began, in real Python processes: `tests/bench/idiom.py`, in a virtual environment
//! that the Makefile makes. It cannot wait: who finds a name locked may only try again.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::ensure;
use async_trait::async_trait;
use tokio::process::Command;

use crate::closed_loop::Work;
use crate::contest::Contestant;
use crate::python;
use crate::report::Report;
use crate::worker::{Done, Worker};

/// What it is called in reports.
pub(crate) const IDIOM: &str = "Python idiom (pymemcache)";

/// The column of attempts that found a name locked.
pub(crate) const REFUSED: &str = "refused/s";

const PROGRAM: &str = "idiom.py";

/// Whether it can be measured here. Then the report tells its versions.
pub(crate) async fn is_installed(report: &mut Report) -> bool {
    let Some([python, pymemcache]) = python::versions(PROGRAM).await else {
        return false;
    };
    report.environment.version("Python", &python);
    report.environment.version("pymemcache", &pymemcache);
    true
}

/// Processes, each of which is one caller with a connection of its own.
pub(crate) struct Processes {
    all: Vec<Worker>,
    /// The name that all of them want; none: each locks and releases names of its own.
    name: Option<&'static str>,
}

impl Processes {
    /// Each locks and releases names of its own. A time is that of both.
    pub(crate) async fn of_own_names(address: SocketAddr, count: usize) -> anyhow::Result<Self> {
        Self::start(address, count, None).await
    }

    /// All want this name, again and again. A time is that of an attempt which got it.
    pub(crate) async fn of_one_name(address: SocketAddr, count: usize, name: &'static str) -> anyhow::Result<Self> {
        Self::start(address, count, Some(name)).await
    }

    async fn start(address: SocketAddr, count: usize, name: Option<&'static str>) -> anyhow::Result<Self> {
        let mut all = Vec::new();
        for caller in 0..count {
            all.push(start(address, caller, name).await?);
        }
        Ok(Self { all, name })
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = u32> {
        self.all.iter().filter_map(Worker::id)
    }
}

#[async_trait]
impl Contestant for Processes {
    async fn work(&mut self, time: Duration) -> anyhow::Result<Work> {
        for process in &mut self.all {
            process.begin(&time.as_secs_f64().to_string()).await?;
        }
        let (mut all, mut all_refused) = (Work::new(Vec::new(), Duration::ZERO), 0);
        for process in &mut self.all {
            let Done { work, also: refused } = process.end().await?;
            all.times.extend(work.times);
            all.took = all.took.max(work.took);
            all_refused += refused;
        }
        if self.name.is_some() {
            all.also.insert(REFUSED, all_refused as f64 / all.took.as_secs_f64());
        }
        Ok(all)
    }
}

async fn start(address: SocketAddr, caller: usize, name: Option<&str>) -> anyhow::Result<Worker> {
    let mut command = Command::new(python::interpreter());
    command
        .arg(python::program(PROGRAM))
        .args([address.ip().to_string(), address.port().to_string(), caller.to_string()])
        .args(name);
    let (process, ready) = Worker::start(&mut command).await?;
    ensure!(ready == "ready", "the Python idiom did not start, but said {ready:?}");
    Ok(process)
}
