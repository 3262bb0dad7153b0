//! What the tables show: what the hosts say of tenants, locks and faults, put together.
//!
//! A tenant of a fleet is one row. Its rate, faults, calls and locks are added up. Times and limits cannot be added: what is shown is
//! the worst host's.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::answer::{Minute, Near, Overview, Plain};

/// What tenants come first. The hosts are asked for the first ones by the same order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum TenantSort {
    #[default]
    Rate,
    Faults,
    P99,
    Calls,
    Held,
    Near,
    State,
    Tenant,
}

impl TenantSort {
    const ALL: [Self; 8] = [
        Self::Rate,
        Self::Faults,
        Self::P99,
        Self::Calls,
        Self::Held,
        Self::Near,
        Self::State,
        Self::Tenant,
    ];

    pub(super) fn next(self) -> Self {
        let at = Self::ALL.iter().position(|sort| *sort == self).unwrap_or_default();
        Self::ALL[(at + 1) % Self::ALL.len()]
    }

    /// What a host calls it.
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Faults => "faults",
            Self::P99 => "p99",
            Self::Calls => "calls",
            Self::Held => "held",
            Self::Near => "near",
            Self::State => "state",
            Self::Tenant => "tenant",
        }
    }

    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Rate => "the busiest first",
            Self::Faults => "most errors first",
            Self::P99 => "the slowest first",
            Self::Calls => "most calls first",
            Self::Held => "most locks first",
            Self::Near => "nearest to a limit first",
            Self::State => "not serving first",
            Self::Tenant => "by name",
        }
    }

    fn rank(self, tenant: &Tenant) -> u64 {
        match self {
            // In thousandths; a number that is none is the smallest.
            Self::Rate => (tenant.minute.rate * 1e3) as u64,
            Self::Faults => tenant.minute.faults,
            Self::P99 => (tenant.minute.p99_ms.unwrap_or_default() * 1e3) as u64,
            Self::Calls => tenant.running.saturating_add(tenant.waiting),
            Self::Held => tenant.held,
            Self::Near => tenant.near.as_ref().map_or(0, |near| near.percent),
            Self::State => u64::from(tenant.state.is_some()),
            Self::Tenant => 0,
        }
    }
}

/// What locks come first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum LockSort {
    #[default]
    Waited,
    Oldest,
}

impl LockSort {
    pub(super) fn next(self) -> Self {
        match self {
            Self::Waited => Self::Oldest,
            Self::Oldest => Self::Waited,
        }
    }

    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Waited => "most waited for first",
            Self::Oldest => "the oldest first",
        }
    }
}

/// A tenant on all hosts.
#[derive(Clone, Debug, Default)]
pub(super) struct Tenant {
    pub(super) tenant: Plain,
    /// None: all hosts serve it.
    pub(super) state: Option<Plain>,
    pub(super) minute: Minute,
    pub(super) running: u64,
    pub(super) waiting: u64,
    pub(super) held: u64,
    /// The limit that it came nearest to.
    pub(super) near: Option<Near>,
}

/// A lock that a call on a host holds.
#[derive(Clone, Debug)]
pub(super) struct Lock {
    /// Which of the hosts.
    pub(super) host: usize,
    pub(super) id: u64,
    pub(super) tenant: Plain,
    pub(super) digest: Plain,
    pub(super) name: Option<Plain>,
    pub(super) age_ms: u64,
    pub(super) remaining_ms: u64,
    pub(super) waiting: u64,
}

/// A code of faults on all hosts.
#[derive(Clone, Debug, Default)]
pub(super) struct Fault {
    pub(super) code: Plain,
    pub(super) hour: u64,
    /// Within the last five minutes.
    pub(super) lately: u64,
    /// The last one: how long ago, whose request, and which one.
    pub(super) last: Option<(u64, Option<Plain>, Plain)>,
}

fn greater(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.max(other)),
        (one, other) => one.or(other),
    }
}

