//! What must hold of a history.
//!
//! | check | says |
//! |---|---|
//! | `overlap` | of one name there never are two active registrations, in the database's own record |
//! | `token` | the fencing tokens of a name never go back |
//! | `grant` | nor do they at their grant: whoever asks while another has a lease, or later, gets a greater one |
//! | `lost` | what was answered 201 is in that record, as it was answered |
//! | `late` | while no memcached fails, nobody writes after its successor was granted the name |
//! | `freed` | what was answered 204 has ended |
//! | `revived` | and is never found again |
//! | `found` | what was found was active at that time, and what was not found was not |
//! | `taken` | a name that was refused as taken was somebody's |
//! | `retry` | a request that is sent again is not refused because of itself |
//! | `twice` | nor does it register anything a second time |
//! | `contract` | every answer is one of the contract |
//! | `section` | critical sections of a name do not overlap while both leases are trusted |
//! | `lock` | no lock is seen for longer than a bound after the last call that can have had it; none is left in the end |
//! | `busy` | who is told that a name is busy has a competitor, or there was a fault |
//! | `lease` | who is told that the lease was lost held it for too long, or there was a fault |
//! | `misfit` | a host with another list of servers or another lease serves nobody |
//! | `service` | after a fault every name is served again at every host |
//! | `flushed` | what was answered 201 is on the disk, also after a power cut |
//!
//! A database may go by a clock of its own that is slewed, but never steps: see `Drift`. Where it cannot be known what
//! happened (an answer that did not come, clocks in whole milliseconds), the check is for what is certain.

mod causes;
mod grants;
mod locks;
mod retries;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Serialize;

pub use self::locks::{lock_key, locks_left};
use crate::clients::{Answer, Call, Kind};
use crate::fault::Fault;
use crate::history::{History, Version};
use crate::nemesis::Record;

/// How far the clocks of a client and of the database are from each other where none was ever wrong: they are one
/// clock, in milliseconds.
const GRAIN_MS: i64 = 2;

/// How far the database's time may be behind where hosts come meanwhile, as after faults: one that comes takes the time of the
/// server as late as its answer comes on a busy machine, and makes up for it slowly.
const LATE_MS: i64 = 100;

/// The share of the time in which a wall clock was wrong by which the database's time may be off afterwards: it may
/// follow it by one hundredth, and the fault lasts a bit longer than is known here.
const DRIFT_SHARE: i64 = 50;

/// How far the database's time may be from the right one, in milliseconds: a wrong clock is followed slowly, if at all.
#[derive(Debug, Clone, Copy)]
struct Drift(i64);

impl Drift {
    fn of(history: &History) -> Self {
        let wrong = history.faults.iter().filter(|fault| fault.wrong_clock);
        let wrong_ms: i64 = wrong.map(|fault| (fault.end_us - fault.begin_us) / 1000 + 2000).sum();
        Self(GRAIN_MS + wrong_ms / DRIFT_SHARE)
    }

    /// The same of what is compared with the calls of clients.
    fn of_calls(history: &History) -> Self {
        let late_ms = if history.hosts_come || !history.faults.is_empty() {
            LATE_MS
        } else {
            0
        };
        Self(Self::of(history).0 + late_ms)
    }
}

/// How long after a call that was not answered its statement may still be committed: more than `names.timeout`.
const COMMIT_MS: i64 = 5_000;

/// Something that should not have happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Which check found it.
    pub check: &'static str,
    /// What it is.
    pub what: String,
}

fn violation(check: &'static str, what: String) -> Violation {
    Violation { check, what }
}

/// A registration, with the time in which it was active: from its beginning up to its end, in milliseconds.
#[derive(Debug)]
struct Life<'a> {
    first: &'a Version,
    end_ms: i64,
    /// Until when others may see it. A registration that is freed ends when its row is written, and others see that once it is
    /// committed, which is at the latest when the call that freed it was answered.
    seen_until_ms: i64,
    /// When its caller had been told. It begins when its row is written, and others see it once that is committed: from
    /// then on they must. None: nobody was told.
    told_ms: Option<i64>,
}

