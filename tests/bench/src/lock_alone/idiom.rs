//! The Python idiom with which this project began, in real Python processes: `tests/bench/idiom.py`, in a virtual environment
//! that the Makefile makes.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use async_trait::async_trait;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::closed_loop::Work;
use crate::contest::Contestant;
use crate::python;

const PROGRAM: &str = "idiom.py";

/// The versions of Python and pymemcache; none: something is missing.
pub(super) async fn versions() -> Option<[String; 2]> {
    python::versions(PROGRAM).await
}

/// Processes, each of which is one caller with a connection of its own.
pub(super) struct Processes(Vec<Process>);

struct Process {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Processes {
    pub(super) async fn start(address: SocketAddr, count: usize) -> anyhow::Result<Self> {
        let mut processes = Vec::new();
        for caller in 0..count {
            processes.push(Process::start(address, caller).await?);
        }
        Ok(Self(processes))
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = u32> {
        self.0.iter().filter_map(|process| process.child.id())
    }
}

#[async_trait]
impl Contestant for Processes {
    async fn work(&mut self, time: Duration) -> anyhow::Result<Work> {
        for process in &mut self.0 {
            process.begin(time).await?;
        }
        let mut all = Work {
            times: Vec::new(),
            took: Duration::ZERO,
        };
        for process in &mut self.0 {
            let work = process.end().await?;
            all.times.extend(work.times);
            all.took = all.took.max(work.took);
        }
        Ok(all)
    }
}

impl Process {
    async fn start(address: SocketAddr, caller: usize) -> anyhow::Result<Self> {
        let mut child = Command::new(python::interpreter())
            .arg(python::program(PROGRAM))
            .args([address.ip().to_string(), address.port().to_string(), caller.to_string()])
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

    /// Reads how long all took and how many cycles there were, and then the time of each: 8 bytes, in nanoseconds.
    async fn end(&mut self) -> anyhow::Result<Work> {
        let line = self.line().await?;
        let numbers = line.split_once(' ').context("the Python idiom has ended")?;
        let (took, count): (u64, usize) = (numbers.0.parse()?, numbers.1.parse()?);
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            let mut bytes = [0; 8];
            self.output.read_exact(&mut bytes).await?;
            times.push(Duration::from_nanos(u64::from_ne_bytes(bytes)));
        }
        Ok(Work {
            times,
            took: Duration::from_nanos(took),
        })
    }

    async fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line).await?;
        Ok(line.trim_end().to_owned())
    }
}
