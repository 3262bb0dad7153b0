//! The statements of a names database in PostgreSQL.
//!
//! # The statement that writes
//!
//! Saving a registration is one statement, so one round trip and one transaction. It inserts the row of the name, or
//! takes over the existing row if its registration has ended and no newer fencing token has written it. Of two writes
//! at once, the second waits at the row until the first has committed, and then looks at the row as it is now:
//!
//! - The time is database time, see `time`: as it was when the statement was sent, plus what has passed in the server
//!   since it got the statement, read once the row is held. A registration begins no earlier than the one before it ended.
//! - The primary key (tenant, name) allows one row, so there are never two registrations. An exclusion constraint over
//!   time ranges would do the same for a table that keeps history, but costs two thirds of the writes.
//! - A statement that changed nothing does not say why. A second one looks, on a snapshot of its own.
//!
//! # A write that comes too late
//!
//! A statement that writes says how long its lease lasts from when it is sent. It may then wait in the server, for a row
//! or for another one of its tenant's that is being inserted. Whatever it waited for, once the row is written and before
//! the transaction commits, `RETURNING` looks how long that took: if it took longer than the lease lasts, it raises an
//! error, and nothing was written. A condition of the statement would be looked at too early: PostgreSQL evaluates that
//! of an `UPDATE` again only if the row has changed while it waited, and that of an `INSERT … SELECT` never. What is left
//! is the wait for the counts of the tenant and for the disk; statement_timeout bounds the first.
//!
//! It may also have been on its way for long, in a network that delays it or in the buffer of a server that stood still,
//! and the host cannot call it back. So the time at which it was sent is compared with database time as the server
//! counts it on from what was kept last, and again it is refused if the lease was over by then. Hosts may differ from what
//! is kept by a fraction of a second, which is allowed for. After a step of the server's clock ahead, writes are refused
//! until the next time is kept, a second later at most.
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

use crate::config::PURGE_ROWS_MAX;
use namelock_types::{Safety, is_removed};

/// The server's clock in whole milliseconds since 1970.
const SERVER: &str = "floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint";

/// How many milliseconds the statement has been in the server.
const ELAPSED: &str = "floor(extract(epoch FROM clock_timestamp() - statement_timestamp()) * 1000)::bigint";

/// Database time as the server counts it on from what was kept last; none before any was kept.
const COUNTED_ON: &str = "(SELECT c.time_ms + floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint - c.server_ms
    FROM namelock_clock AS c)";

/// How far a host may be behind the time that is kept, in milliseconds: what another keeps it takes over within a second, and
/// in that time two of them drift apart by less than this.
const BEHIND_MS: i64 = 500;

/// The SQLSTATE of a write whose lease has ended while it waited in the server; see migration 3.
const TOO_LATE: &str = "NL001";

/// How far a host must be ahead of the time that is kept to keep its own, in milliseconds: a fleet keeps it twice a
/// second, however many hosts it has.
const KEPT_AHEAD_MS: i64 = 500;

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
    /// Deletes rows of names without an active registration that ended at `$1` or earlier.
    pub(super) purge: String,
    /// Reads the time that is kept, and the server's clock then and now.
    pub(super) look: String,
    /// Keeps a first time: the server's.
    pub(super) begin_time: String,
    /// Keeps the time `$1`, as a jump if `$2` with the retention `$3`, unless a later one or about the same is kept. Returns
    /// the time that is kept then, and the server's clock.
    pub(super) keep_time: String,
    /// Gives the lock server `$1` an epoch at `$2` nanoseconds of database time, at least `$3` above the greatest.
    pub(super) begin_epoch: String,
    /// Reads what is known of the epochs of the lock server `$1`.
    pub(super) epochs: String,
    /// Records the epoch `$2` of the lock server `$1`.
    pub(super) record_epoch: String,
}

/// Returns whether a write was refused because its lease had ended while it waited in the server.
pub(super) fn is_too_late(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|state| state.code() == TOO_LATE)
}

