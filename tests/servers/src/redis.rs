//! A Redis of a measurement's own: what else one could pick for locks.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::port::free_port;
use crate::process::{DEADLINE, Process, is_installed, wait_until};

const PROGRAM: &str = "redis-server";

/// A running Redis on a free port of loopback, which keeps nothing.
#[derive(Debug)]
pub struct Redis {
    process: Process,
    address: SocketAddr,
}

impl Redis {
    /// Tells whether there is one to start. A measurement may do without it.
    pub fn is_installed() -> bool {
        is_installed(PROGRAM)
    }

    /// Starts a Redis without persistence, on a free port.
    ///
    /// # Panics
    ///
    /// When it is not installed or does not start.
    pub fn start() -> Self {
        for _ in 0..10 {
            let port = free_port();
            let mut server = Self {
                process: Process::spawn(&mut command(port)),
                address: ([127, 0, 0, 1], port).into(),
            };
            if server.answers() {
                return server;
            }
        }
        panic!("{PROGRAM} did not start");
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL for a client.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// The process's id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Waits until it answers; tells whether it does, or has ended instead.
    fn answers(&mut self) -> bool {
        let mut ended = false;
        let answered = wait_until(DEADLINE, || {
            // What answers may be another server that was quicker.
            let speaks = speaks(self.address).unwrap_or(false);
            ended = self.process.wait(Duration::ZERO).is_some();
            ended || speaks
        });
        answered && !ended
    }
}

fn command(port: u16) -> Command {
    let mut command = Process::command(
        PROGRAM,
        "run `make setup-redis`, or on Debian `apt-get install redis-server`",
    );
    command
        .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
        .args(["--save", "", "--appendonly", "no", "--loglevel", "warning"])
        .stdout(Stdio::null());
    command
}

fn speaks(address: SocketAddr) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect_timeout(&address, DEADLINE)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.write_all(b"PING\r\n")?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(line.starts_with("+PONG"))
}
