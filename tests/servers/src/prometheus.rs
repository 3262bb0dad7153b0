//! A Prometheus of the test's own, which scrapes hosts and judges rules.

use std::fs::{self, File};
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::port::free_port;
use crate::process::{DEADLINE, Process, wait_until};

/// Scrapes each target once a second, and judges the rules more often than that. A scrape may take as long as there is.
const CONFIG: &str = "global:
  scrape_interval: 1s
  scrape_timeout: 1s
  evaluation_interval: 200ms
rule_files: [rules.yml]
scrape_configs:
  - job_name: namelock
    authorization: {credentials: SCRAPER}
    file_sd_configs:
      - files: [targets.json]
";

/// The secret that it shows to hosts, for those that ask for one.
pub const SCRAPER: &str = "nlk_scraper";

/// A running Prometheus on a free port of loopback.
#[derive(Debug)]
pub struct Prometheus {
    process: Process,
    address: SocketAddr,
    folder: TempDir,
}

impl Prometheus {
    /// Starts one with these rules, in YAML, and no targets. The targets' job is called `namelock`.
    ///
    /// # Panics
    ///
    /// When it is not installed or does not start.
    pub fn start(rules: &str) -> Self {
        for _ in 0..10 {
            let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
            let folder = tempfile::tempdir().expect("a temporary folder");
            let put = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("a file in its folder");
            put("prometheus.yml", &CONFIG.replace("SCRAPER", SCRAPER));
            put("rules.yml", rules);
            put("targets.json", "[]");
            let mut server = Self {
                process: Process::spawn(&mut command(folder.path(), address)),
                address,
                folder,
            };
            if server.answers() {
                return server;
            }
        }
        panic!("prometheus did not start");
    }

    /// Scrapes these admin listeners, and no others. It takes the list over within five seconds, which cannot be set.
    ///
    /// # Panics
    ///
    /// When the list cannot be written.
    pub fn scrape(&self, hosts: &[SocketAddr]) {
        let targets: Vec<_> = hosts.iter().map(|host| format!("\"{host}\"")).collect();
        let list = format!("[{{\"targets\": [{}]}}]", targets.join(", "));
        // It is read at any time, so it must never be half written.
        let new = self.folder.path().join("targets.new");
        fs::write(&new, list).expect("a file in its folder");
        fs::rename(&new, self.folder.path().join("targets.json")).expect("its place");
    }

    /// What its API answers to this path, as JSON; none: it does not answer.
    pub fn ask(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(self.address).ok()?;
        stream.set_read_timeout(Some(DEADLINE)).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").ok()?;
        let answer = std::io::read_to_string(stream).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        head.lines().next()?.contains(" 200 ").then(|| body.to_owned())
    }

    /// What it answers to a query in PromQL, as JSON.
    pub fn query(&self, query: &str) -> Option<String> {
        self.ask(&format!("/api/v1/query?query={}", encoded(query)))
    }

    /// Waits until it is ready; tells whether it is, or has ended instead.
    fn answers(&mut self) -> bool {
        let mut ended = false;
        let answered = wait_until(DEADLINE, || {
            let ready = self.ask("/-/ready").is_some();
            ended = self.process.wait(Duration::ZERO).is_some();
            ended || ready
        });
        answered && !ended
    }
}

/// A text as it may stand in a URL.
fn encoded(text: &str) -> String {
    let of = |byte: u8| match byte.is_ascii_alphanumeric() {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(of).collect()
}

fn command(folder: &Path, address: SocketAddr) -> Command {
    let log = File::create(folder.join("log")).expect("a log file");
    let mut command = Process::command(
        "prometheus",
        "run `make setup-prometheus`, or on Debian `apt-get install prometheus`",
    );
    command
        .current_dir(folder)
        .args([
            "--config.file=prometheus.yml",
            "--storage.tsdb.path=data",
            "--log.level=warn",
        ])
        .arg(format!("--web.listen-address={address}"))
        .stdout(log.try_clone().expect("a log file"))
        .stderr(log);
    command
}
