//! A well-behaved tenant alone, and beside each kind of attack at the attacker's full allowance.
//!
//! Each attack has a host of its own. Rounds alone and beside alternate in one run, and the medians are compared.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::ensure;
use namelock_test_artifacts::{ROOMS, guests};
use tokio::task::JoinSet;

use crate::attackers::Attackers;
use crate::figures::{Figures, median, ms};
use crate::host::{Host, Tenant, UNLIMITED};
use crate::http::Client;

/// Requests a second of the neighbour.
const RATE: u64 = 300;
const ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_secs(5);

/// What the attacker does.
enum Attack {
    /// As many tenants that run this guest, each called as often as it may be.
    Calls { guest: &'static str, tenants: usize },
    /// New components, each of which keeps the compiler busy, and SIGHUP again and again.
    Reloads,
    /// Connections from one address that say nothing.
    Silence,
}

const ATTACKS: [(&str, Attack); 11] = [
    ("spinning", calls(guests::SPIN_HOLDING_LEASE)),
    ("long calls", calls(guests::LONG_CALL)),
    ("backtraces", calls(guests::TRAP_IN_MANGLED_NAME)),
    ("log lines", calls(guests::LOG_SHORT_LINES)),
    (
        "sleeping, 4 tenants",
        Attack::Calls {
            guest: guests::SLEEP_FOR_EVER,
            tenants: 4,
        },
    ),
    ("saving", calls(guests::SAVE_IN_A_LOOP)),
    ("dirty memory", calls(guests::DIRTY_MEMORY)),
    ("sparse data, traps", calls(guests::SPARSE_DATA)),
    ("calls of the host", calls(guests::HOST_CALL_FLOOD)),
    ("reloads and compiling", Attack::Reloads),
    ("silent connections", Attack::Silence),
];

const fn calls(guest: &'static str) -> Attack {
    Attack::Calls { guest, tenants: 1 }
}

/// A bomb ends soon after a round, so that the next one begins with an idle host.
const COMPILER: &str = r#"
    [compiler]
    memory = "1GiB"
    cpu_time = "2s"
"#;

/// Measures these attacks, or all.
pub(crate) async fn run(only: &[String]) -> anyhow::Result<()> {
    println!("| attack | alone p50 | alone p99 | beside p50 | beside p99 | bound p99 | calls of the attacker |");
    println!("|---|---|---|---|---|---|---|");
    let mut felt = Vec::new();
    let chosen = |name: &str| only.is_empty() || only.iter().any(|only| only == name);
    for (name, attack) in ATTACKS.iter().filter(|(name, _)| chosen(name)) {
        if !measure(name, attack).await? {
            felt.push(*name);
        }
    }
    println!(
        "times in ms, medians of {ROUNDS} rounds of {} s at {RATE}/s; no request of the neighbour failed",
        ROUND.as_secs()
    );
    ensure!(felt.is_empty(), "the neighbour feels {felt:?}");
    Ok(())
}

/// Measures one attack, prints its row, and tells whether the bound holds.
async fn measure(name: &str, attack: &Attack) -> anyhow::Result<bool> {
    let ids = attacker_ids(attack);
    let mut tenants: Vec<Tenant<'_>> = vec![("demo", ROOMS, UNLIMITED)];
    if let Attack::Calls { guest, .. } = attack {
        tenants.extend(ids.iter().map(|id| (id.as_str(), *guest, "")));
    }
    let host = Host::start(COMPILER, &tenants)?;
    let (mut alone, mut beside, mut attacks) = (Vec::new(), Vec::new(), 0);
    for round in 0..ROUNDS {
        alone.push(steady(&host, &format!("alone {round}"), ROUND).await?);
        let attackers = attack.begin(&host, &ids)?;
        beside.push(steady(&host, &format!("beside {round}"), ROUND).await?);
        attacks += attackers.stop().await?;
    }
    let alone = median(&mut alone, |round| ms(round.p99));
    let beside = median(&mut beside, |round| ms(round.p99));
    let bound = (alone.p99 * 2).max(alone.p99 + Duration::from_millis(10));
    println!(
        "| {name} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {attacks} |",
        ms(alone.median),
        ms(alone.p99),
        ms(beside.median),
        ms(beside.p99),
        ms(bound)
    );
    Ok(beside.p99 <= bound)
}

fn attacker_ids(attack: &Attack) -> Vec<String> {
    let count = match attack {
        Attack::Calls { tenants, .. } => *tenants,
        Attack::Reloads | Attack::Silence => 0,
    };
    (0..count).map(|number| format!("attacker{number}")).collect()
}

impl Attack {
    /// Begins the attack.
    fn begin(&self, host: &Host, ids: &[String]) -> anyhow::Result<Attackers> {
        match self {
            Self::Calls { .. } => Attackers::calls(host.address, ids),
            Self::Silence => Attackers::silence(host.address),
            Self::Reloads => Attackers::reloads(host),
        }
    }
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
                let number = next.fetch_add(1, Relaxed);
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
