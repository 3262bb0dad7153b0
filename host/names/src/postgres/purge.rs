//! Deletes the rows of names that have had no active registration for the retention time.

use std::time::Duration;

use namelock_types::error_chain;
use tokio::sync::Notify;

use crate::config::{PURGE_INTERVAL, PURGE_ROWS_MAX};
use crate::fair::NO_TENANT;
use crate::postgres::pool::Pool;
use crate::postgres::sql::Sql;
use crate::postgres::statement::{self, Work};
use crate::postgres::time::Time;

/// How long the next purge waits at least, however many tenants are at their quota.
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// Purges for as long as it is polled, and earlier than usual when it is `wanted`. Several hosts may purge at once: each
/// skips the rows that another one has locked.
pub(super) async fn run(pool: Pool, sql: &Sql, time: &Time, retention: Duration, wanted: &Notify) {
    let mut fails = false;
    loop {
        time.known().await;
        let deleted = purge(&pool, sql, time, retention).await;
        match &deleted {
            Err(error) if !fails => {
                tracing::warn!(%error, "rows whose retention is over cannot be deleted; it will be tried again");
            }
            Ok(_) if fails => tracing::info!("rows whose retention is over are deleted again"),
            Ok(_) | Err(_) => {}
        }
        fails = deleted.is_err();
        if deleted == Ok(u64::from(PURGE_ROWS_MAX)) {
            continue;
        }
        tokio::time::sleep(PAUSE_MIN).await;
        let _ = tokio::time::timeout(PURGE_INTERVAL - PAUSE_MIN, wanted.notified()).await;
    }
}

/// Deletes at most [`PURGE_ROWS_MAX`] rows, and returns how many there were.
async fn purge(pool: &Pool, sql: &Sql, time: &Time, retention: Duration) -> Result<u64, String> {
    let Some(before) = time.purge_before_ms(retention) else {
        return Ok(0);
    };
    let deleted = statement::run(pool, NO_TENANT, Work::Purge, &sql.purge, &[&before]).await;
    deleted.map(|deleted| deleted.rows).map_err(|error| error_chain(&error))
}
