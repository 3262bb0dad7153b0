//! Compiles components in processes of their own.
//!
//! Compiling is work on what a stranger wrote, and wasmtime promises nothing about how long it takes, how much memory it needs, or
//! that it does not panic. So it happens in a child: this same program, started with the hidden command `compile`, with
//! nothing of the environment and nothing but three pipes. It takes limits upon itself before it reads a byte ([`compile`]):
//!
//! - address space and CPU time, which the kernel enforces;
//! - no files, no core dump, the lowest priority, one thread: whoever is served meanwhile does not feel it.
//!
//! The parent bounds the wall time, what the child may answer, and how many children there are. Whatever becomes of a child, the
//! answer is an error that says so, and costs its tenant alone.

use std::io::{self, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, Signal, nice, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::sync::{Semaphore, SemaphorePermit};
use wasmtime::{Engine, InstanceAllocationStrategy};

use crate::config::CompilerConfig;
use crate::error::LoadError;
use crate::sandbox::compiler_config;

/// What a child begins its answer with.
const COMPILED: u8 = b'c';
const REFUSED: u8 = b'r';

/// The most of a child's own words that is kept, in bytes.
const WORDS_MAX: usize = 4096;

/// How a program says that it was refused memory: Rust's allocator before it aborts, and the system's error.
const OUT_OF_MEMORY_WORDS: [&str; 2] = ["memory allocation of", "Cannot allocate memory"];

/// The stack of a compiler, in bytes. A stack of fixed size is there from the start: one that grows ends in a fault that says
/// nothing when the address space is used up.
const STACK: usize = 16 << 20;

/// This program's allocator sets 1 GiB of address space aside at once unless it is told to take less.
const ALLOCATOR: (&str, &str) = ("MIMALLOC_ARENA_RESERVE", "32MiB");

/// Files that a compiler has open: its three pipes, and a few that the system's libraries look at.
const FILES: u64 = 16;

/// What a child must know.
#[derive(Clone, Copy, Debug)]
pub struct ChildConfig {
    /// The most address space, in bytes.
    pub memory: u64,
    /// The most CPU time, in whole seconds.
    pub cpu_seconds: u64,
    /// The largest memory of a guest, as the host has it: what is compiled depends on it.
    pub memory_max: u64,
}

/// Why a child could not even try.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing}")]
pub struct ChildError {
    doing: &'static str,
    #[source]
    source: io::Error,
}

/// The child: limits itself, compiles what it reads, and writes what came of it.
///
/// # Errors
///
/// See [`ChildError`]. That the component cannot be compiled is an answer, not an error.
pub fn compile(config: &ChildConfig, mut input: impl Read, mut output: impl Write) -> Result<(), ChildError> {
    limit_this_process(config).map_err(failed("set limits"))?;
    let mut wasm = Vec::new();
    input.read_to_end(&mut wasm).map_err(failed("read a component"))?;
    let memory_max = config.memory_max;
    let thread = std::thread::Builder::new()
        .name("compiler".to_owned())
        .stack_size(STACK);
    let thread = thread
        .spawn(move || precompile(&wasm, memory_max))
        .map_err(failed("start a thread"))?;
    let compiled = thread
        .join()
        .map_err(|_| failed("go on after a panic")(io::Error::other("the compiler panicked")))?;
    let (tag, content) = match compiled {
        Ok(artifact) => (COMPILED, artifact),
        Err(error) => (REFUSED, format!("{error:#}").into_bytes()),
    };
    let written = output.write_all(&[tag]).and_then(|()| output.write_all(&content));
    written
        .and_then(|()| output.flush())
        .map_err(failed("write what was compiled"))
}

fn precompile(wasm: &[u8], memory_max: u64) -> wasmtime::Result<Vec<u8>> {
    let mut config = compiler_config(memory_max);
    // No instance is ever made here, so nothing is set aside for any. And one thread, so that a bomb costs one processor.
    config
        .allocation_strategy(InstanceAllocationStrategy::OnDemand)
        .parallel_compilation(false);
    Engine::new(&config)?.precompile_component(wasm)
}

fn failed(doing: &'static str) -> impl FnOnce(io::Error) -> ChildError {
    move |source| ChildError { doing, source }
}

fn limit_this_process(config: &ChildConfig) -> io::Result<()> {
    let limits = [
        (Resource::As, config.memory),
        (Resource::Cpu, config.cpu_seconds),
        (Resource::Core, 0),
        (Resource::Fsize, 0),
        (Resource::Nofile, FILES),
    ];
    for (resource, most) in limits {
        let most = Some(most);
        setrlimit(
            resource,
            Rlimit {
                current: most,
                // A second more for CPU time: the first signal says that it was the time, the last one cannot.
                maximum: most.map(|most| most + u64::from(resource == Resource::Cpu)),
            },
        )?;
    }
    nice(19)?;
    Ok(())
}

/// Leave to start one child.
pub struct Place<'a>(#[expect(dead_code, reason = "gives the place back when dropped")] Option<SemaphorePermit<'a>>);

/// The parent: starts children, and bounds what they do.
pub(crate) struct Compiler {
    config: CompilerConfig,
    memory_max: u64,
    places: Semaphore,
}

impl Compiler {
    pub(crate) fn new(config: CompilerConfig, memory_max: u64) -> Self {
        Self {
            places: Semaphore::new(config.processes.max(1)),
            config,
            memory_max,
        }
    }

