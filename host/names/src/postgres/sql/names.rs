//! The statements that save, change and list registrations.

use crate::postgres::sql::conditions::{
    BYTES, REGISTRATION, USED, has_ended, is_active, is_as_seen, is_in_time, is_no_newer_than, is_not_held,
    is_unused_key, now,
};

/// What a save checks beside the row of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    Quota,
    QuotaAndRequest,
}

/// Returns the statement that saves. The parameters of the quota are `$9` to `$11`, those of the hold and the request `$12` to
/// `$14`.
// Keeps P6: neither another row nor a longer one is written that the tenant's quota has no room for.
pub(super) fn save(check: Check, timeout_ms: i64) -> String {
    let used = format!("WITH used AS MATERIALIZED ({USED})");
    let has_room = ", used WHERE ((used.registrations < $9 AND used.bytes + $11 <= $10)
        OR EXISTS (SELECT FROM namelock_registrations WHERE tenant = $1 AND name = $2))";
    let may_replace = format!("AND ($11 <= {BYTES} OR (SELECT used.bytes FROM used) + $11 - {BYTES} <= $10)");
    let (columns, values, changes, is_new, is_new_here) = match check {
        Check::Quota => ("", "", WITHOUT_EXTRAS, String::new(), ""),
        Check::QuotaAndRequest => (
            ", extras_token, hold_ms, request_key, request_fingerprint",
            ", $5, $12::bigint, $13::bytea, $14::bytea",
            "extras_token = excluded.extras_token, hold_ms = excluded.hold_ms, request_key = excluded.request_key,
            request_fingerprint = excluded.request_fingerprint, update_key = NULL, update_fingerprint = NULL",
            format!("AND {}", is_unused_key("$13")),
            "AND coalesce(r.request_key <> $13, true) AND coalesce(r.update_key <> $13, true)",
        ),
    };
    let now = now(7, timeout_ms);
    let takes_over = take_over(&now, 7, changes);
    format!(
        "{used}
        INSERT INTO namelock_registrations AS r
            (tenant, name, owner, created_ms, expires_ms, fencing_token, attributes {columns})
        SELECT $1, $2, $3, clock.now, clock.now + $4::bigint, $5, $6 {values}
            FROM (SELECT {now} AS now OFFSET 0) AS clock {has_room} {is_new}
        {takes_over} {may_replace} {is_new_here}
        RETURNING created_ms, expires_ms, {},
            (SELECT used.registrations FROM used) AS registrations, (SELECT used.bytes FROM used) AS bytes",
        is_in_time("$8", "$7"),
    )
}

/// Returns the statement that saves several registrations of the tenant `$1`, each with the rest of its columns in one place of
/// the arrays `$2` to `$6`, in the order of their names, none of them twice.
// Keeps P5: each row that is written may wait for another one of the statement, also for one that is then left as it is. So what is
// looked at is not each row as it is returned, but the time once all of them are, which counting them waits for.
pub(super) fn save_many(timeout_ms: i64) -> String {
    let now = now(7, timeout_ms);
    let takes_over = take_over(&now, 7, WITHOUT_EXTRAS);
    format!(
        "WITH saved AS (INSERT INTO namelock_registrations AS r
            (tenant, name, owner, created_ms, expires_ms, fencing_token, attributes)
        SELECT $1, new.name, new.owner, clock.now, clock.now + new.lifetime_ms, new.fencing_token, new.attributes
            FROM (SELECT {now} AS now OFFSET 0) AS clock,
            unnest($2::bytea[], $3::bytea[], $4::bigint[], $5::bigint[], $6::text[])
                AS new (name, owner, lifetime_ms, fencing_token, attributes)
        {takes_over}
        RETURNING name, created_ms, expires_ms)
        SELECT name, created_ms, expires_ms, CASE WHEN (SELECT count(*) FROM saved) > 0 THEN {} END FROM saved",
        is_in_time("$8", "$7"),
    )
}

/// A save without extras leaves it to a trigger to forget those of the registration before: no lease has a negative token.
const WITHOUT_EXTRAS: &str = "extras_token = r.extras_token * 0 - 1";

