//! The names database of a fleet, in a PostgreSQL server.
//!
//! What a tenant keeps, and how exactly it is counted, is said in `sql`; who gets a connection when all are in use, in
//! `turns`; when no writes are sent, in `writes`; what time it is, in `time`.
//!
//! # What is not known
//!
//! Every statement has a deadline (`names.timeout`), both in the server, by `statement_timeout`, and here, for a server
//! that hangs; here it includes the wait for a connection. A caller whose deadline passes is told that it is unknown
//! whether the name was written. Nothing is sent a second time.
//!
//! A server that is down or hangs is no reason not to start: until it can be used, callers are told that it cannot. The
//! first connection creates the tables, whenever that is.

mod epochs;
mod pool;
mod purge;
mod room;
mod rows;
mod schema;
mod sql;
mod statement;
mod time;
mod tls;
mod turns;
mod writes;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use namelock_types::error_chain;
use tokio::sync::{Notify, RwLock};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_postgres::Row;

use self::pool::{ConnectError, Pool, give_back};
use self::room::Room;
use self::rows::{NameRow, name_row, times, usage};
use self::sql::{Sql, is_too_late};
use self::statement::{Parameter, StatementError, Work};
use self::time::{KNOWN_WITHIN, Now, Time, Until};
use self::turns::Kind;
use crate::config::NamesConfig;
use crate::epoch::{EPOCH_STEP, EpochStanding, Epochs, NewEpoch};
use crate::error::{NamesError, OpenError, SaveError};
use crate::fair::NO_TENANT;
use crate::names::Names;
use crate::quota::{Quota, Usage};
use crate::registration::{Free, Registration, Save};
use crate::rules::{check_save, stored_attributes, stored_count, stored_ms, stored_token};

/// How often a write is tried that changed nothing although neither an active registration nor a newer token is in its
/// way: what was in its way has ended in between.
const TRIES: usize = 3;

/// Names in a PostgreSQL server.
pub(crate) struct Postgres {
    config: NamesConfig,
    sql: Arc<Sql>,
    pool: Pool,
    room: Room,
    /// Whether the database is open. A read or write holds it shared; closing waits until none does.
    open: RwLock<bool>,
    purge: JoinHandle<()>,
    /// What time it is.
    time: Arc<Time>,
    ticks: JoinHandle<()>,
    /// Tells the purge that a tenant needs the room of rows whose retention is over.
    purge_wanted: Arc<Notify>,
}

/// The parameters of a statement.
type Parameters<'a> = [&'a dyn Parameter];

impl Postgres {
    /// Connects to the server at `url`; `shown` is the URL without its password. A server that cannot be used now is
    /// tried again by every read and write.
    pub(crate) async fn open(url: &str, shown: &str, config: NamesConfig) -> Result<Self, OpenError> {
        let pool = Pool::new(url, shown, &config)?;
        let sql = Arc::new(Sql::new(stored_ms(config.timeout)));
        let time = Arc::new(Time::default());
        let ticks = tokio::spawn({
            let (pool, sql, time, retention) = (pool.clone(), Arc::clone(&sql), Arc::clone(&time), config.retention);
            async move { time.run(&pool, &sql, retention).await }
        });
        let purge_wanted = Arc::new(Notify::new());
        let purge = tokio::spawn({
            let (pool, sql, time, retention) = (pool.clone(), Arc::clone(&sql), Arc::clone(&time), config.retention);
            let wanted = Arc::clone(&purge_wanted);
            async move { purge::run(pool, &sql, &time, retention, &wanted).await }
        });
        let opened = Self {
            config,
            sql,
            pool,
            room: Room::default(),
            open: RwLock::new(true),
            purge,
            time,
            ticks,
            purge_wanted,
        };
        let connection = async {
            let turn = opened.pool.turn(NO_TENANT, Kind::Read).await?;
            opened.pool.connection(turn).await
        };
        let problem = match tokio::time::timeout(opened.deadline(), connection).await {
            Ok(Ok(connection)) => {
                give_back(connection);
                match tokio::time::timeout(KNOWN_WITHIN, opened.time.known()).await {
                    Ok(()) => return Ok(opened),
                    Err(_) => "its time cannot be read".to_owned(),
                }
            }
            Ok(Err(ConnectError::Schema(error))) if error.is_lasting() => {
                return Err(OpenError::Server {
                    url: shown.to_owned(),
                    problem: error_chain(&error),
                });
            }
            Ok(Err(error)) => error_chain(&error),
            Err(_) => opened.pool.no_answer(),
        };
        tracing::warn!(
            url = shown,
            error = problem,
            "the names database cannot be used; it will be tried again"
        );
        Ok(opened)
    }

