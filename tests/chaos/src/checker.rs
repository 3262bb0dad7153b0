//! What must hold of a history.
//!
//! | check | says |
//! |---|---|
//! | `overlap` | of one name there never are two active registrations, in the database's own record |
//! | `token` | the fencing tokens of a name never go back |
//! | `lost` | what was answered 201 is in that record, as it was answered |
//! | `freed` | what was answered 204 has ended |
//! | `found` | what was found was active at that time, and what was not found was not |
//! | `taken` | a name that was refused as taken was somebody's |
//! | `contract` | every answer is one of the contract |
//! | `section` | critical sections of a name do not overlap while both leases are trusted |
//! | `lock` | no lock is left when its time is over |
//!
//! Where it cannot be known what happened (an answer that did not come, clocks in whole milliseconds), the check is for what is
//! certain.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use serde::Serialize;

use crate::clients::{Answer, Call, Kind};
use crate::fleet::{Fleet, LOCK_LIFE, SERVERS};
use crate::history::{History, Section, Version};

/// How far the clocks of a client and of the database may be from each other: they are one clock, in milliseconds.
const GRAIN_MS: i64 = 2;

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
    /// When its caller had been told. It begins when its row is written, and others see it once that is committed: from then on they
    /// must. None: nobody was told.
    told_ms: Option<i64>,
}

/// Checks everything that a history shows.
pub fn check(history: &History) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut versions: BTreeMap<&str, Vec<&Version>> = BTreeMap::new();
    for version in &history.versions {
        versions.entry(&version.name).or_default().push(version);
    }
    for versions in versions.values() {
        found.extend(follow(versions));
    }
    let is_201 = |call: &&Call| call.kind == Kind::Register && matches!(call.answer, Answer::Registration { .. });
    let told = history.calls.iter().filter(is_201);
    let told: HashMap<_, _> = told.map(|call| (call.owner.as_str(), call.end_us / 1000)).collect();
    let lives: HashMap<&str, Vec<Life<'_>>> = versions
        .iter()
        .map(|(name, versions)| {
            let frees = history
                .calls
                .iter()
                .filter(|call| call.kind == Kind::Free && call.name == *name);
            (*name, lives(versions, &told, &frees.collect::<Vec<_>>()))
        })
        .collect();
    let none = Vec::new();
    for call in &history.calls {
        let lives = lives.get(call.name.as_str()).unwrap_or(&none);
        found.extend(check_call(call, lives));
    }
    found.extend(check_sections(&history.sections));
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
fn lives<'a>(versions: &[&'a Version], told: &HashMap<&str, i64>, frees: &[&Call]) -> Vec<Life<'a>> {
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
            .filter_map(|free| seen_until(life, free))
            .fold(life.end_ms, i64::max);
    }
    lives
}

/// Until when a registration may be seen because this call may have freed it; none: it has not.
fn seen_until(life: &Life<'_>, free: &Call) -> Option<i64> {
    let unanswered = matches!(free.answer, Answer::Unknown(_) | Answer::Problem { status: 500.., .. });
    let answered_ms = free.end_us / 1000 + GRAIN_MS + if unanswered { COMMIT_MS } else { 0 };
    let while_it_ran = (free.begin_us / 1000 - GRAIN_MS..=answered_ms).contains(&life.end_ms);
    (free.owner == life.first.owner && while_it_ran).then_some(answered_ms)
}

