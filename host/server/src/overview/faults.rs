//! The faults of the last hour: how many of each code, and whose they were lately.
//!
//! A fault is a request that ended with a code of the host's or the handler's, and not with one that the caller can do something
//! about: statuses from 500 on, and `tenant_limit`. Only faults cost anything here: a mutex, held for less than a microsecond.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use namelock_types::milliseconds;
use parking_lot::Mutex;
use serde::Serialize;

use crate::error::Outcome;

/// How many minutes are remembered.
pub(super) const MINUTES: usize = 60;

const HOUR: Duration = Duration::from_secs(3600);

/// How many pairs of tenant and code are remembered; the one that has not occurred for longest is forgotten.
const LATELY_MAX: usize = 64;

/// The faults of this host.
#[derive(Debug)]
pub struct Faults {
    opened: Instant,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    minutes: [Minute; MINUTES],
    /// The one that occurred last is the last.
    lately: Vec<Fault>,
}

/// The faults of one minute, by code.
#[derive(Clone, Copy, Debug)]
struct Minute {
    number: u64,
    counts: [u32; Outcome::COUNT],
}

/// What went wrong for a tenant, once or again and again.
#[derive(Clone, Debug, Serialize)]
pub struct Fault {
    /// Whose request it was; none: that of a tenant that there is not.
    pub tenant: Option<String>,
    /// How it ended.
    pub code: &'static str,
    /// How often, since `since_ms`.
    pub count: u64,
    /// When it occurred first, in milliseconds since 1970. What does not occur for an hour is forgotten.
    pub since_ms: u64,
    /// When it occurred last.
    pub last_ms: u64,
    /// The request that ended so last; the log has a line about it.
    pub request_id: String,
    #[serde(skip)]
    last: Instant,
}

/// How often a code occurred within the last hour.
#[derive(Clone, Debug, Serialize)]
pub struct CodeFaults {
    /// The code.
    pub code: &'static str,
    /// How often.
    pub count: u64,
    /// How often in each minute, the oldest first.
    pub minutes: Vec<u32>,
}

impl Default for Faults {
    fn default() -> Self {
        let empty = Minute {
            number: 0,
            counts: [0; Outcome::COUNT],
        };
        Self {
            opened: Instant::now(),
            state: Mutex::new(State {
                minutes: [empty; MINUTES],
                lately: Vec::new(),
            }),
        }
    }
}

impl Faults {
    /// Notes how a request ended, if that was a fault.
    pub fn note(&self, outcome: Outcome, tenant: Option<&str>, request_id: &str) {
        if outcome.is_fault() {
            self.note_at(outcome, tenant, request_id, Instant::now());
        }
    }

    fn note_at(&self, outcome: Outcome, tenant: Option<&str>, request_id: &str, now: Instant) {
        let number = self.minute(now);
        let now_ms = now_ms();
        let mut state = self.state.lock();
        let minute = &mut state.minutes[(number % MINUTES as u64) as usize];
        if minute.number != number {
            *minute = Minute {
                number,
                counts: [0; Outcome::COUNT],
            };
        }
        let count = &mut minute.counts[outcome.index()];
        *count = count.saturating_add(1);
        let lately = &mut state.lately;
        let is_same = |fault: &Fault| fault.code == outcome.label() && fault.tenant.as_deref() == tenant;
        let before = lately.iter().position(is_same).map(|at| lately.remove(at));
        let before = before.filter(|fault| now.saturating_duration_since(fault.last) < HOUR);
        if lately.len() == LATELY_MAX {
            lately.remove(0);
        }
        lately.push(Fault {
            tenant: tenant.map(str::to_owned),
            code: outcome.label(),
            count: before.as_ref().map_or(0, |fault| fault.count) + 1,
            since_ms: before.map_or(now_ms, |fault| fault.since_ms),
            last_ms: now_ms,
            request_id: request_id.to_owned(),
            last: now,
        });
    }

    /// Each code that occurred within the last hour, the most frequent first.
    pub(super) fn codes(&self) -> Vec<CodeFaults> {
        self.codes_at(Instant::now())
    }

