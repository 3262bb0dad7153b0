//! The child process that compiles one component, and how the parent tells it what to do.

use std::io::{self, Read, Write};
use std::sync::mpsc;

use rustix::process::{Resource, Rlimit, getrlimit, nice, setrlimit};
use wasmtime::{Engine, InstanceAllocationStrategy};

use super::check::inspect;
use super::confine;
use crate::engine::compiler_config;
use crate::unfit::Unfit;

/// The first byte of a child's answer: what follows is the compiled component, or the reason why there is none.
pub(super) const COMPILED: u8 = b'c';
pub(super) const REFUSED: u8 = b'r';
/// What follows are lines: why the component was not compiled at all.
pub(super) const UNFIT: u8 = b'u';

/// The first character of such a line: an import that is not granted, or another problem.
const IMPORT: char = 'i';
const PROBLEM: char = 'p';

/// The stack of a compiler, in bytes. A stack of fixed size is allocated at the start; one that grows would end in a
/// fault without a message when the address space is used up.
const STACK: usize = 16 << 20;

/// How many files a compiler may have open: its three pipes, and a few that the system's libraries read.
const FILES: u64 = 16;

/// The command and the flags of a child, in the order of [`ChildConfig`].
const COMMAND: &str = "compile";
const FLAGS: [&str; 3] = ["--memory", "--cpu-seconds", "--memory-max"];

/// The limits that a child sets for itself, and what its output depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChildConfig {
    /// The limit of address space, in bytes.
    pub memory: u64,
    /// The limit of CPU time, in whole seconds.
    pub cpu_seconds: u64,
    /// The largest memory of a guest in bytes, as in the host's engine: the machine code depends on it.
    pub memory_max: u64,
}

impl ChildConfig {
    /// The arguments with which the parent starts the child.
    pub(super) fn args(&self) -> impl Iterator<Item = String> {
        let values = [self.memory, self.cpu_seconds, self.memory_max];
        let flags = FLAGS.into_iter().zip(values);
        let flags = flags.flat_map(|(name, value)| [name.to_owned(), value.to_string()]);
        std::iter::once(COMMAND.to_owned()).chain(flags)
    }

    /// Reads the arguments of this process, without the program's name; none: it was not started as a child.
    ///
    /// A program that has no command line of its own begins its `main` with this, and if it is a child, calls
    /// [`compile`].
    pub fn from_args(args: impl IntoIterator<Item = String>) -> Option<Self> {
        let mut args = args.into_iter();
        if args.next()? != COMMAND {
            return None;
        }
        let mut values = [0; FLAGS.len()];
        for (name, value) in FLAGS.iter().zip(&mut values) {
            if args.next()? != *name {
                return None;
            }
            *value = args.next()?.parse().ok()?;
        }
        let [memory, cpu_seconds, memory_max] = values;
        args.next().is_none().then_some(Self {
            memory,
            cpu_seconds,
            memory_max,
        })
    }
}

/// Why a child could not try to compile.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing}")]
pub struct ChildError {
    doing: &'static str,
    #[source]
    source: io::Error,
}

