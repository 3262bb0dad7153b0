//! Whole rows of a tenant, to be kept elsewhere and put back: for backups, and to move a tenant between databases.
//!
//! A [`Record`] is all that a database keeps of a name: its registration, or the last one, which remembers the greatest fencing
//! token, for whom the name is held, and which requests have been answered. [`Records`] reads and puts them on a connection of
//! its own, beside whatever hosts do with the same database. It is for commands: SQLite's part blocks the thread.
//!
//! # What is read
//!
//! From [`Records::begin`] on all is read from one snapshot: the tenant as it was in one instant, while others write. In PostgreSQL a
//! snapshot keeps what is updated meanwhile from being cleaned up, in SQLite it lets the log grow; that is why it ends after
//! a minute without a question.
//!
//! # Time
//!
//! Each database has a time of its own, and an end is an instant in it. Whoever puts a record elsewhere must neither bring back what
//! has ended nor end what has not:
//!
//! - Whether a registration had ended is read in the time of the database that it comes from, and is a fact of the record. One that
//!   had is put as freed, so it stays ended, also where the time is behind.
//! - The end of one that had not is kept as it is: it is an instant that its owner was told. Where the time is ahead by a second, it
//!   ends a second early for whoever compares clocks, and [`Record::shift`] is for those who must not have that.
//!
//! # What is put
//!
//! Putting is a write like any other in the order of fencing tokens: it changes a name that has no row, or one whose row has a
//! smaller token. So a restore undoes no newer write, and what is put twice is there once. Quotas are not applied, and all is counted.
//!
//! Tokens are counted from epochs (see `epoch`), so with the records the greatest epoch that the database knows rises to the greatest
//! token among them: every later life of a lock server then has greater ones. A token beyond [`TOKEN_MAX`] is refused: no epoch
//! could be greater than the greatest integer.
//!
//! - `record`: what a record is, and the rules for it; `sqlite`, `postgres`: how it is read and put.

mod postgres;
mod record;
mod sqlite;

use std::sync::Arc;

use namelock_types::FencingToken;

use self::record::PAGE_BYTES_MAX;
pub use self::record::{PAGE_MAX, Record, TOKEN_MAX};
use crate::config::NamesConfig;
use crate::epoch::EPOCH_STEP;
use crate::error::{NamesError, OpenError, SaveError};
use crate::names::Names;
use crate::open::open;
use crate::postgres::{Postgres, Role};
use crate::quota::Usage;
use crate::url::NamesUrl;

/// What became of records that were put.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Put {
    /// Written.
    pub written: u64,
    /// Left, because the row of the name has the same fencing token or a greater one.
    pub left: u64,
}

/// A connection to a names database, for whole rows of tenants.
#[derive(Debug)]
pub struct Records {
    database: Database,
    /// How many rows the next page reads: not many more than go in it, as long as they are like those of the page before.
    rows: usize,
}

#[derive(Debug)]
enum Database {
    Sqlite(sqlite::Records),
    Postgres(Box<postgres::Records>),
}

