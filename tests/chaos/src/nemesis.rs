//! Injects faults, alone and together, as a seed decides, and heals them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde::Serialize;
use tokio::task::block_in_place;

use crate::checker::{self, Violation};
use crate::clients::Clients;
use crate::fault::{Dies, Fault};
use crate::fleet::{Fleet, HOSTS, LEASE, LOCK_LIFE, POSTGRES, SERVERS, now_us};
use crate::probes;
use crate::proxy::Mode;

/// After a fault every name has to be served at every host within this time. It takes a few seconds: a lease of grace,
/// a stall, a reconnect with its backoff, a statement that runs into its deadline. The rest is for a machine that is
/// slow and busy.
pub const SERVICE_BACK: Duration = Duration::from_secs(180);

/// After how many faults there is a time without any, long enough to see that every lock of before is gone.
const LULL_AFTER: usize = 8;

/// How long that is.
pub const LULL: Duration = Duration::from_secs(14);

/// Which faults come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// All, from the seed.
    Everything,
    /// Memcached is flushed, and nothing else.
    Flushes,
    /// Memcached is flushed while one host does not reach it.
    FlushesBehind,
    /// Hosts stand still for a bit longer than a lock lives.
    LongStops,
    /// What hosts tell PostgreSQL arrives later than their leases last.
    LateWrites,
    /// A memcached restarts, and gives its numbers again, while a host that holds its locks stands still.
    Restarts,
    /// The clock of a memcached stands still for longer than a lock lives.
    Stalls,
    /// What memcached answers is lost.
    LostReplies,
    /// A memcached restarts while the hosts are cut off from it, and a fresh one joins.
    FreshHosts,
    /// Clocks step.
    Clocks,
    /// Hosts join that write the same servers in another way.
    OtherLists,
    /// PostgreSQL fails over, alone or while something else breaks.
    FailOvers,
}

impl Plan {
    /// Whether what happened is checked after each fault, to end at the first violation.
    pub(crate) fn looks_between(self) -> bool {
        self != Self::Everything
    }

    /// Whether it is worth waiting for what the last fault has left.
    pub(crate) fn ends_in_a_lull(self) -> bool {
        matches!(self, Self::Everything | Self::FailOvers)
    }
}

/// One fault that was injected, with its times in microseconds since 1970.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Record {
    pub kind: &'static str,
    pub what: String,
    pub begin_us: i64,
    /// When it was healed.
    pub end_us: i64,
    /// When every name was served at every host since then.
    pub served_us: Option<i64>,
    /// When each name was.
    pub by_name_us: BTreeMap<String, i64>,
    /// Which were not, and where.
    pub missing: Vec<String>,
    /// Whether the database went by a wrong clock meanwhile.
    pub wrong_clock: bool,
    /// Whether the newcomer must not have served meanwhile.
    pub misfit: bool,
}

/// Injects faults into a fleet.
pub struct Nemesis {
    fleet: Arc<Fleet>,
    random: StdRng,
    plan: Plan,
    begin: Instant,
    faults: Vec<Record>,
    strikes: usize,
    violations: Vec<Violation>,
}

impl Nemesis {
    pub fn new(fleet: Arc<Fleet>, seed: u64, plan: Plan) -> Self {
        Self {
            fleet,
            random: StdRng::seed_from_u64(seed),
            plan,
            begin: Instant::now(),
            faults: Vec::new(),
            strikes: 0,
            violations: Vec::new(),
        }
    }

    /// The faults that were injected so far.
    pub fn faults(&self) -> Vec<Record> {
        self.faults.clone()
    }

    /// What was seen at once that should not be.
    pub fn violations(&self) -> Vec<Violation> {
        self.violations.clone()
    }