    /// Runs a statement that writes under a lease, which lasts until `lease_ends`; it is not sent later. Returns its row, if it
    /// has changed something.
    async fn write(
        &self,
        tenant: &str,
        sql: &str,
        parameters: &Parameters<'_>,
        lease_ends: Instant,
    ) -> Result<Option<Row>, SaveError> {
        let row = self.ask(tenant, Work::Write(lease_ends), sql, parameters).await;
        row.map_err(|error| match error {
            StatementError::LeaseLost => SaveError::LeaseLost,
            StatementError::Server(error) if is_too_late(&error) => SaveError::LeaseLost,
            error => NamesError::unavailable(error_chain(&error)).into(),
        })
    }

    /// Runs a statement that writes under no lease, for the host itself.
    async fn write_for_host(&self, sql: &str, parameters: &Parameters<'_>) -> Result<Option<Row>, NamesError> {
        let work = Work::Write(Instant::now() + self.deadline());
        let row = self.ask(NO_TENANT, work, sql, parameters).await;
        row.map_err(|error| NamesError::unavailable(error_chain(&error)))
    }

    async fn read(&self, tenant: &str, sql: &str, parameters: &Parameters<'_>) -> Result<Option<Row>, NamesError> {
        let row = self.ask(tenant, Work::Read, sql, parameters).await;
        row.map_err(|error| NamesError::unavailable(error_chain(&error)))
    }

    async fn ask(
        &self,
        tenant: &str,
        work: Work,
        sql: &str,
        parameters: &Parameters<'_>,
    ) -> Result<Option<Row>, StatementError> {
        let open = self.open.read().await;
        if !*open {
            return Err(StatementError::Closed);
        }
        self.until_time_is_known(tenant).await?;
        let answer = statement::run(&self.pool, tenant, work, sql, parameters).await;
        answer.map(|answer| answer.row)
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
        match tokio::time::timeout(self.deadline(), known).await {
            Ok(known) => known.map_err(StatementError::Connect),
            Err(_) => Err(StatementError::NoAnswer(self.pool.no_answer())),
        }
    }

    fn now_ms(&self) -> Result<i64, NamesError> {
        let now_ms = self.time.now_ms();
        now_ms.ok_or_else(|| NamesError::unavailable("its time is not known yet"))
    }

    /// Runs all tries of a write within one deadline: whoever has been told that it is unknown whether the name was written
    /// must not see it written by a later try. `tries` gets the instant after which nothing may be written any more.
    async fn within_deadline<T, F: Future<Output = Result<T, SaveError>>>(
        &self,
        lease_ends: Instant,
        tries: impl FnOnce(Instant) -> F,
    ) -> Result<T, SaveError> {
        let end = Instant::now() + self.deadline();
        let done = tokio::time::timeout_at(end, tries(lease_ends.min(end))).await;
        match done {
            // A try that the deadline has ended, and not the lease.
            Ok(Err(SaveError::LeaseLost)) if end <= Instant::now() && end < lease_ends => {
                Err(NamesError::unavailable(self.pool.no_answer()).into())
            }
            Ok(done) => done,
            Err(_) => Err(NamesError::unavailable(self.pool.no_answer()).into()),
        }
    }

    /// Reads the row of a name.
    async fn row(&self, tenant: &str, name: &str) -> Result<Option<NameRow>, NamesError> {
        let row = self
            .read(
                tenant,
                &self.sql.row,
                &[&tenant, &name.as_bytes(), &Now(Arc::clone(&self.time))],
            )
            .await?;
        row.map(|row| name_row(tenant, &row)).transpose()
    }

    async fn try_save(&self, save: Save, until: Instant) -> Result<Registration, SaveError> {
        let token = stored_token(save.fencing_token)?;
        let lifetime = save.lifetime.map(stored_ms);
        let attributes = stored_attributes(&save.attributes)?;
        let new = Usage::of_row(&save.tenant, &save.name, &save.owner, &attributes);
        let [registrations, bytes, new_bytes] =
            [save.quota.registrations, save.quota.bytes, new.bytes].map(stored_count);
        let parameters: [&dyn Parameter; 11] = [
            &save.tenant,
            &save.name.as_bytes(),
            &save.owner.as_bytes(),
            &lifetime,
            &token,
            &attributes,
            &Now(Arc::clone(&self.time)),
            &Until(until),
            &registrations,
            &bytes,
            &new_bytes,
        ];
        for _ in 0..TRIES {
            let begin = std::time::Instant::now();
            let is_ample = self.room.is_ample(&save.tenant, save.quota, begin);
            let saved = if is_ample {
                let parameters = &parameters[..8];
                self.write(&save.tenant, &self.sql.save_in_ample_room, parameters, until)
                    .await?
            } else {
                self.write(&save.tenant, &self.sql.save, &parameters, until).await?
            };
            if let Some(row) = saved {
                if !is_ample {
                    self.room.saw(&save.tenant, usage(&row)?, begin);
                }
                let (created_ms, expires_ms) = times(&row)?;
                return Ok(Registration {
                    created_ms,
                    expires_ms,
                    name: save.name,
                    owner: save.owner,
                    fencing_token: save.fencing_token,
                    attributes: save.attributes,
                });
            }
            let old = match self.row(&save.tenant, &save.name).await? {
                Some(found) if found.active => return Err(SaveError::Taken(Box::new(found.registration))),
                Some(found) if found.registration.fencing_token > save.fencing_token => {
                    return Err(SaveError::LeaseLost);
                }
                found => found.map(|found| found.usage),
            };
            self.check_quota(&save.tenant, old, new, save.quota).await?;
        }
        Err(contended())
    }

