//! The tables of a catalog, which are made when they are first used.

use std::time::Duration;

use crate::catalog::ask::{Client, Failure, rows, within};
use crate::postgres::link::Link;
use crate::postgres::schema::MAKING_CATALOG;

/// The statements that migrate the tables from version N to version N + 1, in order. A released one is never changed.
const MIGRATIONS: &[&str] = &["
    CREATE SEQUENCE namelock_tenant_revisions;

    CREATE TABLE namelock_components (
        sha256 bytea       NOT NULL PRIMARY KEY CHECK (octet_length(sha256) = 32),
        wasm   bytea       NOT NULL,
        put_at timestamptz NOT NULL DEFAULT now()
    );
    -- WebAssembly does not become so much smaller that it would pay.
    ALTER TABLE namelock_components ALTER COLUMN wasm SET STORAGE EXTERNAL;
    COMMENT ON TABLE namelock_components IS
        'The components that tenants use. One goes with its last use. put_at is when it was put last.';

    CREATE TABLE namelock_tenants (
        tenant   text   NOT NULL COLLATE \"C\" PRIMARY KEY,
        revision bigint NOT NULL,
        settings text   NOT NULL,
        sha256   bytea  NOT NULL REFERENCES namelock_components
    );
    CREATE INDEX namelock_tenants_by_component ON namelock_tenants (sha256);
    COMMENT ON TABLE namelock_tenants IS
        'The tenants of the fleet. Whoever changes one gives it a revision of namelock_tenant_revisions, and calls
        pg_notify(''namelock_catalog'', tenant).';
"];

/// The version that this program writes.
const VERSION: i64 = MIGRATIONS.len() as i64;

/// Makes the tables, unless they are there: then no right but to read and write them is needed.
pub(super) async fn ensure(client: &mut Link, timeout: Duration) -> Result<(), Failure> {
    if version(client, timeout).await? == VERSION {
        return Ok(());
    }
    let transaction = within(timeout, client.transaction()).await?;
    let lock = "SELECT pg_advisory_xact_lock($1)";
    within(timeout, transaction.query(lock, &[&MAKING_CATALOG])).await?;
    let versions = "CREATE TABLE IF NOT EXISTS namelock_catalog_schema (version bigint NOT NULL)";
    within(timeout, transaction.batch_execute(versions)).await?;
    // Read anew, under the lock: another host may have been quicker.
    let found = version(&transaction, timeout).await?;
    for (number, migration) in (1_i64..).zip(MIGRATIONS).filter(|(number, _)| *number > found) {
        within(timeout, transaction.batch_execute(migration)).await?;
        let record = "INSERT INTO namelock_catalog_schema VALUES ($1)";
        within(timeout, transaction.execute(record, &[&number])).await?;
    }
    within(timeout, transaction.commit()).await
}

/// Reads the version of the tables, 0: there are none.
async fn version(client: &impl Client, timeout: Duration) -> Result<i64, Failure> {
    let is_there = "SELECT to_regclass('namelock_catalog_schema') IS NOT NULL";
    let is_there = rows(client, timeout, is_there, &[]).await?;
    if is_there.first().map(|row| row.try_get(0)).transpose()? != Some(true) {
        return Ok(0);
    }
    let found = "SELECT coalesce(max(version), 0) FROM namelock_catalog_schema";
    let found = rows(client, timeout, found, &[]).await?;
    let found: i64 = found.first().map_or(Ok(0), |row| row.try_get(0))?;
    if (0..=VERSION).contains(&found) {
        Ok(found)
    } else {
        Err(Failure::Unavailable(format!(
            "it has version {found} of the catalog, but this program knows only versions up to {VERSION}; \
             use a newer namelock"
        )))
    }
}
