//! The names database of a fleet, in a PostgreSQL server.
//!
//! # The statement that writes
//!
//! A registration is one statement, so one round trip and one transaction ([`SAVE`]): it makes the row of the name, or takes over the
//! one that is there if its registration has ended and no newer fencing token has written it. Whoever comes second waits at that row
//! until the first has committed, and then looks at the row as it is now:
//!
//! - the clock is the server's, read once the row is held (`clock_timestamp()`, not `now()`, which stands still in a transaction and
//!   would be the time before the wait). A registration begins no earlier than the one before it has ended, also when the clock was
//!   set back meanwhile;
//! - the primary key (tenant, name) allows one row, so there never are two registrations. An exclusion constraint over time ranges
//!   says the same of a table that keeps history, and costs two thirds of the writes;
//! - a statement that did nothing says not why. A second one looks, on a snapshot of its own.
//!
//! Names and owners are `bytea`: they are compared byte by byte, whatever the collation of the database, and may have any character,
//! also NUL. `convert_from(name, 'UTF8')` shows them to a person.
//!
//! # What is not known
//!
//! Every statement has a deadline (`names.timeout`), with the server by `statement_timeout` and here, for a server that stands still;
//! here it begins with the wait for a connection. Whoever hits it is told that it is not known whether the name was written. The
//! connection is given up with it: what comes later over it would be taken for the answer to the next question. Nothing is sent a
//! second time.
//!
//! A server that is down or stands still is no reason not to start: whoever asks is told that it cannot be used, until it can. The
//! first connection makes the tables, whenever that is.

mod schema;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime, Timeouts};
use namelock_types::FencingToken;
use scopeguard::ScopeGuard;
use tokio::sync::RwLock;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_postgres::Row;
use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres::types::ToSql;

use crate::error::{NamesError, OpenError, SaveError};
use crate::names::{Names, NamesConfig};
use crate::postgres::schema::{Migrated, SchemaError};
use crate::registration::{Free, Registration, Save, stored};

/// The server's clock in whole milliseconds since 1970.
const NOW: &str = "floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint";

/// Bounds a purge: while there are more rows to delete, the next one follows at once.
const PURGE_EVERY: Duration = Duration::from_secs(10);
const PURGE_ROWS: i64 = 1000;

/// How often a write is begun that found neither a registration nor a newer token: what was in its way has ended meanwhile.
const TRIES: usize = 3;

/// How much longer than the server's own deadline an answer is waited for.
const GRACE: Duration = Duration::from_millis(100);

/// Names in a PostgreSQL server.
pub(crate) struct Postgres {
    server: Server,
    config: NamesConfig,
    sql: Arc<Sql>,
    /// Whether it is open. Whoever asks holds it to read; closing waits until nobody does.
    open: RwLock<bool>,
    purge: JoinHandle<()>,
}

/// The statements, which share their words for the time.
struct Sql {
    save: String,
    free: String,
    row: String,
    purge: String,
}

impl Sql {
    fn new() -> Self {
        Self {
            save: format!(
                "INSERT INTO namelock_registrations AS r
                    (tenant, name, owner, created_ms, expires_ms, fencing_token, attributes)
                SELECT $1, $2, $3, clock.now, clock.now + $4::bigint, $5, $6 FROM (SELECT {NOW} AS now OFFSET 0) AS clock
                ON CONFLICT (tenant, name) DO UPDATE SET
                    owner = excluded.owner, fencing_token = excluded.fencing_token, attributes = excluded.attributes,
                    (created_ms, expires_ms) = (SELECT clock.now, clock.now + $4::bigint
                        FROM (SELECT greatest(r.expires_ms, {NOW}) AS now OFFSET 0) AS clock)
                WHERE {} AND {}
                RETURNING created_ms, expires_ms",
                has_ended(),
                is_no_newer_than(5)
            ),
            free: format!(
                "UPDATE namelock_registrations AS r SET expires_ms = greatest(created_ms, {NOW}), fencing_token = $3
                WHERE tenant = $1 AND name = $2 AND {}
                    AND (expires_ms IS NULL OR expires_ms > greatest(created_ms, {NOW}))
                RETURNING true",
                is_no_newer_than(3)
            ),
            row: format!(
                "SELECT name, owner, created_ms, expires_ms, fencing_token, attributes,
                    expires_ms IS NULL OR expires_ms > greatest(created_ms, {NOW}) AS active
                FROM namelock_registrations WHERE tenant = $1 AND name = $2"
            ),
            purge: format!(
                "DELETE FROM namelock_registrations WHERE (tenant, name) IN (
                    SELECT tenant, name FROM namelock_registrations WHERE expires_ms <= {NOW} - $1
                    ORDER BY expires_ms LIMIT $2 FOR UPDATE SKIP LOCKED)"
            ),
        }
    }
}

