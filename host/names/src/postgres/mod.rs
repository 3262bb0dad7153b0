//! The names database of a fleet, in a PostgreSQL server.
//!
//! What a tenant keeps, and how exactly it is counted, is said in `sql`; what goes to the server together, in `batches`; who gets
//! a connection when all are in use, in `turns`; when no writes are sent, in `writes`; what time it is, in `time`; which of several
//! servers is used, in `reach`, and what becomes of connections to the one before, and of commits that no standby has, in `link`.
//!
//! # What is not known
//!
//! Every statement has a deadline (`names.timeout`), both in the server, by `statement_timeout`, and here, for a server
//! that hangs; here it includes the wait for a connection. A caller whose deadline passes is told that it is unknown
//! whether the name was written. Nothing is sent a second time that may have been done.
//!
//! What is read may be on the primary alone, where a wait for its standby was cancelled or ended with the server: only what is
//! answered as done waits for the standby, also when it was done before (`server`).
//!
//! A server that is down or hangs is no reason not to start: until it can be used, callers are told that it cannot. The
//! first connection creates the tables, whenever that is.

pub(crate) mod address;
mod apply;
mod batches;
mod epochs;
mod gates;
pub(crate) mod link;
mod list;
mod migrations;
mod parameters;
mod places;
mod pool;
mod purge;
mod quotas;
pub(crate) mod reach;
mod rows;
mod save;
pub(crate) mod schema;
mod server;
pub(crate) mod session;
mod sql;
mod statement;
mod time;
pub(crate) mod tls;
mod together;
mod transaction;
mod turns;
mod writes;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use async_trait::async_trait;
use namelock_types::error_chain;
use tokio::task::JoinHandle;

use self::batches::Batches;
pub(crate) use self::places::{Identity, Placement};
use self::pool::{ConnectError, Pool, give_back};
use self::quotas::Quotas;
pub(crate) use self::rows::usage;
pub(crate) use self::schema::Role;
use self::server::Server;
use self::sql::Sql;
pub(crate) use self::sql::{PLANNING, USED, is_used_key};
use self::statement::parameters;
use self::time::{KNOWN_WITHIN, Time};
use self::together::{Finds, Saves};
use self::turns::Kind;
use crate::config::NamesConfig;
use crate::epoch::{EPOCH_STEP, EpochStanding, Epochs, NewEpoch};
use crate::error::{ApplyError, NamesError, OpenError, SaveError};
use crate::fair::NO_TENANT;
use crate::figures::Figures;
use crate::list::{ListQuery, Page};
use crate::names::Names;
use crate::past_request::PastRequest;
use crate::quota::Usage;
use crate::registration::{Free, Registration, Save, Update};
use crate::request::RequestKey;
use crate::rules::{check_save, check_update, stored_ms};
use crate::transaction::{WriteOne, Writes};

/// Names in a PostgreSQL server.
pub(crate) struct Postgres {
    config: NamesConfig,
    server: Arc<Server>,
    quotas: Quotas,
    saves: Batches<Saves>,
    finds: Batches<Finds>,
    purge: JoinHandle<()>,
    purge_fails: Arc<AtomicBool>,
    ticks: JoinHandle<()>,
}