    /// Waits until a child may be started.
    pub(crate) async fn place(&self) -> Place<'_> {
        // Nobody closes the semaphore.
        Place(self.places.acquire().await.ok())
    }

    /// Compiles a component.
    pub(crate) async fn compile(&self, _place: &Place<'_>, wasm: &[u8]) -> Result<Vec<u8>, LoadError> {
        let mut child = self.start().map_err(LoadError::Compiler)?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(mut input), Some(output), Some(words)) = pipes else {
            return Err(LoadError::Compiler(io::Error::other("a child has no pipes")));
        };
        let give = async {
            // A child that has died does not read on; how it died says more than that.
            let _ = input.write_all(wasm).await;
            drop(input);
        };
        let answer_max = self.config.artifact + 1;
        let run = async {
            let ((), answer, words) =
                tokio::join!(give, read_bounded(output, answer_max), read_bounded(words, WORDS_MAX));
            let (answer, words) = (answer?, words?);
            if answer.len() > answer_max {
                return Ok(None);
            }
            Ok::<_, io::Error>(Some((child.wait().await?, answer, words)))
        };
        let ended = tokio::time::timeout(self.config.wall_time, run).await;
        let outcome = match ended {
            Ok(Ok(Some((status, answer, words)))) => return self.outcome(status, answer, &words),
            Ok(Ok(None)) => Err(LoadError::too_much(
                "compiler.artifact",
                format!("{} bytes", self.config.artifact),
            )),
            Ok(Err(error)) => Err(LoadError::Compiler(error)),
            Err(_) => Err(LoadError::too_much(
                "compiler.wall_time",
                seconds(self.config.wall_time),
            )),
        };
        // It has nothing more to say; waiting makes sure that it is gone before the next one is started.
        if let Err(error) = child.kill().await {
            tracing::warn!(%error, "cannot end a compiler");
        }
        outcome
    }

    fn start(&self) -> io::Result<tokio::process::Child> {
        let seconds = self.config.cpu_time.as_secs().max(1);
        Command::new(&self.config.program)
            .arg("compile")
            .args(["--memory", &self.config.memory.to_string()])
            .args(["--cpu-seconds", &seconds.to_string()])
            .args(["--memory-max", &self.memory_max.to_string()])
            .env_clear()
            .env(ALLOCATOR.0, ALLOCATOR.1)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Whoever stops waiting, as a host that stops does, leaves no child behind.
            .kill_on_drop(true)
            .spawn()
    }

    /// Reads from how a child ended what became of the component.
    fn outcome(&self, status: ExitStatus, mut answer: Vec<u8>, words: &[u8]) -> Result<Vec<u8>, LoadError> {
        let words = String::from_utf8_lossy(words);
        let out_of_memory = |words: &str| OUT_OF_MEMORY_WORDS.iter().any(|sign| words.contains(sign));
        let too_much_memory = || LoadError::too_much("compiler.memory", format!("{} MiB", self.config.memory >> 20));
        match answer.first() {
            Some(&COMPILED) if status.success() => {
                answer.remove(0);
                Ok(answer)
            }
            Some(&REFUSED) if status.success() => {
                let said = String::from_utf8_lossy(&answer[1..answer.len().min(WORDS_MAX)]).into_owned();
                Err(if out_of_memory(&said) {
                    too_much_memory()
                } else {
                    LoadError::Compile(said.into())
                })
            }
            _ if status.signal() == Some(Signal::XCPU.as_raw()) => {
                Err(LoadError::too_much("compiler.cpu_time", seconds(self.config.cpu_time)))
            }
            _ if out_of_memory(&words) => Err(too_much_memory()),
            _ => Err(LoadError::Crashed {
                status: status.to_string(),
                words: words.trim().to_owned(),
            }),
        }
    }
}

fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs_f64())
}

/// Reads up to `max` bytes and one more, which tells that there were more; what follows is not read.
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

    /// What becomes of a component when the child behaves like this shell script.
    async fn outcome(script: &str, limits: CompilerConfig) -> Result<Vec<u8>, String> {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("program");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let compiler = Compiler::new(CompilerConfig { program, ..limits }, 64 << 20);
        // Longer than any pipe: a child that does not read must not hold the parent up.
        let compiled = compiler.compile(&compiler.place().await, &vec![0; 1 << 20]).await;
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
            },
            ..CompilerConfig::default()
        }
    }

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
        check("exit 0", "the compiler ended with exit status: 0: ").await;
        check(
            "head -c 200000 /dev/zero",
            "compiling it takes more than 100000 bytes, the compiler.artifact of this host",
        )
        .await;
        let endless = "head -c 100000 /dev/zero >&2; exit 3";
        let error = outcome(endless, limits()).await.unwrap_err();
        assert!(error.len() < 2 * WORDS_MAX, "{} bytes", error.len());
    }

    #[tokio::test]
    async fn a_child_that_goes_well_is_believed() {
        assert_eq!(
            outcome("cat > /dev/null; printf ccode", limits()).await.unwrap(),
            b"code"
        );
    }

    #[tokio::test]
    async fn a_child_that_takes_too_long_is_ended() {
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
        // A second one that runs at the same time finds the folder of the first.
        let script = format!(
            "#!/bin/sh\nmkdir {} || touch {}\nsleep 0.05\nrmdir {}\nprintf c\n",
            busy.display(),
            twice.display(),
            busy.display()
        );
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let compiler = Compiler::new(CompilerConfig { program, ..limits() }, 64 << 20);
        let compile = async |wasm: &[u8]| compiler.compile(&compiler.place().await, wasm).await;
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