/// That the registration in the row has ended.
fn has_ended() -> String {
    if cfg!(feature = "without-arbitration") {
        "true".to_owned()
    } else {
        format!("r.expires_ms <= greatest(r.created_ms, {NOW})")
    }
}

/// That no newer lease has written the row, by the token that is the parameter of this number.
fn is_no_newer_than(parameter: u8) -> String {
    if cfg!(feature = "without-fencing") {
        "true".to_owned()
    } else {
        format!("r.fencing_token <= ${parameter}")
    }
}

/// The row of a name: its registration, and whether that is active now.
struct Found {
    registration: Registration,
    active: bool,
}

impl Postgres {
    pub(crate) async fn open(url: &str, shown: &str, config: NamesConfig) -> Result<Self, OpenError> {
        let refused = |reason: String| OpenError::Url {
            url: shown.to_owned(),
            reason,
        };
        let mut server: tokio_postgres::Config = url.parse().map_err(|error| refused(chain(&error)))?;
        let timeout_ms = config.timeout.as_millis();
        // What the address asks for comes first, what this crate promises last.
        let options = format!(
            "{} -c statement_timeout={timeout_ms} -c lock_timeout={timeout_ms} -c synchronous_commit=on \
             -c default_transaction_isolation=read\\ committed -c idle_in_transaction_session_timeout={timeout_ms}",
            server.get_options().unwrap_or_default()
        );
        server
            .application_name("namelock")
            .options(options.trim())
            .connect_timeout(config.connect_timeout)
            .tcp_user_timeout(config.timeout)
            // Not a copy of the database that follows another one.
            .target_session_attrs(TargetSessionAttrs::ReadWrite);
        let manager = Manager::from_config(
            server,
            tls::connector(config.tls_roots.as_deref())?,
            ManagerConfig {
                recycling_method: RecyclingMethod::Fast,
            },
        );
        let pool = Pool::builder(manager)
            .max_size(config.connections)
            .runtime(Runtime::Tokio1)
            .timeouts(Timeouts {
                wait: Some(config.timeout),
                create: Some(config.connect_timeout),
                recycle: Some(config.connect_timeout),
            })
            .build()
            .map_err(|error| refused(error.to_string()))?;
        let sql = Arc::new(Sql::new());
        let server = Server {
            pool,
            migrated: Migrated::default(),
        };
        let purge = tokio::spawn(purge(server.clone(), Arc::clone(&sql), config.clone()));
        let opened = Self {
            server,
            config,
            sql,
            open: RwLock::new(true),
            purge,
        };
        let problem = match tokio::time::timeout(opened.deadline(), opened.server.connection()).await {
            Ok(Ok(connection)) => {
                give_back(connection);
                return Ok(opened);
            }
            Ok(Err(ConnectError::Schema(error))) if error.is_lasting() => {
                return Err(OpenError::Server {
                    url: shown.to_owned(),
                    problem: error.to_string(),
                });
            }
            Ok(Err(error)) => chain(&error),
            Err(_) => no_answer(&opened.config),
        };
        tracing::warn!(
            url = shown,
            error = problem,
            "the names database cannot be used; it is tried again"
        );
        Ok(opened)
    }

