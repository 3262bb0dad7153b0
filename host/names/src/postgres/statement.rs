//! One statement, in a task of its own.
//!
//! The caller waits for the answer, until its deadline. The task has the connection and its turn until the server has
//! answered, also when the caller has hung up or given up meanwhile:
//!
//! - A connection that was closed instead would cost a new one for each caller that hangs up.
//! - The server may be busy with the statement for long after that, so that connections would pile up there. A commit that
//!   waits for a synchronous standby is reached by no timeout.
//!
//! So a *write* that is not answered keeps its connection until the server has answered, or does no longer work on it: it
//! has closed the connection, or has vanished, which the kernel notices, or what now has its address knows of no statement
//! that has run for so long, as after a failover; it is asked that as soon as another server than before is reached, and now
//! and then, for those behind a proxy. A *read* never waits for a standby, so a server that does
//! not answer it in twice the time that it has for it hangs altogether, and the connection is closed. The server is never
//! asked to cancel anything: it would then report a commit as done that no standby has.
//!
//! A statement that nobody waits for any longer when it could be sent is not sent.

use std::pin::Pin;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::fair::NO_TENANT;
use crate::keep::Keep;
use crate::postgres::pool::{ConnectError, Connection, Pool, give_back};
use crate::postgres::sql::{Text, is_read_only};
use crate::postgres::turns::{Kind, Turn};
use crate::rules::stored_ms;

/// How many times as long as an answer may take passes before the server is asked whether it still works on a write.
const CHECK: u32 = 5;

/// Whether a session of a host has been at one statement for `$1` milliseconds, as far as the server tells
/// (`track_activities`).
const IS_BUSY: &str = "SELECT true FROM pg_stat_activity WHERE application_name = 'namelock' AND (state = 'disabled'
    OR state = 'active' AND query_start <= clock_timestamp() - $1::bigint * interval '1 ms') LIMIT 1";

/// The parameters of a statement, which the statement's task owns.
pub(super) type Parameters = Vec<Box<dyn ToSql + Sync + Send>>;

/// Makes the parameters of a statement from values.
macro_rules! parameters {
    ($($value:expr),* $(,)?) => {{
        let parameters: $crate::postgres::statement::Parameters = vec![$(Box::new($value)),*];
        parameters
    }};
}

pub(super) use parameters;

/// What a statement does, and what its answer consists of.
#[derive(Debug, Clone, Copy)]
pub(super) enum Work {
    /// Reads rows; the statement bounds how many.
    Read,
    /// Writes under leases of which the first lasts until this time, and returns a row for each that it has changed.
    Write(Instant),
    /// Deletes any number of rows under no lease, and returns one that says how many, as `deleted`.
    Purge,
}

/// What the server has answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) rows: Vec<Row>,
    /// How many rows were read or changed.
    count: u64,
    /// Whether what was read is of a tenant whose names are elsewhere: it means nothing.
    is_moved: bool,
}

impl Answer {
    /// Refuses what means nothing.
    pub(super) fn checked(self) -> Result<Self, StatementError> {
        if self.is_moved {
            Err(StatementError::Moved)
        } else {
            Ok(self)
        }
    }

