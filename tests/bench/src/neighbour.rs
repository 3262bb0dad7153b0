//! A well-behaved tenant alone, and beside one that spins in every call that it may have.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use namelock_test_artifacts::{ROOMS, guests};
use tokio::task::JoinSet;

use crate::figures::{Figures, median, ms};
use crate::first::UNLIMITED;
use crate::host::Host;
use crate::http::Client;

const RATE: u64 = 300;
const ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_secs(10);

/// More than a tenant may have running and waiting by default, so that its concurrency is always full.
const SPINNERS: usize = 192;

pub(crate) async fn run() -> anyhow::Result<()> {
    let tenants = [("demo", ROOMS, UNLIMITED), ("spinner", guests::SPIN_HOLDING_LEASE, "")];
    let host = Host::start("", &tenants)?;
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    let mut spun = 0;
    for round in 0..ROUNDS {
        println!("round {} of {ROUNDS}", round + 1);
        alone.push(steady(&host, &format!("alone {round}"), ROUND).await?);
        let (figures, calls) = beside_spinner(&host, &format!("beside {round}")).await?;
        beside.push(figures);
        spun += calls;
    }
    let alone = median(&mut alone, |round| ms(round.p99));
    let beside = median(&mut beside, |round| ms(round.p99));
    let bound = (alone.p99 * 2).max(alone.p99 + Duration::from_millis(5));
    println!(
        "alone:  {RATE}/s, p50 {:.2} ms, p99 {:.2} ms",
        ms(alone.median),
        ms(alone.p99)
    );
    println!(
        "beside: {RATE}/s, p50 {:.2} ms, p99 {:.2} ms, {spun} calls of the spinner ended",
        ms(beside.median),
        ms(beside.p99)
    );
    println!(
        "bound:  p99 {:.2} ms (medians of {ROUNDS} rounds of {} s; no request failed)",
        ms(bound),
        ROUND.as_secs()
    );
    ensure!(beside.p99 <= bound, "the neighbour is felt");
    Ok(())
}

async fn beside_spinner(host: &Host, prefix: &str) -> anyhow::Result<(Figures, u64)> {
    let (stop, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut spinners = JoinSet::new();
    for number in 0..SPINNERS {
        let (address, stop, calls) = (host.address, Arc::clone(&stop), Arc::clone(&calls));
        spinners.spawn(async move {
            let mut client = Client::connect(address).await?;
            while !stop.load(Ordering::Relaxed) {
                let body = format!("{{\"name\":\"{number}\",\"owner\":\"eve\"}}");
                let status = client.post("/v1/spinner/names", &body).await?;
                ensure!([504, 429, 423].contains(&status), "a spinner was answered {status}");
                calls.fetch_add(1, Ordering::Relaxed);
                if status != 504 {
                    // What is refused comes again soon, but not as fast as it can.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
            Ok(())
        });
    }
    let figures = steady(host, prefix, ROUND).await?;
    stop.store(true, Ordering::Relaxed);
    while let Some(done) = spinners.join_next().await {
        done??;
    }
    Ok((figures, calls.load(Ordering::Relaxed)))
}

/// Requests at a fixed rate, whether or not those before are answered; a time counts from when its request was due.
pub(crate) async fn steady(host: &Host, prefix: &str, round: Duration) -> anyhow::Result<Figures> {
    let begin = Instant::now();
    let count = RATE * round.as_secs();
    let next = Arc::new(AtomicU64::new(0));
    let mut callers = JoinSet::new();
    for _ in 0..64 {
        let (address, prefix, next) = (host.address, prefix.to_owned(), Arc::clone(&next));
        callers.spawn(async move {
            let mut client = Client::connect(address).await?;
            let mut times = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return Ok(times);
                }
                let due = begin + Duration::from_secs(number) / u32::try_from(RATE)?;
                tokio::time::sleep_until(due.into()).await;
                let body = format!("{{\"name\":\"{prefix} {number}\",\"owner\":\"ann\"}}");
                let status = client.post("/v1/demo/names", &body).await?;
                times.push(due.elapsed());
                ensure!(status == 201, "a well-behaved request was answered {status}");
            }
        });
    }
    let mut times = Vec::new();
    while let Some(done) = callers.join_next().await {
        times.extend(done??);
    }
    Ok(Figures::of(times, begin.elapsed()))
}
