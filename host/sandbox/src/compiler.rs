//! Compiles components in processes of their own.
//!
//! A component is not trusted, and wasmtime promises nothing about how long compiling one takes, how much memory it
//! needs, or that it does not panic. So it happens in a child: this same program, started with the hidden command
//! `compile`, without an environment and with nothing but three pipes. It limits itself before it reads a byte
//! ([`compile`]):
//!
//! - address space and CPU time, which the kernel enforces;
//! - no core dump, the lowest priority, one thread, so that requests which are served meanwhile are not slowed down;
//! - no files, no network, no other programs (`confine`).
//!
//! It then checks what can be checked in milliseconds (`check`), and compiles only what passes.
//!
//! The parent limits the wall time, the length of the child's answer, and the number of children. However a child ends,
//! the outcome is an error that says so, and only its tenant pays for it.

mod check;
mod child;
mod confine;

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::sync::Once;
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::sync::{Semaphore, SemaphorePermit};

pub use self::check::{Inspection, Need, inspect};
use self::child::{COMPILED, REFUSED, UNFIT, read_unfit};
pub use self::child::{ChildConfig, ChildError, compile};
use self::confine::LACKING;
use crate::config::CompilerConfig;
use crate::error::LoadError;

/// How much of a child's messages is kept, in bytes.
const MESSAGE_BYTES_MAX: usize = 4096;

/// The limits on how long a child may run.
const CPU_TIME: &str = "compiler.cpu_time";
const WALL_TIME: &str = "compiler.wall_time";

/// The longest list of problems of a component that is read, in bytes.
const UNFIT_BYTES_MAX: usize = 16 << 10;

/// The messages of a program that was refused memory: of Rust's allocator before it aborts, and of the system.
const OUT_OF_MEMORY_MESSAGES: [&str; 2] = ["memory allocation of", "Cannot allocate memory"];

/// Makes this program's allocator reserve less than 1 GiB of address space at its start.
const ALLOCATOR: (&str, &str) = ("MIMALLOC_ARENA_RESERVE", "32MiB");

/// How long a first try may take, of CPU time and by the clock: more than most components need.
const FIRST_CPU_TIME: Duration = Duration::from_secs(2);
const FIRST_WALL_TIME: Duration = Duration::from_secs(10);

/// How long compiling a component may take.
///
/// There are few compilers, and a component can keep one busy for as long as it may take. So what waits is best tried
/// shortly first: then whoever brings a component that takes long keeps the others waiting for a few seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// A few seconds. What takes longer ends as [`LoadError::TakesLong`].
    Short,
    /// As long as the configuration allows.
    Full,
}

/// The right to start one child. Dropping it gives it to the next.
pub struct CompilePermit<'a>(#[expect(dead_code, reason = "is given back when dropped")] Option<SemaphorePermit<'a>>);

/// Starts children, and limits what they do.
pub(crate) struct Compiler {
    config: CompilerConfig,
    memory_max: u64,
    permits: Semaphore,
    /// What the kernel cannot do is the same for all children.
    lacking: Once,
}

/// The longest artifact that one component may be compiled to, and the key of the configuration that says so.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ArtifactMax {
    pub(crate) bytes: usize,
    pub(crate) key: &'static str,
}

impl ArtifactMax {
    /// Why a longer one is refused.
    pub(crate) fn exceeded(self) -> LoadError {
        LoadError::too_much(self.key, format!("{} bytes", self.bytes))
    }
}

impl Compiler {
    pub(crate) fn new(config: CompilerConfig, memory_max: u64) -> Self {
        Self {
            permits: Semaphore::new(config.processes.max(1)),
            config,
            memory_max,
            lacking: Once::new(),
        }
    }

    /// How many children may run at once.
    pub(crate) fn processes(&self) -> usize {
        self.config.processes.max(1)
    }

    /// The longest artifact for a tenant with this limit.
    pub(crate) fn artifact_max(&self, tenant: usize) -> ArtifactMax {
        let (bytes, key) = (tenant, "limits.artifact").min((self.config.artifact, "compiler.artifact"));
        ArtifactMax { bytes, key }
    }