    /// Of a statement that returns at most one.
    pub(super) fn row(self) -> Option<Row> {
        self.rows.into_iter().next()
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum StatementError {
    #[error(transparent)]
    Connect(ConnectError),
    /// It was not sent.
    #[error("its lease had ended before it could be sent")]
    LeaseLost,
    #[error(transparent)]
    Server(tokio_postgres::Error),
    #[error("it is closed")]
    Closed,
    #[error("the tenant's names are not in it")]
    Moved,
    /// It was not sent in time, or it may be answered later, and nobody will know.
    #[error("{0}")]
    NoAnswer(String),
}

/// The gate of a tenant, as `Sql::gate` reads it: which move has opened it; none: it was never closed.
type Gate = Option<i64>;

/// One that is closed.
const CLOSED: Gate = Some(-1);

/// What is asked on a connection.
pub(super) trait Job: Send + Sync + 'static {
    type Answer: Send;

    /// Asks, and leaves nothing under way on the connection but where it fails with it.
    fn ask(&self, connection: &Connection) -> impl Future<Output = Result<Self::Answer, tokio_postgres::Error>> + Send;

    /// Returns how many rows were read or changed.
    fn count(answer: &Self::Answer) -> u64;
}

/// A job that asks with one statement.
pub(super) struct One {
    pub(super) work: Work,
    pub(super) sql: Text,
    pub(super) parameters: Parameters,
    /// The statement and the tenant to ask before and afterwards for the gate of the tenant.
    pub(super) check: Option<(Text, String)>,
    /// Last until the server has answered.
    pub(super) _keeps: Vec<Keep>,
}

/// A job and what it is for, without its connection.
struct Statement<J> {
    work: Work,
    job: J,
}

/// Runs a job, when it is the tenant's turn and within the deadline of the pool.
pub(super) async fn run<J: Job>(pool: &Pool, tenant: &str, work: Work, job: J) -> Result<J::Answer, StatementError> {
    let deadline = Instant::now() + pool.deadline();
    let answer = async {
        let kind = match work {
            Work::Read => Kind::Read,
            Work::Write(_) | Work::Purge => Kind::Write,
        };
        let turn = pool.turn(tenant, kind).await.map_err(StatementError::Connect)?;
        let statement = Statement { work, job };
        let (caller, answer) = oneshot::channel();
        tokio::spawn(statement.run(pool.clone(), turn, deadline, caller));
        // The task ends without an answer only when the deadline has passed.
        answer
            .await
            .unwrap_or_else(|_| Err(StatementError::NoAnswer(pool.no_answer())))
    };
    let answer = timeout_at(deadline, answer).await;
    answer.unwrap_or_else(|_| Err(StatementError::NoAnswer(pool.no_answer())))
}

impl<J: Job> Statement<J> {
    async fn run(
        self,
        pool: Pool,
        turn: Turn,
        deadline: Instant,
        caller: oneshot::Sender<Result<J::Answer, StatementError>>,
    ) {
        // A caller that hangs up does not end it: what has begun to connect is of use for the next.
        let Ok(connection) = timeout_at(deadline, pool.connection(turn)).await else {
            return;
        };
        let answer = match connection {
            Ok(connection) if caller.is_closed() => return give_back(connection),
            Ok(connection) => self.send(connection, &pool).await,
            Err(error) => {
                // With what it keeps, before that is answered.
                drop(self);
                Some(Err(StatementError::Connect(error)))
            }
        };
        if let Some(answer) = answer {
            // Nobody may be there any longer.
            let _ = caller.send(answer);
        }
    }

