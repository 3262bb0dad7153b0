//! Those who attack a host, for as long as they are let.
//!
//! Callers are a process of their own, which yields to everything else on this machine: real ones have machines of their
//! own, and what is measured beside them should be the host, not who of two clients gets a processor.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context, bail};
use namelock_test_artifacts::bombs;
use tokio::io::{AsyncReadExt, stdin};
use tokio::net::TcpSocket;
use tokio::process::{Child, Command};
use tokio::task::{JoinHandle, JoinSet};

use crate::host::Host;
use crate::http::Client;

/// More than a tenant may have running and waiting by default, so that its concurrency is always full.
const CALLERS: usize = 192;

/// How long a caller waits that was refused: it comes again soon, but not as fast as it can.
const PAUSE: Duration = Duration::from_millis(100);

/// An attack that goes on.
pub(crate) enum Attackers {
    Process(Child),
    Task(Arc<AtomicBool>, JoinHandle<anyhow::Result<u64>>),
}

impl Attackers {
    /// Calls these tenants, each with as many callers as fill its concurrency.
    pub(crate) fn calls(address: SocketAddr, tenants: &[String]) -> anyhow::Result<Self> {
        Self::process("calls", address, tenants)
    }

    /// Opens connections that say nothing.
    pub(crate) fn silence(address: SocketAddr) -> anyhow::Result<Self> {
        Self::process("silence", address, &[])
    }

    /// Puts new components into the directory of tenants, and has it read.
    pub(crate) fn reloads(host: Arc<Host>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(reload(host, Arc::clone(&stop)));
        Self::Task(stop, task)
    }

    fn process(kind: &str, address: SocketAddr, tenants: &[String]) -> anyhow::Result<Self> {
        let child = Command::new("nice")
            .arg("-n19")
            .arg(std::env::current_exe()?)
            .args(["attack", kind, &address.to_string()])
            .args(tenants)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start the attackers")?;
        Ok(Self::Process(child))
    }

    /// Ends it, and tells how often it has attacked.
    pub(crate) async fn stop(self) -> anyhow::Result<u64> {
        match self {
            Self::Task(stop, task) => {
                stop.store(true, Relaxed);
                task.await?
            }
            Self::Process(mut child) => {
                // The end of its standard input tells it to end.
                drop(child.stdin.take());
                let output = child.wait_with_output().await?;
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
    }
}

/// What the process of the attackers does: attacks until its standard input ends, then tells how often.
pub(crate) async fn run(arguments: &[String]) -> anyhow::Result<()> {
    let [kind, address, tenants @ ..] = arguments else {
        bail!("usage: attack calls|silence ADDRESS TENANT…");
    };
    let address = address.parse()?;
    let count = Arc::new(AtomicU64::new(0));
    let mut attackers = JoinSet::new();
    match kind.as_str() {
        "calls" => {
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
        "silence" => drop(attackers.spawn(be_silent(address, Arc::clone(&count)))),
        other => bail!("there is no attack {other:?}"),
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

async fn reload(host: Arc<Host>, stop: Arc<AtomicBool>) -> anyhow::Result<u64> {
    let bomb = bombs::many_functions();
    let mut count = 0_u64;
    while !stop.load(Relaxed) {
        let dir = host.tenant(&format!("bomber{}", count % 8));
        fs::create_dir_all(&dir)?;
        // Each is another component: what follows the last section of one is a custom section of its own.
        let mut wasm = bomb.clone();
        wasm.extend_from_slice(&[0, 9, 8]);
        wasm.extend_from_slice(&count.to_le_bytes());
        fs::write(dir.join("handler.wasm"), wasm)?;
        host.process.signal("HUP");
        count += 1;
        tokio::time::sleep(PAUSE).await;
    }
    Ok(count)
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