/// The tenants whose ids begin with `filter`.
pub(super) fn tenants<'a>(
    hosts: impl Iterator<Item = (usize, &'a Overview)>,
    filter: &str,
    sort: TenantSort,
) -> Vec<Tenant> {
    let mut all: BTreeMap<&Plain, Tenant> = BTreeMap::new();
    let rows = hosts.flat_map(|(_, overview)| &overview.tenants.rows);
    for row in rows.filter(|row| row.tenant.as_str().starts_with(filter)) {
        let sum = all.entry(&row.tenant).or_default();
        sum.tenant = row.tenant.clone();
        if row.state.as_str() != "serving" {
            sum.state = Some(row.state.clone());
        }
        sum.minute = Minute {
            rate: sum.minute.rate + row.minute.rate,
            faults: sum.minute.faults.saturating_add(row.minute.faults),
            p50_ms: greater(sum.minute.p50_ms, row.minute.p50_ms),
            p99_ms: greater(sum.minute.p99_ms, row.minute.p99_ms),
        };
        sum.running = sum.running.saturating_add(row.running);
        sum.waiting = sum.waiting.saturating_add(row.waiting);
        sum.held = sum.held.saturating_add(row.held);
        let nearest = row.near.first();
        if nearest.map(|near| near.percent) > sum.near.as_ref().map(|near| near.percent) {
            sum.near = nearest.cloned();
        }
    }
    let mut all: Vec<_> = all.into_values().collect();
    // Those of whom it is the same stay in the order of their ids.
    all.sort_by_key(|tenant| Reverse(sort.rank(tenant)));
    all
}

/// The locks of the tenants whose ids begin with `filter`.
pub(super) fn locks<'a>(hosts: impl Iterator<Item = (usize, &'a Overview)>, filter: &str, sort: LockSort) -> Vec<Lock> {
    let all = hosts.flat_map(|(host, overview)| overview.locks.rows.iter().map(move |held| (host, held)));
    let all = all.filter(|(_, held)| held.namespace.as_str().starts_with(filter));
    let mut all: Vec<_> = all
        .map(|(host, held)| Lock {
            host,
            id: held.id,
            tenant: held.namespace.clone(),
            digest: held.digest.clone(),
            name: held.name.clone(),
            age_ms: held.age_ms,
            remaining_ms: held.remaining_ms,
            waiting: held.waiting,
        })
        .collect();
    all.sort_by_key(|lock| {
        let waiting = match sort {
            LockSort::Waited => lock.waiting,
            LockSort::Oldest => 0,
        };
        (Reverse(waiting), Reverse(lock.age_ms), lock.host, lock.id)
    });
    all
}

