//! How rows are read.

use std::error::Error;

use namelock_types::FencingToken;
use tokio_postgres::Row;

use crate::error::NamesError;
use crate::quota::Usage;
use crate::registration::Registration;

/// The row of a name: its registration, and whether that is active now.
pub(super) struct NameRow {
    pub(super) registration: Registration,
    pub(super) active: bool,
    /// What the row counts.
    pub(super) usage: Usage,
}

/// Reads the row of a name of a tenant.
pub(super) fn name_row(tenant: &str, row: &Row) -> Result<NameRow, NamesError> {
    let read = || -> Result<NameRow, Box<dyn Error + Send + Sync>> {
        let attributes: &str = row.try_get("attributes")?;
        let (created_ms, expires_ms) = read_times(row)?;
        let registration = Registration {
            name: String::from_utf8(row.try_get("name")?)?,
            owner: String::from_utf8(row.try_get("owner")?)?,
            created_ms,
            expires_ms,
            fencing_token: FencingToken::new(row.try_get::<_, i64>("fencing_token")?.try_into()?),
            attributes: serde_json::from_str(attributes)?,
        };
        Ok(NameRow {
            usage: Usage::of_row(tenant, &registration.name, &registration.owner, attributes),
            registration,
            active: row.try_get("active")?,
        })
    };
    read().map_err(|error| NamesError::unavailable(format!("it holds a row that this program never writes: {error}")))
}

/// Reads what a tenant keeps, from the columns `registrations` and `bytes`.
pub(super) fn usage(row: &Row) -> Result<Usage, NamesError> {
    let read = || Ok(Usage::from_signed(row.try_get("registrations")?, row.try_get("bytes")?));
    read().map_err(|error: tokio_postgres::Error| {
        NamesError::unavailable(format!("it returned counts that cannot be read: {error}"))
    })
}

/// Reads when a registration that was just saved begins and ends, in milliseconds since 1970.
pub(super) fn times(row: &Row) -> Result<(u64, Option<u64>), NamesError> {
    read_times(row).map_err(|error| NamesError::unavailable(format!("it returned times that cannot be read: {error}")))
}

fn read_times(row: &Row) -> Result<(u64, Option<u64>), Box<dyn Error + Send + Sync>> {
    let expires_ms: Option<i64> = row.try_get("expires_ms")?;
    Ok((
        row.try_get::<_, i64>("created_ms")?.try_into()?,
        expires_ms.map(u64::try_from).transpose()?,
    ))
}
