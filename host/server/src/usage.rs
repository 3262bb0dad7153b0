//! What one tenant has used, what it uses now, and how near to its limits it came, as `/tenants` says it.

use std::collections::BTreeMap;

use namelock_account::{Account, Counter, Level, Limit};
use serde::Serialize;

use crate::admission::Admission;
use crate::error::Outcome;

const _: () = assert!(
    Outcome::COUNT <= Account::OUTCOMES,
    "an account counts fewer outcomes than there are"
);

/// What one tenant has used since its account was opened, and what it uses now. Counts that are zero are left out of the maps.
#[derive(Clone, Debug, Serialize)]
pub struct Usage {
    /// Its calls.
    pub calls: Calls,
    /// Its running time.
    pub cpu_ms: CpuMs,
    /// The most memory that one of its calls ever had.
    pub memory_peak_bytes: u64,
    /// Its rows in the names database.
    pub names: Names,
    /// Its lines in the log.
    pub log: Log,
    /// How long its components were compiled.
    pub compile_ms: u64,
    /// What its component was compiled to.
    pub artifact_bytes: u64,
    /// How often something was refused or dropped, by limit.
    pub refusals: BTreeMap<&'static str, u64>,
    /// How near to each limit it came within the last hour, in percent, rounded up.
    pub nearness_percent: BTreeMap<&'static str, u64>,
}

/// The calls of a tenant.
#[derive(Clone, Debug, Serialize)]
pub struct Calls {
    /// Those that hold one of `limits.calls`.
    pub running: usize,
    /// Those that wait for one, or for their body.
    pub waiting: usize,
    /// Those that ended, by code.
    pub codes: BTreeMap<&'static str, u64>,
}

/// Running time in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct CpuMs {
    /// Its calls, with the host functions that they called.
    pub guest: u64,
    /// What the host did because of it outside of its calls.
    pub host: u64,
}

/// What a tenant has in the names database.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Names {
    /// Rows.
    pub registrations: u64,
    /// Bytes of these rows.
    pub bytes: u64,
    /// Writes that were begun.
    pub writes: u64,
    /// Time between requests and their answers.
    pub database_ms: u64,
}

/// What a tenant has written to the log.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Log {
    /// Bytes of its lines.
    pub bytes: u64,
    /// Lines that were not written, because a budget was used up.
    pub lines_dropped: u64,
}

impl Usage {
    /// Reads the account of a tenant, and what it has in admission.
    pub fn of(account: &Account, admission: &Admission) -> Self {
        let ms = |counter| account.used(counter) / 1_000_000;
        let codes = Outcome::all().map(|outcome| (outcome.label(), account.outcomes(outcome.index())));
        let by_limit = |count: &dyn Fn(Limit) -> u64| -> BTreeMap<_, _> {
            let all = Limit::ALL.into_iter().map(|limit| (limit.key(), count(limit)));
            all.filter(|(_, count)| *count > 0).collect()
        };
        Self {
            calls: Calls {
                running: admission.running(),
                waiting: admission.waiting(),
                codes: codes.filter(|(_, count)| *count > 0).collect(),
            },
            cpu_ms: CpuMs {
                guest: ms(Counter::GuestNanos),
                host: ms(Counter::HostNanos),
            },
            memory_peak_bytes: account.level(Level::MemoryPeak),
            names: Names {
                registrations: account.level(Level::Registrations),
                bytes: account.level(Level::RegistrationBytes),
                writes: account.used(Counter::Writes),
                database_ms: ms(Counter::DatabaseNanos),
            },
            log: Log {
                bytes: account.used(Counter::LogBytes),
                lines_dropped: account.used(Counter::LogLinesDropped),
            },
            compile_ms: ms(Counter::CompileNanos),
            artifact_bytes: account.level(Level::ArtifactBytes),
            refusals: by_limit(&|limit| account.refusals(limit)),
            nearness_percent: by_limit(&|limit| account.nearness(limit).div_ceil(10)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use namelock_account::Budgets;
    use serde_json::json;

    use super::*;
    use crate::admission::AdmissionLimits;
    use crate::error::ErrorKind;

    #[test]
    fn what_was_booked_is_reported() {
        let account = Arc::new(Account::new("a", &Budgets::default()));
        let admission = Arc::new(Admission::new(&AdmissionLimits::default(), Arc::clone(&account)));
        account.count_request(Outcome::Ok.index(), Duration::from_millis(1));
        account.count_request(Outcome::Failed(ErrorKind::NameTaken).index(), Duration::from_millis(1));
        account.count_request(Outcome::ClientGone.index(), Duration::from_millis(1));
        account.charge_time(Counter::GuestNanos, Duration::from_millis(3));
        account.charge_time(Counter::HostNanos, Duration::from_millis(2));
        account.raise(Level::MemoryPeak, 9);
        account.note(Limit::Memory, 1, 3);
        account.refuse(Limit::Writes);
        let _admitted = admission.admit().unwrap();
        let usage = serde_json::to_value(Usage::of(&account, &admission)).unwrap();
        assert_eq!(
            usage["calls"],
            json!({ "running": 0, "waiting": 1, "codes": { "ok": 1, "name_taken": 1, "client_gone": 1 } })
        );
        assert_eq!(usage["cpu_ms"], json!({ "guest": 3, "host": 2 }));
        assert_eq!(usage["memory_peak_bytes"], 9);
        assert_eq!(usage["refusals"], json!({ "writes": 1 }));
        assert_eq!(
            usage["nearness_percent"],
            json!({ "memory": 34, "rate": 1, "writes": 100, "calls_waiting": 2 })
        );
    }
}