/// The faults of the last hour, the most frequent first.
pub(super) fn faults<'a>(hosts: impl Iterator<Item = (usize, &'a Overview)>) -> Vec<Fault> {
    let mut all: BTreeMap<&Plain, Fault> = BTreeMap::new();
    for (_, overview) in hosts {
        for code in &overview.faults.codes {
            let sum = all.entry(&code.code).or_default();
            sum.code = code.code.clone();
            sum.hour = sum.hour.saturating_add(code.count);
            let lately = code.minutes.iter().rev().take(5);
            sum.lately = lately.fold(sum.lately, |sum, count| sum.saturating_add(*count));
        }
        for fault in &overview.faults.lately {
            let Some(sum) = all.get_mut(&fault.code) else {
                continue;
            };
            // By the clock of the same host.
            let ago = overview.at_ms.saturating_sub(fault.last_ms);
            if sum.last.as_ref().is_none_or(|(last, ..)| ago < *last) {
                sum.last = Some((ago, fault.tenant.clone(), fault.request_id.clone()));
            }
        }
    }
    let mut all: Vec<_> = all.into_values().collect();
    all.sort_by_key(|fault| Reverse(fault.hour));
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn two() -> [Overview; 2] {
        let one = json!({ "at_ms": 10_000, "host": {}, "tenants": { "rows": [
            { "tenant": "acme", "state": "serving", "rate": 1.5, "faults": 2, "p50_ms": 1.0, "p99_ms": 9.0, "running": 1,
              "near": [{ "limit": "calls", "percent": 40 }] },
            { "tenant": "zoo", "state": "serving", "rate": 2.0 }] },
            "locks": { "rows": [{ "id": 1, "namespace": "acme", "age_ms": 10, "waiting": 3 },
                                { "id": 2, "namespace": "zoo", "age_ms": 900 }] },
            "faults": { "codes": [{ "code": "handler_trapped", "count": 3, "minutes": [1, 0, 0, 0, 0, 2] }],
                        "lately": [{ "code": "handler_trapped", "tenant": "acme", "last_ms": 4_000, "request_id": "r-1" }] } });
        let other = json!({ "at_ms": 90_000, "host": {}, "tenants": { "rows": [
            { "tenant": "acme", "state": "unavailable", "rate": 1.0, "faults": 1, "p99_ms": 20.0, "waiting": 2,
              "near": [{ "limit": "rate", "percent": 90 }] }] },
            "locks": { "rows": [{ "id": 1, "namespace": "acme", "age_ms": 500, "waiting": 1 }] },
            "faults": { "codes": [{ "code": "handler_trapped", "count": 1, "minutes": [1] }, { "code": "names_unavailable", "count": 9 }],
                        "lately": [{ "code": "handler_trapped", "tenant": null, "last_ms": 89_000, "request_id": "r-2" }] } });
        [one, other].map(|answer| Overview::read(&answer.to_string()).unwrap())
    }

    #[test]
    fn a_tenant_of_several_hosts_is_one_row() {
        let hosts = two();
        let of = |filter: &str, sort| tenants(hosts.iter().enumerate(), filter, sort);
        let all = of("", TenantSort::Rate);
        let ids = |all: &[Tenant]| all.iter().map(|tenant| tenant.tenant.to_string()).collect::<Vec<_>>();
        assert_eq!(ids(&all), ["acme", "zoo"]);
        let acme = &all[0];
        assert_eq!((acme.minute.rate, acme.minute.faults), (2.5, 3));
        assert_eq!((acme.minute.p50_ms, acme.minute.p99_ms), (Some(1.0), Some(20.0)));
        assert_eq!((acme.running, acme.waiting), (1, 2));
        assert_eq!(acme.near.as_ref().map(|near| near.limit.as_str()), Some("rate"));
        assert_eq!(acme.state, Some(Plain::new("unavailable")));
        assert_eq!(ids(&of("z", TenantSort::Rate)), ["zoo"]);
        let mut sort = TenantSort::default();
        for _ in TenantSort::ALL {
            assert_eq!(ids(&of("", sort)), ["acme", "zoo"], "{sort:?}");
            sort = sort.next();
        }
        assert_eq!(sort, TenantSort::default());
    }

    #[test]
    fn locks_are_those_that_are_waited_for_or_the_oldest_first() {
        let hosts = two();
        let of = |sort| {
            let all = locks(hosts.iter().enumerate(), "", sort);
            all.iter().map(|lock| (lock.host, lock.id)).collect::<Vec<_>>()
        };
        assert_eq!(of(LockSort::Waited), [(0, 1), (1, 1), (0, 2)]);
        assert_eq!(of(LockSort::Oldest), [(0, 2), (1, 1), (0, 1)]);
    }

    #[test]
    fn faults_are_added_up_and_the_last_one_is_told() {
        let hosts = two();
        let all = faults(hosts.iter().enumerate());
        assert_eq!(all.iter().map(|fault| fault.hour).collect::<Vec<_>>(), [9, 4]);
        assert_eq!(all[1].lately, 3);
        assert_eq!(all[1].last, Some((1_000, None, Plain::new("r-2"))));
        assert_eq!(all[0].last, None);
    }
}
