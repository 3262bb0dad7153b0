//! First figures: registrations over HTTP with memcached and SQLite, and the same lock alone.
//!
//! Everything runs on this one machine, the callers too; the two are measured alternately in one run, and medians are printed.

mod http;

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use namelock_lock::{LockConfig, Locks};
use namelock_test_servers::{Memcached, Process};
use tokio::task::JoinSet;

const CALLERS: usize = 64;
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(3);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let memcached = Memcached::with_flags(&[
        "-M",
        "-F",
        "-X",
        "-W",
        "-B",
        "ascii",
        "-R",
        "500",
        "-o",
        "no_slab_automove",
    ]);
    let folder = tempfile::tempdir()?;
    let (_host, address) = start_host(folder.path(), &memcached)?;
    let locks = Locks::open(&memcached.url().parse()?, LockConfig::default())?;
    let (mut registrations, mut lock_cycles) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        println!("round {} of {ROUNDS}", round + 1);
        registrations.push(measure_registrations(address, round).await?);
        lock_cycles.push(measure_locks(&locks).await?);
    }
    print(
        "registrations over HTTP (fresh instance, memcached, SQLite)",
        &mut registrations,
    );
    print("lock cycles alone (acquire and release, memcached)", &mut lock_cycles);
    Ok(())
}

/// What one round showed.
struct Figures {
    per_second: f64,
    median: Duration,
    p99: Duration,
}

fn print(what: &str, rounds: &mut [Figures]) {
    rounds.sort_by(|a, b| a.per_second.total_cmp(&b.per_second));
    let median = &rounds[rounds.len() / 2];
    println!(
        "{what}: {:.0}/s, p50 {:.2} ms, p99 {:.2} ms, with {CALLERS} callers (median of {} rounds, {:.0} to {:.0}/s)",
        median.per_second,
        median.median.as_secs_f64() * 1e3,
        median.p99.as_secs_f64() * 1e3,
        rounds.len(),
        rounds[0].per_second,
        rounds[rounds.len() - 1].per_second,
    );
}

/// Starts the release build with the tenant `demo`.
fn start_host(folder: &Path, memcached: &Memcached) -> anyhow::Result<(Process, std::net::SocketAddr)> {
    let tenant = folder.join("tenants/demo");
    std::fs::create_dir_all(&tenant)?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let component = root.join("target/components/rooms.wasm");
    std::fs::copy(&component, tenant.join("handler.wasm")).context("no rooms.wasm; run `make build` first")?;
    let mut command = Process::command(root.join("target/release/namelock"), "run `make build` first");
    command
        .current_dir(folder)
        .args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--admin",
            "127.0.0.1:0",
            "--lock",
            &memcached.url(),
        ])
        .env("NAMELOCK_LOG", "warn")
        .stdout(Stdio::piped());
    let mut host = Process::spawn(&mut command);
    let mut line = String::new();
    let stdout = host.child().stdout.take().context("no standard output")?;
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line)?;
    let address = line
        .strip_prefix("listening on http://")
        .and_then(|rest| rest.split(' ').next());
    Ok((host, address.context("the host did not start")?.parse()?))
}

async fn measure_registrations(address: std::net::SocketAddr, round: usize) -> anyhow::Result<Figures> {
    measure(|caller, end| async move {
        let mut client = http::Client::connect(address).await?;
        let mut times = Vec::new();
        while Instant::now() < end {
            let body = format!(
                "{{\"name\":\"room {round} {caller} {}\",\"owner\":\"ann\"}}",
                times.len()
            );
            let begin = Instant::now();
            let status = client.post("/v1/demo/names", &body).await?;
            times.push(begin.elapsed());
            ensure!(status == 201, "a registration was answered {status}");
        }
        Ok(times)
    })
    .await
}

async fn measure_locks(locks: &Locks) -> anyhow::Result<Figures> {
    measure(|caller, end| {
        let locks = locks.clone();
        async move {
            let mut times = Vec::new();
            while Instant::now() < end {
                let begin = Instant::now();
                let lease = locks
                    .acquire("bench", &format!("{caller} {}", times.len()), Duration::ZERO)
                    .await?;
                lease.release().await?;
                times.push(begin.elapsed());
            }
            Ok(times)
        }
    })
    .await
}

/// Lets every caller work for one round, and gathers how long each piece of work took.
async fn measure<F>(caller: impl Fn(usize, Instant) -> F) -> anyhow::Result<Figures>
where
    F: Future<Output = anyhow::Result<Vec<Duration>>> + Send + 'static,
{
    let begin = Instant::now();
    let mut callers: JoinSet<_> = (0..CALLERS).map(|number| caller(number, begin + ROUND)).collect();
    let mut times = Vec::new();
    while let Some(done) = callers.join_next().await {
        times.extend(done??);
    }
    let took = begin.elapsed();
    times.sort_unstable();
    ensure!(!times.is_empty(), "nothing was done");
    Ok(Figures {
        per_second: times.len() as f64 / took.as_secs_f64(),
        median: times[times.len() / 2],
        p99: times[times.len() * 99 / 100],
    })
}
