//! Many callers of one name on two hosts, each of whom waits for its turn.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use namelock_test_artifacts::guests;
use namelock_test_servers::Memcached;
use tokio::task::JoinSet;

use crate::figures::{Figures, ms};
use crate::host::{Host, UNLIMITED};
use crate::http::Client;

const CALLERS: usize = 500;
const WAIT: Duration = Duration::from_secs(5);
const WORK: Duration = Duration::from_millis(2);

/// How far apart the callers of one host come, and how much earlier one must have come to be first for certain: what
/// the client sends first need not arrive first.
const APART: Duration = Duration::from_millis(2);
const FIRST: Duration = Duration::from_millis(20);

/// What became of one caller.
struct Turn {
    host: usize,
    came: Instant,
    /// The fencing token, which tells the order of the grants; none: it was refused.
    token: Option<u64>,
    took: Duration,
}

pub(crate) async fn run() -> anyhow::Result<()> {
    let tenants = [("wait", guests::CRITICAL_SECTION, UNLIMITED)];
    let folder = tempfile::tempdir()?;
    let log = folder.path().join("memcached.log");
    let first = Host::start_on(Arc::new(Memcached::with_log(&log)), "", &tenants)?;
    let second = Host::start_on(Arc::clone(&first.memcached), "", &tenants)?;
    let hosts = [&first, &second];
    for host in hosts {
        call(host.address, "warm", Duration::ZERO).await?;
    }
    let operations = || anyhow::Ok(commands(&std::fs::read_to_string(&log)?));
    let before = operations()?;
    let begin = Instant::now();
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS / hosts.len() {
        for (at, host) in hosts.iter().enumerate() {
            let address = host.address;
            callers.spawn(async move {
                let came = Instant::now();
                let token = call(address, "hot", WAIT).await?;
                anyhow::Ok(Turn {
                    host: at,
                    came,
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

/// How many commands memcached has written into its log: `<28 mg key v` for one over the connection 28.
pub(crate) fn commands(log: &str) -> usize {
    let is_command =
        |line: &&str| line.starts_with('<') && matches!(line.split(' ').nth(1), Some("ma" | "md" | "mg" | "mn" | "ms"));
    log.lines().filter(is_command).count()
}

/// How many came long enough before somebody else at their host, and got the lock later.
fn overtaken(turns: &[Turn]) -> usize {
    let overtaken = |turn: &&Turn| {
        turns.iter().any(|other| {
            let later = other.host == turn.host && other.came > turn.came + FIRST;
            later && other.token.is_some_and(|token| Some(token) < turn.token)
        })
    };
    turns.iter().filter(overtaken).count()
}

fn print(turns: &[Turn], took: Duration, operations: usize) -> anyhow::Result<()> {
    let granted = turns.iter().filter(|turn| turn.token.is_some()).count();
    let overtaken = overtaken(turns);
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
    println!(
        "overtaken at their own host by somebody who came over {} ms later: {overtaken}",
        FIRST.as_millis()
    );
    println!("memcached: {operations} operations, {per_grant:.1} for each grant");
    ensure!(
        longest <= WAIT + Duration::from_secs(1),
        "somebody waited longer than it wished"
    );
    ensure!(overtaken == 0, "somebody was overtaken on its own host");
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
