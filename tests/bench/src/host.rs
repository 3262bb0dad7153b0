//! The release build, with tenants of its own.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use namelock_test_servers::{Memcached, Process, wait_until_ready};
use tempfile::TempDir;

use crate::http::Client;
use crate::{cpu, memory};

/// A host that is not running: its folder, and the memcached that it is to use.
pub(crate) struct Site {
    memcached: Arc<Memcached>,
    /// The URL of its lock service.
    lock: String,
    folder: TempDir,
}

/// A running host, and what it runs on.
pub(crate) struct Host {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) memcached: Arc<Memcached>,
    /// How long it took to listen, and to be ready.
    pub(crate) listens_after: Duration,
    pub(crate) ready_after: Duration,
    site: Site,
}

/// What a tenant of a measurement may do, so that it is not its rate that is measured.
pub(crate) const UNLIMITED: &str = "[limits]\ncalls = 4096\ncalls_waiting = 4096\nrate = 1000000\nburst = 1000000\n\
     write_rate = 1000000\nread_rate = 1000000\nregistrations = 100000000\nregistration_bytes = \"64GiB\"\n";

/// How long a host may take to start, with all that it has to compile.
const START: Duration = Duration::from_secs(180);

/// How long after a refusal the first registration is tried again.
const AGAIN: Duration = Duration::from_millis(20);

/// How long it may take to stop.
const STOP: Duration = Duration::from_secs(30);

/// A tenant: its id, its component and its `tenant.toml`.
pub(crate) type Tenant<'a> = (&'a str, &'a str, &'a str);

impl Site {
    /// A folder with no tenants yet, and a memcached of its own. Hosts that share one share the names database too.
    pub(crate) fn new(config: &str) -> anyhow::Result<Self> {
        Self::on(Arc::new(Memcached::as_recommended()), config)
    }

    /// The same on a memcached that is there.
    pub(crate) fn on(memcached: Arc<Memcached>, config: &str) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        // One tenant may have the whole machine in a measurement; whether it does, its `tenant.toml` says.
        let limits_max = UNLIMITED.replace("[limits]", "[limits.max]") + "refusal_rate = 1000000\n";
        fs::write(folder.path().join("namelock.toml"), format!("{config}{limits_max}"))?;
        fs::create_dir(folder.path().join("tenants"))?;
        Ok(Self {
            lock: memcached.url(),
            memcached,
            folder,
        })
    }

    /// Has the host use several servers, which their owner keeps running.
    pub(crate) fn with_locks_at(self, url: String) -> Self {
        Self { lock: url, ..self }
    }

    /// The folder in which the host runs.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Adds a tenant with this component and this `tenant.toml`.
    pub(crate) fn add(&self, id: &str, component: &[u8], toml: &str) -> anyhow::Result<()> {
        let tenant = self.folder().join("tenants").join(id);
        fs::create_dir(&tenant)?;
        fs::write(tenant.join("handler.wasm"), component)?;
        Ok(fs::write(tenant.join("tenant.toml"), toml)?)
    }

    fn add_all(&self, tenants: &[Tenant<'_>]) -> anyhow::Result<()> {
        for (id, component, toml) in tenants {
            self.add(id, &fs::read(component)?, toml)?;
        }
        Ok(())
    }

    /// Starts the host, and waits until it is ready.
    pub(crate) fn start(self) -> anyhow::Result<Host> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut command = Process::command(root.join("target/release/namelock"), "run `make build` first");
        command
            .current_dir(self.folder())
            .args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .args(["--config", "namelock.toml", "--lock", &self.lock])
            // As a service runs: with it each error of wasmtime would keep a backtrace of the host too.
            .env_remove("RUST_BACKTRACE")
            .env("NAMELOCK_LOG", "error")
            .stdout(Stdio::piped());
        let begin = Instant::now();
        let mut process = Process::spawn(&mut command);
        let (address, admin) = process.listening(START).context("the host did not start")?;
        let listens_after = begin.elapsed();
        ensure!(wait_until_ready(admin, START), "the host is never ready");
        Ok(Host {
            address,
            admin,
            process,
            memcached: Arc::clone(&self.memcached),
            listens_after,
            ready_after: begin.elapsed(),
            site: self,
        })
    }
}

impl Host {
    /// Starts a host with memcached, SQLite and these tenants.
    pub(crate) fn start(config: &str, tenants: &[Tenant<'_>]) -> anyhow::Result<Self> {
        let site = Site::new(config)?;
        site.add_all(tenants)?;
        site.start()
    }

    /// Starts a host on a memcached that another one uses too.
    pub(crate) fn start_on(memcached: Arc<Memcached>, config: &str, tenants: &[Tenant<'_>]) -> anyhow::Result<Self> {
        let site = Site::on(memcached, config)?;
        site.add_all(tenants)?;
        site.start()
    }

    /// Stops it as an operator does. What it has kept is there when it is started again.
    pub(crate) fn stop(mut self) -> anyhow::Result<Site> {
        self.process.signal("INT");
        self.process.wait(STOP).context("the host does not stop")?;
        Ok(self.site)
    }

    /// Registers a name of a tenant, and again until it is registered: a host that is ready may still have to learn what its
    /// memcached has granted to others.
    pub(crate) async fn grants(&self, tenant: &str) -> anyhow::Result<()> {
        let path = format!("/v1/{tenant}/names");
        let mut client = Client::connect(self.address).await?;
        let begin = Instant::now();
        loop {
            let (status, answer) = client.ask(&path, "{\"name\":\"the first\",\"owner\":\"ann\"}").await?;
            match status {
                201 => return Ok(()),
                503 if begin.elapsed() < START => tokio::time::sleep(AGAIN).await,
                status => anyhow::bail!("the first registration was answered {status}: {answer}"),
            }
        }
    }

    /// The directory of all tenants.
    pub(crate) fn tenants(&self) -> PathBuf {
        self.site.folder().join("tenants")
    }

    /// The directory of a tenant, which need not exist.
    pub(crate) fn tenant(&self, id: &str) -> PathBuf {
        self.tenants().join(id)
    }

    /// How much memory the host has now, in MiB.
    pub(crate) fn memory_mib(&self) -> anyhow::Result<f64> {
        Ok(memory::resident(self.process.id())?.all)
    }

    /// How much CPU time the host has used so far.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        cpu::used(self.process.id())
    }
}
