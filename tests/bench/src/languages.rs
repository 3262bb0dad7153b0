//! The same handler in Rust, Python and JavaScript, and in Rust with recordings of its failures: registrations over HTTP by
//! many callers, and what the host needs for them.
//!
//! All are tenants of one host. Rounds alternate, and one more before them is not counted: it writes what is written once.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use namelock_test_artifacts::ROOMS;

use crate::closed_loop::closed_loop;
use crate::component::component;
use crate::figures::{Figures, median, ms};
use crate::host::{Host, UNLIMITED};
use crate::http::Client;

const CALLERS: usize = 64;
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(3);

/// How often it is looked how much memory the host has.
const EVERY: Duration = Duration::from_millis(20);

/// Components of several MiB are compiled for longer than the default allows. What is written, on the other hand, goes nowhere:
/// only failures are recorded, and nothing fails.
const CONFIG: &str = r#"
    [compiler]
    cpu_time = "10m"
    wall_time = "30m"
    [record]
    dir = "recordings"
"#;

/// One row.
struct Language {
    tenant: &'static str,
    what: &'static str,
    rounds: Vec<Figures>,
    /// Of each round, CPU time of the host per registration.
    cpu: Vec<Duration>,
    /// The most memory that the host had meanwhile, in MiB.
    memory_mib: f64,
}

pub(crate) async fn run() -> anyhow::Result<()> {
    let (python, js) = (built("rooms-python")?, built("rooms-js")?);
    let recorded = format!("record = \"failures\"\n{UNLIMITED}");
    let host = Host::start(
        CONFIG,
        &[
            ("rust", ROOMS, UNLIMITED),
            ("recorded", ROOMS, &recorded),
            ("js", path(&js)?, UNLIMITED),
            ("python", path(&python)?, UNLIMITED),
        ],
    )?;
    let row = |(tenant, what)| Language {
        tenant,
        what,
        rounds: Vec::new(),
        cpu: Vec::new(),
        memory_mib: 0.0,
    };
    let mut languages = [
        ("rust", "Rust"),
        ("recorded", "Rust, `record = \"failures\"`"),
        ("js", "JavaScript"),
        ("python", "Python"),
    ]
    .map(row);
    let idle = host.memory_mib()?;
    for round in 0..=ROUNDS {
        println!("round {round} of {ROUNDS}");
        for language in &mut languages {
            language.measure(&host, round).await?;
        }
    }
    println!("| rooms in | registrations/s | lowest to highest | p50 | p99 | CPU of the host | memory |");
    println!("|---|---|---|---|---|---|---|");
    for language in languages {
        language.print();
    }
    println!("medians of {ROUNDS} rounds; the host has {idle:.0} MiB before the first request");
    Ok(())
}

impl Language {
    async fn measure(&mut self, host: &Host, round: usize) -> anyhow::Result<()> {
        let cpu = host.cpu()?;
        let prefix = format!("room {round}");
        let registrations = measure_registrations(host, self.tenant, &prefix);
        tokio::pin!(registrations);
        let mut most = 0_f64;
        let figures = loop {
            tokio::select! {
                figures = &mut registrations => break figures?,
                () = tokio::time::sleep(EVERY) => most = most.max(host.memory_mib()?),
            }
        };
        if round > 0 {
            let cpu = host.cpu()?.saturating_sub(cpu);
            self.cpu.push(cpu.div_f64(figures.count as f64));
            self.rounds.push(figures);
            self.memory_mib = self.memory_mib.max(most);
        }
        Ok(())
    }

    fn print(mut self) {
        self.cpu.sort_unstable();
        let cpu = self.cpu[self.cpu.len() / 2];
        let count = self.rounds.len();
        let middle = median(&mut self.rounds, |round| round.per_second);
        let (per_second, p50, p99) = (middle.per_second, ms(middle.median), ms(middle.p99));
        println!(
            "| {} | {per_second:.0} | {:.0} to {:.0} | {p50:.2} ms | {p99:.2} ms | {:.3} ms | {:.0} MiB |",
            self.what,
            self.rounds[0].per_second,
            self.rounds[count - 1].per_second,
            ms(cpu),
            self.memory_mib
        );
    }
}

/// What the Makefile builds of an example of an SDK.
fn built(name: &str) -> anyhow::Result<PathBuf> {
    let path = component(name);
    ensure!(
        path.exists(),
        "there is no {}: run `make bench-languages`",
        path.display()
    );
    Ok(path)
}

fn path(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("the path of this project is not UTF-8")
}

/// Registers one name after the other, each caller over its own connection.
async fn measure_registrations(host: &Host, tenant: &str, prefix: &str) -> anyhow::Result<Figures> {
    let work = closed_loop(CALLERS, ROUND, |caller, end| {
        let (address, prefix, path) = (host.address, prefix.to_owned(), format!("/v1/{tenant}/names"));
        async move {
            let mut client = Client::connect(address).await?;
            let mut times = Vec::new();
            while Instant::now() < end {
                let body = format!("{{\"name\":\"{prefix} {caller} {}\",\"owner\":\"ann\"}}", times.len());
                let begin = Instant::now();
                let (status, answer) = client.ask(&path, &body).await?;
                times.push(begin.elapsed());
                ensure!(
                    status == 201,
                    "a registration of {path} was answered {status}: {answer}"
                );
            }
            Ok(times)
        }
    });
    Ok(work.await?.figures())
}
