//! The release build, with tenants of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use namelock_test_servers::{Memcached, Process, wait_until_ready};
use tempfile::TempDir;

use crate::cpu;

/// A running host, and what it runs on.
pub(crate) struct Host {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) memcached: Arc<Memcached>,
    folder: TempDir,
}

/// What a tenant of a measurement may do, so that it is not its rate that is measured.
pub(crate) const UNLIMITED: &str = "[limits]\ncalls = 4096\ncalls_waiting = 4096\nrate = 1000000\nburst = 1000000\n\
     write_rate = 1000000\nread_rate = 1000000\nregistrations = 100000000\nregistration_bytes = \"64GiB\"\n";

/// How long a host may take to start.
const START: Duration = Duration::from_secs(60);

/// A tenant: its id, its component and its `tenant.toml`.
pub(crate) type Tenant<'a> = (&'a str, &'a str, &'a str);

impl Host {
    /// Starts a host with memcached, SQLite and these tenants.
    pub(crate) fn start(config: &str, tenants: &[Tenant<'_>]) -> anyhow::Result<Self> {
        Self::start_on(Arc::new(Memcached::as_recommended()), config, tenants)
    }

    /// Starts a host on a memcached that another one uses too.
    pub(crate) fn start_on(memcached: Arc<Memcached>, config: &str, tenants: &[Tenant<'_>]) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        for (id, component, toml) in tenants {
            let tenant = folder.path().join("tenants").join(id);
            std::fs::create_dir_all(&tenant)?;
            std::fs::copy(component, tenant.join("handler.wasm"))?;
            std::fs::write(tenant.join("tenant.toml"), toml)?;
        }
        // One tenant may have the whole machine in a measurement; whether it does, its `tenant.toml` says.
        let limits_max = UNLIMITED.replace("[limits]", "[limits.max]");
        std::fs::write(folder.path().join("namelock.toml"), format!("{config}{limits_max}"))?;
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut command = Process::command(root.join("target/release/namelock"), "run `make build` first");
        command
            .current_dir(folder.path())
            .args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .args(["--config", "namelock.toml", "--lock", &memcached.url()])
            // As a service runs: with it each error of wasmtime would keep a backtrace of the host too.
            .env_remove("RUST_BACKTRACE")
            .env("NAMELOCK_LOG", "error")
            .stdout(Stdio::piped());
        let mut process = Process::spawn(&mut command);
        let (address, admin) = process.listening(START).context("the host did not start")?;
        ensure!(wait_until_ready(admin, START), "the host is never ready");
        Ok(Self {
            address,
            admin,
            process,
            memcached,
            folder,
        })
    }

    /// The directory of all tenants.
    pub(crate) fn tenants(&self) -> PathBuf {
        self.folder.path().join("tenants")
    }

    /// The directory of a tenant, which need not exist.
    pub(crate) fn tenant(&self, id: &str) -> PathBuf {
        self.tenants().join(id)
    }

    /// How much memory the host has now, in MiB.
    pub(crate) fn memory_mib(&self) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .context("no VmRSS")?;
        let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kib / 1024.0)
    }

    /// How much CPU time the host has used so far.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        cpu::used(self.process.id())
    }
}
