//! The statements of a names database in PostgreSQL.
//!
//! # The statement that writes
//!
//! Saving a registration is one statement, so one round trip and one transaction. It inserts the row of the name, or
//! takes over the existing row if its registration has ended and no newer fencing token has written it. Of two writes
//! at once, the second waits at the row until the first has committed, and then looks at the row as it is now:
//!
//! - The clock is the server's, read once the row is held (`clock_timestamp()`, not `now()`, which stands still within
//!   a transaction and would be the time before the wait). A registration begins no earlier than the one before it
//!   ended, even if the clock was set back in between.
//! - The primary key (tenant, name) allows one row, so there are never two registrations. An exclusion constraint over
//!   time ranges would do the same for a table that keeps history, but costs two thirds of the writes.
//! - A statement that changed nothing does not say why. A second one looks, on a snapshot of its own.
//!
//! Names and owners are `bytea`: they are compared byte by byte, whatever the collation of the database, and may
//! contain every character, including NUL. `convert_from(name, 'UTF8')` makes them readable.

/// The server's clock in whole milliseconds since 1970.
const NOW: &str = "floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint";

/// The texts of the statements.
pub(super) struct Sql {
    /// Saves a registration. Returns `created_ms` and `expires_ms`, or no row if it changed nothing.
    pub(super) save: String,
    /// Ends the active registration. Returns a row if there was one.
    pub(super) free: String,
    /// Reads the row of a name, and whether its registration is active now.
    pub(super) row: String,
    /// Deletes rows of names without an active registration whose retention is over.
    pub(super) purge: String,
}

impl Sql {
    pub(super) fn new() -> Self {
        Self {
            // Keeps P1: the primary key allows one row per (tenant, name), and the row changes only after its
            // registration has ended, by the server's clock as read while the row is locked.
            save: format!(
                "INSERT INTO namelock_registrations AS r
                    (tenant, name, owner, created_ms, expires_ms, fencing_token, attributes)
                SELECT $1, $2, $3, clock.now, clock.now + $4::bigint, $5, $6 FROM (SELECT {NOW} AS now OFFSET 0) AS clock
                ON CONFLICT (tenant, name) DO UPDATE SET
                    owner = excluded.owner, fencing_token = excluded.fencing_token, attributes = excluded.attributes,
                    (created_ms, expires_ms) = (SELECT clock.now, clock.now + $4::bigint
                        FROM (SELECT greatest(r.expires_ms, {NOW}) AS now OFFSET 0) AS clock)
                WHERE {} AND {}
                RETURNING created_ms, expires_ms",
                has_ended(),
                is_no_newer_than(5)
            ),
            free: format!(
                "UPDATE namelock_registrations AS r SET expires_ms = greatest(created_ms, {NOW}), fencing_token = $3
                WHERE tenant = $1 AND name = $2 AND {}
                    AND (expires_ms IS NULL OR expires_ms > greatest(created_ms, {NOW}))
                RETURNING true",
                is_no_newer_than(3)
            ),
            row: format!(
                "SELECT name, owner, created_ms, expires_ms, fencing_token, attributes,
                    expires_ms IS NULL OR expires_ms > greatest(created_ms, {NOW}) AS active
                FROM namelock_registrations WHERE tenant = $1 AND name = $2"
            ),
            purge: format!(
                "DELETE FROM namelock_registrations WHERE (tenant, name) IN (
                    SELECT tenant, name FROM namelock_registrations WHERE expires_ms <= {NOW} - $1
                    ORDER BY expires_ms LIMIT $2 FOR UPDATE SKIP LOCKED)"
            ),
        }
    }
}

/// Returns the condition that the registration in the row has ended.
fn has_ended() -> String {
    if cfg!(feature = "without-arbitration") {
        "true".to_owned()
    } else {
        format!("r.expires_ms <= greatest(r.created_ms, {NOW})")
    }
}

/// Returns the condition that no newer lease has written the row; `parameter` is the number of the token's parameter.
fn is_no_newer_than(parameter: u8) -> String {
    if cfg!(feature = "without-fencing") {
        "true".to_owned()
    } else {
        format!("r.fencing_token <= ${parameter}")
    }
}