impl Sql {
    /// `timeout_ms` is how long a statement may take in the server.
    pub(super) fn new(timeout_ms: i64) -> Self {
        let now = |parameter| now(parameter, timeout_ms);
        Self {
            save: save(true, timeout_ms),
            save_in_ample_room: save(false, timeout_ms),
            free: format!(
                "UPDATE namelock_registrations AS r
                SET expires_ms = greatest(created_ms, {now}), fencing_token = $3, freed_token = $3
                WHERE tenant = $1 AND name = $2 AND {} AND {}
                RETURNING {}",
                is_no_newer_than(3),
                is_active(&now(4)),
                is_in_time(5, 4),
                now = now(4),
            ),
            row: format!(
                "SELECT name, owner, created_ms, expires_ms, fencing_token, attributes, {} AS active
                FROM namelock_registrations AS r WHERE tenant = $1 AND name = $2",
                is_active(&now(3)),
            ),
            usage: USED.to_owned(),
            // By the places of the rows: no plan for that reads other rows than these, whatever the server's statistics say.
            purge: format!(
                "DELETE FROM namelock_registrations WHERE ctid = ANY (ARRAY(
                    SELECT ctid FROM namelock_registrations WHERE expires_ms <= $1
                    ORDER BY expires_ms LIMIT {PURGE_ROWS_MAX} FOR UPDATE SKIP LOCKED))"
            ),
            look: format!("SELECT time_ms, server_ms AS server_then_ms, {SERVER} AS server_ms FROM namelock_clock"),
            begin_time: format!(
                "INSERT INTO namelock_clock (time_ms, server_ms, steady_since_ms, jumped_ms)
                SELECT now, now, now, now FROM (SELECT {SERVER} AS now OFFSET 0) AS clock ON CONFLICT DO NOTHING"
            ),
            // Whether this reaches the disk, or a standby that is away, is not waited for: as much as was kept in the last
            // second is not known to others anyway.
            keep_time: format!(
                "WITH kept AS (
                    UPDATE namelock_clock AS c SET
                        time_ms = $1::bigint, server_ms = {SERVER},
                        steady_since_ms = CASE WHEN $2 THEN $1 ELSE steady_since_ms END,
                        jumped_ms = CASE WHEN NOT $2 THEN jumped_ms
                            WHEN time_ms - steady_since_ms >= $3::bigint THEN $1 - time_ms
                            ELSE jumped_ms + $1 - time_ms END
                    FROM (SELECT set_config('synchronous_commit', 'off', true) AS lazy OFFSET 0) AS s
                    WHERE time_ms + {KEPT_AHEAD_MS} <= $1 AND s.lazy = 'off'
                    RETURNING time_ms, steady_since_ms, jumped_ms)
                SELECT time_ms, steady_since_ms, jumped_ms, {SERVER} AS server_ms FROM (
                    SELECT * FROM kept UNION ALL
                    SELECT time_ms, steady_since_ms, jumped_ms FROM namelock_clock WHERE NOT EXISTS (SELECT FROM kept)
                ) AS clock"
            ),
            // The row of no server has the greatest of all, and whoever changes it holds it until the commit.
            begin_epoch: "WITH given AS (
                    INSERT INTO namelock_lock_epochs AS g (server, first, last, placed) VALUES ('', 0, $2, 0)
                    ON CONFLICT (server) DO UPDATE SET last = greatest(excluded.last, g.last + $3)
                    RETURNING last)
                INSERT INTO namelock_lock_epochs AS e (server, first, last, placed)
                SELECT $1, last, last, 0 FROM given
                ON CONFLICT (server) DO UPDATE SET last = greatest(e.last, excluded.last)
                RETURNING last, first = last AS is_first"
                .to_owned(),
            epochs: "SELECT (SELECT coalesce(max(last), 0) FROM namelock_lock_epochs WHERE server = '') AS greatest,
                    coalesce(max(first), 0) AS first, coalesce(max(placed), 0) AS placed
                FROM namelock_lock_epochs WHERE server = $1"
                .to_owned(),
            record_epoch: "INSERT INTO namelock_lock_epochs AS e (server, first, last, placed)
                VALUES ('', 0, $2, 0), ($1, 0, $2, $2)
                ON CONFLICT (server) DO UPDATE SET last = greatest(e.last, excluded.last),
                    placed = greatest(e.placed, excluded.placed)"
                .to_owned(),
        }
    }
}

/// Returns database time as the server counts on from what the statement's parameter says. A step of the server's clock
/// while the statement is there moves it by no more than the statement may take.
fn now(parameter: u8, timeout_ms: i64) -> String {
    format!("(${parameter}::bigint + greatest(0, least({timeout_ms}, {ELAPSED})))")
}

