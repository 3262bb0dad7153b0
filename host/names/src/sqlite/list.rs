//! Lists in the file: see the crate's `list`.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, params};

use crate::list::{Filling, ListQuery, Page, PageLimits};
use crate::sqlite::rows::registration;

/// The rows of a page: tenant, first name, end of the names, now, how many rows, and of which owner. Which index is read is
/// said, so that no statistics that somebody has made lead to another one.
macro_rules! rows {
    ($index:literal, $and:literal) => {
        concat!(
            "SELECT name, owner, created_ms, expires_ms, fencing_token, attributes, freed_token IS NOT fencing_token
                AND (expires_ms IS NULL OR expires_ms > max(created_ms, ?4))
            FROM registrations ",
            $index,
            " WHERE tenant = ?1 AND name >= ?2 AND name < ?3 ",
            $and,
            " ORDER BY name LIMIT ?5"
        )
    };
}

const BY_NAME: &str = rows!("NOT INDEXED", "");
const BY_OWNER: &str = rows!("INDEXED BY registrations_by_owner", "AND owner = ?6");

/// Lists the registrations that are active at `now`, in milliseconds since 1970.
pub(super) fn list(connection: &Connection, query: &ListQuery, limits: PageLimits, now: i64) -> rusqlite::Result<Page> {
    let (from, to) = query.range();
    // Not always UTF-8, which SQLite compares all the same.
    let [from, to] = [&from, &to].map(|name| rusqlite::types::ToSqlOutput::Borrowed(ValueRef::Text(name)));
    let rows_max = i64::try_from(limits.rows).unwrap_or(i64::MAX);
    let all = params![query.tenant, from, to, now, rows_max];
    let mut statement;
    let mut rows = match &query.owner {
        None => {
            statement = connection.prepare_cached(BY_NAME)?;
            statement.query(all)?
        }
        Some(owner) => {
            statement = connection.prepare_cached(BY_OWNER)?;
            statement.query(&*[all, params![owner]].concat())?
        }
    };
    let mut page = Filling::new(limits);
    let mut read = 0;
    let mut last = None;
    while let Some(row) = rows.next()? {
        read += 1;
        if row.get(6)? {
            if page.is_full() {
                return Ok(page.full());
            }
            page.push(registration(row)?, row.get_ref(5)?.as_str()?.len());
        }
        if read == limits.rows {
            last = Some(row.get(0)?);
        }
    }
    Ok(page.read(last))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::NamesConfig;
    use crate::sqlite::schema;

    #[test]
    fn a_page_reads_only_the_rows_of_its_range_whatever_is_analyzed() {
        let folder = tempfile::tempdir().unwrap();
        let config = NamesConfig {
            busy_timeout: Duration::from_secs(60),
            ..NamesConfig::default()
        };
        let connection = schema::open(&folder.path().join("names.db"), &config).unwrap();
        let fill = "WITH RECURSIVE count(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM count WHERE n < 5000)
            INSERT INTO registrations (tenant, name, owner, created_ms, expires_ms, fencing_token, attributes)
            SELECT 't', n, 'owner ' || (n % 3), 1, NULL, 1, '[]' FROM count";
        connection.execute_batch(fill).unwrap();
        for statistics in ["", "ANALYZE"] {
            connection.execute_batch(statistics).unwrap();
            for (sql, expect) in [
                (
                    BY_NAME,
                    "SEARCH registrations USING PRIMARY KEY (tenant=? AND name>? AND name<?)",
                ),
                (
                    BY_OWNER,
                    "SEARCH registrations USING INDEX registrations_by_owner (tenant=? AND owner=? AND name>? AND name<?)",
                ),
            ] {
                let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
                let count = plan.parameter_count();
                let steps = plan.query_map(rusqlite::params_from_iter(vec!["1"; count]), |row| row.get(3));
                let steps: Vec<String> = steps.unwrap().map(Result::unwrap).collect();
                assert_eq!(steps, [expect]);
            }
        }
    }
}