impl Records {
    /// Opens the names database at `url`, creates it if it does not exist, and migrates it to the current version.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub async fn open(url: &NamesUrl, config: &NamesConfig) -> Result<Self, OpenError> {
        if let NamesUrl::Several(_) = url {
            return Err(OpenError::Url {
                url: url.to_string(),
                reason: "give the one database that has the tenant; `namelock names placement` says which".to_owned(),
            });
        }
        // As a host does, which leaves tables that are up to date, and a time that goes on.
        let names: Arc<dyn Names> = match url {
            // Also where it is not the first of several.
            NamesUrl::Postgres(server) => {
                Arc::new(Postgres::open(server, &url.to_string(), config.clone(), Role::Other).await?)
            }
            NamesUrl::Sqlite(_) | NamesUrl::Several(_) => open(url, config.clone()).await?,
        };
        let ready = names.ready().await;
        names.close().await;
        ready.map_err(|error| OpenError::Server {
            url: url.to_string(),
            problem: error.to_string(),
        })?;
        match url {
            NamesUrl::Sqlite(path) => Ok(Self::of(Database::Sqlite(sqlite::Records::open(path, config)?))),
            NamesUrl::Postgres(_) | NamesUrl::Several(_) => Self::connect(url, config).await,
        }
    }

    fn of(database: Database) -> Self {
        Self {
            database,
            rows: PAGE_MAX,
        }
    }

    /// Connects to a PostgreSQL database whose tables are up to date.
    pub(crate) async fn connect(url: &NamesUrl, config: &NamesConfig) -> Result<Self, OpenError> {
        let NamesUrl::Postgres(server) = url else {
            return Err(OpenError::Url {
                url: url.to_string(),
                reason: "it is not one postgres://host/database".to_owned(),
            });
        };
        let records = postgres::Records::open(server, &url.to_string(), config).await?;
        Ok(Self::of(Database::Postgres(Box::new(records))))
    }

    /// Returns the connection to a PostgreSQL database.
    pub(crate) fn client(&self) -> Option<&tokio_postgres::Client> {
        match &self.database {
            Database::Postgres(records) => Some(records.client()),
            Database::Sqlite(_) => None,
        }
    }

    /// Begins a snapshot, and returns what time it is in it.
    ///
    /// # Errors
    ///
    /// See [`NamesError`].
    pub async fn begin(&mut self) -> Result<u64, NamesError> {
        self.rows = PAGE_MAX;
        let now_ms = match &mut self.database {
            Database::Sqlite(records) => records.begin()?,
            Database::Postgres(records) => records.begin().await?,
        };
        Ok(u64::try_from(now_ms).unwrap_or(0))
    }

    /// Reads the next records in the order of the names' bytes, at most [`PAGE_MAX`]; none: there are no others. The snapshot has
    /// begun.
    ///
    /// # Errors
    ///
    /// See [`NamesError`].
    pub async fn read(&mut self, tenant: &str, after: &str) -> Result<Vec<Record>, NamesError> {
        let mut page = match &mut self.database {
            Database::Sqlite(records) => records.read(tenant, after, self.rows)?,
            Database::Postgres(records) => records.read(tenant, after, self.rows).await?,
        };
        let mut bytes = 0;
        let fits = page.iter().take_while(|record| {
            let before = bytes;
            bytes += record.bytes();
            before == 0 || bytes <= PAGE_BYTES_MAX
        });
        let fits = fits.count();
        page.truncate(fits);
        if fits > 0 {
            self.rows = (2 * fits).min(PAGE_MAX);
        }
        Ok(page)
    }

    /// Ends the snapshot.
    ///
    /// # Errors
    ///
    /// See [`NamesError`].
    pub async fn end(&mut self) -> Result<(), NamesError> {
        match &mut self.database {
            Database::Sqlite(records) => Ok(records.end()?),
            Database::Postgres(records) => records.end().await,
        }
    }

    /// Puts records of different names, at most [`PAGE_MAX`], in one transaction. They are durable when this returns.
    ///
    /// # Errors
    ///
    /// [`SaveError::Invalid`] where a record breaks a rule or the key of its request is that of another registration: then none is
    /// put. [`SaveError::Unavailable`]: all of them may have been put, or none.
    pub async fn put(&mut self, tenant: &str, records: &[Record]) -> Result<Put, SaveError> {
        let written = match &mut self.database {
            Database::Sqlite(own) => own.put(tenant, records)?,
            Database::Postgres(own) => own.put(tenant, records).await?,
        };
        Ok(Put {
            written,
            left: (records.len() as u64).saturating_sub(written),
        })
    }

    /// Removes rows of a tenant, at most [`PAGE_MAX`], and returns how many; 0: there are no others.
    ///
    /// # Errors
    ///
    /// See [`NamesError`].
    pub async fn remove(&mut self, tenant: &str) -> Result<u64, NamesError> {
        match &mut self.database {
            Database::Sqlite(records) => Ok(records.remove(tenant)?),
            Database::Postgres(records) => records.remove(tenant).await,
        }
    }

    /// Returns what a tenant keeps.
    ///
    /// # Errors
    ///
    /// See [`NamesError`].
    pub async fn usage(&mut self, tenant: &str) -> Result<Usage, NamesError> {
        match &mut self.database {
            Database::Sqlite(records) => Ok(records.usage(tenant)?),
            Database::Postgres(records) => records.usage(tenant).await,
        }
    }

    /// Returns a number that no lock server which runs now reaches; none: it is not known of any. Names whose fencing token is not
    /// below it can be written only once their lock server has begun a new life.
    ///
    /// # Errors
    ///
    /// See [`NamesError`].
    pub async fn reach(&mut self) -> Result<Option<FencingToken>, NamesError> {
        let placed = match &mut self.database {
            Database::Sqlite(records) => records.placed()?,
            Database::Postgres(records) => records.placed().await?,
        };
        let reach = placed.saturating_add(EPOCH_STEP).unsigned_abs();
        Ok((placed > 0).then(|| FencingToken::new(reach)))
    }
}
