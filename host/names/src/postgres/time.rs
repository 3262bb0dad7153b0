//! Database time in a server: see the crate's `clock`.
//!
//! SQL has no monotonic clock, so the hosts have it: each holds a course of database time, which it steers towards the
//! server's clock, and sends the time with every statement. Once a second it compares notes with the others through one
//! row: whoever is ahead keeps its time there, and whoever is behind adopts it, so hosts differ by no more than a round
//! trip. A step of the server's clock, or a failover to a server with another one, moves nothing; all that it does is to
//! let database time run up to 1 % faster or slower.
//!
//! A host that has just started takes the time that is kept, and what has passed since by the server's clock; how it tells
//! that from a step of that clock, [`Newcomer`] says. Until then, and while the database cannot be reached from the start,
//! it does not know the time, and reads and writes nothing.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::BytesMut;
use namelock_types::error_chain;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_postgres::Row;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use crate::clock::{Arrival, Course, Newcomer, Steady, Watch, boottime_ms, wall_ms};
use crate::fair::NO_TENANT;
use crate::postgres::pool::{ConnectError, Pool, give_back};
use crate::postgres::sql::{Sql, is_read_only};
use crate::postgres::turns::Kind;
use crate::rules::stored_ms;

/// How often a host compares notes.
const TICK: Duration = Duration::from_secs(1);

/// How long a host that starts may take to know the time, once it is connected.
pub(super) const KNOWN_WITHIN: Duration = Duration::from_secs(5);

/// What this host knows of database time.
#[derive(Debug)]
pub(super) struct Time {
    belief: Mutex<Option<Belief>>,
    /// When it was last compared; until it is known, when this host began.
    compared: Mutex<Instant>,
    /// By how much it jumped when this host came, in milliseconds.
    jumped_ms: AtomicU64,
    /// Whether commits waited for no standby then.
    is_alone: AtomicBool,
    known: Notify,
}

#[derive(Debug, Clone, Copy)]
struct Belief {
    course: Course,
    steady: Steady,
    /// How far the server's clock is ahead of database time.
    off_ms: i64,
}

/// The time that is kept, as the server returned it.
struct Kept {
    time_ms: i64,
    steady: Steady,
    server_ms: i64,
    has_standby: bool,
}

impl Time {
    pub(super) fn new() -> Self {
        Self {
            belief: Mutex::default(),
            compared: Mutex::new(Instant::now()),
            jumped_ms: AtomicU64::default(),
            is_alone: AtomicBool::default(),
            known: Notify::new(),
        }
    }

    /// Returns the time, if it is known.
    pub(super) fn now_ms(&self) -> Option<i64> {
        let belief = *self.belief.lock();
        belief.map(|belief| belief.course.time_ms(boottime_ms()))
    }

    /// Returns the end up to which rows may be purged, if the time is known.
    pub(super) fn purge_before_ms(&self, retention: Duration) -> Option<i64> {
        let belief = *self.belief.lock();
        belief.map(|belief| {
            let now_ms = belief.course.time_ms(boottime_ms());
            belief.steady.purge_before_ms(now_ms, stored_ms(retention))
        })
    }

    /// Returns how far the server's clock was ahead of database time when they were last compared.
    pub(super) fn off_ms(&self) -> i64 {
        self.belief.lock().map_or(0, |belief| belief.off_ms)
    }

    /// Returns how long ago it was last compared.
    pub(super) fn age(&self) -> Duration {
        self.compared.lock().elapsed()
    }

    /// Returns by how much it jumped when this host came.
    pub(super) fn jumped(&self) -> Duration {
        Duration::from_millis(self.jumped_ms.load(Relaxed))
    }

    /// Returns whether commits waited for no standby when it was last compared.
    pub(super) fn is_alone(&self) -> bool {
        self.is_alone.load(Relaxed)
    }

