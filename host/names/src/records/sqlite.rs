//! Whole rows in an SQLite file.

use std::path::Path;

use namelock_types::FencingToken;
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, ffi, params};

use super::record::{PAGE_MAX, Record, greatest_token, stored_time, used_key};
use crate::config::NamesConfig;
use crate::error::{OpenError, SaveError};
use crate::quota::Usage;
use crate::registration::Registration;
use crate::request::RequestKey;
use crate::rules::{stored_attributes, stored_token};
use crate::sqlite::{Machine, open_file, usage};

/// Reads rows: tenant, the name before the first, now, how many.
const READ: &str = "
    SELECT name, owner, created_ms, max(created_ms, expires_ms), fencing_token, attributes,
        coalesce(freed_token IS fencing_token OR max(created_ms, expires_ms) <= max(created_ms, ?3), false),
        coalesce(hold_ms, 0), request_key, request_fingerprint, update_key, update_fingerprint
    FROM registrations WHERE tenant = ?1 AND name > ?2 ORDER BY name LIMIT ?4";

/// Puts a row, whose extras are its own: the trigger that forgets those of another registration has nothing to do.
const PUT: &str = "
    INSERT INTO registrations (tenant, name, owner, created_ms, expires_ms, fencing_token, freed_token, attributes,
        extras_token, hold_ms, request_key, request_fingerprint, update_key, update_fingerprint)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?6, ?9, ?10, ?11, ?12, ?13)
    ON CONFLICT (tenant, name) DO UPDATE SET owner = ?3, created_ms = ?4, expires_ms = ?5, fencing_token = ?6,
        freed_token = ?7, attributes = ?8, extras_token = ?6, hold_ms = ?9, request_key = ?10,
        request_fingerprint = ?11, update_key = ?12, update_fingerprint = ?13
    WHERE registrations.fencing_token < ?6";

const REMOVE: &str = "
    DELETE FROM registrations WHERE tenant = ?1 AND name IN (
        SELECT name FROM registrations WHERE tenant = ?1 ORDER BY name LIMIT ?2)";

const RAISE: &str = "
    INSERT INTO lock_epochs (server, first, last, placed) VALUES ('', 0, ?1, 0)
    ON CONFLICT (server) DO UPDATE SET last = max(last, excluded.last)";

#[derive(Debug)]
pub(super) struct Records {
    connection: Connection,
    now_ms: i64,
}

impl Records {
    pub(super) fn open(path: &Path, config: &NamesConfig) -> Result<Self, OpenError> {
        Ok(Self {
            connection: open_file(path, config)?,
            now_ms: 0,
        })
    }

    pub(super) fn begin(&mut self) -> rusqlite::Result<i64> {
        self.connection.execute_batch("BEGIN")?;
        self.now_ms = Machine::this().time_ms(&self.connection)?.0;
        Ok(self.now_ms)
    }

    pub(super) fn read(&self, tenant: &str, after: &str, rows: usize) -> rusqlite::Result<Vec<Record>> {
        let mut statement = self.connection.prepare_cached(READ)?;
        let rows = statement.query_map(params![tenant, after, self.now_ms, rows as i64], record)?;
        rows.collect()
    }

    pub(super) fn end(&self) -> rusqlite::Result<()> {
        self.connection.execute_batch("COMMIT")
    }

    // Keeps P2: the file is opened as that of the writer is, so a commit flushes it.
    pub(super) fn put(&mut self, tenant: &str, records: &[Record]) -> Result<u64, SaveError> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut written = 0;
        {
            let mut put = transaction.prepare_cached(PUT)?;
            for record in records {
                let registration = &record.registration;
                let token = stored_token(registration.fencing_token)?;
                let keys = [record.saved_by, record.changed_by];
                let [saved, changed] = keys.map(|key| key.map(|key| (key.key, key.fingerprint)).unzip());
                let done = put.execute(params![
                    tenant,
                    registration.name,
                    registration.owner,
                    stored_time(registration.created_ms)?,
                    registration.expires_ms.map(stored_time).transpose()?,
                    token,
                    record.ended.then_some(token),
                    stored_attributes(&registration.attributes)?,
                    Some(stored_time(record.hold_ms)?).filter(|hold_ms| *hold_ms > 0),
                    saved.0,
                    saved.1,
                    changed.0,
                    changed.1,
                ]);
                written += done.map_err(|error| match error.sqlite_error() {
                    Some(failure) if failure.extended_code == ffi::SQLITE_CONSTRAINT_UNIQUE => used_key(),
                    _ => error.into(),
                })?;
            }
            transaction.prepare_cached(RAISE)?.execute([greatest_token(records)])?;
        }
        transaction.commit()?;
        Ok(written as u64)
    }

    pub(super) fn remove(&mut self, tenant: &str) -> rusqlite::Result<u64> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let removed = transaction.execute(REMOVE, params![tenant, PAGE_MAX as i64])?;
        transaction.commit()?;
        Ok(removed as u64)
    }

    pub(super) fn usage(&self, tenant: &str) -> rusqlite::Result<Usage> {
        usage(&self.connection, tenant)
    }

    pub(super) fn placed(&self) -> rusqlite::Result<i64> {
        let placed = "SELECT max(placed) FROM lock_epochs";
        let placed = self
            .connection
            .query_row(placed, [], |row| row.get::<_, Option<i64>>(0));
        Ok(placed.optional()?.flatten().unwrap_or(0))
    }
}

fn record(row: &Row<'_>) -> rusqlite::Result<Record> {
    let unsigned = |column: usize| {
        let number: i64 = row.get(column)?;
        u64::try_from(number).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, number))
    };
    let key = |column: usize| {
        let key: Option<[u8; 16]> = row.get(column)?;
        let fingerprint: Option<[u8; 16]> = row.get(column + 1)?;
        let both = key.zip(fingerprint);
        Ok::<_, rusqlite::Error>(both.map(|(key, fingerprint)| RequestKey { key, fingerprint }))
    };
    let expires: Option<i64> = row.get(3)?;
    Ok(Record {
        registration: Registration {
            name: row.get(0)?,
            owner: row.get(1)?,
            created_ms: unsigned(2)?,
            expires_ms: expires.map(|_| unsigned(3)).transpose()?,
            fencing_token: FencingToken::new(unsigned(4)?),
            attributes: serde_json::from_str(row.get_ref(5)?.as_str()?).map_err(|error| {
                rusqlite::Error::FromSqlConversionFailure(5, rusqlite::types::Type::Text, error.into())
            })?,
        },
        ended: row.get(6)?,
        hold_ms: unsigned(7)?,
        saved_by: key(8)?,
        changed_by: key(10)?,
    })
}
