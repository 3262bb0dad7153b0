//! A memcached of the test's own.

use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::certificates::Identity;
use crate::clock::faketime;
use crate::port::free_port;
use crate::process::{DEADLINE, Process, wait_until};
use crate::protection::{Protected, Protection};
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
    /// Where it is spoken to in the clear: another address where it speaks TLS.
    raw: SocketAddr,
    flags: Vec<String>,
    protected: Option<Protected>,
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
        Self::spawn(flags, None, |_| {})
    }

    /// Starts a memcached with the flags that suit a lock server, which is protected like this.
    ///
    /// # Panics
    ///
    /// When it is not installed or does not start.
    pub fn protected(protection: &Protection<'_>) -> Self {
        Self::spawn(&RECOMMENDED, Some(protection), |_| {})
    }

    /// Has it show another certificate from now on.
    ///
    /// # Panics
    ///
    /// When it does not speak TLS.
    pub fn replace_certificate(&self, identity: &Identity) {
        self.write_certificate(identity);
        assert_eq!(self.raw().command("refresh_certs"), "OK");
    }

    /// Has it show another certificate when it is started anew.
    ///
    /// # Panics
    ///
    /// When it does not speak TLS.
    pub fn write_certificate(&self, identity: &Identity) {
        self.protected.as_ref().expect("a memcached with TLS").replace(identity);
    }

    /// Starts a memcached whose clock is wrong by what stands in this file, such as `+20` for 20 seconds ahead; it reads
    /// the file whenever it reads the clock.
    ///
    /// # Panics
    ///
    /// When it or libfaketime is not installed, or it does not start.
    pub fn with_clock(offset: &Path) -> Self {
        let faketime = faketime();
        Self::spawn(&["-M", "-m", "64"], None, |command| {
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
        Self::spawn(&[&RECOMMENDED[..], &["-vv"]].concat(), None, |command| {
            command.stderr(File::create(log).expect("a log file"));
        })
    }

    fn spawn(flags: &[&str], protection: Option<&Protection<'_>>, prepare: impl Fn(&mut Command)) -> Self {
        for _ in 0..10 {
            let protected = protection.map(Protected::new);
            let mut flags: Vec<_> = flags.iter().map(ToString::to_string).collect();
            flags.extend(protected.iter().flat_map(Protected::flags));
            let address = ([127, 0, 0, 1], free_port()).into();
            let is_tls = protected.as_ref().is_some_and(Protected::is_tls);
            let raw = if is_tls {
                ([127, 0, 0, 1], free_port()).into()
            } else {
                address
            };
            let mut command = command(&flags, protected.as_ref(), address, raw);
            prepare(&mut command);
            let mut server = Self {
                process: Process::spawn(&mut command),
                address,
                raw,
                flags: flags.clone(),
                protected,
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
        let protected = self.protected.as_ref();
        let scheme = if protected.is_some_and(Protected::is_tls) {
            "memcacheds"
        } else {
            "memcached"
        };
        match protected.and_then(Protected::login) {
            Some((user, password)) => format!("{scheme}://{user}:{password}@{}", self.address),
            None => format!("{scheme}://{}", self.address),
        }
    }

    /// A connection to speak to it directly, in the clear, as a user that it knows.
    pub fn raw(&self) -> RawMemcached {
        let mut raw = RawMemcached::connect(self.raw);
        if let Some((user, password)) = self.protected.as_ref().and_then(Protected::login) {
            raw.log_in(user, password);
        }
        raw
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
        let mut command = command(&self.flags, self.protected.as_ref(), self.address, self.raw);
        self.process = Process::spawn(&mut command);
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
            RawMemcached::try_connect(address).is_ok_and(|mut raw| {
                let answer = raw.command("version");
                answer.starts_with("VERSION") || answer == "CLIENT_ERROR unauthenticated"
            })
        };
        let mut ended = false;
        let answered = wait_until(DEADLINE, || {
            // What answers may be another server that was quicker.
            let speaks = speaks(self.raw);
            ended = self.process.wait(Duration::ZERO).is_some();
            ended || speaks
        });
        answered && !ended
    }
}

fn command(flags: &[String], protected: Option<&Protected>, address: SocketAddr, raw: SocketAddr) -> Command {
    let mut command = Process::command(
        "memcached",
        "run `make setup`, or on Debian `apt-get install memcached`",
    );
    command.args(["-u", "root", "-U", "0", "-l"]);
    match protected {
        Some(protected) => command.arg(protected.listen(address, raw)),
        None => command.arg(address.to_string()),
    };
    command.args(flags);
    command
}