    /// Tells once when there are standbys to fail over to of which none is waited for, and once when one is.
    fn note_standby(&self, pool: &Pool, has_standby: bool) {
        let was_alone = self.is_alone.swap(!has_standby, Relaxed);
        if was_alone != has_standby || !pool.has_several() {
            return;
        }
        if has_standby {
            tracing::info!("commits of the names database wait for a synchronous standby");
        } else {
            tracing::warn!(
                "the names database has several servers, but its primary has no synchronous standby: a failover now may lose what \
                 was answered; set synchronous_standby_names"
            );
        }
    }

    /// Waits until the time is known.
    pub(super) async fn known(&self) {
        loop {
            let mut known = std::pin::pin!(self.known.notified());
            known.as_mut().enable();
            if self.belief.lock().is_some() {
                return;
            }
            known.await;
        }
    }

    /// Compares notes for as long as it is polled.
    pub(super) async fn run(&self, pool: &Pool, sql: &Sql, retention: Duration) {
        let mut newcomer = Newcomer::default();
        let mut watch = Watch::default();
        loop {
            let compared = self.compare(pool, sql, retention, &mut newcomer);
            match tokio::time::timeout(pool.deadline(), compared).await {
                Ok(Ok(())) => {
                    if self.belief.lock().is_some() {
                        watch.saw(self.off_ms(), "the clock of the names database's server");
                    }
                }
                // The time goes on without it, and requests tell that the database is away.
                Ok(Err(error)) => tracing::debug!(%error, "database time could not be compared"),
                Err(_) => tracing::debug!(error = pool.no_answer(), "database time could not be compared"),
            }
            let is_soon = newcomer.is_watching() && self.belief.lock().is_none();
            tokio::time::sleep(if is_soon { Newcomer::SOON } else { TICK }).await;
        }
    }