    async fn try_free(&self, free: Free, until: Instant) -> Result<bool, SaveError> {
        let token = stored_token(free.fencing_token)?;
        let parameters: [&dyn Parameter; 5] = [
            &free.tenant,
            &free.name.as_bytes(),
            &token,
            &Now(Arc::clone(&self.time)),
            &Until(until),
        ];
        for _ in 0..TRIES {
            let freed = self.write(&free.tenant, &self.sql.free, &parameters, until);
            if freed.await?.is_some() {
                return Ok(true);
            }
            match self.row(&free.tenant, &free.name).await? {
                Some(found) if found.active && found.registration.fencing_token > free.fencing_token => {
                    return Err(SaveError::LeaseLost);
                }
                Some(found) if found.active => {}
                Some(_) | None => return Ok(false),
            }
        }
        Err(contended())
    }

    /// Refuses a row that the tenant's quota has no room for. The statement that writes has checked this too; it does not
    /// say so.
    async fn check_quota(&self, tenant: &str, old: Option<Usage>, new: Usage, quota: Quota) -> Result<(), SaveError> {
        let has = self.usage(tenant).await?;
        has.check(old, new, quota).map_err(|kind| {
            self.purge_wanted.notify_one();
            SaveError::Quota(kind)
        })
    }
}

/// What was in the way of a write has gone each time before it could be read.
fn contended() -> SaveError {
    NamesError::unavailable("others write the same name faster than it can be read").into()
}

#[async_trait]
impl Names for Postgres {
    async fn find(&self, tenant: &str, name: &str) -> Result<Option<Registration>, NamesError> {
        let found = self.row(tenant, name).await?;
        Ok(found.filter(|found| found.active).map(|found| found.registration))
    }

    async fn save(&self, save: Save) -> Result<Registration, SaveError> {
        check_save(&save, &self.config)?;
        self.within_deadline(save.deadline, |until| self.try_save(save, until))
            .await
    }

    async fn free(&self, free: Free) -> Result<bool, SaveError> {
        self.within_deadline(free.deadline, |until| self.try_free(free, until))
            .await
    }

    async fn usage(&self, tenant: &str) -> Result<Usage, NamesError> {
        let row = self.read(tenant, &self.sql.usage, &[&tenant]).await?;
        row.map_or(Ok(Usage::default()), |row| usage(&row))
    }

    async fn begin_epoch(&self, server: &str) -> Result<NewEpoch, NamesError> {
        let now_ns = self.now_ms()?.saturating_mul(1_000_000);
        let parameters: [&dyn Parameter; 3] = [&server, &now_ns, &EPOCH_STEP];
        let row = self.write_for_host(&self.sql.begin_epoch, &parameters).await?;
        epochs::new_epoch(&row.ok_or_else(|| NamesError::unavailable("it gave no epoch"))?)
    }

    async fn check_epoch(&self, server: &str, epoch: u64) -> Result<EpochStanding, NamesError> {
        let row = self.read(NO_TENANT, &self.sql.epochs, &[&server]).await?;
        let known = row.map_or(Ok(Epochs::default()), |row| epochs::epochs(&row))?;
        let standing = known.judge(epoch, self.now_ms()?);
        if let (EpochStanding::Known { .. }, Ok(epoch)) = (standing, i64::try_from(epoch)) {
            self.write_for_host(&self.sql.record_epoch, &[&server, &epoch]).await?;
        }
        Ok(standing)
    }

    fn clock_off_ms(&self) -> i64 {
        self.time.off_ms()
    }

    async fn ready(&self) -> Result<(), NamesError> {
        // No name is empty, so this finds nothing.
        self.row(NO_TENANT, "").await.map(|_| ())
    }

    fn deadline(&self) -> Duration {
        self.pool.deadline()
    }

    async fn close(&self) {
        *self.open.write().await = false;
        self.purge.abort();
        self.ticks.abort();
        self.pool.close();
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.purge.abort();
        self.ticks.abort();
    }
}
