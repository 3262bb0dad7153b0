//! How rows are read: the active registration of a name, what a tenant keeps, and what becomes of SQLite's errors.

use namelock_types::FencingToken;
use rusqlite::{Connection, OptionalExtension, Row, named_params};

use crate::error::{NamesError, SaveError};
use crate::quota::Usage;
use crate::registration::Registration;

const ROW: &str = "
    SELECT name, owner, created_ms, expires_ms, fencing_token, attributes FROM registrations
    WHERE tenant = :tenant AND name = :name AND freed_token IS NOT fencing_token
        AND (expires_ms IS NULL OR expires_ms > max(created_ms, :now))";

/// Finds the registration that is active at `now`, in milliseconds since 1970.
pub(super) fn active(
    connection: &Connection,
    tenant: &str,
    name: &str,
    now: i64,
) -> rusqlite::Result<Option<Registration>> {
    let parameters = named_params! { ":tenant": tenant, ":name": name, ":now": now };
    connection
        .prepare_cached(ROW)?
        .query_row(parameters, registration)
        .optional()
}

/// Reads what a tenant keeps.
pub(super) fn usage(connection: &Connection, tenant: &str) -> rusqlite::Result<Usage> {
    let usage = connection
        .prepare_cached("SELECT registrations, bytes FROM usage WHERE tenant = ?")?
        .query_row([tenant], |row| Ok(Usage::from_signed(row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(usage.unwrap_or_default())
}

/// Reads what the row of a name counts, and its fencing token, whether its registration is active or not.
pub(super) fn row_of(
    connection: &Connection,
    tenant: &str,
    name: &str,
) -> rusqlite::Result<Option<(Usage, FencingToken)>> {
    let mut row = connection
        .prepare_cached("SELECT owner, attributes, fencing_token FROM registrations WHERE (tenant, name) = (?, ?)")?;
    row.query_row([tenant, name], |row| {
        let (owner, attributes): (String, String) = (row.get(0)?, row.get(1)?);
        let usage = Usage::of_row(tenant, name, &owner, &attributes);
        Ok((usage, FencingToken::new(unsigned(2, row.get(2)?)?)))
    })
    .optional()
}

/// Reads a registration from the columns name, owner, created_ms, expires_ms, fencing_token, attributes, in this order.
pub(super) fn registration(row: &Row<'_>) -> rusqlite::Result<Registration> {
    let attributes: String = row.get("attributes")?;
    Ok(Registration {
        name: row.get("name")?,
        owner: row.get("owner")?,
        created_ms: unsigned(2, row.get("created_ms")?)?,
        expires_ms: row
            .get::<_, Option<i64>>("expires_ms")?
            .map(|at| unsigned(3, at))
            .transpose()?,
        fencing_token: FencingToken::new(unsigned(4, row.get("fencing_token")?)?),
        attributes: serde_json::from_str(&attributes)
            .map_err(|error| rusqlite::Error::FromSqlConversionFailure(5, rusqlite::types::Type::Text, error.into()))?,
    })
}

/// Refuses a negative number, which this program never writes, so that a damaged row is noticed.
fn unsigned(column: usize, number: i64) -> rusqlite::Result<u64> {
    u64::try_from(number).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, number))
}

impl From<rusqlite::Error> for NamesError {
    fn from(error: rusqlite::Error) -> Self {
        Self::unavailable(error.to_string())
    }
}

impl From<rusqlite::Error> for SaveError {
    fn from(error: rusqlite::Error) -> Self {
        NamesError::from(error).into()
    }
}
