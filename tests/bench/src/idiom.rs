//! The Python idiom with which this project began, in real Python processes: `tests/bench/idiom.py`, in a virtual environment
//! that the Makefile makes. It cannot wait: who finds a name locked may only try again.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use async_trait::async_trait;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::closed_loop::Work;
use crate::contest::Contestant;
use crate::python;
use crate::report::Report;

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
    all: Vec<Process>,
    /// The name that all of them want; none: each locks and releases names of its own.
    name: Option<&'static str>,
}

/// What one of them has done, and how often it found the name locked.
struct Attempts {
    work: Work,
    refused: u64,
}

struct Process {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
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
            all.push(Process::start(address, caller, name).await?);
        }
        Ok(Self { all, name })
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = u32> {
        self.all.iter().filter_map(|process| process.child.id())
    }
}

#[async_trait]
impl Contestant for Processes {
    async fn work(&mut self, time: Duration) -> anyhow::Result<Work> {
        for process in &mut self.all {
            process.begin(time).await?;
        }
        let (mut all, mut all_refused) = (Work::new(Vec::new(), Duration::ZERO), 0);
        for process in &mut self.all {
            let Attempts { work, refused } = process.end().await?;
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

impl Process {
    async fn start(address: SocketAddr, caller: usize, name: Option<&str>) -> anyhow::Result<Self> {
        let mut child = Command::new(python::interpreter())
            .arg(python::program(PROGRAM))
            .args([address.ip().to_string(), address.port().to_string(), caller.to_string()])
            .args(name)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start Python")?;
        let input = child.stdin.take().context("no standard input")?;
        let output = child.stdout.take().context("no standard output")?;
        let mut process = Self {
            child,
            input,
            output: BufReader::new(output),
        };
        let ready = process.line().await?;
        ensure!(ready == "ready", "the Python idiom did not start, but said {ready:?}");
        Ok(process)
    }

    async fn begin(&mut self, time: Duration) -> anyhow::Result<()> {
        let seconds = format!("{}\n", time.as_secs_f64());
        Ok(self.input.write_all(seconds.as_bytes()).await?)
    }

    /// Reads how long all took, how often it had a lock and how often not, and then the time of each lock: 8 bytes, in
    /// nanoseconds.
    async fn end(&mut self) -> anyhow::Result<Attempts> {
        let line = self.line().await?;
        let numbers: Vec<_> = line.split(' ').collect();
        let &[took, count, refused] = numbers.as_slice() else {
            bail!("the Python idiom has ended");
        };
        let (took, count): (u64, usize) = (took.parse()?, count.parse()?);
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            let mut bytes = [0; 8];
            self.output.read_exact(&mut bytes).await?;
            times.push(Duration::from_nanos(u64::from_ne_bytes(bytes)));
        }
        Ok(Attempts {
            work: Work::new(times, Duration::from_nanos(took)),
            refused: refused.parse()?,
        })
    }

    async fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line).await?;
        Ok(line.trim_end().to_owned())
    }
}
