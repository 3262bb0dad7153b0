//! The names database of a fleet, in a PostgreSQL server.
//!
//! # What is not known
//!
//! Every statement has a deadline (`names.timeout`), both in the server, by `statement_timeout`, and here, for a server
//! that hangs; here it includes the wait for a connection. A caller whose deadline passes is told that it is unknown
//! whether the name was written. Nothing is sent a second time.
//!
//! A server that is down or hangs is no reason not to start: until it can be used, callers are told that it cannot. The
//! first connection creates the tables, whenever that is.

mod pool;
mod purge;
mod rows;
mod schema;
mod sql;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use namelock_types::error_chain;
use tokio::sync::RwLock;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use self::pool::{ConnectError, Pool, give_back};
use self::rows::{NameRow, name_row, times};
use self::sql::Sql;
use crate::config::NamesConfig;
use crate::error::{NamesError, OpenError, SaveError};
use crate::names::Names;
use crate::registration::{Free, Registration, Save};
use crate::rules::{check_save, stored_attributes, stored_ms, stored_token};

/// How often a write is tried that changed nothing although neither an active registration nor a newer token is in its
/// way: what was in its way has ended in between.
const TRIES: usize = 3;

/// Names in a PostgreSQL server.
pub(crate) struct Postgres {
    config: NamesConfig,
    sql: Arc<Sql>,
    pool: Pool,
    /// Whether the database is open. A read or write holds it shared; closing waits until none does.
    open: RwLock<bool>,
    purge: JoinHandle<()>,
}

/// The parameters of a statement.
type Parameters<'a> = [&'a (dyn ToSql + Sync)];