    /// Runs a statement that answers one row at most, within the deadline of a read or write. A statement that has a lease's end is
    /// not sent when the lease is over by then.
    async fn ask(
        &self,
        sql: &str,
        parameters: &Parameters<'_>,
        lease_ends: Option<Instant>,
    ) -> Result<Option<Row>, SaveError> {
        let open = self.open.read().await;
        if !*open {
            return Err(unavailable("it is closed").into());
        }
        if self.server.pool.status().waiting >= self.config.queue {
            return Err(unavailable("too many reads and writes are queued (names.queue)").into());
        }
        let answer = async {
            let connection = self.server.connection().await;
            let connection = connection.map_err(|error| unavailable(chain(&error)))?;
            // How long the wait for a connection was is known only now.
            if lease_ends.is_some_and(|lease_ends| lease_ends <= Instant::now()) {
                give_back(connection);
                return Err(SaveError::LeaseLost);
            }
            let answer = async {
                let statement = connection.prepare_cached(sql).await?;
                connection.query_opt(&statement, parameters).await
            };
            let answer = answer.await;
            // The server has answered; or the connection is broken, which the pool sees.
            give_back(connection);
            Ok(answer.map_err(|error| unavailable(chain(&error)))?)
        };
        tokio::time::timeout(self.deadline(), answer)
            .await
            .unwrap_or_else(|_| Err(unavailable(no_answer(&self.config)).into()))
    }

    async fn row(&self, tenant: &str, name: &str) -> Result<Option<Found>, NamesError> {
        let row = self.ask(&self.sql.row, &[&tenant, &name.as_bytes()], None).await;
        let row = row.map_err(|error| match error {
            SaveError::Unavailable { reason } => NamesError::Unavailable { reason },
            other => unavailable(other.to_string()),
        });
        row?.as_ref().map(found).transpose()
    }

    /// Runs a write until it has done something, or `refusal` reads from the row of the name why it has not.
    async fn write<T>(
        &self,
        (tenant, name): (&str, &str),
        (sql, parameters): (&str, &Parameters<'_>),
        lease_ends: Instant,
        done: impl Fn(&Row) -> Result<T, NamesError>,
        refusal: impl Fn(Option<Found>) -> Option<Result<T, SaveError>>,
    ) -> Result<T, SaveError> {
        for _ in 0..TRIES {
            if let Some(row) = self.ask(sql, parameters, Some(lease_ends)).await? {
                return Ok(done(&row)?);
            }
            if let Some(result) = refusal(self.row(tenant, name).await?) {
                return result;
            }
        }
        Err(unavailable("others write the same name faster than it can be looked at").into())
    }
}

/// What a statement is given.
type Parameters<'a> = [&'a (dyn ToSql + Sync)];

/// The server, and what this process knows of it.
#[derive(Clone)]
struct Server {
    pool: Pool,
    migrated: Migrated,
}

