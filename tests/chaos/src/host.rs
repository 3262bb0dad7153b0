//! One host: a process that may be running or not, with a clock that may be wrong, and with what it has logged.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ChildStderr, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use namelock_test_servers::{Process, wait_until_ready};

use crate::clock::Clock;
use crate::fleet::now_us;
use crate::history::Said;
use crate::proxy::{NAME, end};

/// How long a host may take to start, on a machine that is busy.
const START: Duration = Duration::from_secs(60);

/// How a host is started.
#[derive(Debug, Clone)]
pub struct Setup {
    pub binary: PathBuf,
    /// The folder of the fleet, with the configurations and the tenants.
    pub folder: PathBuf,
    /// All that is the same for every host.
    pub arguments: Vec<String>,
    /// The safeties that it runs without.
    pub without: String,
}

/// What a host that does not fit has of its own.
#[derive(Debug, Clone, Default)]
pub struct Misfit {
    /// A file beside the right one.
    pub config: Option<&'static str>,
    /// Another `--lock`.
    pub lock: Option<String>,
}

/// One host.
#[derive(Debug)]
pub struct Host {
    setup: Setup,
    /// What this host calls whom.
    names: PathBuf,
    listen: SocketAddr,
    process: Option<Process>,
    /// Where the process that was started last is administered.
    admin: Option<SocketAddr>,
    /// How often it was started.
    lives: usize,
    folder: PathBuf,
    clock: Arc<Clock>,
    said: Arc<Mutex<Vec<Said>>>,
}

impl Host {
    /// Makes a host that does not run yet.
    ///
    /// # Errors
    ///
    /// When its folder cannot be made.
    pub fn new(setup: &Setup, number: usize, listen: SocketAddr) -> anyhow::Result<Self> {
        let folder = setup.folder.join(format!("host{number}"));
        fs::create_dir_all(&folder)?;
        let names = format!("127.0.0.1 localhost\n{} {NAME}\n", end(number));
        fs::write(folder.join("hosts"), names)?;
        Ok(Self {
            setup: setup.clone(),
            names: folder.join("hosts"),
            listen,
            process: None,
            admin: None,
            lives: 0,
            clock: Arc::new(Clock::new(&folder)?),
            folder,
            said: Arc::default(),
        })
    }

    /// Starts it, with the clock as it is set.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn start(&mut self, misfit: &Misfit) -> anyhow::Result<()> {
        let log = self.folder.join(format!("{:03}.log", self.lives));
        self.lives += 1;
        let config = misfit.config.unwrap_or("namelock.toml");
        // In a view of the file system of its own, in which `/etc/hosts` is what this host calls whom.
        let mut command = Process::command("unshare", "install util-linux");
        if !is_root() {
            command.arg("--map-root-user");
        }
        command
            .args([
                "--mount",
                "sh",
                "-c",
                r#"mount --bind "$0" /etc/hosts && exec env "$@""#,
            ])
            .arg(&self.names)
            // The environment is the host's alone: with another clock the commands before it would do more than they should.
            .args(
                self.clock
                    .environment()?
                    .iter()
                    .map(|(name, value)| format!("{name}={value}")),
            )
            .arg(&self.setup.binary)
            .current_dir(&self.setup.folder)
            .args(["serve", "--tenants=tenants", "--admin=127.0.0.1:0"])
            .arg(format!("--config={config}"))
            // The same address after every start.
            .arg(format!("--listen={}", self.listen));
        let other = |argument: &&String| misfit.lock.is_none() || !argument.starts_with("--lock=");
        command.args(self.setup.arguments.iter().filter(other));
        command.args(misfit.lock.iter().map(|lock| format!("--lock={lock}")));
        command
            .env("NAMELOCK_LOG", "info")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if !self.setup.without.is_empty() {
            command.env("NAMELOCK_WITHOUT", &self.setup.without);
        }
        let mut process = Process::spawn(&mut command);
        let stderr = process.take_stderr().context("it is piped")?;
        let (clock, said) = (Arc::clone(&self.clock), Arc::clone(&self.said));
        let file = File::create(&log)?;
        // It ends with the process.
        thread::spawn(move || read(stderr, file, &clock, &said));
        let Some((_, admin)) = process.listening(START) else {
            bail!("a host does not start within {START:?}: {}", fs::read_to_string(log)?);
        };
        self.admin = Some(admin);
        self.process = Some(process);
        Ok(())
    }

    /// What is started the next time.
    pub fn set_binary(&mut self, binary: &Path) {
        binary.clone_into(&mut self.setup.binary);
    }

    /// Waits until it is ready to serve.
    ///
    /// # Errors
    ///
    /// When it never is.
    pub fn wait_until_ready(&self) -> anyhow::Result<()> {
        let admin = self.admin.context("it was never started")?;
        ensure!(wait_until_ready(admin, START), "a host is not ready within {START:?}");
        Ok(())
    }

    /// Kills it as a power cut would.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Asks it to stop, and waits until it has.
    pub fn stop(&mut self, within: Duration) {
        if let Some(mut process) = self.process.take() {
            process.signal("INT");
            // Dropping it kills what has not ended.
            process.wait(within);
        }
    }

    /// Sends it the signal of this name.
    pub fn signal(&self, name: &str) {
        if let Some(process) = &self.process {
            process.signal(name);
        }
    }

    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// What its handlers have said so far.
    pub fn said(&self) -> Vec<Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The names of which its handlers have said that they hold them, since so long ago.
    pub fn names_begun_within(&self, within: Duration) -> Vec<String> {
        let since_us = now_us().saturating_sub_unsigned(u64::try_from(within.as_micros()).unwrap_or(u64::MAX));
        let said = self.said();
        let begun = said.iter().filter_map(|one| one.begun_since(since_us));
        begun.map(str::to_owned).collect()
    }

    /// How much that is.
    pub fn said_count(&self) -> usize {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// What its handlers have said beyond what was there.
    pub fn said_since(&self, count: usize) -> Vec<Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)[count..].to_vec()
    }
}

/// Copies a log into a file, and keeps what handlers say in it. It is read as it comes, because the clock of what
/// writes it may step.
fn read(log: ChildStderr, mut file: File, clock: &Clock, said: &Mutex<Vec<Said>>) {
    let mut log = BufReader::new(log);
    let mut line = Vec::new();
    while log.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
        if let Some(one) = Said::parse(&String::from_utf8_lossy(&line), |written| {
            clock.right(written, now_us())
        }) {
            said.lock().unwrap_or_else(PoisonError::into_inner).push(one);
        }
        // Whoever looks for it sees that it is missing.
        let _ = file.write_all(&line);
        line.clear();
    }
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;

    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// Writes the configurations: the right one, and those that do not fit to it.
///
/// # Errors
///
/// When they cannot be written.
pub fn write_configs(folder: &Path, config: &str) -> anyhow::Result<()> {
    fs::write(folder.join("namelock.toml"), config)?;
    let other = config.replace("lease = \"3s\"", "lease = \"2s\"");
    Ok(fs::write(folder.join("other-lease.toml"), other)?)
}
