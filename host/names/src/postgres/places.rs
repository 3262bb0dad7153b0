//! What a database knows of itself as one of several, and the first of them of where tenants are; see the crate's `placed`.

use tokio::time::Instant;
use tokio_postgres::{Error, Row};

use crate::error::NamesError;
use crate::fair::NO_TENANT;
use crate::postgres::Postgres;
use crate::postgres::server::{Refusal, unavailable};
use crate::postgres::sql::is_locked_out;
use crate::postgres::statement::{Answer, StatementError, Work, parameters};

/// How often a tenant is placed again whose place could not be written because others wrote for longer than it waits for them.
const TRIES: usize = 3;

/// Which database it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) id: String,
    /// The first one, to which it belongs; none: it is the first, or alone.
    pub(crate) first: Option<String>,
}

/// Where a tenant is, as the first database says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Placement {
    /// The id of the database that has its names.
    pub(crate) database: String,
    /// That of the one to which they are being moved.
    pub(crate) moving_to: Option<String>,
    /// That of the one from which they were moved, and which has not been cleared yet.
    pub(crate) moved_from: Option<String>,
}

impl Postgres {
    /// Reads which database it is.
    pub(crate) async fn identity(&self) -> Result<Identity, NamesError> {
        let asked = self
            .server
            .ask_of_places(NO_TENANT, Work::Read, &self.server.sql.identity, Vec::new());
        self.first_row(asked.await, identity)?
            .ok_or_else(|| NamesError::unavailable("it does not say which database it is"))
    }

    /// Has it belong to this first one, if it belongs to none yet and is empty. Returns what it is then.
    pub(crate) async fn join(&self, first: &str) -> Result<Identity, NamesError> {
        let joined = self
            .server
            .write_for_host(&self.server.sql.join, parameters![first.to_owned()])
            .await?;
        let read = joined.as_ref().map(identity).transpose();
        read.map_err(unreadable)?
            .ok_or_else(|| NamesError::unavailable("it does not say which database it is"))
    }

    /// Reads where a tenant is; none: it has not been placed.
    pub(crate) async fn placement(&self, tenant: &str) -> Result<Option<Placement>, NamesError> {
        let sql = &self.server.sql.placement;
        let asked = self
            .server
            .ask_of_places(tenant, Work::Read, sql, parameters![tenant.to_owned()]);
        self.first_row(asked.await, placement)
    }

    /// Reads where a tenant is, and places it in one of these databases if it is nowhere yet.
    pub(crate) async fn place(&self, tenant: &str, candidates: &[String]) -> Result<Placement, NamesError> {
        let mut tries = 0;
        loop {
            let until = Instant::now() + self.server.pool.deadline();
            let asked = self.server.ask_of_places(
                tenant,
                Work::Write(until),
                &self.server.sql.place,
                parameters![tenant.to_owned(), candidates.to_vec()],
            );
            tries += 1;
            match asked.await {
                Err(StatementError::Server(error)) if is_locked_out(&error) && tries < TRIES => {}
                asked => {
                    let placed = self.first_row(asked, placement)?;
                    return placed.ok_or_else(|| NamesError::unavailable("it has not placed the tenant"));
                }
            }
        }
    }

    /// Runs all that a write does within one deadline, see `Server::within_deadline`.
    pub(crate) async fn within_deadline<T, E, F>(
        &self,
        lease_ends: Instant,
        tries: impl FnOnce(Instant) -> F,
    ) -> Result<T, E>
    where
        E: From<NamesError> + Refusal,
        F: Future<Output = Result<T, E>>,
    {
        self.server.within_deadline(lease_ends, tries).await
    }

    fn first_row<T>(
        &self,
        asked: Result<Answer, StatementError>,
        read: impl FnOnce(&Row) -> Result<T, Error>,
    ) -> Result<Option<T>, NamesError> {
        let row = asked.map_err(unavailable)?.row();
        row.as_ref().map(read).transpose().map_err(unreadable)
    }
}

fn identity(row: &Row) -> Result<Identity, Error> {
    Ok(Identity {
        id: row.try_get("id")?,
        first: row.try_get("first")?,
    })
}

fn placement(row: &Row) -> Result<Placement, Error> {
    Ok(Placement {
        database: row.try_get("database")?,
        moving_to: row.try_get("moving_to")?,
        moved_from: row.try_get("moved_from")?,
    })
}

fn unreadable(error: Error) -> NamesError {
    NamesError::unavailable(format!("it returned a place that cannot be read: {error}"))
}
