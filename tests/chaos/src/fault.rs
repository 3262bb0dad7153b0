//! The faults: what each does, how it is healed, and what it is called.

use std::time::Duration;

use crate::database::Kind;
use crate::fleet::{Fleet, HOSTS, NEWCOMER, POSTGRES, SERVERS, now_us};
use crate::host::Misfit;
use crate::numbers;
use crate::proxy::Mode;

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    KillHost(usize),
    StopHost(usize),
    /// Stops a host while one of its handlers is between the grant and the save.
    StopInSection(usize),
    /// Starts a host anew with a clock that is so many seconds off.
    ClockJump(usize, i64),
    /// Sets the clock of a host that goes on.
    ClockStep(usize, i64),
    /// Sets the clock of PostgreSQL.
    DatabaseClock(i64),
    /// A host comes that was never there, and leaves again, in an orderly way or not.
    Join {
        orderly: bool,
    },
    /// All hosts are cut off from a memcached, while a handler of one holds a lease, and it restarts; a host joins that
    /// knows nothing of before. Any other host that reached the server would leave a mark there for it.
    FreshAfterRestart {
        holder: usize,
        server: usize,
    },
    /// A host stands still between grant and save while a memcached restarts and grants anew.
    RestartUnderStopped {
        host: usize,
        server: usize,
    },
    /// The same, and the restarted server gives the numbers that the lost locks had to locks of the same names. That is
    /// a matter of time, which is made short here.
    SameNumbers {
        host: usize,
        server: usize,
    },
    /// The clock of a memcached stands still, as when its main thread is not run, and then is right again.
    StillClock(usize),
    /// A host joins that writes the same servers in another way.
    OtherList,
    /// A host joins whose leases last for another time.
    OtherLease,
    KillMemcached(usize),
    StopMemcached(usize),
    Flush(usize),
    Pressure,
    KillPostgres,
    StopPostgres,
    /// The synchronous standby of PostgreSQL stands still, so no commit is answered.
    StopStandby,
    KillStandby,
    /// The primary of PostgreSQL dies, after it has lost its standby for a moment, which then takes its place: hosts know both by
    /// their addresses. A new standby comes when the fault ends.
    FailOver(Dies),
    /// The network between a server and one host, or all of them.
    Network {
        server: usize,
        host: Option<usize>,
        mode: Mode,
    },
    /// Everything stands still, as on a machine that is suspended.
    Suspend,
    /// There is no room left for SQLite.
    DiskFull,
    /// Whoever looks at the disk then finds what would be there after a power cut.
    PowerCut,
}

/// How a primary dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dies {
    AtOnce,
    /// It stands still while its standby takes its place, and is killed before it could go on, as whoever promotes has to.
    Fenced,
}

/// For how long a primary has no standby before it dies: what is answered meanwhile, only it has.
const ALONE: Duration = Duration::from_millis(300);

impl Fault {
    /// Whether it must be alone: it stops what another fault would have to reach.
    pub fn is_alone(self) -> bool {
        use Fault::{FreshAfterRestart, PowerCut, RestartUnderStopped, SameNumbers, Suspend};
        matches!(
            self,
            Suspend | PowerCut | FreshAfterRestart { .. } | RestartUnderStopped { .. } | SameNumbers { .. }
        )
    }

    /// Whether a fleet with this database can have it.
    pub fn suits(self, database: Kind) -> bool {
        match self {
            Self::KillPostgres | Self::StopPostgres | Self::DatabaseClock(_) => database.is_postgres(),
            Self::StopStandby | Self::KillStandby | Self::FailOver(_) => database.has_standby(),
            Self::Network { server, .. } => server != POSTGRES || database.is_postgres(),
            Self::DiskFull | Self::PowerCut => database == Kind::Sqlite { own_disk: true },
            _ => true,
        }
    }

    /// The server that it affects; two faults at one server could not be told apart, nor healed one by one.
    pub fn server(self) -> Option<usize> {
        match self {
            Self::KillMemcached(server)
            | Self::StopMemcached(server)
            | Self::Flush(server)
            | Self::FreshAfterRestart { server, .. }
            | Self::RestartUnderStopped { server, .. }
            | Self::SameNumbers { server, .. }
            | Self::StillClock(server)
            | Self::Network { server, .. } => Some(server),
            Self::Pressure => Some(SERVERS - 1),
            Self::KillPostgres
            | Self::StopPostgres
            | Self::StopStandby
            | Self::KillStandby
            | Self::FailOver(_)
            | Self::DatabaseClock(_) => Some(POSTGRES),
            _ => None,
        }
    }

    /// Whether another server of PostgreSQL is the primary then.
    pub fn is_failover(kind: &str) -> bool {
        kind.ends_with("standby is promoted")
    }

    /// Whether a database goes by a wrong clock meanwhile.
    pub fn has_wrong_clock(self, database: Kind) -> bool {
        match self {
            Self::DatabaseClock(_) => true,
            Self::ClockJump(..) | Self::ClockStep(..) => !database.is_postgres(),
            _ => false,
        }
    }

