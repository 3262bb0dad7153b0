//! Which tenants and locks an answer has, and in which order.

use std::cmp::Reverse;
use std::collections::HashMap;

use namelock_account::{Account, Limit};
use namelock_lock::Locks;
use namelock_lock::held::HeldLease;
use serde::Deserialize;

use super::answer::{self, Near, Tenant};
use super::sampler::{Recent, Samples};
use crate::http::REQUESTS;
use crate::tenants::{Glance, State, Tenants};

/// The most tenants, and the most locks, in one answer.
const ROWS_MAX: usize = 500;

/// How many are answered if the question does not say.
fn rows_default() -> usize {
    50
}

/// What is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Question {
    /// How the ids of tenants begin.
    #[serde(default)]
    pub(super) tenant: String,
    #[serde(default)]
    sort: Sort,
    #[serde(default = "rows_default")]
    limit: usize,
}

impl Question {
    pub(super) fn limit(&self) -> usize {
        self.limit.min(ROWS_MAX)
    }
}

/// What tenants come first; those of whom it is the same come in the order of their ids.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Sort {
    /// The busiest.
    #[default]
    Rate,
    /// Those with the most faults within a minute.
    Faults,
    /// The slowest.
    P99,
    /// Those with the most calls that run or wait.
    Calls,
    /// Those with the most leases.
    Held,
    /// Those that are nearest to a limit.
    Near,
    /// Those that are not served.
    State,
    /// The first in the alphabet.
    Tenant,
}

impl Sort {
    /// What is compared; the greatest comes first.
    fn key(self, glance: &Glance, recent: &Recent, held: usize) -> u64 {
        let narrow = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        match self {
            // In thousandths: a busy tenant has whole requests in a second, a quiet one has not.
            Self::Rate => (recent.rate * 1e3) as u64,
            Self::Faults => recent.faults,
            Self::P99 => recent
                .p99
                .map_or(0, |time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX)),
            Self::Calls => glance
                .calls
                .map_or(0, |(running, waiting)| narrow(running.saturating_add(waiting))),
            Self::Held => narrow(held),
            Self::Near => near(&glance.account).first().map_or(0, |near| near.percent),
            Self::State => u64::from(glance.state != State::Serving.label()),
            Self::Tenant => 0,
        }
    }
}

/// The leases on names. Those on the keys of requests are the host's own.
pub(super) fn held(locks: &Locks) -> Vec<HeldLease> {
    let mut held = locks.held(usize::MAX);
    held.retain(|held| held.key.namespace() != REQUESTS);
    held
}

/// The tenants that are asked for.
// Keeps P6: whatever is asked for, an answer has a bounded number of rows, and only for these is anything looked up.
pub(super) fn tenants(question: &Question, all: &Tenants, held: &[HeldLease], samples: &Samples) -> answer::Tenants {
    let glances = all.glances();
    let total = glances.len();
    let serving = State::Serving.label();
    let not_serving = glances.iter().filter(|glance| glance.state != serving).count();
    let mut leases: HashMap<&str, usize> = HashMap::new();
    for lease in held {
        *leases.entry(lease.key.namespace()).or_default() += 1;
    }
    let of = |id: &str| leases.get(id).copied().unwrap_or(0);
    let wanted = glances
        .into_iter()
        .filter(|glance| glance.account.tenant().starts_with(&question.tenant));
    let mut wanted: Vec<_> = wanted
        .map(|glance| {
            let recent = samples.tenant(glance.account.tenant());
            let key = question.sort.key(&glance, &recent, of(glance.account.tenant()));
            (key, glance, recent)
        })
        .collect();
    wanted.sort_by(|(key, glance, _), (other_key, other, _)| {
        let by_id = || glance.account.tenant().cmp(other.account.tenant());
        other_key.cmp(key).then_with(by_id)
    });
    let matching = wanted.len();
    wanted.truncate(question.limit());
    let rows = wanted.into_iter().map(|(_, glance, recent)| {
        let id = glance.account.tenant();
        let (running, waiting) = glance.calls.unwrap_or_default();
        let is_serving = glance.state == serving;
        Tenant {
            state: glance.state,
            refused: (!is_serving).then(|| all.status_of(id)?.refused).flatten(),
            running,
            waiting,
            held: of(id),
            minute: recent.into(),
            near: near(&glance.account),
            history: samples.tenant_history(id).into(),
            tenant: id.to_string(),
        }
    });
    answer::Tenants {
        total,
        matching,
        not_serving,
        rows: rows.collect(),
    }
}

/// The limits that a tenant came near to within the last hour, the nearest first.
fn near(account: &Account) -> Vec<Near> {
    let all = Limit::ALL.into_iter().map(|limit| Near {
        limit: limit.key(),
        percent: account.nearness(limit).div_ceil(10),
    });
    let mut near: Vec<_> = all.filter(|near| near.percent > 0).collect();
    near.sort_by_key(|near| Reverse(near.percent));
    near
}

/// The locks of the tenants that are asked for: first those that most wait for, then those that have been held for longest.
pub(super) fn locks(question: &Question, held: &[HeldLease], waiting: usize) -> answer::Locks {
    let wanted = held
        .iter()
        .filter(|lease| lease.key.namespace().starts_with(&question.tenant));
    let mut wanted: Vec<_> = wanted.collect();
    wanted.sort_by_key(|lease| (Reverse(lease.waiting), lease.id));
    let matching = wanted.len();
    wanted.truncate(question.limit());
    answer::Locks {
        held: held.len(),
        waiting,
        matching,
        rows: wanted.into_iter().map(answer::Held::from).collect(),
    }
}
