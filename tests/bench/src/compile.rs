//! A well-behaved tenant alone, and while the host compiles bombs that it was told of by SIGHUP.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use namelock_test_artifacts::{ROOMS, bombs};

use crate::figures::{Figures, median, ms};
use crate::host::{Host, UNLIMITED};
use crate::http::Client;
use crate::neighbour::steady;

const ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_secs(10);

/// One after the other is compiled, so that there is something to compile for the whole of a round.
const BOMBERS: usize = 8;

/// How long the host may take to be done with all bombs.
const DONE: Duration = Duration::from_secs(300);

/// A bomb ends soon after a round, so that the next one begins with an idle host.
const LIMITS: &str = r#"
    [compiler]
    memory = "1GiB"
    cpu_time = "2s"
"#;

pub(crate) async fn run() -> anyhow::Result<()> {
    let host = Host::start(LIMITS, &[("demo", ROOMS, UNLIMITED)])?;
    let bomb = bombs::giant_function();
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    let mut told = String::new();
    for round in 0..ROUNDS {
        println!("round {} of {ROUNDS}", round + 1);
        alone.push(steady(&host, &format!("alone {round}"), ROUND).await?);
        for bomber in 0..BOMBERS {
            let dir = host.tenant(&format!("bomber{bomber}"));
            fs::create_dir_all(&dir)?;
            fs::write(dir.join("handler.wasm"), &bomb)?;
        }
        host.process.signal("HUP");
        beside.push(steady(&host, &format!("beside {round}"), ROUND).await?);
        told = wait_until_refused(host.admin).await?;
        // A tenant that has gone is forgotten, and its bomb with it.
        for bomber in 0..BOMBERS {
            fs::remove_dir_all(host.tenant(&format!("bomber{bomber}")))?;
        }
        host.process.signal("HUP");
        wait_for_tenants(host.admin, |text| !text.contains("bomber")).await?;
    }
    print(alone, beside, &told)
}

fn print(mut alone: Vec<Figures>, mut beside: Vec<Figures>, told: &str) -> anyhow::Result<()> {
    let noise = alone.iter().map(|round| ms(round.p99)).fold(0.0, f64::max);
    let alone = median(&mut alone, |round| ms(round.p99));
    let beside = median(&mut beside, |round| ms(round.p99));
    let line = |figures: &Figures| format!("p50 {:.2} ms, p99 {:.2} ms", ms(figures.median), ms(figures.p99));
    println!("alone:           {} (slowest round: p99 {noise:.2} ms)", line(alone));
    println!("beside {BOMBERS} bombs: {}", line(beside));
    println!("of a bomb, the host says: {told}");
    let bound = (alone.p99 * 2).max(alone.p99 + Duration::from_millis(5));
    println!(
        "bound:           p99 {:.2} ms (medians of {ROUNDS} rounds; no request failed)",
        ms(bound)
    );
    ensure!(beside.p99 <= bound, "the compiler is felt");
    Ok(())
}

/// Waits until every bomb is refused, and tells what is said of the first.
async fn wait_until_refused(admin: SocketAddr) -> anyhow::Result<String> {
    let all_refused =
        |text: &str| !text.contains("being loaded") && text.matches("compiling it takes more than").count() == BOMBERS;
    let text = wait_for_tenants(admin, all_refused).await?;
    let from = text.find("compiling it takes").context("nothing is said")?;
    Ok(text[from..].split('"').next().unwrap_or_default().to_owned())
}

async fn wait_for_tenants(admin: SocketAddr, done: impl Fn(&str) -> bool) -> anyhow::Result<String> {
    let wait = async {
        loop {
            let text = Client::connect(admin).await?.get("/tenants").await?;
            if done(&text) {
                return Ok(text);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(DONE, wait)
        .await
        .context("the host is not done with the bombs")?
}
