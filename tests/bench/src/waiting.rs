//! Many callers of one name on two hosts, each of whom waits for its turn.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use namelock_test_artifacts::guests;
use tokio::task::JoinSet;

use crate::figures::{Figures, ms};
use crate::first::UNLIMITED;
use crate::host::Host;
use crate::http::Client;

const CALLERS: usize = 500;
const WAIT: Duration = Duration::from_secs(5);
const WORK: Duration = Duration::from_millis(2);

/// How far apart the callers of one host come, so that it is known in which order.
const APART: Duration = Duration::from_millis(2);

/// What became of one caller.
struct Turn {
    host: usize,
    number: usize,
    /// The fencing token, which tells the order of the grants; none: it was refused.
    token: Option<u64>,
    took: Duration,
}

pub(crate) async fn run() -> anyhow::Result<()> {
    let tenants = [("wait", guests::CRITICAL_SECTION, UNLIMITED)];
    let first = Host::start("", &tenants)?;
    let second = Host::start_on(Arc::clone(&first.memcached), "", &tenants)?;
    let hosts = [&first, &second];
    for host in hosts {
        call(host.address, "warm", Duration::ZERO).await?;
    }
    let operations = || {
        first
            .memcached
            .raw()
            .stat("cmd_meta")
            .context("memcached counts no commands")
    };
    let before = operations()?;
    let begin = Instant::now();
    let mut callers = JoinSet::new();
    for number in 0..CALLERS / hosts.len() {
        for (at, host) in hosts.iter().enumerate() {
            let address = host.address;
            callers.spawn(async move {
                let came = Instant::now();
                let token = call(address, "hot", WAIT).await?;
                anyhow::Ok(Turn {
                    host: at,
                    number,
                    token,
                    took: came.elapsed(),
                })
            });
        }
        tokio::time::sleep(APART).await;
    }
    let mut turns = Vec::new();
    while let Some(turn) = callers.join_next().await {
        turns.push(turn??);
    }
    let took = begin.elapsed();
    let operations = operations()? - before;
    print(&turns, took, operations)
}

fn print(turns: &[Turn], took: Duration, operations: u64) -> anyhow::Result<()> {
    let granted = turns.iter().filter(|turn| turn.token.is_some()).count();
    let mut out_of_order = 0;
    for host in 0..2 {
        let mut mine: Vec<_> = turns.iter().filter(|turn| turn.host == host).collect();
        mine.sort_by_key(|turn| turn.number);
        let tokens: Vec<_> = mine.iter().filter_map(|turn| turn.token).collect();
        out_of_order += tokens.windows(2).filter(|pair| pair[0] > pair[1]).count();
    }
    let longest = turns.iter().map(|turn| turn.took).max().unwrap_or_default();
    let figures = Figures::of(turns.iter().map(|turn| turn.took).collect(), took);
    let per_grant = operations as f64 / granted.max(1) as f64;
    println!(
        "{CALLERS} callers of one name over two hosts, {} ms of work each: {granted} served, {} refused, in {:.2} s",
        WORK.as_millis(),
        turns.len() - granted,
        took.as_secs_f64()
    );
    println!(
        "waited: p50 {:.0} ms, p99 {:.0} ms, longest {:.0} ms",
        ms(figures.median),
        ms(figures.p99),
        ms(longest)
    );
    println!("out of the order of their arrival at their host: {out_of_order}");
    println!("memcached: {operations} operations, {per_grant:.1} for each grant");
    ensure!(
        longest <= WAIT + Duration::from_secs(1),
        "somebody waited longer than it wished"
    );
    ensure!(out_of_order == 0, "somebody was overtaken on its own host");
    ensure!(per_grant <= 6.0, "memcached is asked too often");
    Ok(())
}

/// Asks for the lock, and tells the fencing token under which it was held; none where it was not given in time.
async fn call(address: std::net::SocketAddr, name: &str, wait: Duration) -> anyhow::Result<Option<u64>> {
    let (wait, work) = (wait.as_millis(), WORK.as_millis());
    let attributes = format!("{{\"wait_ms\":\"{wait}\",\"work_ms\":\"{work}\",\"unsaved\":\"yes\"}}");
    let body = format!("{{\"name\":\"{name}\",\"owner\":\"ann\",\"attributes\":{attributes}}}");
    let mut client = Client::connect(address).await?;
    let (status, answer) = client.ask("/v1/wait/names", &body).await?;
    ensure!([422, 423].contains(&status), "a caller was answered {status}: {answer}");
    let token = answer.split("\"token ").nth(1).and_then(|rest| rest.split('"').next());
    Ok(token.map(str::parse).transpose()?)
}
