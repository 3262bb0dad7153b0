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
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::config::CacheConfig;

    /// Compiles a component with a child that behaves like this shell script.
    async fn outcome(script: &str, limits: CompilerConfig) -> Result<Vec<u8>, String> {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("program");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let compiler = Compiler::new(CompilerConfig { program, ..limits }, 64 << 20);
        // Longer than any pipe: a child that does not read must not block the parent.
        let artifact_max = compiler.artifact_max(usize::MAX);
        let compiled = compiler
            .compile(&compiler.permit().await, &vec![0; 1 << 20], artifact_max, Effort::Full)
            .await;
        compiled.map_err(|error| error.to_string())
    }

    fn limits() -> CompilerConfig {
        CompilerConfig {
            memory: 64 << 20,
            cpu_time: Duration::from_secs(7),
            wall_time: Duration::from_secs(30),
            artifact: 100_000,
            cache: CacheConfig {
                dir: "/no/such/dir".into(),
                files: 1,
                bytes: 1,
            },
            ..CompilerConfig::default()
        }
    }

    // Shows P6: a compiler that crashes or uses too much costs its tenant an error.
    #[tokio::test]
    async fn however_a_child_ends_the_error_says_how() {
        let check = async |script: &str, expect: &str| {
            let error = outcome(script, limits()).await.unwrap_err();
            assert_eq!(error, expect, "{script}");
        };
        check(
            "printf 'rit is wrong'",
            "it cannot be compiled as a WebAssembly component",
        )
        .await;
        check(
            "printf 'rCannot allocate memory (os error 12)'",
            "compiling it takes more than 64 MiB, the compiler.memory of this host",
        )
        .await;
        check(
            "echo memory allocation of 7 bytes failed >&2; kill -ABRT $$",
            "compiling it takes more than 64 MiB, the compiler.memory of this host",
        )
        .await;
        check(
            "kill -XCPU $$",
            "compiling it takes more than 7 s, the compiler.cpu_time of this host",
        )
        .await;
        check("echo oh >&2; exit 3", "the compiler ended with exit status: 3: oh").await;
        check(
            "printf c; kill -SEGV $$",
            "the compiler ended with signal: 11 (SIGSEGV): ",
        )
        .await;
        check(
            "printf 'uiwasi:io/a\\npis odd'",
            "it imports what is not granted: wasi:io/a; it is odd",
        )
        .await;
        check(
            "echo 'this kernel cannot confine a compiler: Landlock: no' >&2; echo oh >&2; exit 3",
            "the compiler ended with exit status: 3: oh",
        )
        .await;
        check("exit 0", "the compiler ended with exit status: 0: ").await;
        check(
            "head -c 200000 /dev/zero",
            "compiling it takes more than 100000 bytes, the compiler.artifact of this host",
        )
        .await;
        let endless = "head -c 100000 /dev/zero >&2; exit 3";
        let error = outcome(endless, limits()).await.unwrap_err();
        assert!(error.len() < 2 * MESSAGE_BYTES_MAX, "{} bytes", error.len());
    }

    #[tokio::test]
    async fn the_limit_of_a_tenant_or_of_the_host_is_reached_whichever_is_smaller() {
        let compiler = Compiler::new(limits(), 64 << 20);
        let check = |tenant: usize, expect: &str| {
            assert_eq!(compiler.artifact_max(tenant).exceeded().to_string(), expect);
        };
        check(
            7,
            "compiling it takes more than 7 bytes, the limits.artifact of this host",
        );
        check(
            200_000,
            "compiling it takes more than 100000 bytes, the compiler.artifact of this host",
        );
    }

    #[tokio::test]
    async fn the_answer_of_a_child_that_succeeds_is_used() {
        assert_eq!(
            outcome("cat > /dev/null; printf ccode", limits()).await.unwrap(),
            b"code"
        );
    }

    #[tokio::test]
    async fn a_child_that_takes_too_long_is_killed() {
        let short = CompilerConfig {
            wall_time: Duration::from_millis(100),
            ..limits()
        };
        let error = outcome("exec sleep 1000", short).await.unwrap_err();
        assert_eq!(
            error,
            "compiling it takes more than 0.1 s, the compiler.wall_time of this host"
        );
    }

    #[tokio::test]
    async fn one_child_waits_for_another() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("program");
        let (busy, twice) = (dir.path().join("busy"), dir.path().join("twice"));
        // A second child that runs at the same time finds the directory of the first.
        let script = format!(
            "#!/bin/sh\nmkdir {} || touch {}\nsleep 0.05\nrmdir {}\nprintf c\n",
            busy.display(),
            twice.display(),
            busy.display()
        );
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let compiler = Compiler::new(CompilerConfig { program, ..limits() }, 64 << 20);
        let artifact_max = compiler.artifact_max(usize::MAX);
        let compile = async |wasm: &[u8]| {
            compiler
                .compile(&compiler.permit().await, wasm, artifact_max, Effort::Full)
                .await
        };
        let all = tokio::join!(compile(b"a"), compile(b"b"), compile(b"c"));
        assert!(all.0.is_ok() && all.1.is_ok() && all.2.is_ok());
        assert!(!twice.exists());
    }

    #[tokio::test]
    async fn a_child_has_nothing_of_the_environment() {
        let seen = outcome("printf c; env", limits()).await.unwrap();
        let seen = String::from_utf8(seen).unwrap();
        let names: Vec<_> = seen.lines().filter_map(|line| line.split('=').next()).collect();
        assert!(
            names
                .iter()
                .all(|name| ["PWD", "_", "SHLVL", "OLDPWD", ALLOCATOR.0].contains(name)),
            "{names:?}"
        );
    }
}
