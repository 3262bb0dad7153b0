//! How rows are read: the row of a name, what a tenant keeps, and what becomes of SQLite's errors.

use namelock_types::FencingToken;
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::error::{NamesError, SaveError};
use crate::past_request::PastRequest;
use crate::quota::Usage;
use crate::registration::{Registration, Save};
use crate::request::RequestKey;
use crate::rules::refusal;

/// The active registration of a name: tenant, name, now.
const ACTIVE: &str = "
    SELECT name, owner, created_ms, expires_ms, fencing_token, attributes FROM registrations
    WHERE tenant = ?1 AND name = ?2 AND freed_token IS NOT fencing_token
        AND (expires_ms IS NULL OR expires_ms > max(created_ms, ?3))";

/// The row of a name, active or not.
const ROW: &str = "
    SELECT name, owner, created_ms, expires_ms, fencing_token, attributes, freed_token IS NOT fencing_token
        AND (expires_ms IS NULL OR expires_ms > max(created_ms, ?3)), hold_ms
    FROM registrations WHERE tenant = ?1 AND name = ?2";

/// The rows that a request has saved or changed: tenant, key. The plus keeps the primary key from being used.
const REQUEST: &str = "
    SELECT name, owner, created_ms, expires_ms, fencing_token, attributes, request_fingerprint
    FROM registrations WHERE +tenant = ?1 AND request_key = ?2
    UNION ALL
    SELECT name, owner, created_ms, expires_ms, fencing_token, attributes, update_fingerprint
    FROM registrations WHERE +tenant = ?1 AND update_key = ?2";

/// The row of a name.
pub(super) struct NameRow {
    pub(super) registration: Registration,
    pub(super) active: bool,
    /// What the row counts.
    pub(super) usage: Usage,
    /// For how long it is held after its end, in milliseconds.
    hold_ms: Option<i64>,
}

impl NameRow {
    /// Returns why the row cannot be changed by a save.
    pub(super) fn refuses(self, save: &Save, now: i64) -> Option<SaveError> {
        refusal(save, self.registration, self.active, self.hold_ms, now)
    }
}

/// Finds the registration that is active at `now`, in milliseconds since 1970.
pub(super) fn active(
    connection: &Connection,
    tenant: &str,
    name: &str,
    now: i64,
) -> rusqlite::Result<Option<Registration>> {
    let mut statement = connection.prepare_cached(ACTIVE)?;
    statement.query_row(params![tenant, name, now], registration).optional()
}

/// Reads the row of a name.
pub(super) fn name_row(
    connection: &Connection,
    tenant: &str,
    name: &str,
    now: i64,
) -> rusqlite::Result<Option<NameRow>> {
    let mut statement = connection.prepare_cached(ROW)?;
    let row = statement.query_row(params![tenant, name, now], |row| {
        let registration = registration(row)?;
        let attributes = row.get_ref(5)?.as_str()?;
        Ok(NameRow {
            usage: Usage::of_row(tenant, name, &registration.owner, attributes),
            registration,
            active: row.get(6)?,
            hold_ms: row.get(7)?,
        })
    });
    row.optional()
}

/// Finds what the first request with this key has saved or changed.
pub(super) fn find_request(
    connection: &Connection,
    tenant: &str,
    request: &RequestKey,
) -> rusqlite::Result<PastRequest> {
    let mut statement = connection.prepare_cached(REQUEST)?;
    let found = statement.query_map(params![tenant, request.key], |row| {
        Ok((row.get(6)?, registration(row)?))
    })?;
    Ok(PastRequest::judge(request, found.collect::<rusqlite::Result<_>>()?))
}

/// Reads what a tenant keeps.
pub(crate) fn usage(connection: &Connection, tenant: &str) -> rusqlite::Result<Usage> {
    let usage = connection
        .prepare_cached("SELECT registrations, bytes FROM usage WHERE tenant = ?")?
        .query_row([tenant], |row| Ok(Usage::from_signed(row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(usage.unwrap_or_default())
}

/// Reads a registration from the columns name, owner, created_ms, expires_ms, fencing_token, attributes, in this order.
pub(super) fn registration(row: &Row<'_>) -> rusqlite::Result<Registration> {
    let attributes = row.get_ref(5)?.as_str()?;
    Ok(Registration {
        name: row.get(0)?,
        owner: row.get(1)?,
        created_ms: unsigned(2, row.get(2)?)?,
        expires_ms: row.get::<_, Option<i64>>(3)?.map(|at| unsigned(3, at)).transpose()?,
        fencing_token: FencingToken::new(unsigned(4, row.get(4)?)?),
        attributes: serde_json::from_str(attributes)
            .map_err(|error| rusqlite::Error::FromSqlConversionFailure(5, rusqlite::types::Type::Text, error.into()))?,
    })
}

/// Reads when a registration begins and ends.
pub(super) fn times(row: &Row<'_>) -> rusqlite::Result<(u64, Option<u64>)> {
    let ends: Option<i64> = row.get(1)?;
    Ok((unsigned(0, row.get(0)?)?, ends.map(|at| unsigned(1, at)).transpose()?))
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