impl Postgres {
    /// Connects to the server at `url`; `shown` is the URL without its password. A server that cannot be used now is
    /// tried again by every read and write.
    pub(crate) async fn open(url: &str, shown: &str, config: NamesConfig) -> Result<Self, OpenError> {
        let pool = Pool::new(url, shown, &config)?;
        let sql = Arc::new(Sql::new());
        let purge = tokio::spawn({
            let (pool, sql, retention) = (pool.clone(), Arc::clone(&sql), config.retention);
            async move { purge::run(pool, &sql, retention).await }
        });
        let opened = Self {
            config,
            sql,
            pool,
            open: RwLock::new(true),
            purge,
        };
        let problem = match tokio::time::timeout(opened.deadline(), opened.pool.connection()).await {
            Ok(Ok(connection)) => {
                give_back(connection);
                return Ok(opened);
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

    /// Runs a statement that returns at most one row, within the deadline of a read or write. If the statement writes
    /// under a lease, `lease_ends` says until when that lasts; a statement that would be sent later is not sent.
    async fn ask(
        &self,
        sql: &str,
        parameters: &Parameters<'_>,
        lease_ends: Option<Instant>,
    ) -> Result<Option<Row>, SaveError> {
        let open = self.open.read().await;
        if !*open {
            return Err(NamesError::unavailable("it is closed").into());
        }
        // Keeps P7: a read or write that the queue has no room for is refused at once instead of waiting.
        if self.pool.waiting() >= self.config.queue {
            return Err(NamesError::unavailable("too many reads and writes are queued (names.queue)").into());
        }
        let answer = async {
            let connection = self.pool.connection().await;
            let connection = connection.map_err(|error| NamesError::unavailable(error_chain(&error)))?;
            // Keeps P5: the lease is checked after the wait for a connection, whose length is known only now.
            if lease_ends.is_some_and(|lease_ends| lease_ends <= Instant::now()) {
                give_back(connection);
                return Err(SaveError::LeaseLost);
            }
            let answer = async {
                let statement = connection.prepare_cached(sql).await?;
                connection.query_opt(&statement, parameters).await
            };
            let answer = answer.await;
            // Either the server has answered, or the connection is broken, which the pool notices.
            give_back(connection);
            Ok(answer.map_err(|error| NamesError::unavailable(error_chain(&error)))?)
        };
        tokio::time::timeout(self.deadline(), answer)
            .await
            .unwrap_or_else(|_| Err(NamesError::unavailable(self.pool.no_answer()).into()))
    }

    /// Reads the row of a name.
    async fn row(&self, tenant: &str, name: &str) -> Result<Option<NameRow>, NamesError> {
        let row = self.ask(&self.sql.row, &[&tenant, &name.as_bytes()], None).await;
        let row = row.map_err(|error| match error {
            SaveError::Unavailable { reason } => NamesError::Unavailable { reason },
            other => NamesError::unavailable(other.to_string()),
        });
        row?.as_ref().map(name_row).transpose()
    }

    /// Runs a write until it has changed the row, or `refusal` reads from the row why it has not.
    async fn write<T>(
        &self,
        (tenant, name): (&str, &str),
        (sql, parameters): (&str, &Parameters<'_>),
        lease_ends: Instant,
        done: impl Fn(&Row) -> Result<T, NamesError>,
        refusal: impl Fn(Option<NameRow>) -> Option<Result<T, SaveError>>,
    ) -> Result<T, SaveError> {
        for _ in 0..TRIES {
            if let Some(row) = self.ask(sql, parameters, Some(lease_ends)).await? {
                return Ok(done(&row)?);
            }
            if let Some(result) = refusal(self.row(tenant, name).await?) {
                return result;
            }
        }
        Err(NamesError::unavailable("others write the same name faster than it can be read").into())
    }
}

#[async_trait]
impl Names for Postgres {
    async fn find(&self, tenant: &str, name: &str) -> Result<Option<Registration>, NamesError> {
        let found = self.row(tenant, name).await?;
        Ok(found.filter(|found| found.active).map(|found| found.registration))
    }

    async fn save(&self, save: Save) -> Result<Registration, SaveError> {
        check_save(&save, &self.config)?;
        let token = stored_token(save.fencing_token)?;
        let lifetime = save.lifetime.map(stored_ms);
        let attributes = stored_attributes(&save.attributes)?;
        let parameters: [&(dyn ToSql + Sync); 6] = [
            &save.tenant,
            &save.name.as_bytes(),
            &save.owner.as_bytes(),
            &lifetime,
            &token,
            &attributes,
        ];
        let times = self.write(
            (&save.tenant, &save.name),
            (&self.sql.save, &parameters),
            save.deadline,
            times,
            |found| match found {
                Some(found) if found.active => Some(Err(SaveError::Taken(Box::new(found.registration)))),
                Some(found) if found.registration.fencing_token > save.fencing_token => Some(Err(SaveError::LeaseLost)),
                Some(_) | None => None,
            },
        );
        let (created_ms, expires_ms) = times.await?;
        Ok(Registration {
            created_ms,
            expires_ms,
            name: save.name,
            owner: save.owner,
            fencing_token: save.fencing_token,
            attributes: save.attributes,
        })
    }

    async fn free(&self, free: Free) -> Result<bool, SaveError> {
        let token = stored_token(free.fencing_token)?;
        self.write(
            (&free.tenant, &free.name),
            (&self.sql.free, &[&free.tenant, &free.name.as_bytes(), &token]),
            free.deadline,
            |_| Ok(true),
            |found| match found {
                Some(found) if !found.active => Some(Ok(false)),
                Some(found) if found.registration.fencing_token > free.fencing_token => Some(Err(SaveError::LeaseLost)),
                Some(_) => None,
                None => Some(Ok(false)),
            },
        )
        .await
    }

    async fn ready(&self) -> Result<(), NamesError> {
        // No name is empty, so this finds nothing.
        self.row("", "").await.map(|_| ())
    }

    fn deadline(&self) -> Duration {
        self.pool.deadline()
    }

    async fn close(&self) {
        *self.open.write().await = false;
        self.purge.abort();
        self.pool.close();
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.purge.abort();
    }
}
