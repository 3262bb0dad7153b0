//! The transactions that put and remove a tenant.
//!
//! # The order of locks
//!
//! Each transaction locks its one tenant first, then the components that it begins or ceases to use, in order of the
//! numbers of their locks. So nobody waits in a circle: who waits for a tenant holds nothing, and who waits for a
//! component holds none with a greater number. What is not there yet must be locked too, so these are advisory locks;
//! two whose numbers are the same by chance only wait for each other. Rows are waited for only where somebody has
//! changed them by hand.
//!
//! Whether a component is still used is looked at by a statement of its own, which begins when the component is locked.
//! It sees what everybody has committed who had that lock before: of two transactions that end its last two uses, the
//! second deletes it, and one that puts it meanwhile keeps it or puts it anew.

use std::collections::BTreeSet;
use std::time::Duration;

use deadpool_postgres::Transaction;
use namelock_types::error_chain;
use sha2::{Digest, Sha256};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::catalog::ask::{Failure, no_answer, rows, within};
use crate::catalog::connections::Connection;
use crate::catalog::error::CatalogError;
use crate::catalog::tenant::Put;
use crate::config::GRACE;

/// Where changes are told.
pub(super) const CHANNEL: &str = "namelock_catalog";

/// The first of the two numbers of an advisory lock. No lock of the names database has two.
const TENANT_LOCK: i32 = 0x6e6c_7401;
const COMPONENT_LOCK: i32 = 0x6e6c_7402;

const LOCK: &str = "SELECT pg_advisory_xact_lock($1::int, $2::int)";

/// For somebody who changes it by hand it is locked, too.
const BEFORE: &str = "SELECT revision, sha256 FROM namelock_tenants WHERE tenant = $1 FOR UPDATE";

/// A component that is there, and is what its SHA-256 says, need not be sent.
const TOUCH_COMPONENT: &str =
    "UPDATE namelock_components SET put_at = now() WHERE sha256 = $1 AND sha256(wasm) = $1 RETURNING true";
const ADD_COMPONENT: &str = "INSERT INTO namelock_components (sha256, wasm) VALUES ($1, $2)
    ON CONFLICT (sha256) DO UPDATE SET wasm = excluded.wasm, put_at = now()";

const PUT: &str = "INSERT INTO namelock_tenants AS t (tenant, revision, settings, sha256)
    VALUES ($1, nextval('namelock_tenant_revisions'), coalesce($2::text, ''), $3)
    ON CONFLICT (tenant) DO UPDATE SET
        revision = excluded.revision, settings = coalesce($2::text, t.settings), sha256 = excluded.sha256
    RETURNING revision";

const REMOVE: &str = "DELETE FROM namelock_tenants WHERE tenant = $1";

const DELETE_UNUSED: &str = "DELETE FROM namelock_components
    WHERE sha256 = $1 AND NOT EXISTS (SELECT FROM namelock_tenants WHERE sha256 = $1)";

const NOTIFY: &str = "SELECT pg_notify($1, $2)";

