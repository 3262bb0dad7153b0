//! A caller is refused for a reason only: a competitor, a lease that was held for too long, or a fault.

use std::collections::HashMap;
use std::time::Duration;

use super::{Violation, violation};
use crate::clients::{Answer, Call, Kind};
use crate::fleet::{LEASE, LOCK_LIFE};
use crate::history::History;

/// How long after a client has hung up, or was told that something is unavailable, the host may need to give back what it had.
pub(super) const RELEASE: Duration = Duration::from_secs(4);

/// How long a host is given its turn at a name after its last caller that waited for it has gone: as long as its mark lasts.
const MARK: Duration = Duration::from_secs(3);

pub(super) fn us(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

/// Whether a fault may explain what happened from `begin_us` to `end_us`. What it has left is gone when a lock has expired.
pub(super) fn is_excused(history: &History, begin_us: i64, end_us: i64) -> bool {
    history.faults.iter().any(|fault| {
        let over = match fault.kind {
            // Nothing stands still and nothing is gone: what was lost is looked for at once.
            "lose replies of memcached" => fault.end_us,
            _ => fault.served_us.unwrap_or(i64::MAX - us(LOCK_LIFE)) + us(LOCK_LIFE),
        };
        fault.begin_us <= end_us && begin_us <= over
    })
}

/// Until when the host may hold a lock for this call.
pub(super) fn holds_until(call: &Call) -> i64 {
    match &call.answer {
        Answer::Unknown(_) | Answer::Problem { status: 500.., .. } => call.end_us + us(RELEASE),
        // A lock is released before the answer.
        _ => call.end_us,
    }
}

pub(super) fn check(history: &History) -> Vec<Violation> {
    let mut by_name: HashMap<&str, Vec<&Call>> = HashMap::new();
    for call in &history.calls {
        by_name.entry(&call.name).or_default().push(call);
    }
    let mut found = Vec::new();
    for call in &history.calls {
        let Answer::Problem { code, .. } = &call.answer else {
            continue;
        };
        match code.as_str() {
            "name_busy" => {
                let competes = |other: &&&Call| {
                    let marked = if other.host == call.host { 0 } else { us(MARK) };
                    other.kind != Kind::Find
                        && !std::ptr::eq(**other, call)
                        && other.begin_us <= call.end_us
                        && holds_until(other) + marked >= call.begin_us
                };
                let alone = by_name[call.name.as_str()].iter().find(competes).is_none();
                if alone && !is_excused(history, call.begin_us, call.end_us) {
                    found.push(violation(
                        "busy",
                        format!("{call:?} although nobody else wanted the name"),
                    ));
                }
            }
            "lease_lost" => {
                // A write begins only while the lease outlasts it, which takes a part of the lease away.
                let too_long = call.end_us - call.begin_us >= us(LEASE) / 2;
                if !too_long && !is_excused(history, call.begin_us, call.end_us) {
                    found.push(violation("lease", format!("{call:?} although nothing had happened")));
                }
            }
            _ => {}
        }
    }
    found
}
