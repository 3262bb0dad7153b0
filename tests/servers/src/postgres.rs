//! A PostgreSQL of the test's own.

use std::fs::{self, File};
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::clock::faketime;
use crate::port::free_port;
use crate::process::{Process, wait_until};

/// PostgreSQL refuses to run as root; this is the user `nobody`.
const NOBODY: u32 = 65534;

/// How long the server may take to start: after a crash it has to read its log.
const START: Duration = Duration::from_secs(60);

/// A running PostgreSQL on a free port of loopback, with the database `postgres`, whose owner needs no password.
#[derive(Debug)]
pub struct Postgres {
    process: Process,
    address: SocketAddr,
    settings: Vec<String>,
    environment: Vec<(&'static str, String)>,
    folder: TempDir,
}

impl Postgres {
    /// Starts a server with an empty database.
    pub fn start() -> Self {
        Self::with_settings(&[])
    }

    /// Starts a server with an empty database and these settings, each as `name=value`.
    ///
    /// # Panics
    ///
    /// When it is not installed or does not start.
    pub fn with_settings(settings: &[&str]) -> Self {
        Self::start_in(fresh_data(), settings)
    }

    /// Starts a server with a clock of its own, for [`Postgres::set_clock`].
    ///
    /// # Panics
    ///
    /// When it, or libfaketime, is not installed.
    pub fn with_clock() -> Self {
        let folder = fresh_data();
        set_clock(folder.path(), 0);
        Self::start_in(folder, &[])
    }

    /// Sets the clock of a server that has its own: by how many seconds it is ahead of the real time from now on.
    ///
    /// # Panics
    ///
    /// When it cannot be set.
    pub fn set_clock(&self, ahead_seconds: i64) {
        set_clock(self.folder.path(), ahead_seconds);
    }

