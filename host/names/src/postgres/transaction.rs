//! Several writes in one transaction.
//!
//! All statements are sent at once, in the order of the names: for each name one that locks its row and says what it counts,
//! and one that writes it. So a transaction holds rows only for as long as the server works, and no two wait for each
//! other. The server works on all of them before anything is known here; what is done depends on the answers, and comes in one
//! message with the last look at how long the leases last: nothing else can come between the look and the commit.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use tokio::time::Instant;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Row, Statement};

use crate::keep::Keep;
use crate::postgres::pool::Connection;
use crate::postgres::sql::{Sql, Text, commit, is_read_only};
use crate::postgres::statement::{Job, Parameters, references};
use crate::postgres::time::Time;
use crate::quota::{Quota, QuotaKind, Usage};
use crate::rules::stored_ms;

/// The statements of a transaction.
pub(super) struct Transaction {
    pub(super) sql: Arc<Sql>,
    pub(super) time: Arc<Time>,
    /// In the order of the names.
    pub(super) writes: Vec<Step>,
    /// The tenant, whose quota counts the sum.
    pub(super) usage: Parameters,
    pub(super) quota: Quota,
    /// When the first of the leases ends.
    pub(super) until: Instant,
    /// Lasts until it is decided.
    pub(super) _keep: Vec<Keep>,
}

/// The statements for one name.
pub(super) struct Step {
    pub(super) sql: Text,
    pub(super) parameters: Parameters,
    /// Tenant and name.
    pub(super) lock: Parameters,
    pub(super) grows: Grows,
}

/// What the row of a name counts when it is written.
#[derive(Debug, Clone, Copy)]
pub(super) enum Grows {
    /// So much.
    To(Usage),
    /// What its statement returns.
    ToReturned,
    /// What it has counted before.
    Not,
}

/// What became of a transaction.
pub(super) enum Outcome {
    /// It is committed. Each write has returned a row.
    Done(Vec<Row>),
    /// Nothing is written, because this one of the writes has changed nothing.
    Nothing(usize),
    /// Nothing is written, because this one of the writes has failed.
    Failed(usize, Error),
    /// Nothing is written, because the tenant would keep too much.
    Quota(QuotaKind),
}

type Answer<'a> = Pin<Box<dyn Future<Output = Result<Option<Row>, Error>> + Send + 'a>>;

impl Job for Transaction {
    type Answer = Outcome;

    async fn ask(&self, connection: &Connection) -> Result<Outcome, Error> {
        let lock = connection.prepare_cached(&self.sql.lock).await?;
        let usage = connection.prepare_cached(&self.sql.usage).await?;
        let mut prepared = Vec::with_capacity(self.writes.len());
        for step in &self.writes {
            prepared.push(connection.prepare_cached(&step.sql).await?);
        }
        let mut answers: Vec<Answer<'_>> = vec![Box::pin(async {
            connection.batch_execute("BEGIN").await.map(|()| None)
        })];
        for (step, statement) in self.writes.iter().zip(&prepared) {
            answers.push(query(connection, &lock, references(&step.lock)));
            answers.push(query(connection, statement, references(&step.parameters)));
        }
        answers.push(query(connection, &usage, references(&self.usage)));
        let outcome = self.judge(all_in_order(answers).await);
        if let Ok(Outcome::Done(_)) = outcome {
            // Keeps P5: nothing is committed once one of the leases has ended.
            let left_ms = stored_ms(self.until.saturating_duration_since(Instant::now()));
            let sent_ms = self.time.now_ms().unwrap_or(i64::MAX);
            let committed = connection.batch_execute(&commit(left_ms, sent_ms)).await;
            if let Err(error) = committed {
                connection.batch_execute("ROLLBACK").await?;
                return Err(error);
            }
        } else {
            connection.batch_execute("ROLLBACK").await?;
        }
        outcome
    }

    fn count(outcome: &Outcome) -> u64 {
        match outcome {
            Outcome::Done(rows) => rows.len() as u64,
            Outcome::Nothing(_) | Outcome::Failed(..) | Outcome::Quota(_) => 0,
        }
    }
}

impl Transaction {
    /// Decides what becomes of it.
    fn judge(&self, answers: Vec<Result<Option<Row>, Error>>) -> Result<Outcome, Error> {
        let mut answers = answers.into_iter();
        answers.next().transpose()?;
        let (mut rows, mut old, mut new) = (Vec::new(), Usage::default(), Usage::default());
        for (index, step) in self.writes.iter().enumerate() {
            let locked = answers.next().transpose()?.flatten();
            let before = match locked.map(|row| row.try_get::<_, i64>("bytes")).transpose()? {
                Some(bytes) => Usage::from_signed(1, bytes),
                None => Usage::default(),
            };
            let row = match answers.next() {
                Some(Ok(Some(row))) => row,
                // It is not this write alone.
                Some(Err(error)) if is_read_only(&error) => return Err(error),
                Some(Err(error)) => return Ok(Outcome::Failed(index, error)),
                Some(Ok(None)) | None => return Ok(Outcome::Nothing(index)),
            };
            let after = match step.grows {
                Grows::To(usage) => usage,
                Grows::ToReturned => Usage::from_signed(1, row.try_get("bytes")?),
                Grows::Not => before,
            };
            (old, new) = (old.plus(before), new.plus(after));
            rows.push(row);
        }
        let used = answers.next().transpose()?.flatten();
        let used = match used {
            Some(row) => Usage::from_signed(row.try_get("registrations")?, row.try_get("bytes")?),
            None => Usage::default(),
        };
        let has = used.minus(new).plus(old);
        Ok(match has.check(Some(old), new, self.quota) {
            Ok(()) => Outcome::Done(rows),
            Err(kind) => Outcome::Quota(kind),
        })
    }
}

fn query<'a>(
    connection: &'a Connection,
    statement: &'a Statement,
    parameters: Vec<&'a (dyn ToSql + Sync)>,
) -> Answer<'a> {
    Box::pin(async move { connection.query_opt(statement, &parameters).await })
}

/// Sends all statements in their order before it waits for the first answer.
async fn all_in_order(mut futures: Vec<Answer<'_>>) -> Vec<Result<Option<Row>, Error>> {
    let mut answers: Vec<_> = futures.iter().map(|_| None).collect();
    poll_fn(|context| {
        for (future, answer) in futures.iter_mut().zip(&mut answers) {
            if answer.is_none()
                && let Poll::Ready(ready) = future.as_mut().poll(context)
            {
                *answer = Some(ready);
            }
        }
        if answers.iter().all(Option::is_some) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    answers.into_iter().flatten().collect()
}
