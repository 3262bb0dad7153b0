//! Takes a compiler's rights away before it reads the first byte of a stranger's component.
//!
//! A component could find a fault in the compiler and take it over. Then it can compute, and answer through its pipe, and
//! nothing else:
//!
//! - **no system call that is not on a list** (seccomp). The list is what an allocator, a thread that ends and a pipe need.
//!   There is nothing on it that opens, connects, starts, or looks at another process;
//! - **no file and no network** (Landlock), should the list ever have a hole.
//!
//! A call that is not on the list fails with `EPERM` instead of ending the process: libraries probe for what they can
//! do without (huge pages, a name for a mapping), and a probe that fails must not cost a tenant its component. It gives
//! nothing away, as whoever tries again only fails again.
//!
//! What the kernel cannot do is said on standard error ([`LACKING`]), and the parent logs it.

use std::collections::BTreeMap;
use std::io::{self, Write};

use landlock::{ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetStatus, Scope};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

/// The beginning of a child's line about what the kernel cannot do.
pub(super) const LACKING: &str = "this kernel cannot confine a compiler: ";

/// The newest rights that Landlock is asked to take; an older kernel takes those that it knows.
const LANDLOCK: ABI = ABI::V6;

/// What a compiler may ask of the kernel, whatever the arguments are.
const ALLOWED: &[i64] = &[
    // Its three pipes.
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_close,
    // Memory.
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    // Threads that exist already: they wait for each other, and end.
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_restart_syscall,
    // Signals to itself, as when it panics.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_gettid,
    libc::SYS_getpid,
    // Time and random numbers, of which hash tables are made.
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_getrandom,
];

/// Why the rights could not be taken.
fn failed(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::other(error)
}

/// Takes the rights to files, to the network and to other processes from this thread, and from those that it starts.
pub(super) fn forbid_files_and_network(messages: impl Write) {
    match landlock_everything() {
        Ok(RulesetStatus::NotEnforced) => lacking(messages, "Landlock", "it is not there, or not turned on"),
        // An older kernel takes fewer rights; seccomp takes them all the same.
        Ok(RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced) => {}
        Err(error) => lacking(messages, "Landlock", &error.to_string()),
    }
}

/// Forbids all threads of this process every system call that is not on the list; no thread can be started afterwards.
pub(super) fn forbid_system_calls(messages: impl Write) {
    if let Err(error) = filter_system_calls() {
        lacking(messages, "seccomp", &error.to_string());
    }
}

/// Says what the kernel cannot do. Nobody listens where that fails, and the other limits hold still.
fn lacking(mut messages: impl Write, what: &str, why: &str) {
    let _ = writeln!(messages, "{LACKING}{what}: {why}");
}

/// Forbids whatever Landlock knows of, with no exception.
fn landlock_everything() -> io::Result<RulesetStatus> {
    let ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(LANDLOCK))
        .and_then(|ruleset| ruleset.handle_access(AccessNet::from_all(LANDLOCK)))
        .and_then(|ruleset| ruleset.scope(Scope::from_all(LANDLOCK)))
        .and_then(Ruleset::create)
        .and_then(|ruleset| ruleset.restrict_self());
    ruleset.map(|status| status.ruleset).map_err(failed)
}

fn filter_system_calls() -> io::Result<()> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
    // It may send signals to itself, and to nobody else.
    let us = u64::from(std::process::id());
    rules.insert(libc::SYS_tgkill, vec![only_if(0, us)?]);
    // It may ask for its limits; a process of root could raise them.
    rules.insert(libc::SYS_prlimit64, vec![only_if(2, 0)?]);
    let arch = std::env::consts::ARCH.try_into().map_err(failed)?;
    let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let filter = SeccompFilter::new(rules, refuse, SeccompAction::Allow, arch).map_err(failed)?;
    let program: BpfProgram = filter.try_into().map_err(failed)?;
    seccompiler::apply_filter_all_threads(&program).map_err(failed)
}

/// Allows a system call if this argument has this value.
fn only_if(argument: u8, value: u64) -> io::Result<SeccompRule> {
    let equal = SeccompCondition::new(argument, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, value);
    SeccompRule::new(vec![equal.map_err(failed)?]).map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixDatagram;
    use std::process::Command;

    use super::*;

    /// Says to the child of this test that it is the child, and where it can connect to.
    const CHILD: &str = "NAMELOCK_CONFINED_CONNECTS_TO";

    /// What the child tries once it is confined, by the name of what it tries.
    fn attempts(address: &str) -> [(&'static str, io::Result<()>); 8] {
        [
            ("read a file", File::open("/proc/self/status").map(drop)),
            ("write a file", File::options().write(true).open("/dev/null").map(drop)),
            ("list a folder", std::fs::read_dir("/").map(drop)),
            ("connect", TcpStream::connect(address).map(drop)),
            ("listen", TcpListener::bind("127.0.0.1:0").map(drop)),
            ("make a socket", UnixDatagram::unbound().map(drop)),
            ("start a program", Command::new("/bin/true").status().map(drop)),
            ("start a thread", std::thread::Builder::new().spawn(|| ()).map(drop)),
        ]
    }

    // Shows P6: whoever takes a compiler over has nothing but its pipe.
    #[test]
    fn a_confined_process_can_open_connect_and_start_nothing() {
        if let Ok(address) = std::env::var(CHILD) {
            let before = attempts(&address);
            forbid_files_and_network(io::stderr());
            forbid_system_calls(io::stderr());
            let after = attempts(&address);
            for ((what, before), (_, after)) in before.iter().zip(&after) {
                // Both are written with one call, as nothing else can be opened for it.
                let line = format!("{what}: {} {}\n", before.is_ok(), after.is_ok());
                let _ = io::stderr().write_all(line.as_bytes());
            }
            std::process::exit(0);
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let output = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "--nocapture",
                "compiler::confine::tests::a_confined_process_can_open_connect_and_start_nothing",
            ])
            .env(CHILD, listener.local_addr().unwrap().to_string())
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        let tried: Vec<_> = said
            .lines()
            .filter(|line| line.ends_with(" true") || line.ends_with(" false"))
            .collect();
        assert_eq!(tried.len(), 8, "{said}");
        assert!(tried.iter().all(|line| line.ends_with(": true false")), "{said}");
    }
}