    /// Whether the newcomer must not serve meanwhile.
    pub fn is_misfit(self) -> bool {
        matches!(self, Self::OtherList | Self::OtherLease)
    }

    /// What it is called in the report.
    pub fn kind(self) -> &'static str {
        match self {
            Self::KillHost(_) => "kill a host",
            Self::StopHost(_) => "stop a host",
            Self::StopInSection(_) => "stop a host between grant and save",
            Self::ClockJump(..) => "restart with another clock",
            Self::ClockStep(..) => "step of a host's clock",
            Self::DatabaseClock(_) => "step of PostgreSQL's clock",
            Self::Join { orderly: true } => "fresh host joins and leaves",
            Self::Join { orderly: false } => "fresh host joins and dies",
            Self::FreshAfterRestart { .. } => "fresh host, restart, partition",
            Self::RestartUnderStopped { .. } => "restart under a stopped host",
            Self::SameNumbers { .. } => "restart that gives the same numbers",
            Self::StillClock(_) => "memcached's clock stands still",
            Self::OtherList => "host with another list",
            Self::OtherLease => "host with another lease",
            Self::KillMemcached(_) => "kill memcached",
            Self::StopMemcached(_) => "stop memcached",
            Self::Flush(_) => "flush memcached",
            Self::Pressure => "memcached evicts",
            Self::KillPostgres => "kill PostgreSQL",
            Self::StopPostgres => "stop PostgreSQL",
            Self::StopStandby => "stop the standby of PostgreSQL",
            Self::KillStandby => "kill the standby of PostgreSQL",
            Self::FailOver(Dies::AtOnce) => "primary dies, standby is promoted",
            Self::FailOver(Dies::Fenced) => "primary hangs, standby is promoted",
            Self::Network { server, host, mode } => network(server == POSTGRES, host.is_some(), mode),
            Self::Suspend => "suspend everything",
            Self::DiskFull => "disk full",
            Self::PowerCut => "power cut",
        }
    }

    /// Does what takes its time, before the moment that matters.
    ///
    /// # Errors
    ///
    /// What does not start.
    pub fn prepare(self, fleet: &Fleet) -> anyhow::Result<()> {
        match self {
            Self::FreshAfterRestart { server, .. } => {
                // It knows nothing of a server that it does not reach.
                fleet.proxy(server).set(NEWCOMER, Mode::Cut);
                fleet.join(&Misfit::default())?;
            }
            Self::SameNumbers { server, .. } => numbers::advance(fleet, server),
            _ => {}
        }
        Ok(())
    }

    /// The host whose handler has to hold a lease when it comes.
    pub fn awaits(self) -> Option<usize> {
        match self {
            Self::StopInSection(host)
            | Self::RestartUnderStopped { host, .. }
            | Self::FreshAfterRestart { holder: host, .. } => Some(host),
            _ => None,
        }
    }

    /// Does it.
    ///
    /// # Errors
    ///
    /// What does not start.
    pub fn inject(self, fleet: &Fleet) -> anyhow::Result<()> {
        match self {
            Self::KillHost(host) => fleet.kill_host(host),
            Self::ClockJump(host, off) => {
                fleet.kill_host(host);
                fleet.host(host).clock().step(off)?;
                fleet.start_host(host)?;
            }
            Self::ClockStep(host, off) => fleet.host(host).clock().step(off)?,
            Self::DatabaseClock(off) => fleet.database().clock()?.step(off)?,
            Self::Join { .. } => fleet.join(&Misfit::default())?,
            Self::FreshAfterRestart { server, .. } => {
                (0..HOSTS).for_each(|host| fleet.proxy(server).set(host, Mode::Silent));
                fleet.memcached(server).restart();
                fleet.proxy(server).set(NEWCOMER, Mode::Pass);
            }
            Self::RestartUnderStopped { host, server } => {
                fleet.host(host).signal("STOP");
                fleet.memcached(server).restart();
            }
            Self::SameNumbers { host, server } => {
                let held = numbers::stop_holder(fleet, server, host);
                numbers::repeat(fleet, server, held);
            }
            Self::StillClock(server) => fleet.server_clock(server)?.stand_still(),
            Self::OtherList => fleet.join(&Misfit {
                lock: Some(fleet.other_list()),
                config: None,
            })?,
            Self::OtherLease => fleet.join(&Misfit {
                lock: None,
                config: Some("other-lease.toml"),
            })?,
            Self::StopHost(host) | Self::StopInSection(host) => fleet.host(host).signal("STOP"),
            Self::KillMemcached(server) => fleet.memcached(server).kill(),
            Self::StopMemcached(server) => fleet.memcached(server).signal("STOP"),
            Self::Flush(server) => drop(fleet.memcached(server).raw().command("flush_all")),
            Self::Pressure => pressure(fleet),
            Self::KillPostgres => fleet.database().postgres()?.primary().kill(),
            Self::StopPostgres => fleet.database().postgres()?.primary().signal("STOP"),
            Self::StopStandby => fleet.database().postgres()?.pair()?.standby.signal("STOP"),
            Self::KillStandby => fleet.database().postgres()?.pair()?.standby.kill(),
            Self::FailOver(dies) => {
                let mut servers = fleet.database().postgres()?;
                let pair = servers.pair()?;
                pair.leave_standby_behind();
                std::thread::sleep(ALONE);
                match dies {
                    Dies::AtOnce => pair.fail_over(),
                    Dies::Fenced => pair.fail_over_from_stopped(),
                }
                fleet.note_failover();
            }
            Self::Network { server, host, mode } => set(fleet, server, host, mode),
            Self::Suspend => fleet.signal_everything("STOP")?,
            Self::DiskFull => fleet.database().disk()?.fill()?,
            Self::PowerCut => (0..HOSTS).for_each(|host| fleet.host(host).signal("STOP")),
        }
        Ok(())
    }

    /// Ends it.
    ///
    /// # Errors
    ///
    /// What does not start.
    pub fn heal(self, fleet: &Fleet) -> anyhow::Result<()> {
        match self {
            Self::KillHost(host) => fleet.start_host(host)?,
            Self::ClockJump(host, _) => {
                fleet.kill_host(host);
                fleet.host(host).clock().step(0)?;
                fleet.start_host(host)?;
            }
            Self::ClockStep(host, _) => fleet.host(host).clock().step(0)?,
            Self::DatabaseClock(_) => fleet.database().clock()?.step(0)?,
            Self::Join { orderly } => fleet.leave(orderly),
            Self::FreshAfterRestart { server, .. } => {
                fleet.proxy(server).set_all(Mode::Pass);
                fleet.leave(true);
            }
            Self::OtherList | Self::OtherLease => fleet.leave(true),
            Self::RestartUnderStopped { host, .. }
            | Self::SameNumbers { host, .. }
            | Self::StopHost(host)
            | Self::StopInSection(host) => fleet.host(host).signal("CONT"),
            Self::StillClock(server) => fleet.server_clock(server)?.go_on(),
            Self::KillMemcached(server) => fleet.memcached(server).restart(),
            Self::StopMemcached(server) => fleet.memcached(server).signal("CONT"),
            Self::Flush(_) | Self::Pressure => {}
            Self::KillPostgres => fleet.database().postgres()?.primary().restart(),
            Self::StopPostgres => fleet.database().postgres()?.primary().signal("CONT"),
            Self::StopStandby => fleet.database().postgres()?.pair()?.standby.signal("CONT"),
            Self::KillStandby => {
                let mut servers = fleet.database().postgres()?;
                servers.pair()?.standby.restart();
                servers.pair()?.wait_until_synchronous();
            }
            Self::FailOver(_) => {
                let mut servers = fleet.database().postgres()?;
                let pair = servers.pair()?;
                pair.replace_standby();
                fleet.standby_proxy().turn_to(pair.standby.address());
            }
            Self::Network { server, host, .. } => set(fleet, server, host, Mode::Pass),
            Self::Suspend => fleet.signal_everything("CONT")?,
            Self::DiskFull => fleet.database().disk()?.make_room()?,
            Self::PowerCut => (0..HOSTS).for_each(|host| fleet.host(host).signal("CONT")),
        }
        Ok(())
    }
}