    async fn compare(
        &self,
        pool: &Pool,
        sql: &Sql,
        retention: Duration,
        newcomer: &mut Newcomer,
    ) -> Result<(), String> {
        // It reads, as far as turns are concerned: its commit waits for nothing.
        let connection = async { pool.connection(pool.turn(NO_TENANT, Kind::Read).await?).await };
        let connection = connection.await.map_err(|error: ConnectError| error_chain(&error))?;
        let compared = async {
            let belief = *self.belief.lock();
            let (course, jumped) = match belief {
                Some(belief) => (belief.course, false),
                None => {
                    // Whoever comes first takes the server's clock as it is.
                    connection.execute(&*sql.begin_time, &[&None::<i64>]).await?;
                    let row = connection.query_one(&*sql.look, &[]).await?;
                    let kept_ms: i64 = row.try_get("time_ms")?;
                    let Some(arrival) = newcomer.look(
                        kept_ms,
                        row.try_get("server_then_ms")?,
                        row.try_get("server_ms")?,
                        wall_ms(),
                    ) else {
                        return Ok(None);
                    };
                    let Arrival { time_ms, jumped } = arrival;
                    if jumped {
                        let by_ms = time_ms.saturating_sub(kept_ms);
                        self.jumped_ms.store(by_ms.unsigned_abs(), Relaxed);
                    }
                    (Course::from(boottime_ms(), time_ms), jumped)
                }
            };
            if !pool.gates.are_there() && connection.query_one(&*sql.has_moved, &[]).await?.try_get(0)? {
                pool.gates.note();
            }
            let keep = connection.prepare_cached(&sql.keep_time).await?;
            let sent_ms = course.time_ms(boottime_ms());
            let row = connection
                .query_opt(&keep, &[&sent_ms, &jumped, &stored_ms(retention)])
                .await?;
            let kept = row.as_ref().map(kept).transpose()?;
            if kept.is_none() {
                // Somebody has deleted it, or it is lost with an asynchronous standby. Hosts that are there go on.
                connection.execute(&*sql.begin_time, &[&Some(sent_ms)]).await?;
            }
            if let Some(kept) = kept.as_ref().filter(|_| jumped) {
                tracing::warn!(
                    time_ms = kept.time_ms,
                    "nobody has kept the time of the names database for a while; its server's clock and this host's are believed"
                );
            }
            if let Some(kept) = &kept {
                self.note_standby(pool, kept.has_standby);
            }
            Ok(kept.map(|kept| Belief::after(course, sent_ms, boottime_ms(), &kept)))
        };
        let compared: Result<_, tokio_postgres::Error> = compared.await;
        if compared.as_ref().is_err_and(is_read_only) {
            pool.distrust(&connection);
        }
        give_back(connection);
        match compared.map_err(|error| error_chain(&error))? {
            Some(belief) => {
                *self.belief.lock() = Some(belief);
                *self.compared.lock() = Instant::now();
                self.known.notify_waiters();
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl Belief {
    /// Returns what to believe after notes were compared: `sent_ms` by one's own course, and the answer got at
    /// `boottime_ms`.
    fn after(course: Course, sent_ms: i64, boottime_ms: i64, kept: &Kept) -> Self {
        let got_ms = course.time_ms(boottime_ms).max(kept.time_ms);
        // The server's clock was read somewhere between the two. Only what lies outside is known to be off.
        let off_ms = kept.server_ms - kept.server_ms.clamp(sent_ms.min(got_ms), got_ms);
        Self {
            course: Course::from(boottime_ms, got_ms).towards(boottime_ms, off_ms),
            steady: kept.steady,
            off_ms,
        }
    }
}

fn kept(row: &Row) -> Result<Kept, tokio_postgres::Error> {
    Ok(Kept {
        time_ms: row.try_get("time_ms")?,
        steady: Steady {
            since_ms: row.try_get("steady_since_ms")?,
            jumped_ms: row.try_get("jumped_ms")?,
        },
        server_ms: row.try_get("server_ms")?,
        has_standby: row.try_get("has_standby")?,
    })
}

/// The parameter of a statement that is the time at which the statement is sent: it is read then, and not while the
/// statement waits for a connection.
#[derive(Debug, Clone)]
pub(super) struct Now(pub(super) Arc<Time>);

/// The parameter of a statement that is how many milliseconds are left, when it is sent, until an instant.
#[derive(Debug, Clone, Copy)]
pub(super) struct Until(pub(super) Instant);

/// The host has not found out yet what time it is by the names database.
#[derive(Debug, thiserror::Error)]
#[error("its time is not known yet")]
struct NotKnown;

impl ToSql for Now {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        self.0.now_ms().ok_or(NotKnown)?.to_sql(ty, out)
    }

    fn accepts(ty: &Type) -> bool {
        <i64 as ToSql>::accepts(ty)
    }

    to_sql_checked!();
}

impl ToSql for Until {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        stored_ms(self.0.saturating_duration_since(Instant::now())).to_sql(ty, out)
    }

    fn accepts(ty: &Type) -> bool {
        <i64 as ToSql>::accepts(ty)
    }

    to_sql_checked!();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_adopts_a_later_time_and_slews_towards_the_server_by_what_a_round_trip_does_not_explain() {
        let course = Course::from(1_000, 50_000);
        let steady = Steady::since(0);
        let after = |time_ms, server_ms| {
            let kept = Kept {
                time_ms,
                steady,
                server_ms,
                has_standby: true,
            };
            // Sent at 50_000, got 300 ms later.
            let belief = Belief::after(course, 50_000, 1_300, &kept);
            (
                belief.course.time_ms(1_300),
                belief.off_ms,
                belief.course.time_ms(101_300),
            )
        };
        assert_eq!(after(50_000, 50_100), (50_300, 0, 150_300));
        assert_eq!(after(50_900, 50_950), (50_900, 50, 150_950));
        assert_eq!(after(50_000, 7_250_300), (50_300, 7_200_000, 151_300));
        assert_eq!(after(50_000, 40_000), (50_300, -10_000, 149_300));
    }
}
