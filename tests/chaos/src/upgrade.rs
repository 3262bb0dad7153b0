//! A fleet that is upgraded host by host while clients call it, as `docs/operations.md` describes it: nobody's request
//! fails, and nothing is lost.
//!
//! Clients come through what a load balancer does: a host is taken out of service and stopped, the new version is started in its
//! place, and it serves again once it is ready. The first new one migrates the database, which is full of rows, while the
//! others go on. From then on, old and new hosts write, purge and lock the same names, and the checker reads what they did.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tokio::task::block_in_place;

use crate::checker::{self, Violation};
use crate::clients::{self, Answer, Call, Clients, Load, Stop};
use crate::database::Kind;
use crate::fleet::{Fleet, HOSTS};
use crate::nemesis::Plan;
use crate::{Outcome, Run};

/// What is upgraded, from what to what.
#[derive(Debug)]
pub struct Upgrade {
    /// The binary of the hosts at first, and in the end.
    pub from: PathBuf,
    pub to: PathBuf,
    pub database: Kind,
    /// Decides every call.
    pub seed: u64,
    /// How many rows there are beside those of the clients.
    pub rows: u32,
    /// How often each host in service registers a name before the next step.
    pub registrations: usize,
}

/// Times that are not missed on a machine that is slow and busy, because no fault is to be overcome here.
const CONFIG: &str = r#"
    [lock]
    lease = "15s"
    max_hold = "20s"
    watch_every = "1s"
    [names]
    timeout = "10s"
    connect_timeout = "5s"
    busy_timeout = "9s"
    retention = "40s"
    [limits]
    calls = 256
    calls_waiting = 256
    rate = 100000
    burst = 100000
    wall_time = "1m"
    cpu_time = "5s"
    log_bytes = "1MiB"
"#;

/// How long a step may take, and how often it is looked whether it is done.
const STEP: Duration = Duration::from_secs(180);
const PAUSE: Duration = Duration::from_millis(50);

/// Upgrades a fleet, and tells what should not have happened.
///
/// # Errors
///
/// What keeps the fleet from being started, upgraded or read; a fleet that breaks its promises is no error.
pub async fn run(upgrade: &Upgrade) -> anyhow::Result<Outcome> {
    let run = Run {
        host: upgrade.from.clone(),
        seed: upgrade.seed,
        time: Duration::ZERO,
        faults_min: 0,
        plan: Plan::Everything,
        load: Load::Patient,
        database: upgrade.database,
        config: CONFIG,
        without: String::new(),
    };
    let fleet = Arc::new(Fleet::start(&run).await.context("the fleet does not start")?);
    fleet.database().fill(upgrade.rows).await?;
    // One that has just started does not know yet what its memcached have granted.
    for host in 0..HOSTS {
        block_in_place(|| fleet.host(host).wait_until_ready())?;
    }
    let before = fleet.database().version().await?;
    let stop = Stop::default();
    let clients = clients::start(&fleet, run.seed, run.load, &stop);
    until_all_register(&clients, upgrade.registrations).await?;
    for host in 0..HOSTS {
        let begin = Instant::now();
        let gate = fleet.take_out(host).await;
        block_in_place(|| fleet.replace_host(host, &upgrade.to))?;
        drop(gate);
        let (version, took) = (fleet.database().version().await?, begin.elapsed());
        println!(
            "host {host} is replaced after {took:.1?}; the tables had version {before} at first and have {version}"
        );
        until_all_register(&clients, upgrade.registrations).await?;
    }
    stop.stop();
    let calls = clients.join().await?;
    let mut violations: Vec<_> = calls.iter().filter_map(failed).collect();
    let filled = fleet.database().filled().await?;
    if filled != i64::from(upgrade.rows) {
        let what = format!("of {} rows that nobody has called for {filled} are left", upgrade.rows);
        violations.push(Violation { check: "rows", what });
    }
    fleet.database().settle().await?;
    violations.extend(checker::locks_left(&fleet).await);
    let mut history = fleet.history(calls, Vec::new()).await?;
    history.hosts_come = true;
    violations.extend(checker::check(&history));
    Ok(Outcome { history, violations })
}

/// Waits until every host has registered so many names from now on.
async fn until_all_register(clients: &Clients, registrations: usize) -> anyhow::Result<()> {
    let counts = || {
        let mut counts = [0; HOSTS];
        for call in clients.calls() {
            counts[call.host] += usize::from(matches!(call.answer, Answer::Registration { .. }));
        }
        counts
    };
    let (before, begin) = (counts(), Instant::now());
    while begin.elapsed() < STEP {
        if counts()
            .iter()
            .zip(before)
            .all(|(now, before)| *now >= before + registrations)
        {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
    ensure!(
        false,
        "not every host registers names within {STEP:?}: {:?} times, {before:?} before",
        counts()
    );
    Ok(())
}

/// A request that did not get what it could have had from any host that serves.
fn failed(call: &Call) -> Option<Violation> {
    let is_failed = match &call.answer {
        Answer::Unknown(_) => true,
        Answer::Problem { status, .. } => matches!(*status, 405 | 429 | 500..),
        Answer::Registration { .. } | Answer::Freed => false,
    };
    let what = || format!("a request was not served: {call:?}");
    is_failed.then(|| Violation {
        check: "failed",
        what: what(),
    })
}
