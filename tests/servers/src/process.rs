//! A child process that does not outlive its test.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// How long something may take that is done at once, on a machine that is slow and busy.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A running program. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Makes the command line of `program`, such that it is killed when this process dies. `install` says where to get it.
    ///
    /// # Panics
    ///
    /// When `program` is not installed.
    pub fn command(program: impl AsRef<OsStr>, install: &str) -> Command {
        let program = program.as_ref();
        assert!(
            is_installed(program),
            "this test needs {}: {install}",
            program.display()
        );
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program);
        command
    }

    /// Starts it.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    pub fn spawn(command: &mut Command) -> Self {
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        Self { child }
    }

    /// The process's id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits, for at most `within`, until a host says where it listens: its public and its admin address. None when it
    /// ends instead, or says something else. Its standard output has to be piped.
    pub fn listening(&mut self, within: Duration) -> Option<(SocketAddr, SocketAddr)> {
        let line = self.first_line(within)?;
        let addresses = line.strip_prefix("listening on ")?.strip_suffix(')')?;
        let (public, admin) = addresses.split_once(" (admin ")?;
        let address = |url: &str| url.split_once("://")?.1.parse().ok();
        Some((address(public)?, address(admin)?))
    }

    /// Waits, for at most `within`, for the first line of its standard output, which has to be piped. An empty one: it has
    /// ended instead.
    pub fn first_line(&mut self, within: Duration) -> Option<String> {
        let stdout = self.child.stdout.take()?;
        let (sender, line) = mpsc::channel();
        // It ends with the line, or with the process.
        thread::spawn(move || {
            let mut line = String::new();
            let _ = BufReader::new(stdout).read_line(&mut line);
            let _ = sender.send(line);
        });
        Some(line.recv_timeout(within).ok()?.trim_end().to_owned())
    }

    /// Writes a line to its standard input, which has to be piped, and leaves it open.
    pub(crate) fn tell(&mut self, line: &str) -> std::io::Result<()> {
        let stdin = self.child.stdin.as_mut().ok_or(std::io::ErrorKind::NotConnected)?;
        writeln!(stdin, "{line}")
    }

    /// Its standard error, which has to be piped; none: it was taken already.
    pub fn take_stderr(&mut self) -> Option<std::process::ChildStderr> {
        self.child.stderr.take()
    }

    /// Sends it the signal of this name, such as `TERM`.
    pub fn signal(&self, name: &str) {
        signal(self.id(), name);
    }

    /// Kills it, and waits until it is gone.
    pub fn kill(&mut self) {
        // Both fail when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits for its end, for at most `within`.
    pub fn wait(&mut self, within: Duration) -> Option<ExitStatus> {
        let mut status = None;
        wait_until(within, || {
            status = self.child.try_wait().ok().flatten();
            status.is_some()
        });
        status
    }

    /// Waits for its end, for at most `within`, and reads what it wrote to its standard error, which has to be piped.
    pub fn last_words(&mut self, within: Duration) -> Option<(ExitStatus, String)> {
        let status = self.wait(within)?;
        let words = std::io::read_to_string(self.child.stderr.take()?).ok()?;
        Some((status, words))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Tells whether there is a program of this name, or at this path.
pub(crate) fn is_installed(program: impl AsRef<OsStr>) -> bool {
    let program = program.as_ref();
    std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).any(|folder| folder.join(program).is_file())
}

/// Waits, for at most `within`, until the host with this admin address is ready: a memcached that has just begun is
/// watched for a moment before it is used.
pub fn wait_until_ready(admin: SocketAddr, within: Duration) -> bool {
    wait_until(within, || {
        let ask = || {
            let mut stream = TcpStream::connect(admin)?;
            stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n")?;
            std::io::read_to_string(stream)
        };
        ask().is_ok_and(|answer| answer.contains(" 200 "))
    })
}

/// Sends a process the signal of this name, such as `TERM`. After `STOP` every thread of it stands when this returns.
///
/// # Panics
///
/// When there is no such process.
pub fn signal(id: u32, name: &str) {
    let status = Command::new("kill")
        .arg(format!("-{name}"))
        .arg(id.to_string())
        .status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "cannot send {name} to process {id}"
    );
    if name == "STOP" {
        assert!(wait_until(DEADLINE, || stands(id)), "process {id} does not stop");
    }
}

/// Tells whether every thread of a process is stopped: `T` behind the command's name (proc(5)).
fn stands(id: u32) -> bool {
    let Ok(mut threads) = std::fs::read_dir(format!("/proc/{id}/task")) else {
        return false;
    };
    threads.all(|thread| {
        let stat = thread.and_then(|thread| std::fs::read_to_string(thread.path().join("stat")));
        stat.is_ok_and(|stat| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T')))
    })
}

/// Waits until `condition` holds, for at most `within`, and tells whether it did.
pub fn wait_until(within: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + within;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
