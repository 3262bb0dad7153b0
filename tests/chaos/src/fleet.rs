//! Three hosts, three memcached and one PostgreSQL on loopback, each server behind a proxy.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, bail};
use namelock_test_artifacts::guests;
use namelock_test_servers::{Memcached, Postgres, Process, free_port};
use tempfile::TempDir;
use tokio_postgres::NoTls;

use crate::clients::Call;
use crate::history::{self, History, Section};
use crate::nemesis::Record;
use crate::proxy::Proxy;

/// How many hosts, and how many memcached.
pub const HOSTS: usize = 3;
pub const SERVERS: usize = 3;

/// The tenant, which runs the guest `critical_section`.
pub const TENANT: &str = "chaos";

/// How long a lease lasts, and nothing is granted after memcached has forgotten its locks.
pub const LEASE: Duration = Duration::from_secs(3);

/// How long a lock stays in memcached that nobody releases: the lease, two seconds of its coarse clock, one of stalls, and a tick.
pub const LOCK_LIFE: Duration = Duration::from_secs(7);

/// Short times everywhere, so that a minute is long.
const CONFIG: &str = r#"
    [lock]
    lease = "3s"
    max_hold = "10s"
    watch_every = "1s"
    [names]
    timeout = "800ms"
    connect_timeout = "500ms"
    [limits]
    calls = 256
    calls_waiting = 256
    rate = 100000
    burst = 100000
    wall_time = "12s"
    cpu_time = "5s"
    log_bytes = "1MiB"
"#;

/// How long the database may take to answer, or to come to rest: far longer than it does, also on a slow machine.
const DATABASE: Duration = Duration::from_secs(60);

/// How often it is asked meanwhile.
const PAUSE: Duration = Duration::from_millis(50);

/// How long a host may take to start, on a machine that is busy.
const START: Duration = Duration::from_secs(60);

/// Writes down every version of every row, in the transaction that makes it.
const AUDIT: &str = "
    CREATE TABLE chaos_history (
        seq bigserial PRIMARY KEY, name text, owner text, created_ms bigint, expires_ms bigint, fencing_token bigint
    );
    CREATE FUNCTION chaos_write() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO chaos_history (name, owner, created_ms, expires_ms, fencing_token) VALUES (
            convert_from(NEW.name, 'UTF8'), convert_from(NEW.owner, 'UTF8'),
            NEW.created_ms, NEW.expires_ms, NEW.fencing_token);
        RETURN NEW;
    END $$;
    CREATE TRIGGER chaos_audit AFTER INSERT OR UPDATE ON namelock_registrations FOR EACH ROW EXECUTE FUNCTION chaos_write();
";

/// Everything that runs.
#[derive(Debug)]
pub struct Fleet {
    hosts: Vec<Mutex<Host>>,
    /// Where the hosts listen.
    addresses: Vec<SocketAddr>,
    memcached: Vec<Mutex<Memcached>>,
    postgres: Mutex<Postgres>,
    proxies: Vec<Proxy>,
    postgres_proxy: Proxy,
    folder: TempDir,
}

/// One host, which may be running or not.
#[derive(Debug)]
struct Host {
    binary: PathBuf,
    process: Option<Process>,
    arguments: Vec<String>,
    /// How often it was started.
    lives: usize,
    folder: PathBuf,
}

