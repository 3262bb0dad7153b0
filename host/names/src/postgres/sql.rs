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

mod conditions;
mod names;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use tokio_postgres::error::SqlState;

pub(crate) use self::conditions::USED;
use self::conditions::{BYTES, REGISTRATION, is_active, is_as_seen, is_in_time, is_no_newer_than, now};
use self::names::{Check, list, row, rows, save, save_many, update};

/// The server's clock in whole milliseconds since 1970.
const SERVER: &str = "floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint";

/// The SQLSTATE of a write whose lease has ended while it waited in the server; see migration 3.
const TOO_LATE: &str = "NL001";

/// Whether commits wait for a standby.
const HAS_STANDBY: &str = "current_setting('synchronous_standby_names') <> ''";

/// The SQLSTATE of a write of a tenant whose names are not to be written in this database; see migration 6.
const MOVED: &str = "NL002";

/// How every session plans. No statement here has to read the whole table, or to sort its rows: each is written so that one index
/// gives those that it needs, in order. Where PostgreSQL expects few rows, because it has no statistics or wrong ones, it would
/// otherwise read all that there are; and a plan that is made while there are few is kept when there are many. What must be
/// read or sorted as a whole, the row of the clock or a few rows in a trigger, still is; compiling that would cost more than it
/// saves.
pub(crate) const PLANNING: &str = "-c enable_seqscan=off -c enable_sort=off -c enable_bitmapscan=off -c jit=off";

/// The indexes that decide which registration has a key.
const REQUEST_INDEX: &str = "namelock_registrations_by_request";
const UPDATE_INDEX: &str = "namelock_registrations_by_update";

/// How far a host must be ahead of the time that is kept to keep its own, in milliseconds: a fleet keeps it twice a
/// second, however many hosts it has.
const KEPT_AHEAD_MS: i64 = 500;

/// The text of a statement. It is the key of what is prepared on a connection, so it is looked up by every one.
pub(super) type Text = Arc<str>;

/// Returns a text without the white space that is for readers of this file.
fn text(sql: &str) -> Text {
    sql.split_whitespace().collect::<Vec<_>>().join(" ").into()
}

/// The texts of the statements.
pub(super) struct Sql {
    /// Saves a registration, if the tenant's quota has room for it. Returns `created_ms` and `expires_ms`, and what the
    /// tenant kept before, or no row if it changed nothing.
    pub(super) save: Text,
    /// Saves registrations of a tenant that is far from its quota. Returns `name`, `created_ms` and `expires_ms` of those
    /// that it saved.
    pub(super) save_many: Text,
    /// Saves a registration with a hold `$12`, and the key `$13` and fingerprint `$14` of a request. Otherwise it is `save`.
    pub(super) save_with_extras: Text,
    /// Changes the active registration, and returns it, or no row if it changed nothing.
    pub(super) update: Text,
    /// Reads the rows that the request with the key `$2` has saved or changed, and their fingerprints.
    pub(super) request: Text,
    /// Locks the row of a name, and reads what it counts.
    pub(super) lock: Text,
    /// Lists the active registrations of the names from `$2` up to, but not including, `$3`: at most `$6` of them, among the
    /// first `$5` rows, and none after more than `$7` bytes of attributes. Then, unless there are `$6`, a row without owner
    /// that has the name of the last row that was read, none: there are no others.
    pub(super) list: Text,
    /// The same of the owner `$8`.
    pub(super) list_of_owner: Text,
    /// Ends the active registration, if it is that with the token `$6`. Returns a row if there was one.
    pub(super) free: Text,
    /// Reads the row of a name, and whether its registration is active now.
    pub(super) row: Text,
    /// Reads the rows of names like this.
    pub(super) rows: Text,
    /// Reads what a tenant keeps.
    pub(super) usage: Text,
    /// Deletes rows that ended between `$1` and `$2`, and whose hold was over at `$3`, of the first `$4` that ended. Returns how
    /// many it read, when the last of them ended, and how many it deleted.
    pub(super) purge: Text,
    /// Reads the time that is kept, and the server's clock then and now.
    pub(super) look: Text,
    /// Keeps a first time: `$1`, or else the server's.
    pub(super) begin_time: Text,
    /// Keeps the time `$1`, as a jump if `$2` with the retention `$3`, unless a later one or about the same is kept. Returns
    /// the time that is kept then, the server's clock, and whether commits wait for a standby.
    pub(super) keep_time: Text,
    /// Commits once the synchronous standby has all that is visible now, if there is one.
    pub(super) replicate: Text,
    /// Gives the lock server `$1` an epoch at `$2` nanoseconds of database time, at least `$3` above the greatest.
    pub(super) begin_epoch: Text,
    /// Reads what is known of the epochs of the lock server `$1`.
    pub(super) epochs: Text,
    /// Records the epoch `$2` of the lock server `$1`.
    pub(super) record_epoch: Text,
    /// Reads the gate of the tenant `$1`: the last attempt to move it, -1 if the gate is closed, none if there never was one.
    pub(super) gate: Text,
    /// Reads whether that is so of any tenant.
    pub(super) has_moved: Text,
    /// Reads which database this is, and to which first one it belongs.
    pub(super) identity: Text,
    /// Has it belong to the first one `$1`, if it belongs to none and is empty. Returns what `identity` does.
    pub(super) join: Text,
    /// Reads where the tenant `$1` is placed.
    pub(super) placement: Text,
    /// Reads it, and places a tenant that is not placed in one of the databases `$2`.
    pub(super) place: Text,
}

