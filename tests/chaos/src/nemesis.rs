//! Injects faults, alone and together, as a seed decides, and heals them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde::Serialize;
use tokio::task::block_in_place;

use crate::clients::Clients;
use crate::fleet::{Fleet, HOSTS, LEASE, LOCK_LIFE, SERVERS, now_us};
use crate::proxy::Mode;

/// After a fault every host has to register a name again within this time. It takes a few seconds: a lease of grace, a stall, a
/// reconnect with its backoff, a statement that runs into its deadline. The rest is for a machine that is slow and busy.
const SERVICE_BACK: Duration = Duration::from_secs(180);

/// How PostgreSQL is counted among the servers behind a proxy.
const POSTGRES: usize = SERVERS;

/// Which faults come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// All, from the seed.
    Everything,
    /// Memcached is flushed, and nothing else.
    Flushes,
    /// Hosts stand still for a bit longer than a lock lives.
    LongStops,
    /// What hosts tell PostgreSQL arrives later than their leases last.
    LateWrites,
}

impl Plan {
    /// Whether what happened is checked after each fault, to end at the first violation.
    pub(crate) fn looks_between(self) -> bool {
        self != Self::Everything
    }
}

/// One fault that was injected, with its times in microseconds since 1970.
#[derive(Debug, Clone, Serialize)]
pub struct Record {
    pub kind: &'static str,
    pub what: String,
    pub begin_us: i64,
    /// When it was healed.
    pub end_us: i64,
    /// When every host had registered a name since then.
    pub served_us: Option<i64>,
}

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    KillHost(usize),
    StopHost(usize),
    /// Stops a host while one of its handlers is between the grant and the save.
    StopInSection(usize),
    ClockJump(usize, i64),
    KillMemcached(usize),
    StopMemcached(usize),
    Flush(usize),
    Pressure,
    KillPostgres,
    StopPostgres,
    Network(usize, Mode),
}

/// Injects faults into a fleet.
pub struct Nemesis {
    fleet: Arc<Fleet>,
    random: StdRng,
    plan: Plan,
    begin: Instant,
    faults: Vec<Record>,
}

impl Nemesis {
    pub fn new(fleet: Arc<Fleet>, seed: u64, plan: Plan) -> Self {
        Self {
            fleet,
            random: StdRng::seed_from_u64(seed),
            plan,
            begin: Instant::now(),
            faults: Vec::new(),
        }
    }

    /// The faults that were injected so far.
    pub fn faults(&self) -> Vec<Record> {
        self.faults.clone()
    }

    /// Injects one fault or two, heals them, and waits until every host serves again.
    ///
    /// # Errors
    ///
    /// When the service does not come back in time, or something cannot be started again.
    pub async fn strike(&mut self, clients: &Clients) -> anyhow::Result<()> {
        let faults = self.choose();
        eprintln!("{:>4} s  {faults:?}", self.begin.elapsed().as_secs());
        let begin_us = now_us();
        for fault in &faults {
            if let Fault::StopInSection(host) = fault {
                wait_for_section(&self.fleet, *host).await;
            }
            // The proxies and the clients go on meanwhile.
            block_in_place(|| self.inject(*fault))?;
        }
        tokio::time::sleep(self.time(&faults)).await;
        for fault in &faults {
            block_in_place(|| self.heal(*fault))?;
        }
        let end_us = now_us();
        let served = self.wait_for_service(clients, end_us).await;
        for fault in &faults {
            self.faults.push(Record {
                kind: fault.kind(),
                what: format!("{fault:?}"),
                begin_us,
                end_us,
                served_us: served,
            });
        }
        if served.is_none() {
            bail!("after {faults:?} not every host was serving within {SERVICE_BACK:?}");
        }
        let quiet = self.random.random_range(200..1500);
        tokio::time::sleep(Duration::from_millis(quiet)).await;
        Ok(())
    }

    async fn wait_for_service(&self, clients: &Clients, since_us: i64) -> Option<i64> {
        let back = async {
            while !clients.all_served_since(since_us) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            now_us()
        };
        tokio::time::timeout(SERVICE_BACK, back).await.ok()
    }

    /// Lets everything pass again.
    pub fn heal_everything(&self) {
        for server in 0..=SERVERS {
            self.fleet.proxy(server).set(Mode::Pass);
        }
    }

    fn choose(&mut self) -> Vec<Fault> {
        let host = self.random.random_range(0..HOSTS);
        let server = self.random.random_range(0..SERVERS);
        match self.plan {
            Plan::Flushes => (0..SERVERS).map(Fault::Flush).collect(),
            Plan::LongStops => vec![Fault::StopInSection(host)],
            Plan::LateWrites => vec![Fault::Network(POSTGRES, Mode::Delay(LEASE + Duration::from_secs(1)))],
            Plan::Everything => {
                let one = self.any(host, server);
                if self.random.random_bool(0.3) {
                    let two = self.any((host + 1) % HOSTS, (server + 1) % SERVERS);
                    if two.kind() != one.kind() && (one.server().is_none() || one.server() != two.server()) {
                        return vec![one, two];
                    }
                }
                vec![one]
            }
        }
    }

    fn any(&mut self, host: usize, server: usize) -> Fault {
        let off = *[-3600, -30, 30, 3600].choose(&mut self.random).unwrap_or(&30);
        let behind = *[server, server, POSTGRES].choose(&mut self.random).unwrap_or(&server);
        let delay = Duration::from_millis(self.random.random_range(5..1500));
        let modes = [Mode::Cut, Mode::Reset, Mode::HalfClose, Mode::Delay(delay)];
        let mode = *modes.choose(&mut self.random).unwrap_or(&Mode::Cut);
        let all = [
            Fault::KillHost(host),
            Fault::StopHost(host),
            Fault::StopInSection(host),
            Fault::ClockJump(host, off),
            Fault::KillMemcached(server),
            Fault::StopMemcached(server),
            Fault::Flush(server),
            Fault::Pressure,
            Fault::KillPostgres,
            Fault::StopPostgres,
            Fault::Network(behind, mode),
            Fault::Network(behind, mode),
        ];
        *all.choose(&mut self.random).unwrap_or(&Fault::Pressure)
    }