    /// Waits until a child may be started.
    pub(crate) async fn permit(&self) -> CompilePermit<'_> {
        // Nobody closes the semaphore.
        CompilePermit(self.permits.acquire().await.ok())
    }

    /// Compiles a component, to no more than this.
    pub(crate) async fn compile(
        &self,
        _permit: &CompilePermit<'_>,
        wasm: &[u8],
        artifact_max: ArtifactMax,
        effort: Effort,
    ) -> Result<Vec<u8>, LoadError> {
        let (cpu_time, wall_time) = match effort {
            Effort::Short => (FIRST_CPU_TIME, FIRST_WALL_TIME),
            Effort::Full => (self.config.cpu_time, self.config.wall_time),
        };
        // Where the configuration allows no more, a first try is the last.
        let (cpu_time, wall_time) = (cpu_time.min(self.config.cpu_time), wall_time.min(self.config.wall_time));
        let compiled = self.compile_within(wasm, artifact_max, cpu_time, wall_time).await;
        match compiled {
            Err(LoadError::TooMuch { limit, .. })
                if (limit == CPU_TIME && cpu_time < self.config.cpu_time)
                    || (limit == WALL_TIME && wall_time < self.config.wall_time) =>
            {
                Err(LoadError::TakesLong)
            }
            compiled => compiled,
        }
    }

    async fn compile_within(
        &self,
        wasm: &[u8],
        artifact_max: ArtifactMax,
        cpu_time: Duration,
        wall_time: Duration,
    ) -> Result<Vec<u8>, LoadError> {
        let mut child = self.start(cpu_time).map_err(LoadError::Compiler)?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(mut input), Some(output), Some(messages)) = pipes else {
            return Err(LoadError::Compiler(io::Error::other("a child has no pipes")));
        };
        let give = async {
            // A child that has died does not read on; its exit status says more than the broken pipe.
            let _ = input.write_all(wasm).await;
            drop(input);
        };
        let answer_max = artifact_max.bytes + 1;
        let run = async {
            let ((), answer, messages) = tokio::join!(
                give,
                read_bounded(output, answer_max),
                read_bounded(messages, MESSAGE_BYTES_MAX)
            );
            let (answer, messages) = (answer?, messages?);
            if answer.len() > answer_max {
                return Ok(None);
            }
            Ok::<_, io::Error>(Some((child.wait().await?, answer, messages)))
        };
        let ended = tokio::time::timeout(wall_time, run).await;
        let outcome = match ended {
            Ok(Ok(Some((status, answer, messages)))) => return self.outcome(status, answer, &messages),
            Ok(Ok(None)) => Err(artifact_max.exceeded()),
            Ok(Err(error)) => Err(LoadError::Compiler(error)),
            Err(_) => Err(LoadError::too_much(WALL_TIME, seconds(wall_time))),
        };
        // `kill` also waits, so that it is gone before the next one is started.
        if let Err(error) = child.kill().await {
            tracing::warn!(%error, "cannot end a compiler");
        }
        outcome
    }

    fn start(&self, cpu_time: Duration) -> io::Result<tokio::process::Child> {
        let config = ChildConfig {
            memory: self.config.memory as u64,
            cpu_seconds: cpu_time.as_secs().max(1),
            memory_max: self.memory_max,
        };
        Command::new(&self.config.program)
            .args(config.args())
            .env_clear()
            .env(ALLOCATOR.0, ALLOCATOR.1)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A caller that stops waiting, as when the host stops, leaves no child behind.
            .kill_on_drop(true)
            .spawn()
    }

    /// Turns how a child ended into the compiled component or an error.
    fn outcome(&self, status: ExitStatus, mut answer: Vec<u8>, messages: &[u8]) -> Result<Vec<u8>, LoadError> {
        let messages = self.log_what_is_lacking(&String::from_utf8_lossy(messages));
        let out_of_memory = |messages: &str| OUT_OF_MEMORY_MESSAGES.iter().any(|sign| messages.contains(sign));
        let too_much_memory = || LoadError::too_much("compiler.memory", format!("{} MiB", self.config.memory >> 20));
        match answer.first() {
            Some(&COMPILED) if status.success() => {
                answer.remove(0);
                Ok(answer)
            }
            Some(&REFUSED) if status.success() => {
                let said = String::from_utf8_lossy(&answer[1..answer.len().min(MESSAGE_BYTES_MAX)]).into_owned();
                Err(if out_of_memory(&said) {
                    too_much_memory()
                } else {
                    LoadError::Compile(said.into())
                })
            }
            Some(&UNFIT) if status.success() => {
                let lines = String::from_utf8_lossy(&answer[1..answer.len().min(UNFIT_BYTES_MAX)]);
                Err(LoadError::Unfit(read_unfit(&lines)))
            }
            _ if status.signal() == Some(Signal::XCPU.as_raw()) => {
                Err(LoadError::too_much(CPU_TIME, seconds(self.config.cpu_time)))
            }
            _ if out_of_memory(&messages) => Err(too_much_memory()),
            _ => Err(LoadError::Crashed {
                status: status.to_string(),
                words: messages.trim().to_owned(),
            }),
        }
    }

    /// Logs once what the kernel cannot do for a child; returns its other messages.
    fn log_what_is_lacking(&self, messages: &str) -> String {
        let (lacking, other): (Vec<_>, Vec<_>) = messages.lines().partition(|line| line.starts_with(LACKING));
        if !lacking.is_empty() {
            self.lacking.call_once(|| {
                for line in lacking {
                    tracing::warn!("{}", line.escape_debug());
                }
            });
        }
        other.join("\n")
    }
}

fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs_f64())
}

/// Reads up to `max` bytes and one more, which shows that there were more; the rest is not read.
async fn read_bounded(pipe: impl tokio::io::AsyncRead + Unpin, max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    pipe.take(max as u64 + 1).read_to_end(&mut bytes).await?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