/// Returns the statement that saves, with or without the check of the quota, whose parameters are `$9` to `$11`.
// Keeps P1: the primary key allows one row per (tenant, name), and the row changes only after its registration has ended,
// by database time as it is while the row is locked.
// Keeps P6: neither another row nor a longer one is written that the tenant's quota has no room for.
fn save(checks_quota: bool, timeout_ms: i64) -> String {
    let (used, has_room, may_replace, returning) = if checks_quota {
        (
            format!("WITH used AS MATERIALIZED ({USED})"),
            ", used WHERE (used.registrations < $9 AND used.bytes + $11 <= $10)
                OR EXISTS (SELECT FROM namelock_registrations WHERE tenant = $1 AND name = $2)",
            format!("AND ($11 <= {BYTES} OR (SELECT used.bytes FROM used) + $11 - {BYTES} <= $10)"),
            ", (SELECT used.registrations FROM used) AS registrations, (SELECT used.bytes FROM used) AS bytes",
        )
    } else {
        Default::default()
    };
    let now = now(7, timeout_ms);
    format!(
        "{used}
        INSERT INTO namelock_registrations AS r
            (tenant, name, owner, created_ms, expires_ms, fencing_token, attributes)
        SELECT $1, $2, $3, clock.now, clock.now + $4::bigint, $5, $6
            FROM (SELECT {now} AS now OFFSET 0) AS clock {has_room}
        ON CONFLICT (tenant, name) DO UPDATE SET
            owner = excluded.owner, fencing_token = excluded.fencing_token, freed_token = NULL,
            attributes = excluded.attributes,
            (created_ms, expires_ms) = (SELECT clock.now, clock.now + $4::bigint
                FROM (SELECT greatest(r.expires_ms, {now}) AS now OFFSET 0) AS clock)
        WHERE {} AND {} {may_replace}
        RETURNING created_ms, expires_ms, {} {returning}",
        has_ended(&now),
        is_no_newer_than(5),
        is_in_time(8, 7),
    )
}

/// Returns whether the registration in the row is active. Old hosts do not know that a registration was freed; they set its
/// end, and those that save change the fencing token.
fn is_active(now: &str) -> String {
    format!(
        "(r.freed_token IS DISTINCT FROM r.fencing_token
            AND (r.expires_ms IS NULL OR r.expires_ms > greatest(r.created_ms, {now})))"
    )
}

/// Returns the condition that the registration in the row has ended.
fn has_ended(now: &str) -> String {
    if is_removed(Safety::Arbitration) {
        "true".to_owned()
    } else {
        format!("NOT {}", is_active(now))
    }
}

/// Returns the condition that no newer lease has written the row; `parameter` is the number of the token's parameter.
fn is_no_newer_than(parameter: u8) -> String {
    if is_removed(Safety::Fencing) {
        "true".to_owned()
    } else {
        format!("r.fencing_token <= ${parameter}")
    }
}

/// Returns an expression that raises an error if the write comes later than the parameter `left` says, in milliseconds from
/// the time `sent`, another parameter.
// Keeps P5: nothing is written under a lease that has ended while the statement was on its way or waited.
fn is_in_time(left: u8, sent: u8) -> String {
    if is_removed(Safety::WriteDeadline) {
        format!("${left}::bigint IS NOT NULL")
    } else {
        format!(
            "CASE WHEN {ELAPSED} < ${left}::bigint
                AND coalesce({COUNTED_ON} - ${sent}::bigint < ${left}::bigint + {BEHIND_MS}, true)
            THEN true ELSE namelock_refuse_late() END"
        )
    }
}

#[cfg(test)]
mod tests {
    use namelock_test_servers::Postgres;
    use tokio_postgres::NoTls;

    use super::*;
    use crate::config::NamesConfig;

    #[tokio::test]
    async fn the_purge_reads_only_the_rows_that_it_deletes_whatever_is_prepared() {
        let server = Postgres::start();
        drop(
            crate::postgres::Postgres::open(&server.url(), "", NamesConfig::default())
                .await
                .unwrap(),
        );
        let (client, connection) = tokio_postgres::connect(&server.url(), NoTls).await.unwrap();
        tokio::spawn(connection);
        let fill = "INSERT INTO namelock_registrations
            SELECT 't', n::text::bytea, 'ann', 1, n, 1, '[]' FROM generate_series(1, 50000) AS n";
        client.execute(fill, &[]).await.unwrap();
        let purge = Sql::new(2000).purge;
        client
            .batch_execute(&format!("PREPARE purge (bigint) AS {purge}"))
            .await
            .unwrap();
        for statistics in ["", "ANALYZE namelock_registrations"] {
            client.batch_execute(statistics).await.unwrap();
            for mode in ["force_generic_plan", "force_custom_plan"] {
                client
                    .batch_execute(&format!("SET plan_cache_mode = {mode}"))
                    .await
                    .unwrap();
                let plan = client.simple_query("EXPLAIN EXECUTE purge (500)").await.unwrap();
                let lines = plan.iter().filter_map(|message| match message {
                    tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
                    _ => None,
                });
                let plan = lines.collect::<Vec<_>>().join("\n");
                assert!(plan.contains("Index Cond: (expires_ms <= "), "{plan}");
                assert!(plan.contains("Tid Scan") && !plan.contains("Seq Scan"), "{plan}");
                assert!(!plan.contains("Filter"), "{plan}");
            }
        }
    }
}
