//! Three hosts and room for a fourth, three memcached and a names database on this machine, with a proxy between each
//! host and each server.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::Context;
use namelock_test_artifacts::guests;
use namelock_test_servers::{Memcached, free_port};
use tempfile::TempDir;
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::Run;
use crate::clients::Call;
use crate::clock::ServerClock;
use crate::database::Database;
use crate::history::{self, History};
use crate::host::{Host, Misfit, Setup, write_configs};
use crate::nemesis::{Plan, Record};
use crate::proxy::{Mode, NAME, Proxy, end};

/// How many hosts there always are, and how many memcached.
pub const HOSTS: usize = 3;
pub const SERVERS: usize = 3;

/// The host that comes and goes.
pub const NEWCOMER: usize = HOSTS;

/// How PostgreSQL is counted among the servers behind a proxy.
pub const POSTGRES: usize = SERVERS;

/// The tenant, which runs the guest `critical_section`.
pub const TENANT: &str = "chaos";

/// How long a lease lasts, and nothing is granted after memcached has forgotten its locks.
pub const LEASE: Duration = Duration::from_secs(3);

/// How long a lock stays in memcached that nobody releases: the lease, two seconds of its coarse clock, one of stalls,
/// and a tick.
pub const LOCK_LIFE: Duration = Duration::from_secs(7);

/// How long a host may take to stop.
const STOP: Duration = Duration::from_secs(30);

/// Short times everywhere, so that a minute is long. The retention is the shortest that the host takes, so that purges come.
pub const CONFIG: &str = r#"
    [lock]
    lease = "3s"
    max_hold = "10s"
    watch_every = "1s"
    [names]
    timeout = "800ms"
    connect_timeout = "500ms"
    busy_timeout = "500ms"
    retention = "15s"
    [limits]
    calls = 256
    calls_waiting = 256
    rate = 100000
    burst = 100000
    wall_time = "12s"
    cpu_time = "5s"
    log_bytes = "1MiB"
"#;

/// Everything that runs.
#[derive(Debug)]
pub struct Fleet {
    /// Those that always run, and the newcomer.
    hosts: Vec<Mutex<Host>>,
    /// Where the hosts listen.
    addresses: Vec<SocketAddr>,
    newcomer_serves: AtomicBool,
    memcached: Vec<Mutex<Memcached>>,
    /// Of each memcached, where they can stand still.
    server_clocks: Vec<ServerClock>,
    database: Database,
    /// One for each memcached, then those of PostgreSQL, if that is the database: one for each of its servers.
    proxies: Vec<Proxy>,
    /// Whether the second of those is in front of the primary.
    is_failed_over: AtomicBool,
    /// One for each host: read by whoever calls it, written while it is out of service.
    gates: Vec<RwLock<()>>,
    // Last, because the hosts write into it.
    _folder: TempDir,
}

