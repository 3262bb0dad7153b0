//! The names database of a fleet, with a record of its own of every write.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use namelock_test_servers::{Postgres, PostgresPair};
use rusqlite::Connection;
use tokio_postgres::NoTls;

use crate::clock::Clock;
use crate::disk::Disk;
use crate::history::Version;

/// Which database a fleet has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A PostgreSQL behind a proxy.
    Postgres {
        /// Which standby it has.
        standby: Standby,
    },
    /// One SQLite file that all hosts of this machine share, on a disk of its own where this may mount one.
    Sqlite {
        /// Whether the disk is one that can be full.
        own_disk: bool,
    },
}

/// The standby of a PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standby {
    None,
    /// A commit is answered once it has it.
    Synchronous,
    /// It has what has reached it: a failover loses what was answered.
    Asynchronous,
}

/// How long the database may take to answer, or to come to rest: far longer than it does, also on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often it is asked meanwhile.
const PAUSE: Duration = Duration::from_millis(50);

/// The tenant of the rows that are there to be migrated.
const FILLED: &str = "filled";

/// Writes down every version of every row, in the transaction that makes it.
const POSTGRES_AUDIT: &str = "
    CREATE TABLE chaos_history (
        seq bigserial PRIMARY KEY, name text, owner text, created_ms bigint, expires_ms bigint, fencing_token bigint,
        written_ms bigint DEFAULT (extract(epoch FROM clock_timestamp()) * 1000)::bigint
    );
    CREATE FUNCTION chaos_write() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO chaos_history (name, owner, created_ms, expires_ms, fencing_token) VALUES (
            convert_from(NEW.name, 'UTF8'), convert_from(NEW.owner, 'UTF8'),
            NEW.created_ms, NEW.expires_ms, NEW.fencing_token);
        RETURN NEW;
    END $$;
    CREATE TRIGGER chaos_audit AFTER INSERT OR UPDATE ON namelock_registrations FOR EACH ROW EXECUTE FUNCTION chaos_write();
";
const SQLITE_AUDIT: &str = "
    CREATE TABLE chaos_history (
        seq INTEGER PRIMARY KEY, name TEXT, owner TEXT, created_ms INTEGER, expires_ms INTEGER, fencing_token INTEGER,
        written_ms INTEGER DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER))
    );
    CREATE TRIGGER chaos_insert AFTER INSERT ON registrations BEGIN
        INSERT INTO chaos_history (name, owner, created_ms, expires_ms, fencing_token)
        VALUES (new.name, new.owner, new.created_ms, new.expires_ms, new.fencing_token);
    END;
    CREATE TRIGGER chaos_update AFTER UPDATE ON registrations BEGIN
        INSERT INTO chaos_history (name, owner, created_ms, expires_ms, fencing_token)
        VALUES (new.name, new.owner, new.created_ms, new.expires_ms, new.fencing_token);
    END;
";
const HISTORY: &str =
    "SELECT name, owner, created_ms, expires_ms, fencing_token, written_ms FROM chaos_history ORDER BY seq";

/// A PostgreSQL, with or without a standby, which has the same clock.
#[derive(Debug)]
pub enum Servers {
    One(Postgres),
    Pair(PostgresPair),
}

impl Servers {
    /// The one that hosts use.
    pub fn primary(&mut self) -> &mut Postgres {
        match self {
            Self::One(server) => server,
            Self::Pair(pair) => &mut pair.primary,
        }
    }

    /// Where they listen, the primary first.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        match self {
            Self::One(server) => vec![server.address()],
            Self::Pair(pair) => vec![pair.primary.address(), pair.standby.address()],
        }
    }

    /// Both.
    ///
    /// # Errors
    ///
    /// When there is no standby.
    pub fn pair(&mut self) -> anyhow::Result<&mut PostgresPair> {
        match self {
            Self::One(_) => bail!("this PostgreSQL has no standby"),
            Self::Pair(pair) => Ok(pair),
        }
    }

    /// Sends a signal to all of them.
    pub fn signal(&self, name: &str) {
        match self {
            Self::One(server) => server.signal(name),
            Self::Pair(pair) => {
                pair.primary.signal(name);
                pair.standby.signal(name);
            }
        }
    }
}