impl Fleet {
    /// Starts everything, and waits until every host serves.
    ///
    /// # Errors
    ///
    /// What does not start.
    pub async fn start(binary: &Path) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        // One of them may evict, which takes locks away without a word.
        let flags: [&[&str]; SERVERS] = [&["-M", "-m", "64"], &["-M", "-m", "64"], &["-m", "4"]];
        let memcached: Vec<_> = flags.map(Memcached::with_flags).into();
        let mut proxies = Vec::new();
        for server in &memcached {
            proxies.push(Proxy::start(server.address()).await?);
        }
        let postgres = Postgres::start();
        let postgres_proxy = Proxy::start(postgres.address()).await?;
        let lock: Vec<_> = proxies.iter().map(|proxy| proxy.address().to_string()).collect();
        let arguments = [
            format!("--lock=memcached://{}", lock.join(",")),
            format!(
                "--names=postgres://nobody@{}/postgres?sslmode=disable",
                postgres_proxy.address()
            ),
        ];
        let tenant = folder.path().join("tenants").join(TENANT);
        fs::create_dir_all(&tenant)?;
        fs::copy(guests::CRITICAL_SECTION, tenant.join("handler.wasm"))?;
        fs::write(folder.path().join("namelock.toml"), CONFIG)?;
        let addresses: Vec<_> = (0..HOSTS)
            .map(|_| SocketAddr::from(([127, 0, 0, 1], free_port())))
            .collect();
        let hosts = addresses.iter().enumerate().map(|(number, address)| {
            // The same address after every start.
            let listen = format!("--listen={address}");
            let mut host = Host {
                binary: binary.to_owned(),
                process: None,
                arguments: arguments.iter().cloned().chain([listen]).collect(),
                lives: 0,
                folder: folder.path().join(format!("host{number}")),
            };
            fs::create_dir_all(&host.folder)?;
            host.start(0)?;
            Ok(Mutex::new(host))
        });
        let hosts: anyhow::Result<Vec<_>> = hosts.collect();
        let fleet = Self {
            hosts: hosts?,
            addresses,
            memcached: memcached.into_iter().map(Mutex::new).collect(),
            postgres: Mutex::new(postgres),
            proxies,
            postgres_proxy,
            folder,
        };
        fleet.database().await?.batch_execute(AUDIT).await?;
        Ok(fleet)
    }

    /// The address of a host's API.
    pub fn url(&self, host: usize) -> String {
        format!("http://{}/v1/{TENANT}/names", self.addresses[host])
    }

    /// Kills a host as a power cut would.
    pub fn kill_host(&self, host: usize) {
        self.host(host).process = None;
    }

    /// Starts a host again, with a clock that is so many seconds off.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn start_host(&self, host: usize, clock_off: i64) -> anyhow::Result<()> {
        self.host(host).start(clock_off)
    }

    /// Sends a host the signal of this name.
    pub fn signal_host(&self, host: usize, name: &str) {
        if let Some(process) = &self.host(host).process {
            process.signal(name);
        }
    }

    /// One of the memcached.
    pub fn memcached(&self, server: usize) -> MutexGuard<'_, Memcached> {
        self.memcached[server].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The PostgreSQL.
    pub fn postgres(&self) -> MutexGuard<'_, Postgres> {
        self.postgres.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What stands in front of a memcached, and after the last of them, of PostgreSQL.
    pub fn proxy(&self, server: usize) -> &Proxy {
        self.proxies.get(server).unwrap_or(&self.postgres_proxy)
    }

    /// What a host has logged so far.
    pub fn log(&self, host: usize) -> String {
        let folder = self.host(host).folder.clone();
        logs(&folder).into_iter().map(|(_, text)| text).collect()
    }

    /// Waits until whatever was sent has been done: no statement is left in the database that a client began.
    ///
    /// # Errors
    ///
    /// When the database cannot be asked.
    pub async fn settle(&self) -> anyhow::Result<()> {
        let database = self.database().await?;
        let busy = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'namelock' AND state = 'active'";
        let end = Instant::now() + DATABASE;
        while Instant::now() < end {
            if database.query_one(busy, &[]).await?.get::<_, i64>(0) == 0 {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
        bail!("the database does not come to rest")
    }

    /// All that is known of a run.
    ///
    /// # Errors
    ///
    /// When the database cannot be asked.
    pub async fn history(&self, calls: Vec<Call>, faults: Vec<Record>) -> anyhow::Result<History> {
        let rows = self
            .database()
            .await?
            .query(
                "SELECT name, owner, created_ms, expires_ms, fencing_token FROM chaos_history ORDER BY seq",
                &[],
            )
            .await?;
        Ok(History {
            calls,
            faults,
            versions: rows.iter().map(history::Version::of).collect(),
            sections: self.sections(),
        })
    }

    /// The critical sections that the hosts have logged.
    fn sections(&self) -> Vec<Section> {
        let of_host = |host: usize| {
            let folder = self.host(host).folder.clone();
            logs(&folder)
                .into_iter()
                .flat_map(move |(clock_off, text)| history::sections(host, clock_off, &text))
        };
        (0..HOSTS).flat_map(of_host).collect()
    }

    /// A connection past everything that breaks.
    async fn database(&self) -> anyhow::Result<tokio_postgres::Client> {
        let url = self.postgres().url();
        let mut last = None;
        let end = Instant::now() + DATABASE;
        while Instant::now() < end {
            match tokio_postgres::connect(&url, NoTls).await {
                Ok((client, connection)) => {
                    tokio::spawn(connection);
                    return Ok(client);
                }
                Err(error) => last = Some(error),
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(last.context("it was not tried")?.into())
    }

    fn host(&self, host: usize) -> MutexGuard<'_, Host> {
        self.hosts[host].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the reports' logs are, for as long as the fleet runs.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Host {
    fn start(&mut self, clock_off: i64) -> anyhow::Result<()> {
        // The clock is in the name, so that times in the log can be read.
        let log = self.folder.join(format!("{:03}.{clock_off}.log", self.lives));
        self.lives += 1;
        let mut command = Process::command(&self.binary, "build it first");
        command
            .current_dir(self.folder.parent().context("it has a parent")?)
            .args([
                "serve",
                "--config=namelock.toml",
                "--tenants=tenants",
                "--admin=127.0.0.1:0",
            ])
            .args(&self.arguments)
            .env("NAMELOCK_LOG", "info")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log)?);
        if clock_off != 0 {
            // What time it is, and not how long something takes: no machine's monotonic clock jumps.
            command
                .env("LD_PRELOAD", faketime()?)
                .env("FAKETIME", format!("{clock_off:+}s"))
                .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        }
        let mut process = Process::spawn(&mut command);
        if process.listening(START).is_none() {
            bail!("a host does not start within {START:?}: {}", fs::read_to_string(log)?);
        }
        self.process = Some(process);
        Ok(())
    }
}

/// The library that gives a program another clock.
fn faketime() -> anyhow::Result<PathBuf> {
    let places = [
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib/aarch64-linux-gnu",
        "/usr/lib",
        "/usr/local/lib",
    ];
    let found = places
        .iter()
        .map(|place| Path::new(place).join("faketime/libfaketime.so.1"));
    found
        .into_iter()
        .find(|path| path.exists())
        .context("libfaketime is missing: install faketime")
}

/// What a host has logged in each of its lives, with its clock then.
fn logs(folder: &Path) -> Vec<(i64, String)> {
    let mut all: Vec<_> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    all.sort();
    let read = |path: PathBuf| {
        let clock_off = path.file_stem()?.to_str()?.split_once('.')?.1.parse().ok()?;
        Some((clock_off, fs::read_to_string(&path).ok()?))
    };
    all.into_iter().filter_map(read).collect()
}

/// Microseconds since 1970.
pub fn now_us() -> i64 {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(now.as_micros()).unwrap_or(i64::MAX)
}