impl Fleet {
    /// Starts everything, and waits until every host serves.
    ///
    /// # Errors
    ///
    /// What does not start.
    pub async fn start(run: &Run) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        open_to_all(folder.path())?;
        // One of them may evict, which takes locks away without a word.
        let flags: [&[&str]; SERVERS] = [&["-M", "-m", "64"], &["-M", "-m", "64"], &["-m", "4"]];
        let mut server_clocks = Vec::new();
        let memcached: Vec<_> = if run.plan == Plan::Stalls {
            for server in 0..SERVERS {
                server_clocks.push(ServerClock::new(folder.path().join(format!("memcached{server}")))?);
            }
            server_clocks
                .iter()
                .map(|clock| Memcached::with_clock(clock.file()))
                .collect()
        } else {
            flags.map(Memcached::with_flags).into()
        };
        let mut proxies = Vec::new();
        for server in &memcached {
            proxies.push(Proxy::start(server.address(), HOSTS + 1).await?);
        }
        let lock = list(NAME, &proxies);
        let database = Database::start(run.database, folder.path())?;
        let names = match &database {
            Database::Postgres { .. } => {
                let addresses = database.postgres()?.addresses();
                let mut ends = Vec::new();
                for address in addresses {
                    let proxy = Proxy::start(address, HOSTS + 1).await?;
                    ends.push(format!("{NAME}:{}", proxy.port()));
                    proxies.push(proxy);
                }
                format!("postgres://nobody@{}/postgres?sslmode=disable", ends.join(","))
            }
            Database::Sqlite { file, .. } => format!("sqlite:{}", file.display()),
        };
        let tenant = folder.path().join("tenants").join(TENANT);
        fs::create_dir_all(&tenant)?;
        fs::copy(guests::CRITICAL_SECTION, tenant.join("handler.wasm"))?;
        write_configs(folder.path(), run.config)?;
        let setup = Setup {
            binary: run.host.clone(),
            folder: folder.path().to_owned(),
            arguments: vec![format!("--lock={lock}"), format!("--names={names}")],
            without: run.without.clone(),
        };
        let addresses: Vec<_> = (0..=HOSTS)
            .map(|_| SocketAddr::from(([127, 0, 0, 1], free_port())))
            .collect();
        let host = |(number, address): (usize, &SocketAddr)| Host::new(&setup, number, *address).map(Mutex::new);
        let hosts: anyhow::Result<Vec<_>> = addresses.iter().enumerate().map(host).collect();
        let fleet = Self {
            hosts: hosts?,
            addresses,
            newcomer_serves: AtomicBool::new(false),
            memcached: memcached.into_iter().map(Mutex::new).collect(),
            server_clocks,
            database,
            proxies,
            is_failed_over: AtomicBool::new(false),
            gates: (0..=HOSTS).map(|_| RwLock::default()).collect(),
            _folder: folder,
        };
        for host in 0..HOSTS {
            tokio::task::block_in_place(|| fleet.start_host(host))?;
        }
        fleet.database.audit().await?;
        Ok(fleet)
    }

    /// The address of a host's API.
    pub fn url(&self, host: usize) -> String {
        format!("http://{}/v1/{TENANT}/names", self.addresses[host])
    }

    /// Takes a host out of service, as a load balancer does: nobody calls it any more, and calls that run end.
    pub async fn take_out(&self, host: usize) -> RwLockWriteGuard<'_, ()> {
        self.gates[host].write().await
    }

    /// A host to call, with its gate: this one, or another one while it is out of service.
    pub async fn in_service(&self, host: usize) -> (usize, RwLockReadGuard<'_, ()>) {
        match self.gates[host].try_read() {
            Ok(gate) => (host, gate),
            Err(_) => {
                let other = (host + 1) % HOSTS;
                (other, self.gates[other].read().await)
            }
        }
    }

    /// Stops a host in an orderly way, starts another binary in its place, and waits until it is ready.
    ///
    /// # Errors
    ///
    /// When it does not start, or is never ready.
    pub fn replace_host(&self, host: usize, binary: &Path) -> anyhow::Result<()> {
        let mut host = self.host(host);
        host.stop(STOP);
        host.set_binary(binary);
        host.start(&Misfit::default())?;
        host.wait_until_ready()
    }

    /// How many hosts clients may call: the newcomer is the last of them, while it is there.
    pub fn hosts(&self) -> usize {
        HOSTS + usize::from(self.newcomer_serves.load(Ordering::Relaxed))
    }

    /// Kills a host as a power cut would.
    pub fn kill_host(&self, host: usize) {
        self.host(host).kill();
    }

    /// Starts a host again.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn start_host(&self, host: usize) -> anyhow::Result<()> {
        self.host(host).start(&Misfit::default())
    }

    /// Starts the newcomer, and lets clients call it.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn join(&self, misfit: &Misfit) -> anyhow::Result<()> {
        self.host(NEWCOMER).start(misfit)?;
        self.newcomer_serves.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Stops the newcomer: it leaves in an orderly way, or is killed.
    pub fn leave(&self, orderly: bool) {
        self.newcomer_serves.store(false, Ordering::Relaxed);
        if orderly {
            self.host(NEWCOMER).stop(STOP);
        }
        self.kill_host(NEWCOMER);
    }

    /// A list of the same servers, written in another way.
    pub fn other_list(&self) -> String {
        list(&end(NEWCOMER).to_string(), &self.proxies[..SERVERS])
    }

    /// One of the hosts.
    pub fn host(&self, host: usize) -> MutexGuard<'_, Host> {
        self.hosts[host].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One of the memcached.
    pub fn memcached(&self, server: usize) -> MutexGuard<'_, Memcached> {
        self.memcached[server].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The clock of a memcached.
    ///
    /// # Errors
    ///
    /// When it has none of its own.
    pub fn server_clock(&self, server: usize) -> anyhow::Result<&ServerClock> {
        self.server_clocks
            .get(server)
            .context("this memcached has no clock of its own")
    }

    /// Where a memcached listens, past everything that breaks.
    pub fn memcached_address(&self, server: usize) -> SocketAddr {
        self.memcached(server).address()
    }

    pub fn database(&self) -> &Database {
        &self.database
    }

    /// What stands in front of a memcached, or of [`POSTGRES`]: its primary.
    pub fn proxy(&self, server: usize) -> &Proxy {
        let is_second = server == POSTGRES && self.is_failed_over.load(Ordering::Relaxed);
        &self.proxies[server + usize::from(is_second)]
    }

    /// What stands in front of the standby of PostgreSQL.
    pub fn standby_proxy(&self) -> &Proxy {
        let is_second = !self.is_failed_over.load(Ordering::Relaxed);
        &self.proxies[POSTGRES + usize::from(is_second)]
    }

    /// The standby of PostgreSQL has become the primary. Each stays where hosts know it to be.
    pub fn note_failover(&self) {
        self.is_failed_over.fetch_not(Ordering::Relaxed);
    }

    /// Lets everything pass again.
    pub fn pass_everything(&self) {
        for proxy in &self.proxies {
            proxy.set_all(Mode::Pass);
        }
    }

    /// Sends a signal to everything that runs.
    ///
    /// # Errors
    ///
    /// Those of the database.
    pub fn signal_everything(&self, name: &str) -> anyhow::Result<()> {
        for host in 0..=HOSTS {
            self.host(host).signal(name);
        }
        for server in 0..SERVERS {
            self.memcached(server).signal(name);
        }
        if self.database.kind().is_postgres() {
            self.database.postgres()?.signal(name);
        }
        Ok(())
    }

    /// All that is known of a run.
    ///
    /// # Errors
    ///
    /// When the database cannot be asked.
    pub async fn history(&self, calls: Vec<Call>, faults: Vec<Record>) -> anyhow::Result<History> {
        let sections = (0..=HOSTS).flat_map(|host| history::sections(host, &self.host(host).said()));
        Ok(History {
            calls,
            faults,
            versions: self.database.versions().await?,
            sections: sections.collect(),
            sightings: Vec::new(),
            hosts_come: false,
        })
    }
}

/// The servers, as `--lock` wants them.
fn list(host: &str, proxies: &[Proxy]) -> String {
    let servers = proxies.iter().map(|proxy| format!("{host}:{}", proxy.port()));
    format!("memcached://{}", servers.collect::<Vec<_>>().join(","))
}

/// Lets PostgreSQL, which is another user, read the clock in this folder.
fn open_to_all(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;

    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))
}

/// Microseconds since 1970.
pub fn now_us() -> i64 {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(now.as_micros()).unwrap_or(i64::MAX)
}
