//! The statements that save, change and list registrations.

use crate::postgres::sql::conditions::{
    BYTES, REGISTRATION, USED, has_ended, is_active, is_as_seen, is_in_time, is_no_newer_than, is_not_held,
    is_unused_key, now,
};

/// What a save checks beside the row of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    Nothing,
    Quota,
    QuotaAndRequest,
}

/// Returns the statement that saves. The parameters of the quota are `$9` to `$11`, those of the hold and the request `$12` to
/// `$14`.
// Keeps P1: the primary key allows one row per (tenant, name), and the row changes only after its registration has ended,
// by database time as it is while the row is locked.
// Keeps P6: neither another row nor a longer one is written that the tenant's quota has no room for.
pub(super) fn save(check: Check, timeout_ms: i64) -> String {
    let (used, has_room, may_replace, returning) = match check {
        Check::Nothing => Default::default(),
        Check::Quota | Check::QuotaAndRequest => (
            format!("WITH used AS MATERIALIZED ({USED})"),
            ", used WHERE ((used.registrations < $9 AND used.bytes + $11 <= $10)
                OR EXISTS (SELECT FROM namelock_registrations WHERE tenant = $1 AND name = $2))",
            format!("AND ($11 <= {BYTES} OR (SELECT used.bytes FROM used) + $11 - {BYTES} <= $10)"),
            ", (SELECT used.registrations FROM used) AS registrations, (SELECT used.bytes FROM used) AS bytes",
        ),
    };
    // A save without extras leaves it to a trigger to forget those of the registration before: no lease has a negative token.
    let (columns, values, changes, is_new) = match check {
        Check::Nothing | Check::Quota => ("", "", "extras_token = r.extras_token * 0 - 1", Default::default()),
        Check::QuotaAndRequest => (
            ", extras_token, hold_ms, request_key, request_fingerprint",
            ", $5, $12::bigint, $13::bytea, $14::bytea",
            "extras_token = excluded.extras_token, hold_ms = excluded.hold_ms, request_key = excluded.request_key,
            request_fingerprint = excluded.request_fingerprint, update_key = NULL, update_fingerprint = NULL",
            (
                format!("AND {}", is_unused_key("$13")),
                "AND coalesce(r.request_key <> $13, true) AND coalesce(r.update_key <> $13, true)",
            ),
        ),
    };
    let (is_new, is_new_here) = is_new;
    let now = now(7, timeout_ms);
    format!(
        "{used}
        INSERT INTO namelock_registrations AS r
            (tenant, name, owner, created_ms, expires_ms, fencing_token, attributes {columns})
        SELECT $1, $2, $3, clock.now, clock.now + $4::bigint, $5, $6 {values}
            FROM (SELECT {now} AS now OFFSET 0) AS clock {has_room} {is_new}
        ON CONFLICT (tenant, name) DO UPDATE SET
            owner = excluded.owner, fencing_token = excluded.fencing_token, freed_token = NULL,
            attributes = excluded.attributes,
            (created_ms, expires_ms) = (SELECT clock.now, clock.now + $4::bigint
                FROM (SELECT greatest(r.expires_ms, {now}) AS now OFFSET 0) AS clock),
            {changes}
        WHERE {} AND {} AND {} {may_replace} {is_new_here}
        RETURNING created_ms, expires_ms, {} {returning}",
        has_ended(&now),
        is_no_newer_than(5),
        is_not_held(7),
        is_in_time("$8", "$7"),
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
        is_no_newer_than(3),
        is_as_seen(3, 13),
        is_active(&now),
        is_unused_key("$11"),
        is_in_time("$5", "$4"),
    )
}

/// Returns the statement that lists a tenant's names in the order of the other columns of an index; what comes before the name
/// is `given`. An owner is not simply compared: then the primary key would give the order as well.
pub(super) fn list(index: &str, given: &str, timeout_ms: i64) -> String {
    let rows = format!(
        "FROM namelock_registrations AS r
        WHERE tenant = $1 AND ({index}) >= ({given} $2::bytea) AND ({index}) < ({given} $3::bytea) ORDER BY {index}"
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
