//! What every names database does.

use std::time::Duration;

use async_trait::async_trait;

use crate::epoch::{EpochStanding, NewEpoch};
use crate::error::{ApplyError, NamesError, SaveError};
use crate::figures::Figures;
use crate::list::{ListQuery, Page};
use crate::past_request::PastRequest;
use crate::quota::Usage;
use crate::registration::{Free, Registration, Save, Update};
use crate::request::RequestKey;
use crate::transaction::WriteOne;

/// A database of registrations. Every implementation passes the same tests (`tests/suite`).
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

    /// Changes the active registration of a name, and returns what it is then; none: there is no active one. What it keeps
    /// is its beginning. It is durable when this returns.
    ///
    /// # Errors
    ///
    /// See [`SaveError`].
    async fn update(&self, update: Update) -> Result<Option<Registration>, SaveError>;

    /// Finds what the first request with this key has saved or changed.
    ///
    /// # Errors
    ///
    /// See [`NamesError`].
    async fn find_request(&self, tenant: &str, request: RequestKey) -> Result<PastRequest, NamesError>;

    /// Ends the active registration of a name now, and returns whether there was one.
    ///
    /// # Errors
    ///
    /// See [`SaveError`].
    async fn free(&self, free: Free) -> Result<bool, SaveError>;

    /// Does several writes of different names as one: all of them are durable when this returns, or none is done. Returns, in
    /// the order of the writes, what each has saved or changed; none for one that frees. The quota counts the sum.
    ///
    /// # Errors
    ///
    /// See [`ApplyError`].
    async fn apply(&self, tenant: &str, writes: Vec<WriteOne>) -> Result<Vec<Option<Registration>>, ApplyError>;

    /// Lists active registrations of a tenant, as they are in one instant.
    ///
    /// # Errors
    ///
    /// See [`NamesError`].
    async fn list(&self, query: ListQuery) -> Result<Page, NamesError>;

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

    /// Returns what has gone wrong in the database, and what is late.
    fn figures(&self) -> Figures;

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
