//! A memcached of the test's own.

use std::net::SocketAddr;
use std::time::Duration;

use crate::process::{Process, wait_until};
use crate::raw::RawMemcached;

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

    /// Starts a memcached with these flags, on a free port.
    ///
    /// # Panics
    ///
    /// When it is not installed or does not start.
    pub fn with_flags(flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("port");
        let mut command = command(flags, "-1");
        // It writes the port it was given here, when it listens.
        let process = Process::spawn(command.env("MEMCACHED_PORT_FILENAME", &file));
        let mut port = None;
        wait_until(Duration::from_secs(10), || {
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            port = text
                .lines()
                .find_map(|line| line.strip_prefix("TCP INET: ")?.parse().ok());
            port.is_some()
        });
        let port: u16 = port.unwrap_or_else(|| panic!("memcached {flags:?} did not start"));
        let server = Self {
            process,
            address: ([127, 0, 0, 1], port).into(),
            flags: flags.iter().map(ToString::to_string).collect(),
        };
        server.wait_for_answer();
        server
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

    /// Starts it anew on the same port, empty, with another life of its CAS.
    ///
    /// # Panics
    ///
    /// When it does not come back.
    pub fn restart(&mut self) {
        self.kill();
        let flags: Vec<&str> = self.flags.iter().map(String::as_str).collect();
        self.process = Process::spawn(&mut command(&flags, &self.address.port().to_string()));
        self.wait_for_answer();
    }

    /// Sends it a signal, such as `STOP`.
    pub fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    fn wait_for_answer(&self) {
        let answers = wait_until(Duration::from_secs(10), || {
            RawMemcached::try_connect(self.address).is_ok_and(|mut raw| raw.command("version").starts_with("VERSION"))
        });
        assert!(answers, "memcached at {} does not answer", self.address);
    }
}

fn command(flags: &[&str], port: &str) -> std::process::Command {
    let mut command = Process::command(
        "memcached",
        "run `make setup`, or on Debian `apt-get install memcached`",
    );
    command
        .args(["-u", "root", "-l", "127.0.0.1", "-U", "0", "-p", port])
        .args(flags);
    command
}
