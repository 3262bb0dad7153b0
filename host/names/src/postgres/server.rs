//! How the server is asked: when its time is known, and within a deadline.

use std::sync::Arc;

use namelock_types::error_chain;
use tokio::sync::RwLock;
use tokio::time::Instant;
use tokio_postgres::Row;

use crate::error::{ApplyError, NamesError, SaveError};
use crate::fair::NO_TENANT;
use crate::keep::Keep;
use crate::past_request::PastRequest;
use crate::postgres::pool::{Pool, give_back};
use crate::postgres::rows::{NameRow, name_row, past_request};
use crate::postgres::sql::{Sql, Text, is_moved, is_too_late, is_used_key};
use crate::postgres::statement::{self, Answer, Job, One, Parameters, StatementError, Work, parameters};
use crate::postgres::time::{Now, Time};
use crate::postgres::turns::Kind;
use crate::request::RequestKey;

/// What every read and write needs.
pub(super) struct Server {
    pub(super) sql: Arc<Sql>,
    pub(super) pool: Pool,
    /// What time it is.
    pub(super) time: Arc<Time>,
    /// Whether the database is open. A read or write holds it shared; closing waits until none does.
    open: RwLock<bool>,
}

impl Server {
    pub(super) fn new(sql: Arc<Sql>, pool: Pool, time: Arc<Time>) -> Self {
        Self {
            sql,
            pool,
            time,
            open: RwLock::new(true),
        }
    }

    /// Runs a statement that writes under a lease, which lasts until `lease_ends`; it is not sent later. Returns its row, if it
    /// has changed something.
    pub(super) async fn write(
        &self,
        tenant: &str,
        sql: &Text,
        parameters: Parameters,
        lease_ends: Instant,
        keep: &Keep,
    ) -> Result<Option<Row>, SaveError> {
        let one = One {
            work: Work::Write(lease_ends),
            sql: Arc::clone(sql),
            parameters,
            check: None,
            _keeps: vec![keep.clone()],
        };
        let answer = self.ask(tenant, one.work, one).await;
        match answer {
            Ok(answer) => Ok(answer.row()),
            // What it is, a read will tell.
            Err(StatementError::Server(error)) if is_used_key(&error) => Ok(None),
            Err(error) => Err(refused(error)),
        }
    }

    /// Runs a statement that writes under no lease, for the host itself.
    pub(super) async fn write_for_host(&self, sql: &Text, parameters: Parameters) -> Result<Option<Row>, NamesError> {
        let work = Work::Write(Instant::now() + self.pool.deadline());
        let answer = self.ask_one(NO_TENANT, work, sql, parameters).await;
        answer.map_or_else(|error| Err(unavailable(error)), |answer| Ok(answer.row()))
    }

    pub(super) async fn read(
        &self,
        tenant: &str,
        sql: &Text,
        parameters: Parameters,
    ) -> Result<Option<Row>, NamesError> {
        let answer = self.ask_one(tenant, Work::Read, sql, parameters).await;
        answer.map_or_else(|error| Err(unavailable(error)), |answer| Ok(answer.row()))
    }

    /// Runs one statement. What it reads of a tenant that has moved away is refused.
    pub(super) async fn ask_one(
        &self,
        tenant: &str,
        work: Work,
        sql: &Text,
        parameters: Parameters,
    ) -> Result<Answer, StatementError> {
        let check = self.check_of(tenant, work);
        self.ask_with(tenant, work, sql, parameters, check).await
    }

    /// Runs one statement that is of no tenant's names, when it is the tenant's turn.
    pub(super) async fn ask_of_places(
        &self,
        tenant: &str,
        work: Work,
        sql: &Text,
        parameters: Parameters,
    ) -> Result<Answer, StatementError> {
        self.ask_with(tenant, work, sql, parameters, None).await
    }

    async fn ask_with(
        &self,
        tenant: &str,
        work: Work,
        sql: &Text,
        parameters: Parameters,
        check: Option<(Text, String)>,
    ) -> Result<Answer, StatementError> {
        let one = One {
            work,
            sql: Arc::clone(sql),
            parameters,
            check,
            _keeps: Vec::new(),
        };
        self.ask(tenant, work, one).await?.checked()
    }

    /// What to ask before and after a read, where tenants are in several databases.
    fn check_of(&self, tenant: &str, work: Work) -> Option<(Text, String)> {
        let is_checked = matches!(work, Work::Read) && tenant != NO_TENANT && self.pool.gates.are_there();
        is_checked.then(|| (Arc::clone(&self.sql.gate), tenant.to_owned()))
    }

    /// Runs a job, once the time is known.
    pub(super) async fn ask<J: Job>(&self, tenant: &str, work: Work, job: J) -> Result<J::Answer, StatementError> {
        let open = self.open.read().await;
        if !*open {
            return Err(StatementError::Closed);
        }
        self.until_time_is_known(tenant).await?;
        statement::run(&self.pool, tenant, work, job).await
    }