    fn codes_at(&self, now: Instant) -> Vec<CodeFaults> {
        let now = self.minute(now);
        let minutes = self.state.lock().minutes;
        let of = |outcome: Outcome| {
            let in_minute = |at: u64| {
                let number = (now + 1 + at).checked_sub(MINUTES as u64)?;
                let minute = &minutes[(number % MINUTES as u64) as usize];
                (minute.number == number).then(|| minute.counts[outcome.index()])
            };
            let minutes: Vec<_> = (0..MINUTES as u64).map(|at| in_minute(at).unwrap_or(0)).collect();
            CodeFaults {
                code: outcome.label(),
                count: minutes.iter().map(|count| u64::from(*count)).sum(),
                minutes,
            }
        };
        let faults = Outcome::all().filter(|outcome| outcome.is_fault());
        let mut all: Vec<_> = faults.map(of).filter(|code| code.count > 0).collect();
        all.sort_by_key(|code| std::cmp::Reverse(code.count));
        all
    }

    /// The faults of tenants whose ids begin so, the latest first, at most `limit`. Those of nobody are told where nobody is asked for.
    pub(super) fn lately(&self, tenants: &str, limit: usize) -> Vec<Fault> {
        let now = Instant::now();
        let state = self.state.lock();
        let is_wanted = |fault: &&Fault| {
            let tenant = fault.tenant.as_deref().unwrap_or("");
            tenant.starts_with(tenants) && now.saturating_duration_since(fault.last) < HOUR
        };
        let lately = state.lately.iter().rev();
        lately.filter(is_wanted).take(limit).cloned().collect()
    }

    fn minute(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.opened).as_secs() / 60
    }
}

/// Milliseconds since 1970 by the clock of this machine.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, milliseconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind::{HandlerTrapped, NameTaken, NamesUnavailable, TenantLimit};
    use crate::error::Outcome::{ClientGone, Failed};

    const fn minutes(minutes: u64) -> Duration {
        Duration::from_secs(60 * minutes)
    }

    #[test]
    fn an_hour_of_faults_is_remembered_by_minute_and_code() {
        let faults = Faults::default();
        let note = |kind, at| faults.note_at(Failed(kind), None, "r", faults.opened + at);
        note(HandlerTrapped, minutes(0));
        note(TenantLimit, minutes(1));
        note(TenantLimit, minutes(59));
        note(TenantLimit, minutes(59));
        let codes = |at| {
            let codes = faults.codes_at(faults.opened + at);
            codes
                .into_iter()
                .map(|code| (code.code, code.count))
                .collect::<Vec<_>>()
        };
        assert_eq!(codes(minutes(59)), [("tenant_limit", 3), ("handler_trapped", 1)]);
        assert_eq!(codes(minutes(60)), [("tenant_limit", 3)]);
        assert_eq!(codes(minutes(61)), [("tenant_limit", 2)]);
        let by_minute = faults.codes_at(faults.opened + minutes(61)).remove(0).minutes;
        assert_eq!((by_minute.len(), by_minute[57]), (MINUTES, 2));
        // The cell of the first minute is used again.
        note(HandlerTrapped, minutes(120));
        assert_eq!(codes(minutes(120)), [("handler_trapped", 1)]);
    }

    #[test]
    fn what_the_caller_can_mend_is_no_fault() {
        let faults = Faults::default();
        for outcome in [Outcome::Ok, ClientGone, Failed(NameTaken)] {
            faults.note(outcome, None, "r");
        }
        assert!(faults.codes().is_empty() && faults.lately("", 9).is_empty());
        faults.note(Failed(NamesUnavailable), None, "r");
        assert_eq!(faults.codes()[0].code, "names_unavailable");
    }

    #[test]
    fn what_a_tenant_had_again_is_told_once_with_its_count() {
        let faults = Faults::default();
        for (tenant, request) in [("a", "1"), ("b", "2"), ("a", "3")] {
            faults.note(Failed(HandlerTrapped), Some(tenant), request);
        }
        let told = faults.lately("", 9);
        let told: Vec<_> = told
            .iter()
            .map(|fault| (fault.tenant.as_deref(), fault.count, &*fault.request_id))
            .collect();
        assert_eq!(told, [(Some("a"), 2, "3"), (Some("b"), 1, "2")]);
        assert_eq!(faults.lately("b", 9).len(), 1);
        assert_eq!(faults.lately("", 1).len(), 1);
    }

    // Shows P6: however many tenants fail, what is remembered of them has a bound.
    #[test]
    fn the_oldest_of_too_many_is_forgotten() {
        let faults = Faults::default();
        for number in 0..LATELY_MAX + 9 {
            faults.note(Failed(HandlerTrapped), Some(&number.to_string()), "r");
        }
        let told = faults.lately("", usize::MAX);
        assert_eq!(told.len(), LATELY_MAX);
        assert_eq!(told.last().and_then(|fault| fault.tenant.as_deref()), Some("9"));
    }
}