fn check_call(call: &Call, lives: &[Life<'_>]) -> Option<Violation> {
    let (begin_ms, end_ms) = (call.begin_us / 1000 - GRAIN_MS, call.end_us / 1000 + GRAIN_MS);
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
            // One that began later was asked for before, by a call whose answer did not come.
            let ended = |life: &&Life<'_>| life.first.created_ms >= begin_ms || life.end_ms <= end_ms;
            let still = lives.iter().find(|life| life.first.owner == call.owner && !ended(life));
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

fn check_sections(sections: &[Section]) -> Vec<Violation> {
    let mut by_name: BTreeMap<&str, Vec<&Section>> = BTreeMap::new();
    for section in sections.iter().filter(|section| section.end_us > section.begin_us) {
        by_name.entry(&section.name).or_default().push(section);
    }
    let mut found = Vec::new();
    for sections in by_name.values_mut() {
        sections.sort_by_key(|section| section.begin_us);
        for pair in sections.windows(2) {
            if pair[1].begin_us < pair[0].end_us {
                found.push(violation("section", format!("{:?} began in {:?}", pair[1], pair[0])));
            }
        }
    }
    found
}

/// Waits until every lock has been released or must have expired, and tells those that are left.
pub async fn locks_left(fleet: &Fleet) -> Vec<Violation> {
    let mut left = Vec::new();
    for _ in 0..LOCK_LIFE.as_millis() / 100 + 10 {
        left = (0..SERVERS)
            .flat_map(|server| fleet.memcached(server).raw().lock_keys())
            .collect();
        left.retain(|key| key.starts_with("namelock:"));
        if left.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    left.into_iter()
        .map(|key| violation("lock", format!("{key} is left")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(owner: &str, created_ms: i64, expires_ms: Option<i64>, fencing_token: i64) -> Version {
        Version {
            name: "a".to_owned(),
            owner: owner.to_owned(),
            created_ms,
            expires_ms,
            fencing_token,
        }
    }

    fn call(kind: Kind, owner: &str, from_ms: i64, to_ms: i64, answer: Answer) -> Call {
        Call {
            host: 0,
            kind,
            name: "a".to_owned(),
            owner: owner.to_owned(),
            begin_us: from_ms * 1000,
            end_us: to_ms * 1000,
            answer,
        }
    }

    fn registered(owner: &str, created_ms: i64, fencing_token: i64) -> Answer {
        Answer::Registration {
            owner: owner.to_owned(),
            created_ms,
            expires_ms: Some(created_ms + 100),
            fencing_token,
        }
    }

    fn problem(status: u16, code: &str) -> Answer {
        Answer::Problem {
            status,
            code: code.to_owned(),
        }
    }

    fn section(fencing_token: u64, begin_us: i64, end_us: i64) -> Section {
        Section {
            host: 0,
            name: "a".to_owned(),
            fencing_token,
            begin_us,
            end_us,
        }
    }

    /// A history in which nothing is wrong: ann has the name from 1000 to 1100, frees it at 1050, and bob has it from 1050 on.
    fn good() -> History {
        History {
            calls: vec![
                call(Kind::Register, "ann", 990, 1005, registered("ann", 1000, 1)),
                call(Kind::Find, "", 1010, 1020, registered("ann", 1000, 1)),
                call(Kind::Register, "eve", 1010, 1020, problem(409, "name_taken")),
                call(Kind::Free, "ann", 1040, 1055, Answer::Freed),
                call(Kind::Register, "bob", 1045, 1060, registered("bob", 1050, 3)),
                call(Kind::Find, "", 900, 950, problem(404, "not_found")),
                call(Kind::Register, "eve", 1200, 1300, Answer::Unknown("cut".to_owned())),
            ],
            versions: vec![
                version("ann", 1000, Some(1100), 1),
                version("ann", 1000, Some(1050), 2),
                version("bob", 1050, Some(1150), 3),
            ],
            sections: vec![section(1, 0, 50), section(2, 50, 90), section(3, 60, 60)],
            faults: Vec::new(),
        }
    }

    fn checks(change: impl FnOnce(&mut History)) -> Vec<&'static str> {
        let mut history = good();
        change(&mut history);
        check(&history).into_iter().map(|violation| violation.check).collect()
    }

    #[test]
    fn nothing_is_wrong_with_a_good_history() {
        assert_eq!(checks(|_| ()), Vec::<&str>::new());
    }

    #[test]
    fn two_at_once_are_found() {
        assert_eq!(checks(|h| h.versions[1].expires_ms = Some(1051)), ["overlap"]);
        assert_eq!(checks(|h| h.versions[1].expires_ms = None), ["overlap", "freed"]);
        assert_eq!(checks(|h| h.sections[1].begin_us = 49), ["section"]);
    }

    #[test]
    fn an_old_token_is_found() {
        assert_eq!(checks(|h| h.versions[1].fencing_token = 4), ["token"]);
    }

    #[test]
    fn what_was_lost_is_found() {
        assert_eq!(checks(|h| drop(h.versions.pop())), ["lost"]);
        assert_eq!(checks(|h| h.calls[4].owner = "eve".to_owned()), ["lost"]);
    }

    #[test]
    fn what_was_not_freed_is_found() {
        assert!(checks(|h| h.versions.truncate(1)).contains(&"freed"));
    }

    #[test]
    fn what_was_found_too_late_or_missed_is_found() {
        assert_eq!(
            checks(|h| h.calls[1] = call(Kind::Find, "", 1200, 1201, registered("ann", 1000, 1))),
            ["found"]
        );
        assert_eq!(
            checks(|h| h.calls[5] = call(Kind::Find, "", 1010, 1020, problem(404, "not_found"))),
            ["found"]
        );
    }

    #[test]
    fn a_registration_may_be_seen_until_the_call_that_freed_it_is_answered() {
        let find = |from, to| call(Kind::Find, "", from, to, registered("ann", 1000, 1));
        assert_eq!(checks(|h| h.calls[1] = find(1054, 1056)), Vec::<&str>::new());
        assert_eq!(
            checks(|h| h.calls[1] = find(1062, 1063)),
            ["found"],
            "it was answered at 1055"
        );
        let unanswered = |h: &mut History| {
            h.calls[3].answer = Answer::Unknown("cut".to_owned());
            h.calls[1] = find(1062, 1063);
        };
        assert_eq!(checks(unanswered), Vec::<&str>::new());
    }

    #[test]
    fn a_name_that_is_taken_by_nobody_is_found() {
        assert_eq!(
            checks(|h| h.calls[2] = call(Kind::Register, "eve", 100, 200, problem(409, "name_taken"))),
            ["taken"]
        );
    }

    #[test]
    fn an_answer_outside_of_the_contract_is_found() {
        assert_eq!(checks(|h| h.calls[2].answer = problem(500, "internal")), ["contract"]);
        assert_eq!(checks(|h| h.calls[2].answer = problem(503, "")), ["contract"]);
        assert_eq!(
            checks(|h| h.calls[5].answer = problem(503, "lock_unavailable")),
            ["contract"]
        );
    }
}
