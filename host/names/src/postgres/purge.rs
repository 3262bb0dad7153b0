//! Deletes the rows of names that have had no active registration for the retention time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use namelock_types::error_chain;
use tokio::sync::Notify;

use crate::config::PURGE_INTERVAL;
use crate::fair::NO_TENANT;
use crate::postgres::pool::Pool;
use crate::postgres::rows::swept;
use crate::postgres::sql::Sql;
use crate::postgres::statement::{self, One, Work, parameters};
use crate::postgres::time::Time;
use crate::rules::stored_ms;
use crate::sweep::Sweep;

/// How long the next purge waits at least, however many tenants are at their quota.
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// Purges for as long as it is polled, and earlier than usual when it is `wanted`; `fails` says whether the last purge
/// failed. Several hosts may purge at once: each
/// skips the rows that another one has locked.
pub(super) async fn run(pool: Pool, sql: &Sql, time: &Time, retention: Duration, wanted: &Notify, fails: &AtomicBool) {
    let mut sweep = Sweep::default();
    loop {
        time.known().await;
        let purged = purge(&pool, sql, time, retention, &mut sweep).await;
        match &purged {
            Err(error) if !fails.load(Relaxed) => {
                tracing::warn!(%error, "rows whose retention is over cannot be deleted; it will be tried again");
            }
            Ok(_) if fails.load(Relaxed) => tracing::info!("rows whose retention is over are deleted again"),
            Ok(_) | Err(_) => {}
        }
        fails.store(purged.is_err(), Relaxed);
        let pause = purged.unwrap_or(PURGE_INTERVAL);
        if pause.is_zero() {
            continue;
        }
        tokio::time::sleep(PAUSE_MIN).await;
        let _ = tokio::time::timeout(pause.saturating_sub(PAUSE_MIN), wanted.notified()).await;
    }
}

/// Deletes a bounded number of rows, and returns how long the next purge waits.
async fn purge(
    pool: &Pool,
    sql: &Sql,
    time: &Time,
    retention: Duration,
    sweep: &mut Sweep,
) -> Result<Duration, String> {
    let Some(before) = time.purge_before_ms(retention) else {
        return Ok(PURGE_INTERVAL);
    };
    // A hold, too, is over once its time has passed that somebody has seen pass.
    let held = before.saturating_add(stored_ms(retention));
    let purge = One {
        work: Work::Purge,
        sql: Arc::clone(&sql.purge),
        parameters: parameters![sweep.from_ms, before, held, sweep.rows],
        check: None,
        _keeps: Vec::new(),
    };
    let purged = statement::run(pool, NO_TENANT, Work::Purge, purge).await;
    let row = purged.map_err(|error| error_chain(&error))?.row();
    let row = row.ok_or_else(|| "the purge returned no row".to_owned())?;
    Ok(sweep.go_on(swept(&row).map_err(|error| error_chain(&error))?))
}