    /// Waits for the time, which is known from the first connection on: a host that has just begun to connect need not refuse
    /// what comes meanwhile. Where it cannot connect, that is the reason to give.
    async fn until_time_is_known(&self, tenant: &str) -> Result<(), StatementError> {
        if self.time.now_ms().is_some() {
            return Ok(());
        }
        let known = async {
            let turn = self.pool.turn(tenant, Kind::Read).await?;
            give_back(self.pool.connection(turn).await?);
            self.time.known().await;
            Ok(())
        };
        match tokio::time::timeout(self.pool.deadline(), known).await {
            Ok(known) => known.map_err(StatementError::Connect),
            Err(_) => Err(StatementError::NoAnswer(self.pool.no_answer())),
        }
    }

    /// Returns the parameter that is the time when its statement is sent.
    pub(super) fn now(&self) -> Now {
        Now(Arc::clone(&self.time))
    }

    pub(super) fn now_ms(&self) -> Result<i64, NamesError> {
        let now_ms = self.time.now_ms();
        now_ms.ok_or_else(|| NamesError::unavailable("its time is not known yet"))
    }

    /// Runs all tries of a write within one deadline: whoever has been told that it is unknown whether the name was written
    /// must not see it written by a later try. `tries` gets the instant after which nothing may be written any more.
    pub(super) async fn within_deadline<T, E, F>(
        &self,
        lease_ends: Instant,
        tries: impl FnOnce(Instant) -> F,
    ) -> Result<T, E>
    where
        E: From<NamesError> + Refusal,
        F: Future<Output = Result<T, E>>,
    {
        let end = Instant::now() + self.pool.deadline();
        let done = tokio::time::timeout_at(end, tries(lease_ends.min(end))).await;
        match done {
            // A try that the deadline has ended, and not the lease.
            Ok(Err(error)) if error.is_lease_lost() && end <= Instant::now() && end < lease_ends => {
                Err(NamesError::unavailable(self.pool.no_answer()).into())
            }
            Ok(done) => done,
            Err(_) => Err(NamesError::unavailable(self.pool.no_answer()).into()),
        }
    }

    /// Reads the row of a name.
    pub(super) async fn row(&self, tenant: &str, name: &str) -> Result<Option<NameRow>, NamesError> {
        let row = self
            .read(
                tenant,
                &self.sql.row,
                parameters![tenant.to_owned(), name.as_bytes().to_vec(), self.now()],
            )
            .await?;
        row.map(|row| name_row(tenant, &row)).transpose()
    }

    /// Finds what the first request with this key has saved or changed.
    pub(super) async fn past_request(&self, tenant: &str, request: RequestKey) -> Result<PastRequest, NamesError> {
        let parameters = parameters![tenant.to_owned(), request.key.to_vec()];
        let answer = self.ask_one(tenant, Work::Read, &self.sql.request, parameters).await;
        let past = past_request(&request, &answer.map_err(unavailable)?.rows)?;
        if let PastRequest::Replayed(_) = past {
            // Keeps P2: what is answered once more outlasts a failover. Its commit may be visible without its standby, where
            // the wait was cancelled or the server has died in it.
            let work = Work::Write(Instant::now() + self.pool.deadline());
            let replicated = self.ask_one(tenant, work, &self.sql.replicate, parameters![]).await;
            replicated.map_err(unavailable)?;
        }
        Ok(past)
    }

    /// Completes what is under way, and lets nobody begin anything else.
    pub(super) async fn close(&self) {
        *self.open.write().await = false;
        self.pool.close();
    }
}

/// Why a write is refused.
pub(crate) trait Refusal {
    /// Whether its lease had ended.
    fn is_lease_lost(&self) -> bool;
}

impl Refusal for SaveError {
    fn is_lease_lost(&self) -> bool {
        *self == Self::LeaseLost
    }
}

impl Refusal for ApplyError {
    fn is_lease_lost(&self) -> bool {
        self.save_error().is_some_and(SaveError::is_lease_lost)
    }
}

/// Turns why a write has no answer into what its caller is told.
pub(super) fn refused(error: StatementError) -> SaveError {
    match error {
        StatementError::LeaseLost => SaveError::LeaseLost,
        StatementError::Server(error) if is_too_late(&error) => SaveError::LeaseLost,
        error => unavailable(error).into(),
    }
}

/// Turns why something has no answer into what its caller is told.
pub(super) fn unavailable(error: StatementError) -> NamesError {
    match error {
        StatementError::Moved => NamesError::Moved,
        StatementError::Server(error) if is_moved(&error) => NamesError::Moved,
        error => NamesError::unavailable(error_chain(&error)),
    }
}
