//! One run of a tool, which ends with this process.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::pin::Pin;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use crate::lifecycle::RunError;

/// The most that is read of what a tool answers, in bytes.
const ANSWER_MAX: u64 = 16 << 20;

/// The tools of one build: they share a deadline, and end when this process is told to.
pub(super) struct Tools {
    deadline: Instant,
    timeout: Duration,
    stopped: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Tools {
    pub(super) fn new(timeout: Duration) -> Result<Self, RunError> {
        let catch = |kind| signal(kind).map_err(RunError::Runtime);
        let (mut interrupt, mut terminate, mut hangup) = (
            catch(SignalKind::interrupt())?,
            catch(SignalKind::terminate())?,
            catch(SignalKind::hangup())?,
        );
        Ok(Self {
            deadline: Instant::now() + timeout,
            timeout,
            stopped: Box::pin(async move {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hangup.recv() => {}
                }
            }),
        })
    }

    /// Runs a tool, which writes to our standard error. It fails unless the tool succeeds.
    pub(super) async fn show(&mut self, tool: &mut Tool<'_>) -> Result<(), RunError> {
        // What we print on standard output is the result alone.
        tool.command.stdout(io::stderr());
        let mut group = Group::start(tool)?;
        let name = tool.name;
        let status = self.within(name, async { group.child.wait().await }).await?;
        if !status.success() {
            return Err(failed(format!("{name} failed ({status}); what it says is above")));
        }
        Ok(())
    }

    /// Runs a tool, and returns what it writes to standard output; none: it fails.
    pub(super) async fn ask(&mut self, tool: &mut Tool<'_>) -> Result<Option<String>, RunError> {
        tool.command.stdout(Stdio::piped());
        let mut group = Group::start(tool)?;
        let name = tool.name;
        let answer = self.within(name, async {
            let mut answer = Vec::new();
            if let Some(stdout) = group.child.stdout.take() {
                stdout.take(ANSWER_MAX).read_to_end(&mut answer).await?;
            }
            let status = group.child.wait().await?;
            Ok(status.success().then(|| String::from_utf8_lossy(&answer).into_owned()))
        });
        answer.await
    }

    /// Waits for what a tool does, until the deadline or a signal.
    async fn within<T>(&mut self, name: &str, work: impl Future<Output = io::Result<T>>) -> Result<T, RunError> {
        tokio::select! {
            done = work => done.map_err(|error| failed(format!("cannot run {name}: {error}"))),
            () = &mut self.stopped => Err(failed(format!("stopped by a signal while {name} ran"))),
            () = tokio::time::sleep_until(self.deadline) => {
                let seconds = self.timeout.as_secs();
                Err(failed(format!("{name} was stopped: the build took longer than {seconds} s; allow more with --timeout")))
            }
        }
    }
}

/// A tool, with what to say if it is not there.
pub(super) struct Tool<'a> {
    name: &'a str,
    install: &'a str,
    pub(super) command: Command,
}

impl<'a> Tool<'a> {
    /// `name` is what is said of it, `program` what is run in `dir`.
    pub(super) fn new(name: &'a str, program: &Path, dir: &Path, install: &'a str) -> Self {
        let mut command = Command::new(program);
        command.current_dir(dir).stdin(Stdio::null());
        Self { name, install, command }
    }
}

/// A tool that runs, with all that it starts.
struct Group {
    child: Child,
}

impl Group {
    fn start(tool: &mut Tool<'_>) -> Result<Self, RunError> {
        match tool.command.process_group(0).spawn() {
            Ok(child) => Ok(Self { child }),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err(failed(format!("{} is not installed: {}", tool.name, tool.install)))
            }
            Err(error) => Err(failed(format!("cannot run {}: {error}", tool.name))),
        }
    }
}

impl Drop for Group {
    /// Ends what still runs: a tool that hangs, and what it has started, which a signal to this process does not reach.
    fn drop(&mut self) {
        // None: the tool has ended and was waited for, so its number may be that of something else.
        let id = self.child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
        if let Some(group) = id {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

pub(super) fn failed(why: String) -> RunError {
    RunError::Build(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell<'a>(script: &str) -> Tool<'a> {
        let mut tool = Tool::new("sh", Path::new("sh"), Path::new("/"), "it is part of the platform");
        tool.command.args(["-c", script]);
        tool
    }

    fn tools(timeout: Duration) -> Tools {
        Tools::new(timeout).unwrap()
    }

    const LONG: Duration = Duration::from_secs(600);

    #[tokio::test]
    async fn a_tool_answers_or_fails() {
        let mut tools = tools(LONG);
        assert_eq!(
            tools.ask(&mut shell("echo yes")).await.unwrap().as_deref(),
            Some("yes\n")
        );
        assert_eq!(tools.ask(&mut shell("echo no; exit 3")).await.unwrap(), None);
        tools.show(&mut shell("true")).await.unwrap();
        let error = tools.show(&mut shell("exit 3")).await.unwrap_err().to_string();
        assert_eq!(error, "cannot build: sh failed (exit status: 3); what it says is above");
        let mut absent = Tool::new(
            "nothing",
            Path::new("/no/such/tool"),
            Path::new("/"),
            "run `install it`",
        );
        let error = tools.ask(&mut absent).await.unwrap_err().to_string();
        assert_eq!(error, "cannot build: nothing is not installed: run `install it`");
    }

    #[tokio::test]
    async fn a_tool_that_answers_without_end_is_cut_off() {
        let answer = tools(LONG).ask(&mut shell("exec yes")).await.unwrap();
        assert_eq!(answer, None, "it was ended by the pipe that nobody read");
    }

    #[tokio::test]
    async fn a_tool_that_hangs_is_ended_with_what_it_has_started() {
        let (reader, writer) = io::pipe().unwrap();
        let mut hangs = shell("sleep 1000 & wait");
        // Both have the pipe open until they end.
        hangs.command.stdout(Stdio::null()).stderr(writer);
        let group = Group::start(&mut hangs).unwrap();
        drop(hangs);
        let error = tools(Duration::from_millis(20))
            .within("sh", std::future::pending::<io::Result<()>>())
            .await;
        assert!(error.unwrap_err().to_string().contains("allow more with --timeout"));
        drop(group);
        assert_eq!(io::read_to_string(reader).unwrap(), "");
    }
}