    /// Sends it, and has the connection until it is answered. None: it is given up, and the connection is closed.
    async fn send(self, mut connection: Connection, pool: &Pool) -> Option<Result<J::Answer, StatementError>> {
        // Keeps P5: the lease is checked after the wait for a connection, whose length is known only now.
        if let Work::Write(lease_ends) = self.work
            && lease_ends <= Instant::now()
        {
            give_back(connection);
            return Some(Err(StatementError::LeaseLost));
        }
        connection.turn.send();
        let (sent, within) = (Instant::now(), pool.deadline());
        let answer = {
            let mut answer = std::pin::pin!(self.job.ask(&connection));
            match timeout(within, &mut answer).await {
                Ok(answer) => answer,
                Err(_) => {
                    connection.turn.note_overdue();
                    match self.work {
                        // Keeps P7: it does not hang for longer than this.
                        Work::Read => match timeout(within, answer).await {
                            Ok(answer) => answer,
                            Err(_) => {
                                pool.distrust(&connection);
                                return None;
                            }
                        },
                        Work::Write(_) | Work::Purge => match answered(answer, &connection, pool, sent).await {
                            Some(answer) => answer,
                            None => return None,
                        },
                    }
                }
            }
        };
        if answer.as_ref().is_ok_and(|answer| J::count(answer) > 0) {
            connection.turn.note_commit();
        }
        if answer.as_ref().is_err_and(is_read_only) {
            pool.distrust(&connection);
        }
        // Either the server has answered, or the connection is broken, which the pool notices.
        give_back(connection);
        Some(answer.map_err(StatementError::Server))
    }
}

/// Waits for the answer to a write that is overdue for as long as the server may still be working on it. None: it is not.
async fn answered<T>(
    mut answer: Pin<&mut impl Future<Output = T>>,
    connection: &Connection,
    pool: &Pool,
    sent: Instant,
) -> Option<T> {
    let mut is_distrusted = false;
    loop {
        // Where another server was reached meanwhile, that one is asked at once.
        let moved = async {
            if is_distrusted {
                std::future::pending().await
            } else {
                pool.until_distrusted(connection).await;
            }
        };
        tokio::select! {
            answer = &mut answer => return Some(answer),
            () = moved => is_distrusted = true,
            () = sleep(pool.deadline() * CHECK) => {}
        }
        tokio::select! {
            answer = &mut answer => return Some(answer),
            busy = is_busy(pool, sent) => if !busy { return None },
        }
    }
}

/// Returns parameters as a connection takes them.
pub(super) fn references(parameters: &Parameters) -> Vec<&(dyn ToSql + Sync)> {
    parameters
        .iter()
        .map(|parameter| &**parameter as &(dyn ToSql + Sync))
        .collect()
}

impl Job for One {
    type Answer = Answer;

    async fn ask(&self, connection: &Connection) -> Result<Answer, tokio_postgres::Error> {
        let statement = connection.prepare_cached(&self.sql).await?;
        let parameters = references(&self.parameters);
        let (rows, is_moved) = match &self.check {
            None => (connection.query(&statement, &parameters).await?, false),
            Some((check, tenant)) => {
                let check = connection.prepare_cached(check).await?;
                let tenant: [&(dyn ToSql + Sync); 1] = [tenant];
                // All are sent before the first is answered, and the server works on them in this order. What was read is what the
                // tenant has where its gate was open before and after it, and is the same one: a tenant that has come back meanwhile
                // has another.
                let (before, rows, after) = tokio::join!(
                    biased;
                    connection.query_one(&check, &tenant),
                    connection.query(&statement, &parameters),
                    connection.query_one(&check, &tenant),
                );
                let (before, after): (Gate, Gate) = (before?.try_get(0)?, after?.try_get(0)?);
                (rows?, before != after || after == CLOSED)
            }
        };
        let count = match (self.work, rows.first()) {
            // It has a row also where it has changed nothing, which proves nothing.
            (Work::Purge, Some(row)) => row.try_get::<_, i64>("deleted")?.unsigned_abs(),
            _ => rows.len() as u64,
        };
        Ok(Answer { rows, count, is_moved })
    }

    fn count(answer: &Answer) -> u64 {
        answer.count
    }
}

/// Asks whether the server may still be working on a write that was sent then. One that does not answer this may.
async fn is_busy(pool: &Pool, sent: Instant) -> bool {
    // Less what the write may have needed to get there.
    let for_ms = stored_ms(sent.elapsed().saturating_sub(pool.deadline()));
    let asked = async {
        let turn = pool.turn(NO_TENANT, Kind::Read).await.ok()?;
        let connection = pool.connection(turn).await.ok()?;
        let busy = connection.query_opt(IS_BUSY, &[&for_ms]).await.ok()?;
        give_back(connection);
        Some(busy.is_some())
    };
    let busy = timeout(pool.deadline(), asked).await;
    busy.ok().flatten().unwrap_or(true)
}