    /// Starts a server with an empty database and more in its environment, such as another clock.
    ///
    /// # Panics
    ///
    /// When it is not installed or does not start.
    pub fn with_environment(environment: &[(&'static str, String)]) -> Self {
        Self::start_with(fresh_data(), &[], environment)
    }

    /// Starts a server that offers TLS with this certificate and key, in PEM.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn with_tls(certificate: &str, key: &str) -> Self {
        let folder = fresh_data();
        for (name, text) in [("server.crt", certificate), ("server.key", key)] {
            let path = folder.path().join("data").join(name);
            fs::write(&path, text).expect("a file in its folder");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("its rights");
            give_away(&path);
        }
        Self::start_in(folder, &["ssl=on"])
    }

    fn start_in(folder: TempDir, settings: &[&str]) -> Self {
        Self::start_with(folder, settings, &[])
    }

    fn start_with(folder: TempDir, settings: &[&str], environment: &[(&'static str, String)]) -> Self {
        let settings: Vec<_> = settings.iter().map(ToString::to_string).collect();
        // Another process may take the port between the look and the start; then another one is tried.
        for _ in 0..10 {
            let address = ([127, 0, 0, 1], free_port()).into();
            let mut process = spawn(folder.path(), address, &settings, environment);
            if answers(&mut process, address) {
                return Self {
                    process,
                    address,
                    settings,
                    environment: environment.to_vec(),
                    folder,
                };
            }
        }
        panic!("PostgreSQL did not start:\n{}", log(folder.path()));
    }

    /// Starts a standby that replays this server, with the same settings.
    pub(crate) fn start_standby(&self) -> Self {
        let folder = open_folder(&std::env::temp_dir());
        let port = self.address.port().to_string();
        // -R: it connects to this server when it starts.
        run(as_nobody(&binary("pg_basebackup"))
            .args(["-h", "127.0.0.1", "-U", "nobody", "-p", &port])
            .args(["-R", "-X", "stream", "-c", "fast", "--no-sync", "-D"])
            .arg(folder.path().join("data")));
        let settings: Vec<_> = self.settings.iter().map(String::as_str).collect();
        Self::start_with(folder, &settings, &self.environment)
    }

    /// Lets a standby take writes; it replays no other server any longer.
    pub(crate) fn promote(&self) {
        let mut promote = as_nobody(&binary("pg_ctl"));
        run(promote
            .args(["promote", "-w", "-D"])
            .arg(self.folder.path().join("data")));
    }

    /// Changes a setting, `name=value` as in postgresql.conf, while it runs. The server takes it over soon, not at once.
    pub fn configure(&self, setting: &str) {
        let file = self.folder.path().join("data/postgresql.conf");
        let file = File::options().append(true).open(file);
        writeln!(file.expect("its configuration"), "{setting}").expect("its configuration");
        self.process.signal("HUP");
    }

    /// What the server answers to a query of one row and one column; none: it does not answer.
    pub fn ask(&self, sql: &str) -> Option<String> {
        let psql = Command::new(binary("psql"))
            .args(["-XAtq", "-d", &self.url(), "-c", sql])
            .stderr(Stdio::null())
            .output()
            .ok()?;
        let answer = String::from_utf8(psql.stdout).ok()?;
        psql.status.success().then(|| answer.trim_end().to_owned())
    }

    /// Runs statements in a session of their own. It ends when what is returned is dropped, and so does a transaction that they
    /// have begun.
    ///
    /// # Panics
    ///
    /// When there is no psql.
    pub fn session(&self, sql: &str) -> Process {
        let mut command = Process::command(binary("psql"), "install postgresql");
        command.args(["-XAtq", "-d", &self.url()]);
        let mut psql = Process::spawn(
            command
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        );
        psql.tell(sql).expect("psql reads statements");
        psql
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The id of the process that starts all others of it.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The URL for `--names`.
    pub fn url(&self) -> String {
        url(self.address)
    }

    /// Kills the server and all that it has started, as a power cut would.
    pub fn kill(&mut self) {
        let children = self.children();
        self.process.kill();
        for child in children {
            // Those that noticed that their parent is gone have gone too.
            let _ = Command::new("kill")
                .args(["-KILL", &child.to_string()])
                .stderr(Stdio::null())
                .status();
        }
    }

    /// Starts it again on what it has written, after [`Postgres::kill`].
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn restart(&mut self) {
        self.kill();
        let end = Instant::now() + START;
        while Instant::now() < end {
            // It refuses to start while one of its children of before is still there.
            self.process = spawn(self.folder.path(), self.address, &self.settings, &self.environment);
            if answers(&mut self.process, self.address) {
                return;
            }
        }
        panic!("PostgreSQL did not start again:\n{}", log(self.folder.path()));
    }

    /// Sends the signal of this name, such as `STOP`, to the server and all that it has started.
    pub fn signal(&self, name: &str) {
        self.process.signal(name);
        for child in self.children() {
            // One of them may end at any time.
            let _ = Command::new("kill")
                .args([&format!("-{name}"), &child.to_string()])
                .stderr(Stdio::null())
                .status();
        }
    }

    fn children(&self) -> Vec<u32> {
        let id = self.process.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        children.split_whitespace().filter_map(|id| id.parse().ok()).collect()
    }
}

/// The file that tells libfaketime what time it is for a server.
const CLOCK: &str = "clock";

fn set_clock(folder: &Path, ahead_seconds: i64) {
    // It is read at any time, so it must never be half written.
    let new = folder.join("clock.new");
    fs::write(&new, format!("{ahead_seconds:+}")).expect("a file in its folder");
    fs::set_permissions(&new, fs::Permissions::from_mode(0o644)).expect("its rights");
    fs::rename(&new, folder.join(CLOCK)).expect("its place");
}

/// A folder with an empty database of its own.
fn fresh_data() -> TempDir {
    let folder = open_folder(&std::env::temp_dir());
    run(Command::new("cp")
        .arg("-a")
        .arg(template())
        .arg(folder.path().join("data")));
    folder
}

fn url(address: SocketAddr) -> String {
    format!("postgres://nobody@{address}/postgres?sslmode=disable")
}

/// An empty database, made once for all tests of this machine.
fn template() -> PathBuf {
    let folder = std::env::temp_dir().join(format!("namelock-test-postgres-{}", own_uid()));
    fs::create_dir_all(&folder).expect("a temporary folder");
    let lock = File::create(folder.join("lock")).expect("a lock file");
    lock.lock().expect("the lock of the template");
    let template = folder.join("template");
    if !template.exists() {
        let fresh = folder.join("fresh");
        let _ = fs::remove_dir_all(&fresh);
        give_away(&folder);
        let mut initdb = as_nobody(&binary("initdb"));
        initdb.args([
            "--auth=trust",
            "--username=nobody",
            "--encoding=UTF8",
            "--no-locale",
            "--no-sync",
        ]);
        run(initdb.args(["--wal-segsize=1", "-D"]).arg(&fresh));
        fs::rename(&fresh, &template).expect("the template");
    }
    template
}

/// The user of this process.
fn own_uid() -> u32 {
    fs::metadata("/proc/self").map_or(0, |meta| meta.uid())
}

/// Makes a folder that the server's user can enter.
fn open_folder(below: &Path) -> TempDir {
    let mut builder = tempfile::Builder::new();
    let builder = builder.permissions(fs::Permissions::from_mode(0o755));
    let folder = builder.tempdir_in(below).expect("a temporary folder");
    give_away(folder.path());
    folder
}

fn give_away(folder: &Path) {
    if own_uid() == 0 {
        chown(folder, Some(NOBODY), Some(NOBODY)).expect("root may give a folder away");
    }
}

/// The command line of a program that runs as another user than root.
fn as_nobody(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    if own_uid() == 0 {
        command.args([
            "--reuid",
            &NOBODY.to_string(),
            "--regid",
            &NOBODY.to_string(),
            "--clear-groups",
        ]);
    }
    command
        .args(["--pdeathsig", "KILL", "--"])
        .arg(program)
        .current_dir("/");
    command
}

/// Where a program of the server is: Debian keeps them out of the path.
fn binary(name: &str) -> PathBuf {
    let asked = Command::new("pg_config").arg("--bindir").output();
    let asked = asked
        .ok()
        .map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    let debian = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut debian: Vec<_> = debian.map(|version| version.path().join("bin")).collect();
    debian.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = asked
        .into_iter()
        .chain(debian.into_iter().rev())
        .chain(std::env::split_paths(&path));
    let mut found = folders.map(|folder| folder.join(name)).filter(|path| path.is_file());
    found
        .next()
        .unwrap_or_else(|| panic!("this test needs PostgreSQL ({name}): install postgresql"))
}

fn spawn(folder: &Path, address: SocketAddr, settings: &[String], environment: &[(&'static str, String)]) -> Process {
    let log = File::options()
        .append(true)
        .create(true)
        .open(folder.join("log"))
        .expect("a log file");
    // The environment is the server's alone: what changes the user for it must not have it. A library for the time has a
    // semaphore of the user who loads it; and what time it is is another matter than how long something takes: no machine's
    // monotonic clock jumps.
    let mut command = as_nobody(Path::new("env"));
    command.args(environment.iter().map(|(name, value)| format!("{name}={value}")));
    let clock = folder.join(CLOCK);
    if clock.exists() {
        command
            .arg(format!("LD_PRELOAD={}", faketime().display()))
            .arg(format!("FAKETIME_TIMESTAMP_FILE={}", clock.display()))
            .args(["FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1"]);
    }
    command.arg(binary("postgres")).arg("-D").arg(folder.join("data"));
    let port = address.port().to_string();
    for setting in [
        "listen_addresses=127.0.0.1",
        "unix_socket_directories=",
        &format!("port={port}"),
    ] {
        command.args(["-c", setting]);
    }
    for setting in settings {
        command.args(["-c", setting]);
    }
    Process::spawn(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log))
}

/// Waits until the server takes clients; tells whether it does, or has ended instead.
fn answers(process: &mut Process, address: SocketAddr) -> bool {
    let ready = || {
        let mut probe = Command::new(binary("pg_isready"));
        let address = ["-h", "127.0.0.1", "-p", &address.port().to_string()].map(str::to_owned);
        TcpStream::connect(("127.0.0.1", address[3].parse().unwrap_or_default())).is_ok()
            && probe
                .args(address)
                .stdout(Stdio::null())
                .status()
                .is_ok_and(|status| status.success())
    };
    let mut ended = false;
    let answered = wait_until(START, || {
        ended = process.wait(Duration::ZERO).is_some();
        ended || ready()
    });
    answered && !ended
}

fn log(folder: &Path) -> String {
    fs::read_to_string(folder.join("log")).unwrap_or_default()
}

#[track_caller]
fn run(command: &mut Command) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
