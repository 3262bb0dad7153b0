//! Whole rows in a PostgreSQL server.

use std::error::Error;

use namelock_types::{FencingToken, error_chain};
use tokio_postgres::{Client, Row};

use super::record::{PAGE_MAX, PAGE_TIMEOUT, Record, greatest_token, stored_time, used_key};
use crate::config::NamesConfig;
use crate::error::{NamesError, OpenError, SaveError};
use crate::postgres::session::Session;
use crate::postgres::{PLANNING, USED, is_used_key, tls, usage};
use crate::quota::Usage;
use crate::registration::Registration;
use crate::request::RequestKey;
use crate::rules::{stored_attributes, stored_token};

/// What time it is by the server: as it counts on from what hosts have kept.
const NOW: &str =
    "SELECT greatest(time_ms, time_ms + floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint - server_ms)
    AS now_ms FROM namelock_clock";

/// Reads rows: tenant, the name before the first, now, how many.
const READ: &str = "
    SELECT name, owner, created_ms, greatest(created_ms, expires_ms) AS ends_ms, expires_ms IS NULL AS is_endless,
        fencing_token, attributes, coalesce(hold_ms, 0) AS hold_ms,
        coalesce(freed_token = fencing_token, false)
            OR coalesce(greatest(created_ms, expires_ms) <= greatest(created_ms, $3), false) AND expires_ms IS NOT NULL
            AS ended,
        request_key, request_fingerprint, update_key, update_fingerprint
    FROM namelock_registrations WHERE tenant = $1 AND name > $2 ORDER BY name LIMIT $4";

/// Puts rows of the tenant `$1`, each with the rest of its columns in one place of the arrays, whose extras are their own: the
/// trigger that forgets those of another registration has nothing to do.
const PUT: &str = "
    INSERT INTO namelock_registrations AS r (tenant, name, owner, created_ms, expires_ms, fencing_token, freed_token,
        attributes, extras_token, hold_ms, request_key, request_fingerprint, update_key, update_fingerprint)
    SELECT $1, name, owner, created_ms, expires_ms, token, CASE WHEN ended THEN token END, attributes, token, hold_ms,
        request_key, request_fingerprint, update_key, update_fingerprint
    FROM unnest($2::bytea[], $3::bytea[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bool[], $8::text[], $9::bigint[],
        $10::bytea[], $11::bytea[], $12::bytea[], $13::bytea[])
        AS new (name, owner, created_ms, expires_ms, token, ended, attributes, hold_ms, request_key, request_fingerprint,
            update_key, update_fingerprint)
    ON CONFLICT (tenant, name) DO UPDATE SET owner = excluded.owner, created_ms = excluded.created_ms,
        expires_ms = excluded.expires_ms, fencing_token = excluded.fencing_token, freed_token = excluded.freed_token,
        attributes = excluded.attributes, extras_token = excluded.extras_token, hold_ms = excluded.hold_ms,
        request_key = excluded.request_key, request_fingerprint = excluded.request_fingerprint,
        update_key = excluded.update_key, update_fingerprint = excluded.update_fingerprint
    WHERE r.fencing_token < excluded.fencing_token";

const REMOVE: &str = "
    DELETE FROM namelock_registrations WHERE tenant = $1 AND name = ANY (ARRAY(
        SELECT name FROM namelock_registrations WHERE tenant = $1 ORDER BY name LIMIT $2))";

const RAISE: &str = "
    INSERT INTO namelock_lock_epochs AS e (server, first, last, placed) VALUES ('', 0, $1, 0)
    ON CONFLICT (server) DO UPDATE SET last = greatest(e.last, excluded.last)";

#[derive(Debug)]
pub(super) struct Records {
    client: Client,
    now_ms: i64,
}

impl Records {
    pub(super) async fn open(url: &str, shown: &str, config: &NamesConfig) -> Result<Self, OpenError> {
        let refused = |problem: String| OpenError::Server {
            url: shown.to_owned(),
            problem,
        };
        let server = url.parse().map_err(|error| refused(error_chain(&error)))?;
        let session = Session {
            application: "namelock names",
            timeout: PAGE_TIMEOUT,
            connect_timeout: config.connect_timeout,
            options: PLANNING,
        };
        let connector = tls::connector(config.tls_roots.as_deref()).map_err(OpenError::Tls)?;
        let connected = session.configure(server).connect(connector).await;
        let (client, connection) = connected.map_err(|error| refused(error_chain(&error)))?;
        // It ends with the client, which learns from its own questions what has gone wrong.
        tokio::spawn(connection);
        Ok(Self { client, now_ms: 0 })
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) async fn begin(&mut self) -> Result<i64, NamesError> {
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
        self.client.batch_execute(begin).await.map_err(unavailable)?;
        let row = self.client.query_opt(NOW, &[]).await.map_err(unavailable)?;
        let row = row.ok_or_else(|| NamesError::unavailable("its time is not known: no host has used it yet"))?;
        self.now_ms = row.try_get("now_ms").map_err(unavailable)?;
        Ok(self.now_ms)
    }

    pub(super) async fn read(&self, tenant: &str, after: &str, rows: usize) -> Result<Vec<Record>, NamesError> {
        let most = rows as i64;
        let rows = self
            .client
            .query(READ, &[&tenant, &after.as_bytes(), &self.now_ms, &most])
            .await
            .map_err(unavailable)?;
        let records: Result<_, _> = rows.iter().map(record).collect();
        records
            .map_err(|error| NamesError::unavailable(format!("it holds a row that this program never writes: {error}")))
    }

    pub(super) async fn end(&self) -> Result<(), NamesError> {
        self.client.batch_execute("COMMIT").await.map_err(unavailable)
    }

    pub(super) async fn put(&mut self, tenant: &str, records: &[Record]) -> Result<u64, SaveError> {
        let columns = Columns::of(records)?;
        let greatest = greatest_token(records);
        let transaction = self.client.transaction().await.map_err(unavailable)?;
        let put = transaction
            .execute(
                PUT,
                &[
                    &tenant,
                    &columns.names,
                    &columns.owners,
                    &columns.created_ms,
                    &columns.expires_ms,
                    &columns.tokens,
                    &columns.ended,
                    &columns.attributes,
                    &columns.hold_ms,
                    &columns.saved_by.0,
                    &columns.saved_by.1,
                    &columns.changed_by.0,
                    &columns.changed_by.1,
                ],
            )
            .await;
        let written = put.map_err(|error| match is_used_key(&error) {
            true => used_key(),
            false => unavailable(error).into(),
        })?;
        transaction.execute(RAISE, &[&greatest]).await.map_err(unavailable)?;
        transaction.commit().await.map_err(unavailable)?;
        Ok(written)
    }

    pub(super) async fn remove(&self, tenant: &str) -> Result<u64, NamesError> {
        let most = PAGE_MAX as i64;
        self.client
            .execute(REMOVE, &[&tenant, &most])
            .await
            .map_err(unavailable)
    }

    pub(super) async fn usage(&self, tenant: &str) -> Result<Usage, NamesError> {
        let row = self.client.query_one(USED, &[&tenant]).await.map_err(unavailable)?;
        usage(&row)
    }

    pub(super) async fn placed(&self) -> Result<i64, NamesError> {
        let placed = "SELECT coalesce(max(placed), 0) AS placed FROM namelock_lock_epochs";
        let row = self.client.query_one(placed, &[]).await.map_err(unavailable)?;
        row.try_get("placed").map_err(unavailable)
    }
}

/// A column for the digests of keys, and one for those of what was asked.
type Digests<'a> = (Vec<Option<&'a [u8]>>, Vec<Option<&'a [u8]>>);

/// Records, column by column.
#[derive(Default)]
struct Columns<'a> {
    names: Vec<&'a [u8]>,
    owners: Vec<&'a [u8]>,
    created_ms: Vec<i64>,
    expires_ms: Vec<Option<i64>>,
    tokens: Vec<i64>,
    ended: Vec<bool>,
    attributes: Vec<String>,
    hold_ms: Vec<Option<i64>>,
    saved_by: Digests<'a>,
    changed_by: Digests<'a>,
}

