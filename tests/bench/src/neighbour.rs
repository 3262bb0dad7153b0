//! A well-behaved tenant alone, and beside each kind of attack at the attacker's full allowance.
//!
//! Each attack has a host of its own. Rounds alone and beside alternate in one run, and the medians are compared.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::ensure;
use namelock_test_artifacts::{ROOMS, bombs, guests};
use tokio::net::TcpSocket;
use tokio::task::JoinSet;

use crate::figures::{Figures, median, ms};
use crate::first::UNLIMITED;
use crate::host::{Host, Tenant};
use crate::http::Client;

/// Requests a second of the neighbour.
const RATE: u64 = 300;
const ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_secs(5);

/// More than a tenant may have running and waiting by default, so that its concurrency is always full.
const CALLERS: usize = 192;

/// How long a caller waits that was refused: it comes again soon, but not as fast as it can.
const PAUSE: Duration = Duration::from_millis(100);

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
    let host = Arc::new(Host::start(COMPILER, &tenants)?);
    let (mut alone, mut beside, mut attacks) = (Vec::new(), Vec::new(), 0);
    for round in 0..ROUNDS {
        alone.push(steady(&host, &format!("alone {round}"), ROUND).await?);
        let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let attackers = attack.begin(&host, &ids, &stop, &count);
        beside.push(steady(&host, &format!("beside {round}"), ROUND).await?);
        stop.store(true, Relaxed);
        for ended in attackers.join_all().await {
            ended?;
        }
        attacks += count.load(Relaxed);
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
    /// Begins the attack, which goes on until `stop` is set.
    fn begin(
        &self,
        host: &Arc<Host>,
        ids: &[String],
        stop: &Arc<AtomicBool>,
        count: &Arc<AtomicU64>,
    ) -> JoinSet<anyhow::Result<()>> {
        let mut attackers = JoinSet::new();
        match self {
            Self::Calls { .. } => {
                for id in ids {
                    for number in 0..CALLERS {
                        let (path, body) = (
                            format!("/v1/{id}/names"),
                            format!(r#"{{"name":"{number}","owner":"eve"}}"#),
                        );
                        attackers.spawn(call(host.address, path, body, Arc::clone(stop), Arc::clone(count)));
                    }
                }
            }
            Self::Reloads => {
                attackers.spawn(reload(Arc::clone(host), Arc::clone(stop), Arc::clone(count)));
            }
            Self::Silence => {
                attackers.spawn(be_silent(host.address, Arc::clone(stop), Arc::clone(count)));
            }
        }
        attackers
    }
}

/// Calls a tenant until it is told to stop.
async fn call(
    address: SocketAddr,
    path: String,
    body: String,
    stop: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
) -> anyhow::Result<()> {
    let mut client = Client::connect(address).await?;
    while !stop.load(Relaxed) {
        let status = client.post(&path, &body).await?;
        count.fetch_add(1, Relaxed);
        if [423, 429, 503].contains(&status) {
            tokio::time::sleep(PAUSE).await;
        }
    }
    Ok(())
}

/// Puts new components into the directory of tenants, and has it read.
async fn reload(host: Arc<Host>, stop: Arc<AtomicBool>, count: Arc<AtomicU64>) -> anyhow::Result<()> {
    let bomb = bombs::many_functions();
    while !stop.load(Relaxed) {
        let number = count.fetch_add(1, Relaxed);
        let dir = host.tenant(&format!("bomber{}", number % 8));
        fs::create_dir_all(&dir)?;
        // Each is another component: what follows the last section of one is a custom section of its own.
        let mut wasm = bomb.clone();
        wasm.extend_from_slice(&[0, 9, 8]);
        wasm.extend_from_slice(&number.to_le_bytes());
        fs::write(dir.join("handler.wasm"), wasm)?;
        host.process.signal("HUP");
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

/// Opens connections from an address of its own and sends nothing.
async fn be_silent(address: SocketAddr, stop: Arc<AtomicBool>, count: Arc<AtomicU64>) -> anyhow::Result<()> {
    let mut connections = Vec::new();
    while !stop.load(Relaxed) {
        // This process has a limit on open files too.
        let Ok(socket) = TcpSocket::new_v4() else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, 2), 0)))?;
        // As many as the host takes; one more is one that waits outside.
        if let Ok(Ok(stream)) = tokio::time::timeout(PAUSE, socket.connect(address)).await {
            connections.push(stream);
            count.fetch_add(1, Relaxed);
        }
    }
    Ok(())
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
