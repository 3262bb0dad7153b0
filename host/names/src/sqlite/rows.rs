//! How rows are read: the clock, the active registration of a name, and what becomes of SQLite's errors.

use namelock_types::FencingToken;
use rusqlite::{Connection, OptionalExtension, Row, named_params};

use crate::error::{NamesError, SaveError};
use crate::registration::Registration;

/// SQLite's clock in whole milliseconds since 1970.
const NOW: &str = "SELECT CAST(round(unixepoch('subsec') * 1000) AS INTEGER)";

const ROW: &str = "
    SELECT name, owner, created_ms, expires_ms, fencing_token, attributes FROM registrations
    WHERE tenant = :tenant AND name = :name AND (expires_ms IS NULL OR expires_ms > max(created_ms, :now))";

/// Reads SQLite's clock, in milliseconds since 1970.
pub(super) fn now_ms(connection: &Connection) -> rusqlite::Result<i64> {
    connection.prepare_cached(NOW)?.query_row([], |row| row.get(0))
}

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