/// Checks everything that a history shows.
pub fn check(history: &History) -> Vec<Violation> {
    let drift = Drift::of_calls(history);
    let mut found = Vec::new();
    let mut versions: BTreeMap<&str, Vec<&Version>> = BTreeMap::new();
    for version in &history.versions {
        versions.entry(&version.name).or_default().push(version);
    }
    for versions in versions.values() {
        found.extend(follow(versions));
    }
    let told = history.calls.iter().filter(|call| is_201(call));
    let told: HashMap<_, _> = told.map(|call| (call.owner.as_str(), call.end_us / 1000)).collect();
    let mut frees: HashMap<&str, Vec<&Call>> = HashMap::new();
    for call in history.calls.iter().filter(|call| call.kind == Kind::Free) {
        frees.entry(&call.name).or_default().push(call);
    }
    let lives: HashMap<&str, Vec<Life<'_>>> = versions
        .iter()
        .map(|(name, versions)| {
            let frees = frees.get(name).map(Vec::as_slice).unwrap_or_default();
            (*name, lives(versions, &told, frees, drift))
        })
        .collect();
    let none = Vec::new();
    for call in &history.calls {
        let lives = lives.get(call.name.as_str()).unwrap_or(&none);
        found.extend(check_call(call, lives, drift));
        found.extend(retries::check_refused(call, lives, drift));
    }
    found.extend(lives.values().flat_map(|lives| retries::check_once(lives)));
    found.extend(revived(&history.calls));
    found.extend(misfits(history));
    found.extend(grants::check_overlap(&history.sections));
    found.extend(grants::check_order(&history.sections));
    // Where a memcached forgets, a holder may still write that does not know of its successor; the token decides then.
    let only_postgres = |fault: &Record| fault.kind.ends_with("PostgreSQL") || Fault::is_failover(fault.kind);
    if !history.faults.is_empty() && history.faults.iter().all(only_postgres) {
        found.extend(grants::check_late(history, Drift::of(history).0));
    }
    found.extend(causes::check(history));
    found.extend(locks::check(history));
    let missing = history.faults.iter().filter(|fault| !fault.missing.is_empty());
    found.extend(missing.map(|fault| violation("service", format!("after {}: {:?}", fault.what, fault.missing))));
    found
}

/// What was told to have been registered before a power cut, and would not be there after it.
pub fn lost_by_power_cut(calls: &[Call], flushed: &[Version], cut_us: i64) -> Vec<Violation> {
    let flushed: HashSet<_> = flushed
        .iter()
        .map(|version| (version.owner.as_str(), version.created_ms, version.fencing_token))
        .collect();
    let told = calls.iter().filter(|call| call.end_us < cut_us && is_201(call));
    let is_there = |call: &&Call| match &call.answer {
        Answer::Registration {
            owner,
            created_ms,
            fencing_token,
            ..
        } => flushed.contains(&(owner.as_str(), *created_ms, *fencing_token)),
        _ => true,
    };
    told.filter(|call| !is_there(call))
        .map(|call| violation("flushed", format!("{call:?} is not on the disk")))
        .collect()
}

fn is_201(call: &Call) -> bool {
    call.kind == Kind::Register && matches!(call.answer, Answer::Registration { .. })
}

/// What was found although it had been freed before it was looked for. An owner registers once.
fn revived(calls: &[Call]) -> Vec<Violation> {
    let freed = calls.iter().filter(|call| call.answer == Answer::Freed);
    let freed: HashMap<_, _> = freed.map(|call| ((&call.name, &call.owner), call)).collect();
    let told = calls.iter().filter(|call| is_201(call));
    let told: HashMap<_, _> = told.map(|call| (&call.owner, call)).collect();
    let found = calls.iter().filter_map(|call| match &call.answer {
        Answer::Registration { owner, .. } if call.kind == Kind::Find => {
            let free = freed.get(&(&call.name, owner))?;
            // One that was asked for before, by a call whose answer did not come, may begin after it was freed in vain.
            let registered = told.get(owner)?;
            let in_order = registered.end_us < free.begin_us && free.end_us < call.begin_us;
            in_order.then(|| violation("revived", format!("{call:?} although {free:?}")))
        }
        _ => None,
    });
    found.collect()
}

/// What the newcomer did while it must not do anything.
fn misfits(history: &History) -> Vec<Violation> {
    let mut found = Vec::new();
    for fault in history.faults.iter().filter(|fault| fault.misfit) {
        let served = history.calls.iter().filter(|call| {
            let meanwhile = call.begin_us >= fault.begin_us && call.end_us <= fault.end_us;
            let granted = is_201(call) || call.answer == Answer::Freed;
            call.host == crate::fleet::NEWCOMER && meanwhile && granted
        });
        found.extend(served.map(|call| violation("misfit", format!("{}: {call:?}", fault.what))));
    }
    found
}

fn same(a: &Version, b: &Version) -> bool {
    (&a.owner, a.created_ms) == (&b.owner, b.created_ms)
}

/// Follows the row of one name through its versions.
fn follow(versions: &[&Version]) -> Vec<Violation> {
    let mut found = Vec::new();
    for pair in versions.windows(2) {
        let (before, after) = (pair[0], pair[1]);
        if !same(before, after) && before.expires_ms.is_none_or(|end| end > after.created_ms) {
            found.push(violation(
                "overlap",
                format!("{after:?} began while {before:?} was active"),
            ));
        }
        if after.fencing_token < before.fencing_token {
            found.push(violation("token", format!("{after:?} came after {before:?}")));
        }
    }
    found
}