/// Returns whether a write was refused because its lease had ended while it waited in the server.
pub(super) fn is_too_late(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|state| state.code() == TOO_LATE)
}

/// Returns whether a write was refused because the names of its tenant are not to be written in this database.
pub(super) fn is_moved(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|state| state.code() == MOVED)
}

/// Returns whether a statement was refused because others held a lock for longer than it may wait: it has changed nothing.
pub(super) fn is_locked_out(error: &tokio_postgres::Error) -> bool {
    error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE)
}

/// Returns whether a write was refused because another registration has the key of its request.
pub(crate) fn is_used_key(error: &tokio_postgres::Error) -> bool {
    let constraint = error.as_db_error().and_then(|error| error.constraint());
    error.code() == Some(&SqlState::UNIQUE_VIOLATION)
        && constraint.is_some_and(|name| [REQUEST_INDEX, UPDATE_INDEX].contains(&name))
}

/// Returns whether the server does not write: it is a standby, or was made read-only.
pub(super) fn is_read_only(error: &tokio_postgres::Error) -> bool {
    error.code() == Some(&SqlState::READ_ONLY_SQL_TRANSACTION)
}

impl Sql {
    /// `timeout_ms` is how long a statement may take in the server.
    pub(super) fn new(timeout_ms: i64) -> Self {
        let now = |parameter| now(parameter, timeout_ms);
        Self {
            save: text(&save(Check::Quota, timeout_ms)),
            save_many: text(&save_many(timeout_ms)),
            save_with_extras: text(&save(Check::QuotaAndRequest, timeout_ms)),
            update: text(&update(timeout_ms)),
            request: text(&format!(
                "SELECT {REGISTRATION}, request_fingerprint AS fingerprint FROM namelock_registrations
                WHERE tenant = $1 AND request_key = $2
                UNION ALL
                SELECT {REGISTRATION}, update_fingerprint FROM namelock_registrations
                WHERE tenant = $1 AND update_key = $2"
            )),
            lock: text(&format!(
                "SELECT {BYTES}::bigint AS bytes FROM namelock_registrations AS r WHERE tenant = $1 AND name = $2 FOR UPDATE"
            )),
            list: text(&list("name", "", "", timeout_ms)),
            list_of_owner: text(&list(
                "owner, name",
                "$8::bytea, ",
                "AND octet_length(owner) > 0",
                timeout_ms,
            )),
            free: text(&format!(
                "UPDATE namelock_registrations AS r
                SET expires_ms = greatest(created_ms, {now}), fencing_token = $3, freed_token = $3
                WHERE tenant = $1 AND name = $2 AND {} AND {} AND {}
                RETURNING {}",
                is_no_newer_than("$3"),
                is_as_seen(3, 6),
                is_active(&now(4)),
                is_in_time("$5", "$4"),
                now = now(4),
            )),
            row: text(&row(timeout_ms)),
            rows: text(&rows(timeout_ms)),
            usage: text(USED),
            // By the places of the rows: no plan for that reads other rows than these, whatever the server's statistics say.
            // The end `$2` is looked at after the rows are read: between two ends PostgreSQL expects few rows, and would read all
            // of them to sort them. A row that was changed since it was read is looked at again once it is locked, without an
            // index, hence the sum.
            purge: text(
                "WITH seen AS MATERIALIZED (
                    SELECT ctid AS place, expires_ms, hold_ms FROM namelock_registrations WHERE expires_ms >= $1
                    ORDER BY expires_ms LIMIT $4),
                gone AS (
                    DELETE FROM namelock_registrations WHERE ctid = ANY (ARRAY(
                        SELECT ctid FROM namelock_registrations WHERE ctid = ANY (ARRAY(
                                SELECT place FROM seen
                                WHERE expires_ms <= $2 AND (hold_ms IS NULL OR expires_ms + hold_ms <= $3::bigint)))
                            AND expires_ms + 0 <= $2 AND (hold_ms IS NULL OR expires_ms + hold_ms <= $3::bigint)
                        FOR UPDATE SKIP LOCKED))
                    RETURNING true)
                SELECT count(*) AS read, max(expires_ms) AS last_ms, (SELECT count(*) FROM gone) AS deleted
                FROM seen WHERE expires_ms <= $2",
            ),
            look: text(&format!(
                "SELECT time_ms, server_ms AS server_then_ms, {SERVER} AS server_ms FROM namelock_clock"
            )),
            begin_time: text(&format!(
                "INSERT INTO namelock_clock (time_ms, server_ms, steady_since_ms, jumped_ms)
                SELECT coalesce($1, now), now, coalesce($1, now), coalesce($1, now)
                FROM (SELECT {SERVER} AS now OFFSET 0) AS clock ON CONFLICT DO NOTHING"
            )),
            // Whether this reaches the disk, or a standby that is away, is not waited for: as much as was kept in the last
            // second is not known to others anyway.
            keep_time: text(&format!(
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
                SELECT time_ms, steady_since_ms, jumped_ms, {SERVER} AS server_ms, {HAS_STANDBY} AS has_standby FROM (
                    SELECT * FROM kept UNION ALL
                    SELECT time_ms, steady_since_ms, jumped_ms FROM namelock_clock WHERE NOT EXISTS (SELECT FROM kept)
                ) AS clock"
            )),
            // A commit waits for a standby only if it has something to write. This leaves no row.
            replicate: text(&format!(
                "SELECT CASE WHEN {HAS_STANDBY} THEN pg_logical_emit_message(true, 'namelock', '') END"
            )),
            // The row of no server has the greatest of all, and whoever changes it holds it until the commit.
            begin_epoch: text(
                "WITH given AS (
                    INSERT INTO namelock_lock_epochs AS g (server, first, last, placed) VALUES ('', 0, $2, 0)
                    ON CONFLICT (server) DO UPDATE SET last = greatest(excluded.last, g.last + $3)
                    RETURNING last)
                INSERT INTO namelock_lock_epochs AS e (server, first, last, placed)
                SELECT $1, last, last, 0 FROM given
                ON CONFLICT (server) DO UPDATE SET last = greatest(e.last, excluded.last)
                RETURNING last, first = last AS is_first",
            ),
            epochs: text(
                "SELECT (SELECT coalesce(max(last), 0) FROM namelock_lock_epochs WHERE server = '') AS greatest,
                    coalesce(max(first), 0) AS first, coalesce(max(placed), 0) AS placed
                FROM namelock_lock_epochs WHERE server = $1",
            ),
            record_epoch: text(
                "INSERT INTO namelock_lock_epochs AS e (server, first, last, placed)
                VALUES ('', 0, $2, 0), ($1, 0, $2, $2)
                ON CONFLICT (server) DO UPDATE SET last = greatest(e.last, excluded.last),
                    placed = greatest(e.placed, excluded.placed)",
            ),
            gate: text("SELECT (SELECT CASE WHEN open THEN mover ELSE -1 END FROM namelock_moved WHERE tenant = $1)"),
            has_moved: text("SELECT EXISTS (SELECT FROM namelock_moved WHERE NOT open)"),
            identity: text("SELECT id, first FROM namelock_database"),
            join: text(
                "WITH joined AS (
                    UPDATE namelock_database SET first = $1 WHERE first IS NULL AND id <> $1
                        AND NOT EXISTS (SELECT FROM namelock_registrations)
                        AND NOT EXISTS (SELECT FROM namelock_placement)
                    RETURNING id, first)
                SELECT id, first FROM joined
                UNION ALL SELECT id, first FROM namelock_database WHERE NOT EXISTS (SELECT FROM joined)",
            ),
            placement: text("SELECT database, moving_to, moved_from FROM namelock_placement WHERE tenant = $1"),
            place: text("SELECT database, moving_to, moved_from FROM namelock_place($1, $2::text[])"),
        }
    }
}

/// Returns the message that ends a transaction: it commits if that comes no later than `left_ms` after `sent_ms`, the time when
/// it is sent.
pub(super) fn commit(left_ms: i64, sent_ms: i64) -> String {
    format!(
        "SELECT {}; COMMIT",
        is_in_time(&left_ms.to_string(), &sent_ms.to_string())
    )
}
