//! What every names database does.

use std::time::Duration;

use async_trait::async_trait;

use crate::epoch::{EpochStanding, NewEpoch};
use crate::error::{NamesError, SaveError};
use crate::quota::Usage;
use crate::registration::{Free, Registration, Save};

/// A database of registrations. Every implementation passes the same tests (`tests/suite.rs`).
#[async_trait]
pub trait Names: Send + Sync + 'static {
    /// Finds the active registration of a name.
    ///
    /// # Errors
    ///
    /// See [`NamesError`].
    async fn find(&self, tenant: &str, name: &str) -> Result<Option<Registration>, NamesError>;

    /// Saves a registration that begins now, if the name has no active one and the tenant's quota has room for it. It is
    /// durable when this returns.
    ///
    /// # Errors
    ///
    /// See [`SaveError`].
    async fn save(&self, save: Save) -> Result<Registration, SaveError>;

    /// Ends the active registration of a name now, and returns whether there was one.
    ///
    /// # Errors
    ///
    /// See [`SaveError`].
    async fn free(&self, free: Free) -> Result<bool, SaveError>;

    /// Returns what a tenant keeps in the database.
    ///
    /// # Errors
    ///
    /// See [`NamesError`].
    async fn usage(&self, tenant: &str) -> Result<Usage, NamesError>;

    /// Gives a lock server an epoch for a new life: greater than every one that was given to or reported of any server. It
    /// is durable when this returns.
    ///
    /// # Errors
    ///
    /// See [`NamesError`].
    async fn begin_epoch(&self, server: &str) -> Result<NewEpoch, NamesError>;

    /// Judges the epoch that a lock server has, and remembers it if fencing tokens may be counted from it.
    ///
    /// # Errors
    ///
    /// See [`NamesError`].
    async fn check_epoch(&self, server: &str, epoch: u64) -> Result<EpochStanding, NamesError>;

    /// Returns how many milliseconds the wall clock that database time follows was ahead of it when it was last looked at;
    /// negative: behind.
    fn clock_off_ms(&self) -> i64;

    /// Checks that the database answers.
    ///
    /// # Errors
    ///
    /// See [`NamesError`].
    async fn ready(&self) -> Result<(), NamesError>;

    /// Returns the longest time that a write may take once it has begun. A lease that lasts no longer than this is of
    /// no use for a write.
    fn deadline(&self) -> Duration;

    /// Completes the reads and writes that are queued, and stops. Every later request is refused.
    async fn close(&self);
}
