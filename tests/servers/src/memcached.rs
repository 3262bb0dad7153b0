//! A memcached of the test's own.

use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::clock::faketime;
use crate::port::free_port;
use crate::process::{DEADLINE, Process, wait_until};
use crate::raw::RawMemcached;

/// What the README says of memcached for locks.
const RECOMMENDED: [&str; 10] = [
    "-M",
    "-F",
    "-X",
    "-W",
    "-B",
    "ascii",
    "-R",
    "500",
    "-o",
    "no_slab_automove",
];

/// A running memcached on a free port of loopback.
#[derive(Debug)]
pub struct Memcached {
    process: Process,
    address: SocketAddr,
    flags: Vec<String>,
}

impl Memcached {
    /// Starts a memcached with the flags that suit a lock server, on a free port.
    pub fn start() -> Self {
        Self::with_flags(&["-M", "-m", "64"])
    }

    /// Starts a memcached as the README says to run it, on a free port.
    pub fn as_recommended() -> Self {
        Self::with_flags(&RECOMMENDED)
    }

    /// The flags that it was started with.
    pub fn flags(&self) -> &[String] {
        &self.flags
    }

    /// Starts a memcached with these flags, on a free port.
    ///
    /// # Panics
    ///
    /// When it is not installed or does not start.
    pub fn with_flags(flags: &[&str]) -> Self {
        Self::spawn(flags, |_| {})
    }

    /// Starts a memcached whose clock is wrong by what stands in this file, such as `+20` for 20 seconds ahead; it reads
    /// the file whenever it reads the clock.
    ///
    /// # Panics
    ///
    /// When it or libfaketime is not installed, or it does not start.
    pub fn with_clock(offset: &Path) -> Self {
        let faketime = faketime();
        Self::spawn(&["-M", "-m", "64"], |command| {
            command
                .env("LD_PRELOAD", &faketime)
                .env("FAKETIME_TIMESTAMP_FILE", offset)
                .env("FAKETIME_NO_CACHE", "1");
        })
    }

    /// Starts a memcached as the README says to run it, which writes every command that it is sent into this file.
    ///
    /// # Panics
    ///
    /// When it is not installed or does not start.
    pub fn with_log(log: &Path) -> Self {
        Self::spawn(&[&RECOMMENDED[..], &["-vv"]].concat(), |command| {
            command.stderr(File::create(log).expect("a log file"));
        })
    }

    fn spawn(flags: &[&str], prepare: impl Fn(&mut Command)) -> Self {
        for _ in 0..10 {
            let port = free_port();
            let mut command = command(flags, &port.to_string());
            prepare(&mut command);
            let mut server = Self {
                process: Process::spawn(&mut command),
                address: ([127, 0, 0, 1], port).into(),
                flags: flags.iter().map(ToString::to_string).collect(),
            };
            if server.answers() {
                return server;
            }
        }
        panic!("memcached {flags:?} did not start");
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL for `--lock`.
    pub fn url(&self) -> String {
        format!("memcached://{}", self.address)
    }

    /// A connection to speak to it directly.
    pub fn raw(&self) -> RawMemcached {
        RawMemcached::connect(self.address)
    }

    /// Kills it; its port stays its own.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it anew on the same port, empty, with CAS values that begin anew.
    ///
    /// # Panics
    ///
    /// When it does not come back.
    pub fn restart(&mut self) {
        self.kill();
        let flags: Vec<&str> = self.flags.iter().map(String::as_str).collect();
        self.process = Process::spawn(&mut command(&flags, &self.address.port().to_string()));
        assert!(self.answers(), "memcached at {} does not come back", self.address);
    }

    /// The process's id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Sends it a signal, such as `STOP`.
    pub fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// Waits until it answers; tells whether it does, or has ended instead.
    fn answers(&mut self) -> bool {
        let speaks = |address| {
            RawMemcached::try_connect(address).is_ok_and(|mut raw| raw.command("version").starts_with("VERSION"))
        };
        let mut ended = false;
        let answered = wait_until(DEADLINE, || {
            // What answers may be another server that was quicker.
            let speaks = speaks(self.address);
            ended = self.process.wait(Duration::ZERO).is_some();
            ended || speaks
        });
        answered && !ended
    }
}

fn command(flags: &[&str], port: &str) -> Command {
    let mut command = Process::command(
        "memcached",
        "run `make setup`, or on Debian `apt-get install memcached`",
    );
    command
        .args(["-u", "root", "-l", "127.0.0.1", "-U", "0", "-p", port])
        .args(flags);
    command
}