/// Runs the child: limits and confines this process, checks and compiles the component that it reads, and writes the outcome.
///
/// # Errors
///
/// See [`ChildError`]. That the component cannot be compiled is an answer, not an error.
// Keeps P6: what compiling a component may cost and reach is limited before a byte of it is read.
pub fn compile(config: &ChildConfig, mut input: impl Read, mut output: impl Write) -> Result<(), ChildError> {
    limit_this_process(config).map_err(failed("set limits"))?;
    confine::forbid_files_and_network(io::stderr());
    let (confined, is_confined) = mpsc::channel();
    let (give, given) = mpsc::channel::<Vec<u8>>();
    let memory_max = config.memory_max;
    let thread = std::thread::Builder::new()
        .name("compiler".to_owned())
        .stack_size(STACK);
    let thread = thread
        .spawn(move || {
            // By the last thread that is started, for all of them.
            confine::forbid_system_calls(io::stderr());
            // Whoever does not listen any more sends nothing either.
            let _ = confined.send(());
            given.recv().map(|wasm| answer(&wasm, memory_max)).unwrap_or_default()
        })
        .map_err(failed("start a thread"))?;
    let stopped = |_| failed("compile")(io::Error::other("the thread of the compiler has ended"));
    is_confined.recv().map_err(stopped)?;
    let mut wasm = Vec::new();
    input.read_to_end(&mut wasm).map_err(failed("read a component"))?;
    give.send(wasm).map_err(|_| stopped(mpsc::RecvError))?;
    let (tag, content) = thread
        .join()
        .map_err(|_| failed("go on after a panic")(io::Error::other("the compiler panicked")))?;
    let written = output.write_all(&[tag]).and_then(|()| output.write_all(&content));
    written
        .and_then(|()| output.flush())
        .map_err(failed("write what was compiled"))
}

/// Checks a component, and compiles it if nothing is wrong.
fn answer(wasm: &[u8], memory_max: u64) -> (u8, Vec<u8>) {
    let unfit = inspect(wasm, memory_max).unfit;
    if !unfit.is_empty() {
        return (UNFIT, write_unfit(&unfit).into_bytes());
    }
    match precompile(wasm, memory_max) {
        Ok(artifact) => (COMPILED, artifact),
        Err(error) => (REFUSED, format!("{error:#}").into_bytes()),
    }
}

/// Writes everything that is wrong, one on each line; no name has a line break in it.
fn write_unfit(unfit: &Unfit) -> String {
    let imports = unfit.imports.iter().map(|import| (IMPORT, import));
    let problems = unfit.problems.iter().map(|problem| (PROBLEM, problem));
    imports
        .chain(problems)
        .map(|(kind, text)| format!("{kind}{text}\n"))
        .collect()
}

/// Reads it again.
pub(super) fn read_unfit(text: &str) -> Unfit {
    let of = |kind| {
        text.lines()
            .filter_map(move |line| line.strip_prefix(kind))
            .map(str::to_owned)
    };
    Unfit {
        imports: of(IMPORT).collect(),
        problems: of(PROBLEM).collect(),
    }
}

fn precompile(wasm: &[u8], memory_max: u64) -> wasmtime::Result<Vec<u8>> {
    let mut config = compiler_config(memory_max);
    // No instance is ever made here, so no address space is reserved for any. One thread, so that a compile bomb costs
    // one processor.
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
        // A process that is itself limited to less may not ask for more.
        let at_most = |most: u64| Some(getrlimit(resource).maximum.map_or(most, |allowed| most.min(allowed)));
        setrlimit(
            resource,
            Rlimit {
                current: at_most(most),
                // One second more for CPU time: the first signal, SIGXCPU, tells the cause; the last one, SIGKILL,
                // cannot.
                maximum: at_most(most + u64::from(resource == Resource::Cpu)),
            },
        )?;
    }
    nice(19)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_knows_what_its_parent_tells_it() {
        let config = ChildConfig {
            memory: 1,
            cpu_seconds: 2,
            memory_max: 3,
        };
        let args: Vec<_> = config.args().collect();
        assert_eq!(args.join(" "), "compile --memory 1 --cpu-seconds 2 --memory-max 3");
        assert_eq!(ChildConfig::from_args(args.clone()), Some(config));
        assert_eq!(ChildConfig::from_args([]), None);
        assert_eq!(ChildConfig::from_args(["rooms.wasm".to_owned()]), None);
        assert_eq!(ChildConfig::from_args(args[..5].to_vec()), None);
    }

    #[test]
    fn what_is_wrong_comes_through_the_pipe() {
        let unfit = Unfit {
            imports: vec!["wasi:sockets/tcp@0.2.0".to_owned(), "évil".to_owned()],
            problems: vec!["has 3 memories, and 2 are allowed".to_owned()],
        };
        assert_eq!(read_unfit(&write_unfit(&unfit)), unfit);
    }
}