    /// Injects one fault or two, heals them, and waits until every name is served at every host again. Tells whether it was.
    ///
    /// # Errors
    ///
    /// When something cannot be started again.
    pub async fn strike(&mut self, clients: &Clients) -> anyhow::Result<bool> {
        let faults = self.choose();
        eprintln!("{:>4} s  {faults:?}", self.begin.elapsed().as_secs());
        let begin_us = now_us();
        for fault in &faults {
            // The proxies and the clients go on meanwhile.
            block_in_place(|| fault.prepare(&self.fleet))?;
            if let Some(host) = fault.awaits() {
                wait_for_section(&self.fleet, host).await;
            }
            block_in_place(|| fault.inject(&self.fleet))?;
            if *fault == Fault::PowerCut {
                let flushed = block_in_place(|| self.fleet.database().versions_as_flushed())?;
                self.violations
                    .extend(checker::lost_by_power_cut(&clients.calls(), &flushed, begin_us));
            }
        }
        tokio::time::sleep(self.time(&faults)).await;
        for fault in &faults {
            block_in_place(|| fault.heal(&self.fleet))?;
        }
        let end_us = now_us();
        let served = probes::all_served(&self.fleet, clients, SERVICE_BACK).await;
        let everything = served.missing.is_empty();
        for fault in &faults {
            self.faults.push(Record {
                kind: fault.kind(),
                what: format!("{fault:?}"),
                begin_us,
                end_us,
                served_us: everything.then(|| served.by_name.values().copied().max()).flatten(),
                by_name_us: served.by_name.clone(),
                missing: served.missing.clone(),
                wrong_clock: fault.has_wrong_clock(self.fleet.database().kind()),
                misfit: fault.is_misfit(),
            });
        }
        self.strikes += 1;
        let quiet = match self.plan {
            // Long enough to see that what was lost is released.
            Plan::LostReplies => LOCK_LIFE,
            _ if self.strikes.is_multiple_of(LULL_AFTER) => LULL,
            _ => Duration::from_millis(self.random.random_range(200..1500)),
        };
        tokio::time::sleep(quiet).await;
        Ok(everything)
    }

    fn choose(&mut self) -> Vec<Fault> {
        let host = self.random.random_range(0..HOSTS);
        let server = self.random.random_range(0..SERVERS);
        match self.plan {
            Plan::Flushes => (0..SERVERS).map(Fault::Flush).collect(),
            Plan::FlushesBehind => {
                let silence = (0..SERVERS).map(|server| self.network(server, Some(host), Mode::Silent));
                silence.chain((0..SERVERS).map(Fault::Flush)).collect()
            }
            Plan::LongStops => vec![Fault::StopInSection(host)],
            // Between the end of the lease and its write there is time for somebody else to have the name, and for that to end.
            Plan::LateWrites => vec![self.network(POSTGRES, None, Mode::Delay(LEASE * 2))],
            Plan::Restarts => vec![Fault::SameNumbers { host, server }],
            Plan::Stalls => vec![Fault::StillClock(server)],
            Plan::LostReplies => vec![self.network(server, None, Mode::LoseReplies)],
            Plan::FreshHosts => vec![Fault::FreshAfterRestart { holder: host, server }],
            Plan::Clocks => vec![Fault::ClockStep(host, 3 * 3600)],
            Plan::OtherLists => vec![Fault::OtherList],
            Plan::FailOvers => {
                let dies = *[Dies::AtOnce, Dies::Fenced]
                    .choose(&mut self.random)
                    .unwrap_or(&Dies::AtOnce);
                let beside = [
                    Fault::KillHost(host),
                    Fault::StopHost(host),
                    Fault::StopInSection(host),
                    Fault::KillMemcached(server),
                    Fault::Flush(server),
                    Fault::Join { orderly: false },
                ];
                let beside = beside.choose(&mut self.random).copied();
                let beside = beside.filter(|_| self.random.random_bool(0.5));
                beside.into_iter().chain([Fault::FailOver(dies)]).collect()
            }
            Plan::Everything => {
                let one = self.any(host, server);
                if !one.is_alone() && self.random.random_bool(0.3) {
                    let two = self.any((host + 1) % HOSTS, (server + 1) % SERVERS);
                    let apart = one.server().is_none() || one.server() != two.server();
                    let joins = |fault: &Fault| matches!(fault, Fault::Join { .. }) || fault.is_misfit();
                    if !two.is_alone() && two.kind() != one.kind() && apart && !(joins(&one) && joins(&two)) {
                        return vec![one, two];
                    }
                }
                vec![one]
            }
        }
    }

