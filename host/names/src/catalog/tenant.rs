//! What the catalog has of a tenant, and what can be changed of it.

use tokio_postgres::Row;

use crate::catalog::ask::Failure;

/// One statement, so that it is one snapshot.
pub(super) const TENANTS: &str = "SELECT tenant, revision, settings, sha256 FROM namelock_tenants ORDER BY tenant";

/// A tenant, as the catalog has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogTenant {
    /// Its id.
    pub id: String,
    /// Grows with everything that is put for it. At least 1.
    pub revision: u64,
    /// Its settings, as they were put.
    pub settings: String,
    /// Which component it has: the SHA-256 that was put with it.
    pub sha256: [u8; 32],
}

/// What to change of a tenant. What is left out stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Put {
    /// New settings. Those of a new tenant are empty when they are left out.
    pub settings: Option<String>,
    /// A new component: its SHA-256 and itself. A new tenant needs one.
    pub component: Option<([u8; 32], Vec<u8>)>,
    /// Which revision the tenant must have, or nothing is changed; 0: there must be no such tenant.
    pub if_revision: Option<u64>,
}

/// Reads a row of [`TENANTS`].
pub(super) fn tenant(row: &Row) -> Result<CatalogTenant, Failure> {
    let id: String = row.try_get(0)?;
    let sha256: &[u8] = row.try_get(3)?;
    let Ok(sha256) = sha256.try_into() else {
        let found = sha256.len();
        return Err(Failure::Unavailable(format!(
            "the SHA-256 of tenant {id:?} has {found} bytes there, not 32"
        )));
    };
    Ok(CatalogTenant {
        revision: row.try_get::<_, i64>(1)?.unsigned_abs(),
        settings: row.try_get(2)?,
        sha256,
        id,
    })
}
