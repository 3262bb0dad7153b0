//! Lists in a server: see the crate's `list`.
//!
//! The whole page is one statement, so one snapshot: first the active registrations among the first rows of the range, and
//! if they do not fill the page, the name of the last of these rows, unless the range ends before it. Owner and name
//! are compared as one, which only the index can do that has them in this order: the one by names has all names of an owner
//! in order too, and would be read from the first to the last of a tenant.

use tokio_postgres::Row;

use crate::error::NamesError;
use crate::list::{Filling, ListQuery, Page, PageLimits};
use crate::postgres::rows::{listed, read_to};
use crate::postgres::server::{Server, unavailable};
use crate::postgres::statement::{Work, parameters};

/// Lists the registrations that are active now.
pub(super) async fn list(server: &Server, query: &ListQuery, limits: PageLimits) -> Result<Page, NamesError> {
    let (from, to) = query.range();
    let stored = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let (rows, bytes) = (stored(limits.rows), stored(limits.bytes));
    // One more, to see whether there are others.
    let registrations = stored(limits.registrations).saturating_add(1);
    let mut all = parameters![query.tenant.clone(), from, to, server.now(), rows, registrations, bytes,];
    let sql = match &query.owner {
        None => &server.sql.list,
        Some(owner) => {
            all.extend(parameters![owner.clone().into_bytes()]);
            &server.sql.list_of_owner
        }
    };
    let answer = server.ask_one(&query.tenant, Work::Read, sql, all).await;
    page(limits, &answer.map_err(unavailable)?.rows)
}

fn page(limits: PageLimits, rows: &[Row]) -> Result<Page, NamesError> {
    let mut page = Filling::new(limits);
    for row in rows {
        let Some((registration, attribute_bytes)) = listed(row)? else {
            // Where nothing more was returned because of the bytes, there may be more of the rows that were read.
            return if page.is_too_long() {
                Ok(page.full())
            } else {
                Ok(page.read(read_to(row)?))
            };
        };
        if page.is_full() {
            return Ok(page.full());
        }
        page.push(registration, attribute_bytes);
    }
    Ok(page.full())
}
