//! What statements have in common: the time, what a row counts, and the conditions under which it is written.

use namelock_types::{Safety, is_removed};

/// How many milliseconds the statement has been in the server.
pub(super) const ELAPSED: &str = "floor(extract(epoch FROM clock_timestamp() - statement_timestamp()) * 1000)::bigint";

/// Database time as the server counts it on from what was kept last; none before any was kept.
pub(super) const COUNTED_ON: &str =
    "(SELECT c.time_ms + floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint - c.server_ms
    FROM namelock_clock AS c)";

/// How far a host may be behind the time that is kept, in milliseconds: what another keeps it takes over within a second, and
/// in that time two of them drift apart by less than this.
pub(super) const BEHIND_MS: i64 = 500;

/// The columns that a registration is read from.
pub(super) const REGISTRATION: &str = "name, owner, created_ms, expires_ms, fencing_token, attributes";

/// What the tenant `$1` keeps, as `registrations` and `bytes`.
pub(crate) const USED: &str = "SELECT coalesce(sum(registrations), 0)::bigint AS registrations,
    coalesce(sum(bytes), 0)::bigint AS bytes FROM namelock_usage WHERE tenant = $1";

/// What the row `r` counts, see [`Usage`](crate::Usage).
pub(super) const BYTES: &str = "(128 + octet_length(r.tenant) + octet_length(r.name) + octet_length(r.owner)
    + octet_length(r.attributes))";

/// Returns database time as the server counts on from what the statement's parameter says. A step of the server's clock
/// while the statement is there moves it by no more than the statement may take.
pub(super) fn now(parameter: u8, timeout_ms: i64) -> String {
    format!("(${parameter}::bigint + greatest(0, least({timeout_ms}, {ELAPSED})))")
}

/// Returns whether the registration in the row is active. Old hosts do not know that a registration was freed; they set its
/// end, and those that save change the fencing token.
pub(super) fn is_active(now: &str) -> String {
    format!(
        "(r.freed_token IS DISTINCT FROM r.fencing_token
            AND (r.expires_ms IS NULL OR r.expires_ms > greatest(r.created_ms, {now})))"
    )
}

/// Returns the condition that the registration in the row has ended.
pub(super) fn has_ended(now: &str) -> String {
    if is_removed(Safety::Arbitration) {
        "true".to_owned()
    } else {
        format!("NOT {}", is_active(now))
    }
}

/// Returns the condition that no newer lease than that of this token has written the row.
pub(super) fn is_no_newer_than(token: &str) -> String {
    if is_removed(Safety::Fencing) {
        "true".to_owned()
    } else {
        format!("r.fencing_token <= {token}")
    }
}

/// Returns the condition that no other lease has written the row since it was read: it has the token that was seen, the
/// parameter `seen`, or that of this write, `own`. Where nothing was read, any will do.
pub(super) fn is_as_seen(own: u8, seen: u8) -> String {
    format!("coalesce(r.fencing_token IN (${own}, ${seen}::bigint), true)")
}

/// Returns an expression that raises an error if the write comes later than `left` says, in milliseconds from the time `sent`.
// Keeps P5: nothing is written under a lease that has ended while the statement was on its way or waited.
pub(super) fn is_in_time(left: &str, sent: &str) -> String {
    if is_removed(Safety::WriteDeadline) {
        format!("{left}::bigint IS NOT NULL")
    } else {
        format!(
            "CASE WHEN {ELAPSED} < {left}::bigint
                AND coalesce({COUNTED_ON} - {sent}::bigint < {left}::bigint + {BEHIND_MS}, true)
            THEN true ELSE namelock_refuse_late() END"
        )
    }
}

/// Returns the condition that no registration was saved or changed by a request with this key, as far as the statement's
/// snapshot tells. The indexes tell the rest.
pub(super) fn is_unused_key(key: &str) -> String {
    format!(
        "NOT EXISTS (SELECT FROM namelock_registrations WHERE request_key = {key})
            AND NOT EXISTS (SELECT FROM namelock_registrations WHERE update_key = {key})"
    )
}

/// Returns the condition that the registration in the row, which has ended, is held for nobody but this owner at the time when
/// the statement was sent, a parameter: a hold may last longer by as much as the statement waits.
pub(super) fn is_not_held(owner: &str, sent: u8) -> String {
    format!(
        "(r.hold_ms IS NULL OR r.owner = {owner} OR greatest(r.created_ms, r.expires_ms) + r.hold_ms <= ${sent}::bigint)"
    )
}