/// Returns what a save does where its name has a row: it takes it over, if that may be. The parameter `sent` is the time when the
/// statement was sent.
// Keeps P1: the primary key allows one row per (tenant, name), and the row changes only after its registration has ended,
// by database time as it is while the row is locked.
fn take_over(now: &str, sent: u8, changes: &str) -> String {
    format!(
        "ON CONFLICT (tenant, name) DO UPDATE SET
            owner = excluded.owner, fencing_token = excluded.fencing_token, freed_token = NULL,
            attributes = excluded.attributes,
            (created_ms, expires_ms) = (SELECT clock.now, clock.now + (excluded.expires_ms - excluded.created_ms)
                FROM (SELECT greatest(r.expires_ms, {now}) AS now OFFSET 0) AS clock),
            {changes}
        WHERE {} AND {} AND {}",
        has_ended(now),
        is_no_newer_than("excluded.fencing_token"),
        is_not_held("excluded.owner", sent),
    )
}

/// Returns the statement that changes the active registration of the name `$2` under the token `$3`: to the owner `$6` and the
/// attributes `$7`, none: as they are; and if `$8`, to the lifetime `$9`, none: without end. The quota has `$10` bytes. `$11` and
/// `$12` are the key and fingerprint of a request, `$13` the token that was seen.
pub(super) fn update(timeout_ms: i64) -> String {
    let now = now(4, timeout_ms);
    let growth = "(coalesce(octet_length($6::bytea) - octet_length(r.owner), 0)
        + coalesce(octet_length($7::text) - octet_length(r.attributes), 0))";
    format!(
        "UPDATE namelock_registrations AS r SET owner = coalesce($6, owner), attributes = coalesce($7, attributes),
            expires_ms = CASE WHEN $8::bool THEN greatest(created_ms, {now}) + $9::bigint ELSE expires_ms END,
            fencing_token = $3,
            extras_token = CASE WHEN extras_token IS NULL AND $11::bytea IS NULL THEN NULL ELSE $3 END,
            update_key = coalesce($11, update_key), update_fingerprint = coalesce($12::bytea, update_fingerprint)
        WHERE tenant = $1 AND name = $2 AND {} AND {} AND {} AND {}
            AND ({growth} <= 0 OR (SELECT u.bytes FROM ({USED}) AS u) + {growth} <= $10::bigint)
            AND coalesce(request_key <> $11, true) AND coalesce(update_key <> $11, true)
        RETURNING {REGISTRATION}, {BYTES}::bigint AS bytes, {}",
        is_no_newer_than("$3"),
        is_as_seen(3, 13),
        is_active(&now),
        is_unused_key("$11"),
        is_in_time("$5", "$4"),
    )
}

/// Returns the statement that reads the row of the tenant `$1` and the name `$2`.
pub(super) fn row(timeout_ms: i64) -> String {
    read(
        "namelock_registrations AS r WHERE tenant = $1 AND name = $2",
        timeout_ms,
    )
}

/// Returns the statement that reads the rows of the names `$2`. Each is looked up by itself: where PostgreSQL expects few rows it
/// would compare all names of the tenant with them.
pub(super) fn rows(timeout_ms: i64) -> String {
    let each = "unnest($2::bytea[]) AS wanted (wanted_name) CROSS JOIN LATERAL (
            SELECT * FROM namelock_registrations WHERE tenant = $1 AND name = wanted_name LIMIT 1) AS r";
    read(each, timeout_ms)
}

fn read(rows: &str, timeout_ms: i64) -> String {
    let now = now(3, timeout_ms);
    let active = is_active(&now);
    format!("SELECT {REGISTRATION}, hold_ms, {active} AS active, {now} AS now_ms FROM {rows}")
}

/// Returns the statement that lists a tenant's names in the order of the other columns of an index; what comes before the name
/// is `given`, and `condition` that of the index. An owner is not simply compared: then the primary key would give the order
/// as well.
pub(super) fn list(index: &str, given: &str, condition: &str, timeout_ms: i64) -> String {
    let rows = format!(
        "FROM namelock_registrations AS r
        WHERE tenant = $1 AND ({index}) >= ({given} $2::bytea) AND ({index}) < ({given} $3::bytea) {condition} ORDER BY {index}"
    );
    format!(
        "SELECT {REGISTRATION} FROM (
            SELECT *, sum(octet_length(attributes)) OVER (ORDER BY {index} ROWS UNBOUNDED PRECEDING)
                - octet_length(attributes) AS bytes_before
            FROM (SELECT {REGISTRATION}, {} AS active {rows} LIMIT $5) AS read WHERE active) AS active
        WHERE bytes_before <= $7::bigint
        UNION ALL
        SELECT (SELECT name {rows} OFFSET $5 - 1 LIMIT 1), NULL, NULL, NULL, NULL, NULL
        LIMIT $6",
        is_active(&now(4, timeout_ms)),
    )
}
