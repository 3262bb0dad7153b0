//! How rows are read.

use std::error::Error;

use namelock_types::FencingToken;
use tokio_postgres::Row;

use crate::error::{NamesError, SaveError};
use crate::past_request::PastRequest;
use crate::quota::Usage;
use crate::registration::{Registration, Save};
use crate::request::RequestKey;
use crate::rules::refusal;
use crate::sweep::Swept;

/// When a registration begins and ends, in milliseconds since 1970; none: it does not end by itself.
pub(super) type Times = (u64, Option<u64>);

/// The row of a name: its registration, and whether that is active now.
#[derive(Clone)]
pub(super) struct NameRow {
    pub(super) registration: Registration,
    pub(super) active: bool,
    /// What the row counts.
    pub(super) usage: Usage,
    /// The time when it was read, and for how long it is held after its end.
    now_ms: i64,
    hold_ms: Option<i64>,
}

impl NameRow {
    /// Returns why the row cannot be changed by a save.
    pub(super) fn refuses(self, save: &Save) -> Option<SaveError> {
        refusal(save, self.registration, self.active, self.hold_ms, self.now_ms)
    }
}

/// Reads the row of a name of a tenant.
pub(super) fn name_row(tenant: &str, row: &Row) -> Result<NameRow, NamesError> {
    let read = || -> Result<NameRow, Box<dyn Error + Send + Sync>> {
        let registration = read_registration(row)?;
        let attributes: &str = row.try_get("attributes")?;
        Ok(NameRow {
            usage: Usage::of_row(tenant, &registration.name, &registration.owner, attributes),
            registration,
            active: row.try_get("active")?,
            now_ms: row.try_get("now_ms")?,
            hold_ms: row.try_get("hold_ms")?,
        })
    };
    read().map_err(foreign)
}

/// Reads a registration.
pub(super) fn registration(row: &Row) -> Result<Registration, NamesError> {
    read_registration(row).map_err(foreign)
}

fn read_registration(row: &Row) -> Result<Registration, Box<dyn Error + Send + Sync>> {
    let (created_ms, expires_ms) = read_times(row)?;
    Ok(Registration {
        name: String::from_utf8(row.try_get("name")?)?,
        owner: String::from_utf8(row.try_get("owner")?)?,
        created_ms,
        expires_ms,
        fencing_token: FencingToken::new(row.try_get::<_, i64>("fencing_token")?.try_into()?),
        attributes: serde_json::from_str(row.try_get("attributes")?)?,
    })
}

fn foreign(error: Box<dyn Error + Send + Sync>) -> NamesError {
    NamesError::unavailable(format!("it holds a row that this program never writes: {error}"))
}

/// Reads what the rows that know a key say of it.
pub(super) fn past_request(request: &RequestKey, rows: &[Row]) -> Result<PastRequest, NamesError> {
    let read = |row: &Row| Ok((row.try_get("fingerprint")?, read_registration(row)?));
    let found: Result<_, Box<dyn Error + Send + Sync>> = rows.iter().map(read).collect();
    Ok(PastRequest::judge(request, found.map_err(foreign)?))
}

/// Reads a registration of a list, and how many bytes its attributes are as they are stored; none: the row says how far was
/// read.
pub(super) fn listed(row: &Row) -> Result<Option<(Registration, usize)>, NamesError> {
    let read = || -> Result<_, Box<dyn Error + Send + Sync>> {
        let attributes: Option<&str> = row.try_get("attributes")?;
        attributes
            .map(|attributes| Ok((read_registration(row)?, attributes.len())))
            .transpose()
    };
    read().map_err(foreign)
}

/// Reads the name up to which a list was read; none: to its end.
pub(super) fn read_to(row: &Row) -> Result<Option<String>, NamesError> {
    let read = || -> Result<_, Box<dyn Error + Send + Sync>> {
        let name: Option<Vec<u8>> = row.try_get("name")?;
        Ok(name.map(String::from_utf8).transpose()?)
    };
    read().map_err(foreign)
}

/// Reads what a purge did.
pub(super) fn swept(row: &Row) -> Result<Swept, tokio_postgres::Error> {
    Ok(Swept {
        read: row.try_get("read")?,
        last_ms: row.try_get("last_ms")?,
        deleted: row.try_get("deleted")?,
    })
}

/// Reads what a tenant keeps, from the columns `registrations` and `bytes`.
pub(crate) fn usage(row: &Row) -> Result<Usage, NamesError> {
    let read = || Ok(Usage::from_signed(row.try_get("registrations")?, row.try_get("bytes")?));
    read().map_err(|error: tokio_postgres::Error| {
        NamesError::unavailable(format!("it returned counts that cannot be read: {error}"))
    })
}

/// Reads when a registration that was just saved begins and ends.
pub(super) fn times(row: &Row) -> Result<Times, NamesError> {
    read_times(row).map_err(unreadable)
}

/// Reads the name of a registration that was just saved, and its times.
pub(super) fn saved(row: &Row) -> Result<(String, Times), NamesError> {
    let read = || Ok((String::from_utf8(row.try_get("name")?)?, read_times(row)?));
    read().map_err(unreadable)
}

fn unreadable(error: Box<dyn Error + Send + Sync>) -> NamesError {
    NamesError::unavailable(format!("it returned times that cannot be read: {error}"))
}

fn read_times(row: &Row) -> Result<Times, Box<dyn Error + Send + Sync>> {
    let expires_ms: Option<i64> = row.try_get("expires_ms")?;
    Ok((
        row.try_get::<_, i64>("created_ms")?.try_into()?,
        expires_ms.map(u64::try_from).transpose()?,
    ))
}