/// The registrations of a name, by its versions, and when the caller of each owner was told of it: an owner registers once.
fn lives<'a>(versions: &[&'a Version], told: &HashMap<&str, i64>, frees: &[&Call], drift: Drift) -> Vec<Life<'a>> {
    let mut lives: Vec<Life<'a>> = Vec::new();
    for version in versions {
        let end_ms = version.expires_ms.unwrap_or(i64::MAX);
        match lives.last_mut() {
            Some(last) if same(last.first, version) => last.end_ms = end_ms,
            _ => lives.push(Life {
                first: version,
                end_ms,
                seen_until_ms: end_ms,
                told_ms: told.get(version.owner.as_str()).copied(),
            }),
        }
    }
    for life in &mut lives {
        life.seen_until_ms = frees
            .iter()
            .filter_map(|free| seen_until(life, free, drift))
            .fold(life.end_ms, i64::max);
    }
    lives
}

/// Until when a registration may be seen because this call may have freed it; none: it has not.
fn seen_until(life: &Life<'_>, free: &Call, Drift(grain_ms): Drift) -> Option<i64> {
    let unanswered = matches!(free.answer, Answer::Unknown(_) | Answer::Problem { status: 500.., .. });
    let answered_ms = free.end_us / 1000 + grain_ms + if unanswered { COMMIT_MS } else { 0 };
    let while_it_ran = (free.begin_us / 1000 - grain_ms..=answered_ms).contains(&life.end_ms);
    (free.owner == life.first.owner && while_it_ran).then_some(answered_ms)
}

fn check_call(call: &Call, lives: &[Life<'_>], Drift(grain_ms): Drift) -> Option<Violation> {
    let (begin_ms, end_ms) = (call.begin_us / 1000 - grain_ms, call.end_us / 1000 + grain_ms);
    let during = |life: &Life<'_>| life.first.created_ms <= end_ms && life.seen_until_ms >= begin_ms;
    let throughout = |life: &Life<'_>| life.told_ms.is_some_and(|told_ms| told_ms < begin_ms) && life.end_ms > end_ms;
    match (call.kind, &call.answer) {
        (
            Kind::Register,
            Answer::Registration {
                owner,
                created_ms,
                expires_ms,
                fencing_token,
            },
        ) => {
            let saved = lives.iter().any(|life| {
                let Version {
                    owner: o,
                    created_ms: c,
                    expires_ms: e,
                    fencing_token: t,
                    ..
                } = life.first;
                (o, c, e, t) == (owner, created_ms, expires_ms, fencing_token) && *o == call.owner
            });
            (!saved).then(|| violation("lost", format!("{call:?} is not in the database")))
        }
        (Kind::Find, Answer::Registration { owner, created_ms, .. }) => {
            let of_it = |life: &&Life<'_>| (&life.first.owner, life.first.created_ms) == (owner, *created_ms);
            let active = lives.iter().find(of_it).is_some_and(during);
            (!active).then(|| violation("found", format!("{call:?} was not active then")))
        }
        (Kind::Free, Answer::Freed) => {
            // One whose caller had not been told yet may have been committed later: its row is written before that, and a
            // commit waits for a standby.
            let still = lives
                .iter()
                .find(|life| life.first.owner == call.owner && throughout(life));
            still.map(|life| violation("freed", format!("{call:?} did not end {:?}", life.first)))
        }
        (_, Answer::Problem { status, code }) => {
            let missed = || lives.iter().find(|life| throughout(life));
            match (call.kind, *status, code.as_str()) {
                (Kind::Find, 404, "not_found") => {
                    missed().map(|life| violation("found", format!("{call:?} missed {:?}", life.first)))
                }
                (Kind::Register, 409, "name_taken") => {
                    let somebody = lives.iter().any(during);
                    (!somebody).then(|| violation("taken", format!("{call:?} although nobody had the name")))
                }
                (Kind::Register | Kind::Free, 423, "name_busy")
                | (Kind::Free, 403, "forbidden")
                | (_, 503, "names_unavailable" | "overloaded")
                | (Kind::Register | Kind::Free, 503, "lock_unavailable" | "lease_lost")
                | (Kind::Register | Kind::Free, 504, "handler_deadline")
                | (_, 429, "tenant_limit") => None,
                _ => Some(violation("contract", format!("{call:?}"))),
            }
        }
        (_, Answer::Unknown(_)) => None,
        (Kind::Register | Kind::Find, Answer::Freed) | (Kind::Free, Answer::Registration { .. }) => {
            Some(violation("contract", format!("{call:?}")))
        }
    }
}