/// A database that runs.
#[derive(Debug)]
pub enum Database {
    Postgres {
        servers: Box<Mutex<Servers>>,
        standby: Standby,
        clock: Clock,
    },
    Sqlite {
        file: PathBuf,
        disk: Option<Disk>,
    },
}

impl Kind {
    pub fn is_postgres(self) -> bool {
        matches!(self, Self::Postgres { .. })
    }

    /// Whether it is a PostgreSQL with a standby.
    pub fn has_standby(self) -> bool {
        self.is_postgres() && self != Self::Postgres { standby: Standby::None }
    }
}

impl Database {
    /// Starts it.
    ///
    /// # Errors
    ///
    /// When a disk of its own cannot be mounted, or a clock not be set.
    pub fn start(kind: Kind, folder: &Path) -> anyhow::Result<Self> {
        match kind {
            Kind::Postgres { standby } => {
                let clock = Clock::new(folder)?;
                let server = Postgres::with_environment(&clock.environment()?);
                let servers = match standby {
                    Standby::None => Servers::One(server),
                    Standby::Synchronous => Servers::Pair(PostgresPair::of(server)),
                    Standby::Asynchronous => Servers::Pair(PostgresPair::asynchronous(server)),
                };
                Ok(Self::Postgres {
                    servers: Box::new(Mutex::new(servers)),
                    standby,
                    clock,
                })
            }
            Kind::Sqlite { own_disk } => {
                let disk = own_disk.then(Disk::new).transpose()?;
                let file = disk.as_ref().map_or(folder, Disk::path).join("names.db");
                Ok(Self::Sqlite { file, disk })
            }
        }
    }

    pub fn kind(&self) -> Kind {
        match self {
            Self::Postgres { standby, .. } => Kind::Postgres { standby: *standby },
            Self::Sqlite { disk, .. } => Kind::Sqlite {
                own_disk: disk.is_some(),
            },
        }
    }

