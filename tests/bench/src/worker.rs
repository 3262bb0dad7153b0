//! Programs beside this one that work when they are told to, and tell how long each operation took.
//!
//! Such a program says one line when it is ready. Then it reads lines from its input, each of which says how long to work, and
//! answers with a line of three numbers: how long all of it took in nanoseconds, how many operations there were, and how much there
//! was of something else. Behind it come the times of the operations, 8 bytes each, in nanoseconds.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::closed_loop::Work;

/// A program that is running. Dropping it kills it.
pub(crate) struct Worker {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

/// What it has done.
pub(crate) struct Done {
    pub(crate) work: Work,
    /// How much there was of something else.
    pub(crate) also: u64,
}

impl Worker {
    /// Starts it, and returns the line that it says then.
    pub(crate) async fn start(command: &mut Command) -> anyhow::Result<(Self, String)> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        let input = child.stdin.take().context("no standard input")?;
        let output = child.stdout.take().context("no standard output")?;
        let mut worker = Self {
            child,
            input,
            output: BufReader::new(output),
        };
        let line = worker.line().await?;
        Ok((worker, line))
    }

    /// Its id, as long as it runs.
    pub(crate) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Tells it what to do, in one line.
    pub(crate) async fn begin(&mut self, line: &str) -> anyhow::Result<()> {
        Ok(self.input.write_all(format!("{line}\n").as_bytes()).await?)
    }

    /// Waits until it has done it.
    pub(crate) async fn end(&mut self) -> anyhow::Result<Done> {
        let (took, count, also) = parse(&self.line().await?)?;
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            times.push(Duration::from_nanos(self.number().await?));
        }
        Ok(Done {
            work: Work::new(times, took),
            also,
        })
    }

    async fn number(&mut self) -> anyhow::Result<u64> {
        let mut bytes = [0; 8];
        self.output.read_exact(&mut bytes).await?;
        Ok(u64::from_ne_bytes(bytes))
    }

    async fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line).await?;
        ensure!(!line.is_empty(), "a program that was to work has ended");
        Ok(line.trim_end().to_owned())
    }
}

fn parse(line: &str) -> anyhow::Result<(Duration, usize, u64)> {
    let numbers: Vec<_> = line.split(' ').collect();
    let &[took, count, also] = numbers.as_slice() else {
        anyhow::bail!("{line:?} is not what three numbers look like");
    };
    Ok((Duration::from_nanos(took.parse()?), count.parse()?, also.parse()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn what_a_program_has_done_is_read_with_every_time() {
        let script =
            r"echo ready; read seconds; [ $seconds = 0.5 ] && printf '5000 2 7\n\1\1\0\0\0\0\1\1\2\2\0\0\0\0\2\2'";
        let (mut worker, said) = Worker::start(&mut shell(script)).await.unwrap();
        assert_eq!(said, "ready");
        worker.begin("0.5").await.unwrap();
        let Done { work, also } = worker.end().await.unwrap();
        assert_eq!((work.took, also), (Duration::from_micros(5), 7));
        let times = [[1, 1, 0, 0, 0, 0, 1, 1], [2, 2, 0, 0, 0, 0, 2, 2]].map(u64::from_ne_bytes);
        assert_eq!(work.times, times.map(Duration::from_nanos));
    }

    #[tokio::test]
    async fn a_program_that_ends_is_an_error_and_not_waited_for() {
        assert!(Worker::start(&mut shell("exit 1")).await.is_err());
        let (mut worker, _) = Worker::start(&mut shell("echo ready")).await.unwrap();
        assert!(worker.end().await.is_err());
    }

    #[test]
    fn a_line_that_is_not_three_numbers_is_an_error() {
        assert_eq!(parse("1000 2 3").unwrap(), (Duration::from_micros(1), 2, 3));
        for line in ["", "1000 2", "1000 2 3 4", "1000 -2 3", "a b c"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