impl<'a> Columns<'a> {
    fn of(records: &'a [Record]) -> Result<Self, SaveError> {
        let mut columns = Self::default();
        for record in records {
            let registration = &record.registration;
            columns.names.push(registration.name.as_bytes());
            columns.owners.push(registration.owner.as_bytes());
            columns.created_ms.push(stored_time(registration.created_ms)?);
            columns
                .expires_ms
                .push(registration.expires_ms.map(stored_time).transpose()?);
            columns.tokens.push(stored_token(registration.fencing_token)?);
            columns.ended.push(record.ended);
            columns.attributes.push(stored_attributes(&registration.attributes)?);
            let hold_ms = stored_time(record.hold_ms)?;
            columns.hold_ms.push((hold_ms > 0).then_some(hold_ms));
            let digests = [
                (&mut columns.saved_by, &record.saved_by),
                (&mut columns.changed_by, &record.changed_by),
            ];
            for ((keys, fingerprints), request) in digests {
                let request = request.as_ref();
                keys.push(request.map(|request| request.key.as_slice()));
                fingerprints.push(request.map(|request| request.fingerprint.as_slice()));
            }
        }
        Ok(columns)
    }
}

fn record(row: &Row) -> Result<Record, Box<dyn Error + Send + Sync>> {
    let key = |key: &str, fingerprint: &str| -> Result<Option<RequestKey>, Box<dyn Error + Send + Sync>> {
        let key: Option<&[u8]> = row.try_get(key)?;
        let fingerprint: Option<&[u8]> = row.try_get(fingerprint)?;
        Ok(match key.zip(fingerprint) {
            Some((key, fingerprint)) => Some(RequestKey {
                key: key.try_into()?,
                fingerprint: fingerprint.try_into()?,
            }),
            None => None,
        })
    };
    let ends_ms: u64 = row.try_get::<_, i64>("ends_ms")?.try_into()?;
    let is_endless: bool = row.try_get("is_endless")?;
    Ok(Record {
        registration: Registration {
            name: String::from_utf8(row.try_get("name")?)?,
            owner: String::from_utf8(row.try_get("owner")?)?,
            created_ms: row.try_get::<_, i64>("created_ms")?.try_into()?,
            expires_ms: (!is_endless).then_some(ends_ms),
            fencing_token: FencingToken::new(row.try_get::<_, i64>("fencing_token")?.try_into()?),
            attributes: serde_json::from_str(row.try_get("attributes")?)?,
        },
        ended: row.try_get("ended")?,
        hold_ms: row.try_get::<_, i64>("hold_ms")?.try_into()?,
        saved_by: key("request_key", "request_fingerprint")?,
        changed_by: key("update_key", "update_fingerprint")?,
    })
}

fn unavailable(error: tokio_postgres::Error) -> NamesError {
    NamesError::unavailable(error_chain(&error))
}