    /// The PostgreSQL, if that is what it is.
    ///
    /// # Errors
    ///
    /// When it is not.
    pub fn postgres(&self) -> anyhow::Result<MutexGuard<'_, Servers>> {
        match self {
            Self::Postgres { servers, .. } => Ok(servers.lock().unwrap_or_else(PoisonError::into_inner)),
            Self::Sqlite { .. } => bail!("this fleet has no PostgreSQL"),
        }
    }

    /// The clock of PostgreSQL; that of SQLite is the hosts'.
    ///
    /// # Errors
    ///
    /// When it has none.
    pub fn clock(&self) -> anyhow::Result<&Clock> {
        match self {
            Self::Postgres { clock, .. } => Ok(clock),
            Self::Sqlite { .. } => bail!("SQLite has no clock of its own"),
        }
    }

    /// The disk that can be full.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn disk(&self) -> anyhow::Result<&Disk> {
        match self {
            Self::Sqlite { disk: Some(disk), .. } => Ok(disk),
            _ => bail!("this database has no disk of its own"),
        }
    }

    /// Begins the record of every write, once a host has made the tables.
    ///
    /// # Errors
    ///
    /// When the database cannot be asked.
    pub async fn audit(&self) -> anyhow::Result<()> {
        match self {
            Self::Postgres { .. } => Ok(self.client().await?.batch_execute(POSTGRES_AUDIT).await?),
            Self::Sqlite { file, .. } => Ok(open(file)?.execute_batch(SQLITE_AUDIT)?),
        }
    }

    /// Adds rows of a tenant that nobody calls, once a host of any version has made the tables.
    ///
    /// # Errors
    ///
    /// When the database cannot be asked.
    pub async fn fill(&self, rows: u32) -> anyhow::Result<()> {
        match self {
            Self::Postgres { .. } => {
                let sql = format!(
                    "INSERT INTO namelock_registrations (tenant, name, owner, created_ms, expires_ms, fencing_token, attributes)
                    SELECT '{FILLED}', convert_to('n' || i, 'UTF8'), 'o', 1, NULL, 1, '[]' FROM generate_series(1, {rows}) i"
                );
                Ok(self.client().await?.batch_execute(&sql).await?)
            }
            Self::Sqlite { file, .. } => Ok(open(file)?.execute_batch(&format!(
                "INSERT INTO registrations (tenant, name, owner, created_ms, expires_ms, fencing_token, attributes)
                WITH RECURSIVE i(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM i WHERE n < {rows})
                SELECT '{FILLED}', 'n' || n, 'o', 1, NULL, 1, '[]' FROM i"
            ))?),
        }
    }

    /// How many of these rows there are.
    ///
    /// # Errors
    ///
    /// When the database cannot be asked.
    pub async fn filled(&self) -> anyhow::Result<i64> {
        let sql =
            |table: &str| format!("SELECT count(*) FROM {table} WHERE tenant = '{FILLED}' AND freed_token IS NULL");
        match self {
            Self::Postgres { .. } => {
                let row = self
                    .client()
                    .await?
                    .query_one(&sql("namelock_registrations"), &[])
                    .await?;
                Ok(row.get(0))
            }
            Self::Sqlite { file, .. } => Ok(open(file)?.query_row(&sql("registrations"), [], |row| row.get(0))?),
        }
    }

    /// The version of the tables.
    ///
    /// # Errors
    ///
    /// When the database cannot be asked.
    pub async fn version(&self) -> anyhow::Result<i64> {
        match self {
            Self::Postgres { .. } => {
                let sql = "SELECT max(version)::bigint FROM namelock_schema";
                Ok(self.client().await?.query_one(sql, &[]).await?.get(0))
            }
            Self::Sqlite { file, .. } => Ok(open(file)?.pragma_query_value(None, "user_version", |row| row.get(0))?),
        }
    }

    /// Waits until whatever was sent has been done: no statement is left that a client began.
    ///
    /// # Errors
    ///
    /// When the database cannot be asked.
    pub async fn settle(&self) -> anyhow::Result<()> {
        let Self::Postgres { .. } = self else {
            // Hosts write into the file themselves, and those whose calls have ended have done so.
            return Ok(());
        };
        let client = self.client().await?;
        let busy = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'namelock' AND state = 'active'";
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if client.query_one(busy, &[]).await?.get::<_, i64>(0) == 0 {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
        bail!("the database does not come to rest")
    }

    /// Every version of every row, in the order in which they were made.
    ///
    /// # Errors
    ///
    /// When the database cannot be asked.
    pub async fn versions(&self) -> anyhow::Result<Vec<Version>> {
        match self {
            Self::Postgres { .. } => {
                let rows = self.client().await?.query(HISTORY, &[]).await?;
                Ok(rows.iter().map(Version::of_postgres).collect())
            }
            Self::Sqlite { file, .. } => versions_in(file),
        }
    }

    /// The versions that would be found after a power cut at this moment, while nobody writes.
    ///
    /// # Errors
    ///
    /// When the disk cannot be copied, or there is no database on the copy.
    pub fn versions_as_flushed(&self) -> anyhow::Result<Vec<Version>> {
        let Self::Sqlite { file, .. } = self else {
            bail!("PostgreSQL has no disk of its own");
        };
        let copy = self.disk()?.as_flushed()?;
        versions_in(&copy.path().join(file.file_name().context("it has a name")?))
    }

    /// A connection past everything that breaks.
    async fn client(&self) -> anyhow::Result<tokio_postgres::Client> {
        let mut last = None;
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            let url = self.postgres()?.primary().url();
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
}

fn open(file: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(file)?;
    connection.busy_timeout(PATIENCE)?;
    Ok(connection)
}

fn versions_in(file: &Path) -> anyhow::Result<Vec<Version>> {
    let connection = open(file)?;
    let mut statement = connection.prepare(HISTORY)?;
    let versions = statement.query_map([], Version::of_sqlite)?;
    Ok(versions.collect::<Result<_, _>>()?)
}