fn set(fleet: &Fleet, server: usize, host: Option<usize>, mode: Mode) {
    match host {
        Some(host) => fleet.proxy(server).set(host, mode),
        None => fleet.proxy(server).set_all(mode),
    }
}

fn network(postgres: bool, one_host: bool, mode: Mode) -> &'static str {
    match (mode, postgres, one_host) {
        (Mode::Delay(_), false, false) => "delay memcached",
        (Mode::Delay(_), false, true) => "delay memcached for one host",
        (Mode::Delay(_), true, false) => "delay PostgreSQL",
        (Mode::Delay(_), true, true) => "delay PostgreSQL for one host",
        (Mode::HalfClose, false, _) => "half-close memcached",
        (Mode::HalfClose, true, _) => "half-close PostgreSQL",
        (Mode::Reset, false, _) => "reset memcached",
        (Mode::Reset, true, _) => "reset PostgreSQL",
        (Mode::Silent, false, false) => "silence memcached",
        (Mode::Silent, false, true) => "silence memcached for one host",
        (Mode::Silent, true, false) => "silence PostgreSQL",
        (Mode::Silent, true, true) => "silence PostgreSQL for one host",
        (Mode::LoseReplies, false, _) => "lose replies of memcached",
        (Mode::LoseReplies, true, _) => "lose replies of PostgreSQL",
        (Mode::Cut | Mode::Pass, false, false) => "cut memcached",
        (Mode::Cut | Mode::Pass, false, true) => "cut one host from memcached",
        (Mode::Cut | Mode::Pass, true, false) => "cut PostgreSQL",
        (Mode::Cut | Mode::Pass, true, true) => "cut one host from PostgreSQL",
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
