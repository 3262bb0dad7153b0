//! Deletes the rows of names that have had no active registration for the retention time.

use std::time::Duration;

use namelock_types::error_chain;
use tokio::sync::Notify;

use crate::config::{PURGE_INTERVAL, PURGE_ROWS_MAX};
use crate::postgres::pool::{Pool, give_back};
use crate::postgres::sql::Sql;
use crate::rules::stored_ms;

/// How long the next purge waits at least, however many tenants are at their quota.
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// The purge takes turns with the tenants as one of them, whose id none of them has.
const NO_TENANT: &str = "";

/// Purges for as long as it is polled, and earlier than usual when it is `wanted`. Several hosts may purge at once: each
/// skips the rows that another one has locked.
pub(super) async fn run(pool: Pool, sql: &Sql, retention: Duration, wanted: &Notify) {
    loop {
        let deleted = tokio::time::timeout(pool.deadline(), purge(&pool, sql, retention)).await;
        match deleted.unwrap_or_else(|_| Err(pool.no_answer())) {
            Ok(deleted) if deleted == u64::from(PURGE_ROWS_MAX) => continue,
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "expired rows could not be deleted"),
        }
        tokio::time::sleep(PAUSE_MIN).await;
        let _ = tokio::time::timeout(PURGE_INTERVAL - PAUSE_MIN, wanted.notified()).await;
    }
}

/// Deletes at most [`PURGE_ROWS_MAX`] rows, and returns how many there were.
async fn purge(pool: &Pool, sql: &Sql, retention: Duration) -> Result<u64, String> {
    let connection = pool.connection(NO_TENANT).await.map_err(|error| error_chain(&error))?;
    let deleted = async {
        let statement = connection.prepare_cached(&sql.purge).await?;
        let rows = i64::from(PURGE_ROWS_MAX);
        connection.execute(&statement, &[&stored_ms(retention), &rows]).await
    };
    let deleted = deleted.await;
    give_back(connection);
    deleted.map_err(|error| error_chain(&error))
}