/// Puts a tenant and returns its new revision.
pub(super) async fn put(
    connection: &mut Connection,
    timeout: Duration,
    tenant: &str,
    put: &Put,
) -> Result<u64, Failure> {
    let write = Write::begin(connection, timeout).await?;
    let before = write.before(tenant).await?;
    let revision = before.as_ref().map_or(0, |before| before.revision);
    if let Some(expected) = put.if_revision.filter(|expected| *expected != revision) {
        return Err(Failure::Refused(CatalogError::Changed {
            tenant: tenant.to_owned(),
            expected,
            revision,
        }));
    }
    let old = before.as_ref().map(|before| &before.sha256[..]);
    let new = put.component.as_ref().map(|(sha256, _)| &sha256[..]);
    let Some(sha256) = new.or(old) else {
        return Err(Failure::Refused(CatalogError::NoComponent {
            tenant: tenant.to_owned(),
        }));
    };
    let ended = old.filter(|old| *old != sha256);
    if let Some((sha256, wasm)) = &put.component {
        write.lock_components(ended.into_iter().chain([&sha256[..]])).await?;
        if write.rows(TOUCH_COMPONENT, &[&&sha256[..]]).await?.is_empty() {
            write.rows(ADD_COMPONENT, &[&&sha256[..], wasm]).await?;
        }
    }
    let row = write.rows(PUT, &[&tenant, &put.settings, &sha256]).await?;
    let revision = match row.first() {
        Some(row) => row.try_get::<_, i64>(0)?.unsigned_abs(),
        None => return Err(Failure::Unavailable("it gave no revision".to_owned())),
    };
    if let Some(ended) = ended {
        write.rows(DELETE_UNUSED, &[&ended]).await?;
    }
    write.commit(tenant).await?;
    Ok(revision)
}

/// Removes a tenant and returns whether there was one.
pub(super) async fn remove(connection: &mut Connection, timeout: Duration, tenant: &str) -> Result<bool, Failure> {
    let write = Write::begin(connection, timeout).await?;
    let Some(before) = write.before(tenant).await? else {
        write.cancel().await?;
        return Ok(false);
    };
    write.lock_components([&before.sha256[..]]).await?;
    write.rows(REMOVE, &[&tenant]).await?;
    write.rows(DELETE_UNUSED, &[&before.sha256]).await?;
    write.commit(tenant).await?;
    Ok(true)
}

/// What a tenant was before it is written.
struct Before {
    revision: u64,
    sha256: Vec<u8>,
}

/// A transaction that changes one tenant. One that is not committed is rolled back.
struct Write<'a> {
    transaction: Transaction<'a>,
    timeout: Duration,
}

impl<'a> Write<'a> {
    async fn begin(connection: &'a mut Connection, timeout: Duration) -> Result<Self, Failure> {
        Ok(Self {
            transaction: within(timeout, connection.transaction()).await?,
            timeout,
        })
    }

    async fn rows(&self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Failure> {
        rows(&self.transaction, self.timeout, sql, parameters).await
    }

    /// Locks the tenant and returns what it is.
    async fn before(&self, tenant: &str) -> Result<Option<Before>, Failure> {
        let number = lock_number(&Sha256::digest(tenant));
        self.rows(LOCK, &[&TENANT_LOCK, &number]).await?;
        let rows = self.rows(BEFORE, &[&tenant]).await?;
        let before = rows.first().map(|row| {
            Ok::<_, Failure>(Before {
                revision: row.try_get::<_, i64>(0)?.unsigned_abs(),
                sha256: row.try_get(1)?,
            })
        });
        before.transpose()
    }

    async fn lock_components(&self, components: impl IntoIterator<Item = &[u8]>) -> Result<(), Failure> {
        let numbers: BTreeSet<_> = components.into_iter().map(lock_number).collect();
        for number in numbers {
            self.rows(LOCK, &[&COMPONENT_LOCK, &number]).await?;
        }
        Ok(())
    }

    /// Commits, and with that tells that the tenant has changed.
    async fn commit(self, tenant: &str) -> Result<(), Failure> {
        self.rows(NOTIFY, &[&CHANNEL, &tenant]).await?;
        // Whatever fails from here on: the server may have been sent the commit, and may have done it.
        match tokio::time::timeout(self.timeout + GRACE, self.transaction.commit()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Failure::Unknown(error_chain(&error))),
            Err(_) => Err(Failure::Unknown(no_answer(self.timeout))),
        }
    }

    async fn cancel(self) -> Result<(), Failure> {
        within(self.timeout, self.transaction.rollback()).await
    }
}

/// The second number of an advisory lock.
fn lock_number(sha256: &[u8]) -> i32 {
    sha256.first_chunk().map_or(0, |first| i32::from_be_bytes(*first))
}
