//! How the server is asked: within a deadline.
//!
//! Each statement has one in the server and, a little later, one here, for a server that hangs.

use std::time::Duration;

use deadpool_postgres::Transaction;
use namelock_types::error_chain;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::catalog::error::CatalogError;
use crate::config::GRACE;
use crate::postgres::link::Link;

/// Why something was not done.
#[derive(Debug)]
pub(super) enum Failure {
    /// For this reason; nothing was changed.
    Unavailable(String),
    /// It may have been done.
    Unknown(String),
    /// The caller is to be told this; nothing was changed.
    Refused(CatalogError),
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Unavailable(error_chain(&error))
    }
}

/// What statements are run on: a connection, or a transaction on it.
pub(super) trait Client {
    async fn query(&self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, tokio_postgres::Error>;
}

impl Client for Link {
    async fn query(&self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, tokio_postgres::Error> {
        let statement = self.prepare_cached(sql).await?;
        tokio_postgres::Client::query(self, &statement, parameters).await
    }
}

impl Client for Transaction<'_> {
    async fn query(&self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, tokio_postgres::Error> {
        let statement = self.prepare_cached(sql).await?;
        tokio_postgres::Transaction::query(self, &statement, parameters).await
    }
}

/// Runs a statement and returns its rows.
pub(super) async fn rows(
    client: &impl Client,
    timeout: Duration,
    sql: &str,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<Vec<Row>, Failure> {
    // The futures of callers are large enough without it.
    within(timeout, Box::pin(client.query(sql, parameters))).await
}

/// Waits for the answer to one statement.
pub(super) async fn within<T>(
    timeout: Duration,
    asked: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(timeout + GRACE, asked).await {
        Ok(answer) => answer.map_err(Failure::from),
        Err(_) => Err(Failure::Unavailable(no_answer(timeout))),
    }
}

/// Returns the reason to give when the deadline has passed.
pub(super) fn no_answer(timeout: Duration) -> String {
    format!("it has not answered within {timeout:?}, the timeout of the catalog")
}
