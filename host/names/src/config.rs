//! The limits and timeouts of a names database.

use std::path::PathBuf;
use std::time::Duration;

use crate::error::OpenError;
use crate::url::NamesUrl;

/// How often a database deletes rows whose retention is over. While there are more of them than one purge deletes, the
/// next purge follows at once: names that end faster than that must not fill the disk.
pub(crate) const PURGE_INTERVAL: Duration = Duration::from_secs(10);

/// How many rows one purge deletes at most.
pub(crate) const PURGE_ROWS_MAX: u16 = 1000;

/// How much longer than the server's own deadline an answer of PostgreSQL is waited for.
pub(crate) const GRACE: Duration = Duration::from_millis(100);

/// The limits of a names database. Every field has a sound default.
#[derive(Debug, Clone)]
pub struct NamesConfig {
    /// How many writes, and how many reads, may queue; one more is refused at once.
    pub queue: usize,
    /// How many writes one transaction commits; PostgreSQL: how many reads or writes of one tenant go in one statement.
    pub batch: usize,
    /// How many reads run at once.
    pub readers: usize,
    /// SQLite: how long a write waits for another process that is writing; opening the file, ten times as long.
    pub busy_timeout: Duration,
    /// PostgreSQL: how many connections there are at most.
    pub connections: usize,
    /// PostgreSQL: how long connecting may take.
    pub connect_timeout: Duration,
    /// PostgreSQL: how long a read or write may take, including the wait for a connection.
    pub timeout: Duration,
    /// PostgreSQL: a file of root certificates in PEM to check the server's certificate against; none: those that this
    /// machine trusts.
    pub tls_roots: Option<PathBuf>,
    /// How long the row of a name without an active registration is kept, in time that somebody has seen pass. It
    /// remembers the name's greatest fencing token, which matters for as long as a lease that was granted earlier may
    /// still try to write: no lease lasts that long.
    pub retention: Duration,
    /// How long a name may be held for its last owner, in database time. The row of a name that is held is kept until the
    /// hold is over, however short the retention is.
    pub hold_max: Duration,
    /// How many writes may be done as one.
    pub apply_max: usize,
    /// How many registrations a page of a list has at most.
    pub page_max: usize,
    /// How many rows are read for a page, those of registrations that have ended included. A page that would need more is
    /// shorter.
    pub page_rows_max: usize,
    /// How long the attributes of a page are together, in bytes, beyond its first registration. A page that would have more
    /// is shorter.
    pub page_bytes_max: usize,
    /// How many attributes a registration of any tenant may have.
    pub attributes_max: usize,
    /// How long the keys and values of all its attributes may be together, in bytes.
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
            hold_max: Duration::from_secs(30 * 24 * 60 * 60),
            apply_max: 16,
            page_max: 1000,
            page_rows_max: 2000,
            page_bytes_max: 1 << 20,
            attributes_max: 1024,
            attribute_bytes_max: 64 << 10,
        }
    }
}

impl NamesConfig {
    /// How long a read or write of the database at `url` may take, including the wait for a connection.
    pub fn deadline(&self, url: &NamesUrl) -> Duration {
        match url {
            NamesUrl::Sqlite(_) => self.busy_timeout,
            NamesUrl::Postgres(_) | NamesUrl::Several(_) => self.timeout + GRACE,
        }
    }

    /// Refuses limits with which nothing could be read or written.
    pub(crate) fn check(&self) -> Result<(), OpenError> {
        let limits = [
            ("queue", self.queue),
            ("batch", self.batch),
            ("readers", self.readers),
            ("connections", self.connections),
            ("apply_max", self.apply_max),
            ("page_max", self.page_max),
            ("page_rows_max", self.page_rows_max),
        ];
        match limits.into_iter().find(|(_, value)| *value == 0) {
            Some((name, _)) => Err(OpenError::Config(name)),
            None => Ok(()),
        }
    }
}
