//! Those who attack a host, for as long as they are let.
//!
//! Callers are a process of their own, which yields to everything else on this machine: real ones have machines of their
//! own, and what is measured beside them should be the host, not who of two clients gets a processor.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context, bail};
use namelock_test_artifacts::{bombs, numbered};
use tokio::io::{AsyncReadExt, stdin};
use tokio::net::TcpSocket;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

use crate::host::Host;
use crate::http::Client;

/// More than a tenant may have running and waiting by default, so that its concurrency is always full.
const CALLERS: usize = 192;

/// How long a caller waits that was refused: it comes again soon, but not as fast as it can.
const PAUSE: Duration = Duration::from_millis(100);

/// An attack that goes on: the process of the attackers.
pub(crate) struct Attackers(Child);

impl Attackers {
    /// Calls these tenants, each with as many callers as fill its concurrency.
    pub(crate) fn calls(address: SocketAddr, tenants: &[String]) -> anyhow::Result<Self> {
        Self::start("calls", [address.to_string()].iter().chain(tenants))
    }

    /// Opens connections that say nothing.
    pub(crate) fn silence(address: SocketAddr) -> anyhow::Result<Self> {
        Self::start("silence", &[address.to_string()])
    }

    /// Puts new components into the directory of tenants, and has it read.
    pub(crate) fn reloads(host: &Host) -> anyhow::Result<Self> {
        let tenants = host.tenants().to_string_lossy().into_owned();
        Self::start("reloads", &[tenants, host.process.id().to_string()])
    }

    fn start<'a>(kind: &str, arguments: impl IntoIterator<Item = &'a String>) -> anyhow::Result<Self> {
        let child = Command::new("nice")
            .arg("-n19")
            .arg(std::env::current_exe()?)
            .args(["attack", kind])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start the attackers")?;
        Ok(Self(child))
    }

    /// Ends it, and tells how often it has attacked.
    pub(crate) async fn stop(mut self) -> anyhow::Result<u64> {
        // The end of its standard input tells it to end.
        drop(self.0.stdin.take());
        let output = self.0.wait_with_output().await?;
        if !output.status.success() {
            bail!("the attackers ended with {}", output.status);
        }
        let count = String::from_utf8(output.stdout)?;
        count
            .trim()
            .parse()
            .context("the attackers did not say how often they attacked")
    }
}

/// What the process of the attackers does: attacks until its standard input ends, then tells how often.
pub(crate) async fn run(arguments: &[String]) -> anyhow::Result<()> {
    let count = Arc::new(AtomicU64::new(0));
    let mut attackers = JoinSet::new();
    match arguments {
        [kind, address, tenants @ ..] if kind == "calls" => {
            let address = address.parse()?;
            for (tenant, number) in tenants
                .iter()
                .flat_map(|tenant| (0..CALLERS).map(move |number| (tenant, number)))
            {
                let (path, body) = (
                    format!("/v1/{tenant}/names"),
                    format!(r#"{{"name":"{number}","owner":"eve"}}"#),
                );
                attackers.spawn(call(address, path, body, Arc::clone(&count)));
            }
        }
        [kind, address] if kind == "silence" => {
            attackers.spawn(be_silent(address.parse()?, Arc::clone(&count)));
        }
        [kind, tenants, host] if kind == "reloads" => {
            attackers.spawn(reload(tenants.into(), host.parse()?, Arc::clone(&count)));
        }
        _ => bail!("usage: attack calls ADDRESS TENANT… | attack silence ADDRESS | attack reloads TENANTS PID"),
    }
    let mut nothing = Vec::new();
    tokio::select! {
        end = async { stdin().read_to_end(&mut nothing).await } => drop(end?),
        Some(ended) = attackers.join_next() => ended??,
    }
    println!("{}", count.load(Relaxed));
    Ok(())
}

/// Calls a tenant without an end.
async fn call(address: SocketAddr, path: String, body: String, count: Arc<AtomicU64>) -> anyhow::Result<()> {
    let mut client = Client::connect(address).await?;
    loop {
        let status = client.post(&path, &body).await?;
        count.fetch_add(1, Relaxed);
        if [423, 429, 503].contains(&status) {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn reload(tenants: PathBuf, host: u32, count: Arc<AtomicU64>) -> anyhow::Result<()> {
    let bomb = bombs::many_functions();
    loop {
        let number = count.fetch_add(1, Relaxed);
        let dir = tenants.join(format!("bomber{}", number % 8));
        fs::create_dir_all(&dir)?;
        fs::write(dir.join("handler.wasm"), numbered(&bomb, u32::try_from(number)?))?;
        namelock_test_servers::signal(host, "HUP");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Opens connections from an address of its own and sends nothing.
async fn be_silent(address: SocketAddr, count: Arc<AtomicU64>) -> anyhow::Result<()> {
    let mut connections = Vec::new();
    loop {
        // This process has a limit on open files too.
        let Ok(socket) = TcpSocket::new_v4() else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, 2), 0)))?;
        // As many as the host takes; one more is one that waits outside.
        if let Ok(Ok(stream)) = tokio::time::timeout(PAUSE, socket.connect(address)).await {
            connections.push(stream);
            count.fetch_add(1, Relaxed);
        }
    }
}
