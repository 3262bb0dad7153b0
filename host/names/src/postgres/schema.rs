//! How the tables are migrated from one version to the next.

use std::ops::DerefMut;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio_postgres::{Client, Error, Transaction};

use crate::postgres::migrations::{INDEXES, Index, MIGRATIONS};

/// The version that this program writes.
const VERSION: i64 = MIGRATIONS.len() as i64;

/// The advisory lock that lets one of several hosts make indexes.
const MAKING_INDEXES: i64 = MIGRATING + 1;

/// The advisory lock that lets one of several hosts migrate while the others wait: a number that no other program is
/// likely to lock.
const MIGRATING: i64 = 0x6e61_6d65_6c6f_636b;

/// The advisory lock that lets one of several hosts make the tables of the catalog.
pub(crate) const MAKING_CATALOG: i64 = MIGRATING + 2;

/// Why the tables cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum SchemaError {
    #[error(
        "it has version {0} of the names database, but this program knows only versions up to {VERSION}; \
         use a newer namelock"
    )]
    Newer(i64),
    #[error("its tables cannot be created or read")]
    Sql(#[from] Error),
    #[error("its tables are not migrated yet")]
    Unfinished,
    #[error(
        "it is one of several databases, and not the first of them, which is the one with the id {0}; give all of them in \
         names.url, that one first"
    )]
    NotFirst(String),
}

/// What a database is among those that a host uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// There is no other.
    Alone,
    /// The first of several.
    First,
    /// Another one of them.
    Other,
}

impl SchemaError {
    /// Returns whether the problem stays until somebody fixes it, such as a missing privilege; a server that is busy or
    /// going down recovers by itself. Decided by the class of the SQLSTATE (PostgreSQL's documentation, appendix A).
    pub(super) fn is_lasting(&self) -> bool {
        match self {
            Self::Newer(_) | Self::NotFirst(_) => true,
            Self::Unfinished => false,
            Self::Sql(error) => error.code().is_some_and(|state| {
                let passing = ["08", "25", "40", "53", "55", "57", "58"];
                !passing.iter().any(|class| state.code().starts_with(class))
            }),
        }
    }
}

/// How long a migration may take: it reads all rows to count them, or to make indexes.
const MIGRATION_MAX: Duration = Duration::from_secs(3600);

/// How often a host looks whether another one has made the indexes. It must not wait for it inside the server: what waits
/// there has a snapshot, and an index that is made concurrently waits until nobody has an older one.
const INDEXES_LOOK: Duration = Duration::from_millis(50);

/// Whether this process knows that the tables are up to date.
#[derive(Clone)]
pub(super) struct Migrated {
    role: Role,
    done: Arc<AtomicBool>,
    /// Held by the connection that migrates.
    running: Arc<Mutex<()>>,
}

impl Migrated {
    pub(super) fn new(role: Role) -> Self {
        Self {
            role,
            done: Arc::default(),
            running: Arc::default(),
        }
    }

    /// Migrates the tables, unless this process has done so; its first connection does it. A caller whose deadline passes
    /// leaves a migration that goes on without it: it may well take longer than a read or write may.
    pub(super) async fn ensure<C>(&self, mut client: C) -> Result<C, SchemaError>
    where
        C: DerefMut<Target: DerefMut<Target = Client>> + Send + 'static,
    {
        if self.done.load(Ordering::Acquire) {
            return Ok(client);
        }
        let running = Arc::clone(&self.running).lock_owned().await;
        if self.done.load(Ordering::Acquire) {
            return Ok(client);
        }
        let (done, role) = (Arc::clone(&self.done), self.role);
        let task = tokio::spawn(async move {
            let migrated = tokio::time::timeout(MIGRATION_MAX, migrate(&mut client)).await;
            migrated.map_err(|_| SchemaError::Unfinished)??;
            if role != Role::Other {
                check_first(&client).await?;
            }
            done.store(true, Ordering::Release);
            drop(running);
            Ok(client)
        });
        task.await.unwrap_or(Err(SchemaError::Unfinished))
    }
}

/// Migrates step by step, until nothing is left to do.
async fn migrate(client: &mut Client) -> Result<(), SchemaError> {
    while let Step::MakeIndexes(version) = migrate_tables(client).await? {
        make_indexes(client, version).await?;
    }
    Ok(())
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// Those of this version, which comes next.
    MakeIndexes(i64),
    Done,
}