    fn network(&self, server: usize, host: Option<usize>, mode: Mode) -> Fault {
        Fault::Network { server, host, mode }
    }

    /// One of those that suit the database and the plan.
    fn any(&mut self, host: usize, server: usize) -> Fault {
        let off = *[2, 60, 600, 3600, 3 * 3600].choose(&mut self.random).unwrap_or(&60);
        let off = if self.random.random_bool(0.5) { off } else { -off };
        let behind = *[server, server, POSTGRES].choose(&mut self.random).unwrap_or(&server);
        let delay = Duration::from_millis(self.random.random_range(5..1500));
        let modes = [
            Mode::Cut,
            Mode::Reset,
            Mode::HalfClose,
            Mode::Delay(delay),
            Mode::Silent,
            Mode::LoseReplies,
        ];
        let mode = *modes.choose(&mut self.random).unwrap_or(&Mode::Cut);
        let orderly = self.random.random_bool(0.5);
        let all = [
            Fault::KillHost(host),
            Fault::StopHost(host),
            Fault::StopInSection(host),
            Fault::ClockJump(host, off),
            Fault::ClockStep(host, off),
            Fault::DatabaseClock(off),
            Fault::Join { orderly },
            Fault::FreshAfterRestart { holder: host, server },
            Fault::RestartUnderStopped { host, server },
            Fault::OtherList,
            Fault::OtherLease,
            Fault::KillMemcached(server),
            Fault::StopMemcached(server),
            Fault::Flush(server),
            Fault::Pressure,
            Fault::KillPostgres,
            Fault::StopPostgres,
            Fault::StopStandby,
            Fault::KillStandby,
            Fault::FailOver(Dies::AtOnce),
            Fault::FailOver(Dies::Fenced),
            self.network(behind, None, mode),
            self.network(behind, Some(host), mode),
            self.network(behind, Some(host), mode),
            Fault::Suspend,
            Fault::DiskFull,
            Fault::PowerCut,
        ];
        let database = self.fleet.database().kind();
        let all: Vec<_> = all.iter().filter(|fault| fault.suits(database)).collect();
        **all.choose(&mut self.random).unwrap_or(&&Fault::Pressure)
    }

    /// For how long the faults last.
    fn time(&mut self, faults: &[Fault]) -> Duration {
        match self.plan {
            Plan::Flushes => Duration::from_millis(100),
            // A lock is gone by then, and its holder's lease all the more.
            Plan::LongStops => LOCK_LIFE.saturating_sub(Duration::from_millis(self.random.random_range(0..1500))),
            Plan::LateWrites => Duration::from_millis(500),
            // The fault itself ends when the moment has come.
            Plan::Restarts => Duration::ZERO,
            Plan::Stalls => LOCK_LIFE + Duration::from_secs(1),
            Plan::LostReplies => Duration::from_millis(self.random.random_range(300..800)),
            Plan::FlushesBehind | Plan::FreshHosts | Plan::OtherLists => LEASE + Duration::from_secs(1),
            Plan::Clocks => Duration::from_secs(12),
            Plan::FailOvers => Duration::from_millis(self.random.random_range(1000..4000)),
            Plan::Everything => {
                // Long enough for a lock to expire, now and then.
                let long = faults.iter().any(|fault| {
                    matches!(
                        fault,
                        Fault::StopInSection(_) | Fault::StopHost(_) | Fault::RestartUnderStopped { .. }
                    )
                });
                let max = if long { 9000 } else { 4000 };
                Duration::from_millis(self.random.random_range(300..max))
            }
        }
    }
}

/// Waits, for a second at most, until a handler of this host has said that it holds a lease; it holds most for a while.
async fn wait_for_section(fleet: &Fleet, host: usize) {
    let before = fleet.host(host).said_count();
    for _ in 0..200 {
        if fleet.host(host).said_since(before).iter().any(|said| said.is_on()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