impl Server {
    /// A connection to a server whose tables are up to date. It waits as long as the server does: the caller has a deadline.
    async fn connection(&self) -> Result<Connection, ConnectError> {
        let connection = self.pool.get().await.map_err(ConnectError::Pool)?;
        let mut connection: Connection = scopeguard::guard(connection, |connection| drop(Object::take(connection)));
        self.migrated
            .ensure(&mut connection)
            .await
            .map_err(ConnectError::Schema)?;
        Ok(connection)
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
enum ConnectError {
    #[error("it cannot be reached")]
    Pool(#[source] PoolError),
    #[error(transparent)]
    Schema(SchemaError),
}

/// A connection that is closed when it is dropped, such as at a deadline: the answer to what is under way still comes, and must not
/// meet the next question.
type Connection = ScopeGuard<Object, fn(Object)>;

/// Nothing is under way over this connection: somebody else may have it.
fn give_back(connection: Connection) {
    drop(ScopeGuard::into_inner(connection));
}

#[async_trait]
impl Names for Postgres {
    async fn find(&self, tenant: &str, name: &str) -> Result<Option<Registration>, NamesError> {
        let found = self.row(tenant, name).await?;
        Ok(found.filter(|found| found.active).map(|found| found.registration))
    }

    async fn save(&self, save: Save) -> Result<Registration, SaveError> {
        save.check(&self.config)?;
        let token = stored(save.fencing_token)?;
        let lifetime = save
            .lifetime
            .map(|lifetime| i64::try_from(lifetime.as_millis()).unwrap_or(i64::MAX));
        let attributes = serde_json::to_string(&save.attributes).map_err(|error| SaveError::Invalid {
            reason: format!("the attributes cannot be stored: {error}"),
        })?;
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
        let token = stored(free.fencing_token)?;
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
        // A name that is never saved: it is shorter than any may be.
        self.row("", "").await.map(|_| ())
    }

    fn deadline(&self) -> Duration {
        self.config.timeout + GRACE
    }

    async fn close(&self) {
        *self.open.write().await = false;
        self.purge.abort();
        self.server.pool.close();
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.purge.abort();
    }
}

/// Deletes rows that nobody needs any more, for as long as it is polled. Whoever else does so at the same time takes others.
async fn purge(server: Server, sql: Arc<Sql>, config: NamesConfig) {
    let retention = i64::try_from(config.retention.as_millis()).unwrap_or(i64::MAX);
    loop {
        let delete = async {
            let connection = server.connection().await.map_err(|error| chain(&error))?;
            let deleted = async {
                let statement = connection.prepare_cached(&sql.purge).await?;
                connection.execute(&statement, &[&retention, &PURGE_ROWS]).await
            };
            let deleted = deleted.await;
            give_back(connection);
            deleted.map_err(|error| chain(&error))
        };
        let deleted = tokio::time::timeout(config.timeout + GRACE, delete).await;
        match deleted.unwrap_or_else(|_| Err(no_answer(&config))) {
            Ok(deleted) if deleted == PURGE_ROWS.unsigned_abs() => {}
            Ok(_) => tokio::time::sleep(PURGE_EVERY).await,
            Err(error) => {
                tracing::debug!(%error, "rows that nobody needs any more were not deleted");
                tokio::time::sleep(PURGE_EVERY).await;
            }
        }
    }
}

/// When a registration begins and ends, of the row that was written.
fn times(row: &Row) -> Result<(u64, Option<u64>), NamesError> {
    let read = || -> Result<_, Box<dyn std::error::Error + Send + Sync>> {
        let expires: Option<i64> = row.try_get("expires_ms")?;
        Ok((
            row.try_get::<_, i64>("created_ms")?.try_into()?,
            expires.map(u64::try_from).transpose()?,
        ))
    };
    read().map_err(|error| unavailable(format!("it answers times that cannot be read: {error}")))
}

fn found(row: &Row) -> Result<Found, NamesError> {
    let read = || -> Result<Found, Box<dyn std::error::Error + Send + Sync>> {
        let attributes: &str = row.try_get("attributes")?;
        let registration = Registration {
            name: String::from_utf8(row.try_get("name")?)?,
            owner: String::from_utf8(row.try_get("owner")?)?,
            created_ms: row.try_get::<_, i64>("created_ms")?.try_into()?,
            expires_ms: row
                .try_get::<_, Option<i64>>("expires_ms")?
                .map(u64::try_from)
                .transpose()?,
            fencing_token: FencingToken::new(row.try_get::<_, i64>("fencing_token")?.try_into()?),
            attributes: serde_json::from_str(attributes)?,
        };
        Ok(Found {
            registration,
            active: row.try_get("active")?,
        })
    };
    read().map_err(|error| unavailable(format!("it has a row that this program never writes: {error}")))
}

fn unavailable(reason: impl Into<String>) -> NamesError {
    NamesError::Unavailable { reason: reason.into() }
}

fn no_answer(config: &NamesConfig) -> String {
    format!("it has not answered within {:?} (names.timeout)", config.timeout)
}

/// An error with all its causes. What the server says of a statement is in its cause.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = error.source();
    }
    text
}