impl Postgres {
    /// Connects to the server at `url`; `shown` is the URL without its password. A server that cannot be used now is
    /// tried again by every read and write.
    pub(crate) async fn open(url: &str, shown: &str, config: NamesConfig, role: Role) -> Result<Self, OpenError> {
        let pool = Pool::new(url, shown, &config, role)?;
        let sql = Arc::new(Sql::new(stored_ms(config.timeout)));
        let time = Arc::new(Time::new());
        let ticks = tokio::spawn({
            let (pool, sql, time, retention) = (pool.clone(), Arc::clone(&sql), Arc::clone(&time), config.retention);
            async move { time.run(&pool, &sql, retention).await }
        });
        let quotas = Quotas::default();
        let purge_fails = Arc::<AtomicBool>::default();
        let purge = tokio::spawn({
            let (pool, sql, time, retention) = (pool.clone(), Arc::clone(&sql), Arc::clone(&time), config.retention);
            let fails = Arc::clone(&purge_fails);
            let wanted = Arc::clone(&quotas.purge_wanted);
            async move { purge::run(pool, &sql, &time, retention, &wanted, &fails).await }
        });
        let server = Arc::new(Server::new(sql, pool, time));
        let opened = Self {
            saves: Batches::new(Saves(Arc::clone(&server)), config.queue, config.batch),
            finds: Batches::new(Finds(Arc::clone(&server)), config.queue, config.batch),
            config,
            server,
            quotas,
            purge,
            purge_fails,
            ticks,
        };
        let connection = async {
            let turn = opened.server.pool.turn(NO_TENANT, Kind::Read).await?;
            opened.server.pool.connection(turn).await
        };
        let problem = match tokio::time::timeout(opened.deadline(), connection).await {
            Ok(Ok(connection)) => {
                give_back(connection);
                match tokio::time::timeout(KNOWN_WITHIN, opened.server.time.known()).await {
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
            Err(_) => opened.server.pool.no_answer(),
        };
        tracing::warn!(
            url = shown,
            error = problem,
            "the names database cannot be used; it will be tried again"
        );
        Ok(opened)
    }
}

#[async_trait]
impl Names for Postgres {
    async fn find(&self, tenant: &str, name: &str) -> Result<Option<Registration>, NamesError> {
        let found = self.finds.row(&self.server, tenant, name).await?;
        Ok(found.filter(|found| found.active).map(|found| found.registration))
    }

    async fn save(&self, save: Save) -> Result<Registration, SaveError> {
        check_save(&save, &self.config)?;
        let deadline = save.deadline;
        let tries = |until| save::save(&self.server, &self.quotas, &self.saves, save, until);
        self.server.within_deadline(deadline, tries).await
    }

    async fn update(&self, update: Update) -> Result<Option<Registration>, SaveError> {
        check_update(&update, &self.config)?;
        let deadline = update.deadline;
        let tries = |until| save::update(&self.server, &self.quotas, update, until);
        self.server.within_deadline(deadline, tries).await
    }

    async fn find_request(&self, tenant: &str, request: RequestKey) -> Result<PastRequest, NamesError> {
        self.server.past_request(tenant, request).await
    }

    async fn free(&self, free: Free) -> Result<bool, SaveError> {
        let deadline = free.deadline;
        let tries = |until| save::free(&self.server, free, until);
        self.server.within_deadline(deadline, tries).await
    }

    async fn apply(&self, tenant: &str, writes: Vec<WriteOne>) -> Result<Vec<Option<Registration>>, ApplyError> {
        let writes = Writes::new(tenant, writes, &self.config)?;
        let (_, deadline) = writes.first_to_end();
        let tries = |until| apply::apply(&self.server, &self.quotas, tenant, &writes, until);
        self.server.within_deadline(deadline, tries).await
    }

    async fn list(&self, query: ListQuery) -> Result<Page, NamesError> {
        list::list(&self.server, &query, query.limits(&self.config)).await
    }

    async fn usage(&self, tenant: &str) -> Result<Usage, NamesError> {
        self.quotas.usage(&self.server, tenant).await
    }

    async fn begin_epoch(&self, server: &str) -> Result<NewEpoch, NamesError> {
        let now_ns = self.server.now_ms()?.saturating_mul(1_000_000);
        let parameters = parameters![server.to_owned(), now_ns, EPOCH_STEP];
        let row = self
            .server
            .write_for_host(&self.server.sql.begin_epoch, parameters)
            .await?;
        epochs::new_epoch(&row.ok_or_else(|| NamesError::unavailable("it gave no epoch"))?)
    }

    async fn check_epoch(&self, server: &str, epoch: u64) -> Result<EpochStanding, NamesError> {
        let row = self
            .server
            .read(NO_TENANT, &self.server.sql.epochs, parameters![server.to_owned()])
            .await?;
        let known = row.map_or(Ok(Epochs::default()), |row| epochs::epochs(&row))?;
        let standing = known.judge(epoch, self.server.now_ms()?);
        if let (EpochStanding::Known { .. }, Ok(epoch)) = (standing, i64::try_from(epoch)) {
            self.server
                .write_for_host(&self.server.sql.record_epoch, parameters![server.to_owned(), epoch])
                .await?;
        }
        Ok(standing)
    }

    fn clock_off_ms(&self) -> i64 {
        self.server.time.off_ms()
    }

    fn figures(&self) -> Figures {
        let (writes_overdue, writes_unanswered) = self.server.pool.overdue();
        Figures {
            writes_overdue,
            writes_unanswered,
            time_age: Some(self.server.time.age()),
            time_jumped: self.server.time.jumped(),
            lacks_standby: self.server.pool.has_several() && self.server.time.is_alone(),
            purge_fails: self.purge_fails.load(Relaxed),
        }
    }

    async fn ready(&self) -> Result<(), NamesError> {
        // No name is empty, so this finds nothing.
        self.server.row(NO_TENANT, "").await.map(|_| ())
    }

    fn deadline(&self) -> Duration {
        self.server.pool.deadline()
    }

    async fn close(&self) {
        self.server.close().await;
        self.purge.abort();
        self.ticks.abort();
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.purge.abort();
        self.ticks.abort();
    }
}