/// Migrates in one transaction, which reads the version under a lock: another host may have been quicker. Where there may be
/// rows, it stops before a version that makes indexes.
async fn migrate_tables(client: &mut Client) -> Result<Step, SchemaError> {
    let transaction = client.transaction().await?;
    transaction
        .execute("SELECT pg_advisory_xact_lock($1)", &[&MIGRATING])
        .await?;
    transaction
        .batch_execute("CREATE TABLE IF NOT EXISTS namelock_schema (version bigint NOT NULL)")
        .await?;
    let version = version(&transaction).await?;
    if version < VERSION {
        // Only what waits for others still has a deadline, the server's lock_timeout; and a host that stands still in the
        // middle of it, which the caller ends.
        let no_deadline = "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = '10min'";
        transaction.batch_execute(no_deadline).await?;
    }
    let has_rows = version > 0;
    let mut step = Step::Done;
    for (number, migration) in (1_i64..).zip(MIGRATIONS).filter(|(number, _)| *number > version) {
        if has_rows && indexes_of(number).next().is_some() {
            step = Step::MakeIndexes(number);
            break;
        }
        transaction.batch_execute(migration).await?;
        for index in indexes_of(number) {
            transaction.batch_execute(&create_index(index, "")).await?;
        }
        record(&transaction, number).await?;
    }
    transaction.commit().await?;
    Ok(step)
}

/// Refuses a database that belongs to another one: it has only some of the tenants, and another one says which.
async fn check_first(client: &Client) -> Result<(), SchemaError> {
    let first = client.query_one("SELECT first FROM namelock_database", &[]).await?;
    first
        .try_get::<_, Option<String>>(0)?
        .map_or(Ok(()), |first| Err(SchemaError::NotFirst(first)))
}

fn indexes_of(version: i64) -> impl Iterator<Item = Index> {
    INDEXES.into_iter().filter(move |index| index.version == version)
}

/// Makes the indexes of a version for a table that is in use, unless another host does: then it returns when that one has made
/// them or has given up.
async fn make_indexes(client: &mut Client, version: i64) -> Result<(), SchemaError> {
    let lock = "SELECT pg_try_advisory_lock($1)";
    while !client
        .query_one(lock, &[&MAKING_INDEXES])
        .await?
        .try_get::<_, bool>(0)?
    {
        tokio::time::sleep(INDEXES_LOOK).await;
    }
    let made = make_indexes_alone(client, version).await;
    client
        .execute("SELECT pg_advisory_unlock($1)", &[&MAKING_INDEXES])
        .await?;
    made
}

async fn make_indexes_alone(client: &mut Client, next: i64) -> Result<(), SchemaError> {
    let transaction = client.transaction().await?;
    if version(&transaction).await? >= next {
        return Ok(());
    }
    let migration = (1_i64..).zip(MIGRATIONS).find(|(number, _)| *number == next);
    transaction
        .batch_execute(migration.map_or("", |(_, migration)| migration))
        .await?;
    transaction.commit().await?;
    // It waits for transactions of others, which wait for nothing of it.
    client
        .batch_execute("SET statement_timeout = 0; SET lock_timeout = 0")
        .await?;
    let made = make_each_index(client, next).await;
    client
        .batch_execute("RESET statement_timeout; RESET lock_timeout")
        .await?;
    made?;
    let transaction = client.transaction().await?;
    record(&transaction, next).await?;
    transaction.commit().await?;
    Ok(())
}

async fn make_each_index(client: &Client, version: i64) -> Result<(), SchemaError> {
    for index in indexes_of(version) {
        let is_valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass($1)";
        let is_valid = client.query_opt(is_valid, &[&index.name]).await?;
        let is_valid = is_valid.map(|row| row.try_get::<_, bool>(0)).transpose()?;
        if is_valid == Some(false) {
            // Somebody was interrupted.
            drop_index(client, index.name).await?;
        }
        if is_valid != Some(true) {
            client.batch_execute(&create_index(index, "CONCURRENTLY")).await?;
        }
        if let Some(replaced) = index.replaces {
            drop_index(client, replaced).await?;
        }
    }
    Ok(())
}

async fn drop_index(client: &Client, name: &str) -> Result<(), Error> {
    client
        .batch_execute(&format!("DROP INDEX CONCURRENTLY IF EXISTS {name}"))
        .await
}

fn create_index(index: Index, how: &str) -> String {
    let Index { name, columns, .. } = index;
    let unique = if index.unique { "UNIQUE" } else { "" };
    format!("CREATE {unique} INDEX {how} {name} ON namelock_registrations {columns}")
}

/// Reads the version of the tables, 0: there are none.
async fn version(transaction: &Transaction<'_>) -> Result<i64, SchemaError> {
    let row = transaction
        .query_one("SELECT coalesce(max(version), 0) FROM namelock_schema", &[])
        .await?;
    let version: i64 = row.try_get(0)?;
    if (0..=VERSION).contains(&version) {
        Ok(version)
    } else {
        Err(SchemaError::Newer(version))
    }
}

async fn record(transaction: &Transaction<'_>, version: i64) -> Result<(), SchemaError> {
    let row = "INSERT INTO namelock_schema VALUES ($1)";
    transaction.execute(row, &[&version]).await?;
    Ok(())
}

#[cfg(test)]
mod tests;
