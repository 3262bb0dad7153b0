//! The tables, and how they are migrated from one version to the next.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio_postgres::{Client, Error};

/// The statements that migrate the database from version N to version N + 1, in order. A released migration is never
/// changed.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE namelock_registrations (
        tenant        text   NOT NULL COLLATE \"C\",
        name          bytea  NOT NULL,
        owner         bytea  NOT NULL,
        created_ms    bigint NOT NULL,
        expires_ms    bigint,
        fencing_token bigint NOT NULL,
        attributes    text   NOT NULL,
        PRIMARY KEY (tenant, name)
    -- A name is taken over in place; free room in its page keeps that from touching the index.
    ) WITH (fillfactor = 70);
    COMMENT ON TABLE namelock_registrations IS
        'One row for each name: its current registration, or the last one, which remembers the greatest fencing token.';
    COMMENT ON COLUMN namelock_registrations.name IS 'convert_from(name, ''UTF8'') shows it';
    CREATE INDEX namelock_registrations_by_end ON namelock_registrations (expires_ms) WHERE expires_ms IS NOT NULL;
"];

/// The version that this program writes.
const VERSION: i64 = MIGRATIONS.len() as i64;

/// The advisory lock that lets one of several hosts migrate while the others wait: a number that no other program is
/// likely to lock.
const MIGRATING: i64 = 0x6e61_6d65_6c6f_636b;

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
}

impl SchemaError {
    /// Returns whether the problem stays until somebody fixes it, such as a missing privilege; a server that is busy or
    /// going down recovers by itself. Decided by the class of the SQLSTATE (PostgreSQL's documentation, appendix A).
    pub(super) fn is_lasting(&self) -> bool {
        match self {
            Self::Newer(_) => true,
            Self::Sql(error) => error.code().is_some_and(|state| {
                let passing = ["08", "40", "53", "55", "57", "58"];
                !passing.iter().any(|class| state.code().starts_with(class))
            }),
        }
    }
}

/// Whether this process knows that the tables are up to date.
#[derive(Clone, Default)]
pub(super) struct Migrated(Arc<AtomicBool>);

impl Migrated {
    /// Migrates the tables, unless this process has done so; its first connection does it.
    pub(super) async fn ensure(&self, client: &mut Client) -> Result<(), SchemaError> {
        if !self.0.load(Ordering::Acquire) {
            migrate(client).await?;
            self.0.store(true, Ordering::Release);
        }
        Ok(())
    }
}

/// Migrates in one transaction, which reads the version under a lock: another host may have been quicker.
async fn migrate(client: &mut Client) -> Result<(), SchemaError> {
    let transaction = client.transaction().await?;
    transaction
        .execute("SELECT pg_advisory_xact_lock($1)", &[&MIGRATING])
        .await?;
    transaction
        .batch_execute("CREATE TABLE IF NOT EXISTS namelock_schema (version bigint NOT NULL)")
        .await?;
    let row = transaction
        .query_one("SELECT max(version) FROM namelock_schema", &[])
        .await?;
    let version: i64 = row.try_get::<_, Option<i64>>(0)?.unwrap_or(0);
    let from = usize::try_from(version).ok().filter(|from| *from <= MIGRATIONS.len());
    let from = from.ok_or(SchemaError::Newer(version))?;
    for (number, migration) in (1_i64..).zip(MIGRATIONS).skip(from) {
        transaction.batch_execute(migration).await?;
        transaction
            .execute("INSERT INTO namelock_schema VALUES ($1)", &[&number])
            .await?;
    }
    transaction.commit().await?;
    Ok(())
}
