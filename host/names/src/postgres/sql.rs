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
//! # What a tenant keeps
//!
//! Triggers count rows and bytes in the transaction that changes them, so the count is right whoever writes, a host of
//! the version before included, and nothing is lost with a host. One row for the count of a tenant would be locked by
//! each of its writes until that is on the disk, so that no two could share a flush; so the count is the sum of 32 rows,
//! of which each connection changes the one that the number of its server process selects.
//!
//! The statement that saves reads the sum in its own snapshot, so it does not see what is being written on other
//! connections. That is the whole lag: **a tenant goes beyond its quota by no more than the writes of it that are under
//! way at once**, at most `names.connections` of each host, and the next write sees them all. To close this gap, writes
//! of a tenant would have to wait for each other. A save of a tenant that is far from its quota does not look; see `room`.
//!
//! Names and owners are `bytea`: they are compared byte by byte, whatever the collation of the database, and may
//! contain every character, including NUL. `convert_from(name, 'UTF8')` makes them readable.

/// The server's clock in whole milliseconds since 1970.
const NOW: &str = "floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint";

/// What the tenant `$1` keeps, as `registrations` and `bytes`.
const USED: &str = "SELECT coalesce(sum(registrations), 0)::bigint AS registrations,
    coalesce(sum(bytes), 0)::bigint AS bytes FROM namelock_usage WHERE tenant = $1";

/// What the row `r` counts, see [`Usage`](crate::Usage).
const BYTES: &str = "(128 + octet_length(r.tenant) + octet_length(r.name) + octet_length(r.owner)
    + octet_length(r.attributes))";

/// The texts of the statements.
pub(super) struct Sql {
    /// Saves a registration, if the tenant's quota has room for it. Returns `created_ms` and `expires_ms`, and what the
    /// tenant kept before, or no row if it changed nothing.
    pub(super) save: String,
    /// Saves a registration of a tenant that is far from its quota. Returns `created_ms` and `expires_ms`, or no row if it
    /// changed nothing.
    pub(super) save_in_ample_room: String,
    /// Ends the active registration. Returns a row if there was one.
    pub(super) free: String,
    /// Reads the row of a name, and whether its registration is active now.
    pub(super) row: String,
    /// Reads what a tenant keeps.
    pub(super) usage: String,
    /// Deletes rows of names without an active registration whose retention is over.
    pub(super) purge: String,
}

impl Sql {
    pub(super) fn new() -> Self {
        Self {
            save: save(true),
            save_in_ample_room: save(false),
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
            usage: USED.to_owned(),
            purge: format!(
                "DELETE FROM namelock_registrations WHERE (tenant, name) IN (
                    SELECT tenant, name FROM namelock_registrations WHERE expires_ms <= {NOW} - $1
                    ORDER BY expires_ms LIMIT $2 FOR UPDATE SKIP LOCKED)"
            ),
        }
    }
}

/// Returns the statement that saves, with or without the check of the quota, whose parameters are `$7` to `$9`.
// Keeps P1: the primary key allows one row per (tenant, name), and the row changes only after its registration has ended,
// by the server's clock as read while the row is locked.
// Keeps P6: neither another row nor a longer one is written that the tenant's quota has no room for.
fn save(checks_quota: bool) -> String {
    let (used, has_room, may_replace, returning) = if checks_quota {
        (
            format!("WITH used AS MATERIALIZED ({USED})"),
            ", used WHERE (used.registrations < $7 AND used.bytes + $9 <= $8)
                OR EXISTS (SELECT FROM namelock_registrations WHERE tenant = $1 AND name = $2)",
            format!("AND ($9 <= {BYTES} OR (SELECT used.bytes FROM used) + $9 - {BYTES} <= $8)"),
            ", (SELECT used.registrations FROM used) AS registrations, (SELECT used.bytes FROM used) AS bytes",
        )
    } else {
        Default::default()
    };
    format!(
        "{used}
        INSERT INTO namelock_registrations AS r
            (tenant, name, owner, created_ms, expires_ms, fencing_token, attributes)
        SELECT $1, $2, $3, clock.now, clock.now + $4::bigint, $5, $6
            FROM (SELECT {NOW} AS now OFFSET 0) AS clock {has_room}
        ON CONFLICT (tenant, name) DO UPDATE SET
            owner = excluded.owner, fencing_token = excluded.fencing_token, attributes = excluded.attributes,
            (created_ms, expires_ms) = (SELECT clock.now, clock.now + $4::bigint
                FROM (SELECT greatest(r.expires_ms, {NOW}) AS now OFFSET 0) AS clock)
        WHERE {} AND {} {may_replace}
        RETURNING created_ms, expires_ms {returning}",
        has_ended(),
        is_no_newer_than(5)
    )
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
