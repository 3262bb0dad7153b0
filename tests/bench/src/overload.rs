//! Eight times the load that the host can sustain: what it still does, and how fast it refuses the rest.
//!
//! The host's capacity is made small and exact: so many calls at once, each of which holds its lock for ten
//! milliseconds. So it is the refusing that is measured, and not how the callers and the host share two processors.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use namelock_test_artifacts::{ROOMS, guests};
use tokio::task::JoinSet;

use crate::figures::{Figures, ms};
use crate::host::{Host, UNLIMITED};
use crate::http::Client;
use crate::neighbour::steady;

const CONFIG: &str = "[http]\ncalls = 16\ncalls_waiting = 32\n";
const HOLD_MS: u32 = 10;
const OVERLOAD: Duration = Duration::from_secs(20);
const FACTOR: f64 = 8.0;

pub(crate) async fn run() -> anyhow::Result<()> {
    let tenants = [
        ("slow", guests::SLEEP_HOLDING_LEASE, UNLIMITED),
        ("demo", ROOMS, UNLIMITED),
    ];
    let host = Host::start(CONFIG, &tenants)?;
    let before = steady(&host, "before", Duration::from_secs(3)).await?;
    // As many callers as calls: everything is served, and nothing waits.
    let peak = load(&host, 16, None, Duration::from_secs(5)).await?;
    let memory_before = host.memory_mib()?;
    println!("peak: {:.0}/s served", peak.served.per_second);
    let over = load(&host, 2048, Some(peak.served.per_second * FACTOR), OVERLOAD).await?;
    let memory_after = host.memory_mib()?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let after = steady(&host, "after", Duration::from_secs(3)).await?;
    let share = over.served.per_second / peak.served.per_second;
    println!(
        "overload: {:.0}/s offered for {} s, {:.0}/s served ({:.0} % of the peak), {:.0}/s refused in p50 {:.2} ms, p99 {:.2} ms",
        over.served.per_second + over.refused.per_second,
        OVERLOAD.as_secs(),
        over.served.per_second,
        share * 100.0,
        over.refused.per_second,
        ms(over.refused.median),
        ms(over.refused.p99),
    );
    println!("memory: {memory_before:.0} MiB before, {memory_after:.0} MiB at the end of the overload");
    println!(
        "a steady tenant: p99 {:.2} ms before, {:.2} ms from one second after it",
        ms(before.p99),
        ms(after.p99)
    );
    ensure!(share >= 0.9, "goodput fell");
    ensure!(over.refused.p99 <= Duration::from_millis(50), "refusing takes too long");
    ensure!(memory_after <= memory_before + 200.0, "memory grew");
    ensure!(
        after.p99 <= (before.p99 * 2).max(before.p99 + Duration::from_millis(5)),
        "it is not normal again"
    );
    Ok(())
}

struct Load {
    served: Figures,
    refused: Figures,
}

/// Lets callers register for a time, at a rate or as fast as they are answered.
async fn load(host: &Host, callers: usize, rate: Option<f64>, time: Duration) -> anyhow::Result<Load> {
    let begin = Instant::now();
    let next = Arc::new(AtomicU64::new(0));
    let run = begin.elapsed().as_nanos();
    let mut tasks = JoinSet::new();
    for caller in 0..callers {
        let (address, next) = (host.address, Arc::clone(&next));
        tasks.spawn(async move {
            let mut client = Client::connect(address).await?;
            let (mut served, mut refused) = (Vec::new(), Vec::new());
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let due = rate.map_or_else(Instant::now, |rate| begin + Duration::from_secs_f64(number as f64 / rate));
                if due >= begin + time {
                    return anyhow::Ok((served, refused));
                }
                tokio::time::sleep_until(due.into()).await;
                let sent = Instant::now();
                let body = format!(
                    "{{\"name\":\"{run} {callers} {caller} {number}\",\"owner\":\"ann\",\"attributes\":{{\"hold_ms\":\"{HOLD_MS}\"}}}}"
                );
                match client.post("/v1/slow/names", &body).await? {
                    201 => served.push(sent.elapsed()),
                    503 | 429 => refused.push(sent.elapsed()),
                    status => anyhow::bail!("a request was answered {status}"),
                }
            }
        });
    }
    let (mut served, mut refused) = (Vec::new(), Vec::new());
    while let Some(done) = tasks.join_next().await {
        let (more_served, more_refused) = done??;
        served.extend(more_served);
        refused.extend(more_refused);
    }
    let took = begin.elapsed();
    Ok(Load {
        served: Figures::of(served, took),
        refused: Figures::of(refused, took),
    })
}
