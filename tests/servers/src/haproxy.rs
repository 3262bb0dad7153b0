//! A balancer in front of several hosts, which asks each whether it is ready.

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::port::free_port;
use crate::process::{DEADLINE, Process, wait_until};

/// Where it tells of its hosts, and in which column whether one is up.
const STATUS: &str = "/balancer";
const STATUS_COLUMN: usize = 17;

/// A running haproxy on a free port of loopback.
#[derive(Debug)]
pub struct Haproxy {
    process: Process,
    address: SocketAddr,
    _folder: TempDir,
}

impl Haproxy {
    /// Starts one in front of these hosts, each given by its public and its admin address.
    ///
    /// # Panics
    ///
    /// When it is not installed or does not start.
    pub fn start(hosts: &[(SocketAddr, SocketAddr)]) -> Self {
        for _ in 0..10 {
            let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
            let folder = tempfile::tempdir().expect("a temporary folder");
            let file = folder.path().join("haproxy.cfg");
            fs::write(&file, config(address, hosts)).expect("its configuration");
            let mut balancer = Self {
                process: Process::spawn(&mut command(&file)),
                address,
                _folder: folder,
            };
            if balancer.answers() {
                return balancer;
            }
        }
        panic!("haproxy did not start");
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether it sends requests to the host of this number; none: it does not say.
    pub fn is_up(&self, host: usize) -> Option<bool> {
        let mut stream = TcpStream::connect(self.address).ok()?;
        write!(stream, "GET {STATUS};csv HTTP/1.0\r\n\r\n").ok()?;
        let text = std::io::read_to_string(stream).ok()?;
        let line = text
            .lines()
            .find(|line| line.starts_with(&format!("hosts,host{host},")))?;
        Some(line.split(',').nth(STATUS_COLUMN)?.starts_with("UP"))
    }

    /// Waits until it accepts connections; tells whether it does, or has ended instead.
    fn answers(&mut self) -> bool {
        let mut ended = false;
        let answered = wait_until(DEADLINE, || {
            let accepts = TcpStream::connect(self.address).is_ok();
            ended = self.process.wait(Duration::ZERO).is_some();
            ended || accepts
        });
        answered && !ended
    }
}

/// As docs/operations.md recommends it, but that it asks more often, and tries nothing twice: so each request that a host cuts
/// off fails.
fn config(address: SocketAddr, hosts: &[(SocketAddr, SocketAddr)]) -> String {
    let servers: String = hosts
        .iter()
        .enumerate()
        .map(|(number, (public, admin))| {
            format!(
                "    server host{number} {public} check addr {} port {}\n",
                admin.ip(),
                admin.port()
            )
        })
        .collect();
    format!(
        "global
    maxconn 1000
defaults
    mode http
    timeout connect 5s
    timeout client 1m
    timeout server 1m
    retries 0
frontend public
    bind {address}
    stats enable
    stats uri {STATUS}
    default_backend hosts
backend hosts
    balance leastconn
    option httpchk GET /readyz
    default-server inter 100ms fall 1 rise 1
{servers}"
    )
}

fn command(file: &Path) -> Command {
    let mut command = Process::command(
        "/usr/sbin/haproxy",
        "run `make setup-haproxy`, or on Debian `apt-get install haproxy`",
    );
    command.args(["-db", "-q", "-f"]).arg(file);
    command
}
