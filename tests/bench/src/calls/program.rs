//! The program of `tests/calls`, from what cargo makes of it.

// What it says is in this file of its crate.
#[expect(unreachable_pub, reason = "there it is a module of a library")]
#[path = "../../../calls/src/told.rs"]
mod told;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use async_trait::async_trait;
use tokio::process::Command;
use tokio::sync::Mutex;

use self::told::{FirstAnswers, Held};
use crate::closed_loop::Work;
use crate::contest::Contestant;
use crate::worker::{Done, Worker};

const PROGRAM: &str = "../../target/release/namelock-calls";

/// The command that builds it.
const BUILD: &str = "make build-bench";

/// The column of instances that have trapped, and were made anew.
const RENEWED: &str = "made anew/s";

/// How a component is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// In a fresh instance for each call.
    Fresh,
    /// In an instance that each caller has for itself.
    Reused,
}

/// One that calls a component.
pub(super) struct Program {
    worker: Arc<Mutex<Worker>>,
    pub(super) id: u32,
    pub(super) way: Way,
}

/// So many callers in it.
pub(super) struct Callers {
    worker: Arc<Mutex<Worker>>,
    way: Way,
    count: usize,
}

impl Program {
    /// Starts it, which compiles the component. It tells how long a first answer takes.
    pub(super) async fn start(way: Way, component: &Path, rest: &[&Path]) -> anyhow::Result<(Self, FirstAnswers)> {
        let name = match way {
            Way::Fresh => "fresh",
            Way::Reused => "reused",
        };
        let mut command = command()?;
        command.arg(name).arg(component).args(rest);
        let (worker, said) = Worker::start(&mut command).await?;
        let first = parse_first(&said)?;
        let id = worker
            .id()
            .context("a program that was to call a component has ended")?;
        let worker = Arc::new(Mutex::new(worker));
        Ok((Self { worker, id, way }, first))
    }

    /// So many callers of it, who work by turns with its others.
    pub(super) fn with(&self, count: usize) -> Callers {
        Callers {
            worker: Arc::clone(&self.worker),
            way: self.way,
            count,
        }
    }
}

#[async_trait]
impl Contestant for Callers {
    async fn work(&mut self, time: Duration) -> anyhow::Result<Work> {
        let mut worker = self.worker.lock().await;
        worker.begin(&format!("{} {}", time.as_secs_f64(), self.count)).await?;
        let Done { mut work, also } = worker.end().await?;
        if self.way == Way::Reused {
            work.also.insert(RENEWED, also as f64 / work.took.as_secs_f64());
        }
        Ok(work)
    }
}

/// Holds so many calls of a component in their middle, and tells what memory they have.
pub(super) async fn hold(component: &Path, folder: &Path, count: usize) -> anyhow::Result<Held> {
    let mut command = command()?;
    let output = command
        .arg("hold")
        .arg(component)
        .arg(folder)
        .arg(count.to_string())
        .stderr(std::process::Stdio::inherit())
        .output()
        .await?;
    ensure!(
        output.status.success(),
        "calls that were held ended with {}",
        output.status
    );
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn command() -> anyhow::Result<Command> {
    let program: PathBuf = [env!("CARGO_MANIFEST_DIR"), PROGRAM].iter().collect();
    ensure!(program.is_file(), "there is no {}: run `{BUILD}`", program.display());
    let mut command = Command::new(program);
    command.kill_on_drop(true);
    Ok(command)
}

fn parse_first(said: &str) -> anyhow::Result<FirstAnswers> {
    serde_json::from_str(said).with_context(|| format!("a program that was to call a component said {said:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_a_first_answer_takes_is_told_with_or_without_a_cache() {
        let told = |compiled_ms, kept_ms| FirstAnswers { compiled_ms, kept_ms };
        let said = parse_first(r#"{"compiled_ms":812.5,"kept_ms":1.25}"#).unwrap();
        assert_eq!(said, told(812.5, Some(1.25)));
        let said = parse_first(r#"{"compiled_ms":700.0,"kept_ms":null}"#).unwrap();
        assert_eq!(said, told(700.0, None));
        let error = parse_first("").unwrap_err().to_string();
        assert!(error.ends_with("said \"\""), "{error}");
    }
}