    /// For how long the faults last.
    fn time(&mut self, faults: &[Fault]) -> Duration {
        match self.plan {
            Plan::Flushes => Duration::from_millis(100),
            // A lock is gone by then, and its holder's lease all the more.
            Plan::LongStops => LOCK_LIFE.saturating_sub(Duration::from_millis(self.random.random_range(0..1500))),
            Plan::LateWrites => Duration::from_millis(500),
            Plan::Everything => {
                // Long enough for a lock to expire, now and then.
                let long = faults
                    .iter()
                    .any(|fault| matches!(fault, Fault::StopInSection(_) | Fault::StopHost(_)));
                let max = if long { 9000 } else { 4000 };
                Duration::from_millis(self.random.random_range(300..max))
            }
        }
    }

    fn inject(&self, fault: Fault) -> anyhow::Result<()> {
        let fleet = &self.fleet;
        match fault {
            Fault::KillHost(host) => fleet.kill_host(host),
            Fault::ClockJump(host, off) => {
                fleet.kill_host(host);
                fleet.start_host(host, off)?;
            }
            Fault::StopHost(host) | Fault::StopInSection(host) => fleet.signal_host(host, "STOP"),
            Fault::KillMemcached(server) => fleet.memcached(server).kill(),
            Fault::StopMemcached(server) => fleet.memcached(server).signal("STOP"),
            Fault::Flush(server) => drop(fleet.memcached(server).raw().command("flush_all")),
            Fault::Pressure => pressure(fleet),
            Fault::KillPostgres => fleet.postgres().kill(),
            Fault::StopPostgres => fleet.postgres().signal("STOP"),
            Fault::Network(server, mode) => fleet.proxy(server).set(mode),
        }
        Ok(())
    }

    fn heal(&self, fault: Fault) -> anyhow::Result<()> {
        let fleet = &self.fleet;
        match fault {
            Fault::KillHost(host) => fleet.start_host(host, 0)?,
            Fault::ClockJump(host, _) => {
                fleet.kill_host(host);
                fleet.start_host(host, 0)?;
            }
            Fault::StopHost(host) | Fault::StopInSection(host) => fleet.signal_host(host, "CONT"),
            Fault::KillMemcached(server) => fleet.memcached(server).restart(),
            Fault::StopMemcached(server) => fleet.memcached(server).signal("CONT"),
            Fault::Flush(_) | Fault::Pressure => {}
            Fault::KillPostgres => fleet.postgres().restart(),
            Fault::StopPostgres => fleet.postgres().signal("CONT"),
            Fault::Network(server, _) => fleet.proxy(server).set(Mode::Pass),
        }
        Ok(())
    }
}

impl Fault {
    /// The server that it affects; two faults at one server could not be told apart, nor healed one by one.
    fn server(self) -> Option<usize> {
        match self {
            Self::KillHost(_) | Self::StopHost(_) | Self::StopInSection(_) | Self::ClockJump(..) => None,
            Self::KillMemcached(server)
            | Self::StopMemcached(server)
            | Self::Flush(server)
            | Self::Network(server, _) => Some(server),
            Self::Pressure => Some(SERVERS - 1),
            Self::KillPostgres | Self::StopPostgres => Some(POSTGRES),
        }
    }

    fn kind(self) -> &'static str {
        match self {
            Self::KillHost(_) => "kill a host",
            Self::StopHost(_) => "stop a host",
            Self::StopInSection(_) => "stop a host between grant and save",
            Self::ClockJump(..) => "jump of a host's clock",
            Self::KillMemcached(_) => "kill memcached",
            Self::StopMemcached(_) => "stop memcached",
            Self::Flush(_) => "flush memcached",
            Self::Pressure => "memcached evicts",
            Self::KillPostgres => "kill PostgreSQL",
            Self::StopPostgres => "stop PostgreSQL",
            Self::Network(POSTGRES, mode) => match mode {
                Mode::Delay(_) => "delay PostgreSQL",
                Mode::HalfClose => "half-close PostgreSQL",
                Mode::Reset => "reset PostgreSQL",
                Mode::Cut | Mode::Pass => "cut PostgreSQL",
            },
            Self::Network(_, mode) => match mode {
                Mode::Delay(_) => "delay memcached",
                Mode::HalfClose => "half-close memcached",
                Mode::Reset => "reset memcached",
                Mode::Cut | Mode::Pass => "cut memcached",
            },
        }
    }
}

/// Waits, for a second at most, until a handler of this host has said that it holds a lease; it holds most for a while.
async fn wait_for_section(fleet: &Fleet, host: usize) {
    let before = fleet.log(host).matches("section on").count();
    for _ in 0..200 {
        if fleet.log(host).matches("section on").count() > before {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Fills the memcached that may evict until it does.
fn pressure(fleet: &Fleet) {
    let mut memcached = fleet.memcached(SERVERS - 1).raw();
    let value = "x".repeat(1000);
    let evicted = memcached.stat("evictions").unwrap_or_default();
    for number in 0..100_000 {
        memcached.add(&format!("pressure-{}-{number}", now_us()), &value, 60);
        if number % 500 == 0 && memcached.stat("evictions").unwrap_or_default() > evicted + 2000 {
            return;
        }
    }
}
