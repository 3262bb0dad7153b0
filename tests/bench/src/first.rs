//! Registrations over HTTP with memcached and SQLite, and the same lock alone.

use std::time::{Duration, Instant};

use anyhow::ensure;
use namelock_test_artifacts::ROOMS;

use crate::closed_loop::closed_loop;
use crate::cycles;
use crate::figures::{Figures, median, ms};
use crate::host::{Host, UNLIMITED};
use crate::http::Client;

const CALLERS: usize = 64;
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(3);

pub(crate) async fn run() -> anyhow::Result<()> {
    let host = Host::start("", &[("demo", ROOMS, UNLIMITED)])?;
    let locks = cycles::open(&host.memcached).await?;
    let (mut registrations, mut lock_cycles) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        println!("round {} of {ROUNDS}", round + 1);
        registrations.push(measure_registrations(&host, "demo", &format!("room {round}")).await?);
        lock_cycles.push(cycles::measure(&locks, CALLERS, ROUND).await?.figures());
    }
    print(
        "registrations over HTTP (fresh instance, memcached, SQLite)",
        &mut registrations,
    );
    print("lock cycles alone (acquire and release, memcached)", &mut lock_cycles);
    Ok(())
}

fn print(what: &str, rounds: &mut [Figures]) {
    let count = rounds.len();
    let figures = median(rounds, |round| round.per_second);
    let line = format!(
        "{what}: {:.0}/s, p50 {:.2} ms, p99 {:.2} ms, with {CALLERS} callers",
        figures.per_second,
        ms(figures.median),
        ms(figures.p99)
    );
    println!(
        "{line} (median of {count} rounds, {:.0} to {:.0}/s)",
        rounds[0].per_second,
        rounds[count - 1].per_second
    );
}

/// Registers one name after the other, each caller over its own connection.
pub(crate) async fn measure_registrations(host: &Host, tenant: &str, prefix: &str) -> anyhow::Result<Figures> {
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
