//! What every names database does.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::error::{NamesError, OpenError, SaveError};
use crate::postgres::Postgres;
use crate::registration::{Free, Registration, Save};
use crate::sqlite::Sqlite;
use crate::url::NamesUrl;

/// A database of registrations. Every implementation passes the same tests (`tests/suite.rs`).
#[async_trait]
pub trait Names: Send + Sync + 'static {
    /// Finds the active registration of a name.
    ///
    /// # Errors
    ///
    /// See [`NamesError`].
    async fn find(&self, tenant: &str, name: &str) -> Result<Option<Registration>, NamesError>;

    /// Saves a registration from now on, if the name has no active one. It is durable when this returns.
    ///
    /// # Errors
    ///
    /// See [`SaveError`].
    async fn save(&self, save: Save) -> Result<Registration, SaveError>;

    /// Ends the active registration of a name now, and tells whether there was one.
    ///
    /// # Errors
    ///
    /// See [`SaveError`].
    async fn free(&self, free: Free) -> Result<bool, SaveError>;

    /// Tells whether the database answers.
    ///
    /// # Errors
    ///
    /// See [`NamesError`].
    async fn ready(&self) -> Result<(), NamesError>;

    /// The longest that a write may take that is begun. A lease that does not last so long is of no use for it.
    fn deadline(&self) -> Duration;

    /// Finishes what is queued and stops. Whatever is asked afterwards is refused.
    async fn close(&self);
}

/// The limits of a names database. Every field has a sound default.
#[derive(Debug, Clone)]
pub struct NamesConfig {
    /// How many writes, and how many reads, may queue; one more is refused at once.
    pub queue: usize,
    /// How many writes one transaction commits.
    pub batch: usize,
    /// How many reads go on at once.
    pub readers: usize,
    /// SQLite: how long a write waits for another process that is writing.
    pub busy_timeout: Duration,
    /// PostgreSQL: how many connections there are at most.
    pub connections: usize,
    /// PostgreSQL: how long connecting may take.
    pub connect_timeout: Duration,
    /// PostgreSQL: how long a read or write may take, the wait for a connection included.
    pub timeout: Duration,
    /// PostgreSQL: the certificates in PEM that its own may be signed with, if not those that this machine trusts.
    pub tls_roots: Option<PathBuf>,
    /// How long the row of a name that nobody has is kept. It remembers the name's greatest fencing token, which matters for as
    /// long as a lease that was granted before may still try to write: no lease lives that long.
    pub retention: Duration,
    /// How many attributes a registration may have, of any tenant.
    pub attributes_max: usize,
    /// How long all its attributes may be together, in bytes.
    pub attribute_bytes_max: usize,
}

impl Default for NamesConfig {
    fn default() -> Self {
        Self {
            queue: 1024,
            batch: 256,
            readers: 2,
            busy_timeout: Duration::from_secs(2),
            connections: 16,
            connect_timeout: Duration::from_secs(1),
            timeout: Duration::from_secs(2),
            tls_roots: None,
            retention: Duration::from_secs(60 * 60),
            attributes_max: 1024,
            attribute_bytes_max: 64 << 10,
        }
    }
}

impl NamesConfig {
    fn check(&self) -> Result<(), OpenError> {
        let limits = [
            ("queue", self.queue),
            ("batch", self.batch),
            ("readers", self.readers),
            ("connections", self.connections),
        ];
        match limits.into_iter().find(|(_, value)| *value == 0) {
            Some((name, _)) => Err(OpenError::Config(name)),
            None => Ok(()),
        }
    }
}

/// Opens the names database at `url`, makes it where there is none, and brings it up to date.
///
/// # Errors
///
/// See [`OpenError`].
pub async fn open(url: &NamesUrl, config: NamesConfig) -> Result<Arc<dyn Names>, OpenError> {
    config.check()?;
    match url {
        NamesUrl::Sqlite(path) => Ok(Arc::new(Sqlite::open(path, config).await?)),
        NamesUrl::Postgres(server) => Ok(Arc::new(Postgres::open(server, &url.to_string(), config).await?)),
    }
}
