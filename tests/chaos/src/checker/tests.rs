use super::*;
use crate::history::{Section, Sighting};

fn version(owner: &str, created_ms: i64, expires_ms: Option<i64>, fencing_token: i64) -> Version {
    Version {
        name: "a".to_owned(),
        owner: owner.to_owned(),
        created_ms,
        expires_ms,
        fencing_token,
        written_ms: created_ms,
    }
}

fn call(kind: Kind, owner: &str, from_ms: i64, to_ms: i64, answer: Answer) -> Call {
    Call {
        attempt: 1,
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
        asked_us: begin_us,
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
        sightings: Vec::new(),
        hosts_come: false,
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
    assert_eq!(
        checks(|h| (h.sections[1].asked_us, h.sections[1].begin_us) = (49, 49)),
        ["section"]
    );
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
fn what_nobody_was_told_of_may_be_committed_after_a_free_that_found_nothing() {
    let untold = |h: &mut History| {
        h.versions.truncate(1);
        h.calls[0].answer = Answer::Unknown("cut".to_owned());
    };
    assert!(!checks(untold).contains(&"freed"));
}

#[test]
fn what_was_found_too_late_or_missed_is_found() {
    assert_eq!(
        checks(|h| h.calls[1] = call(Kind::Find, "", 1200, 1201, registered("ann", 1000, 1))),
        ["found", "revived"]
    );
    assert_eq!(
        checks(|h| h.calls[5] = call(Kind::Find, "", 1010, 1020, problem(404, "not_found"))),
        ["found"]
    );
}

#[test]
fn where_hosts_come_database_time_may_be_late() {
    // Freed at 1050 by the time of a host that is 20 ms late.
    let late = |h: &mut History| {
        h.calls[1] = call(Kind::Find, "", 1069, 1071, registered("ann", 1000, 1));
        h.calls[3].begin_us = 1_068_000;
        h.calls[3].end_us = 1_075_000;
    };
    assert!(checks(late).contains(&"found"));
    let where_they_come = |h: &mut History| {
        late(h);
        h.hosts_come = true;
    };
    assert!(!checks(where_they_come).contains(&"found"));
}

#[test]
fn a_registration_may_be_seen_until_the_call_that_freed_it_is_answered() {
    let find = |from, to| call(Kind::Find, "", from, to, registered("ann", 1000, 1));
    assert_eq!(checks(|h| h.calls[1] = find(1054, 1056)), Vec::<&str>::new());
    assert_eq!(
        checks(|h| h.calls[1] = find(1062, 1063)),
        ["found", "revived"],
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

fn fault(kind: &'static str, begin_us: i64, end_us: i64) -> Record {
    Record {
        kind,
        begin_us,
        end_us,
        served_us: Some(end_us),
        ..Record::default()
    }
}

#[test]
fn a_grant_with_an_older_token_is_found() {
    assert_eq!(checks(|h| h.sections[1].fencing_token = 4), ["grant"]);
    assert_eq!(
        checks(|h| {
            h.sections[1].fencing_token = 4;
            // It may have been granted after the other: that was asked for before this one was held.
            h.sections[2].asked_us = 49;
        }),
        Vec::<&str>::new()
    );
}

#[test]
fn a_registration_that_comes_back_is_found() {
    let again = |h: &mut History| {
        // The clock was ahead when it was freed.
        h.versions[1].expires_ms = Some(9000);
        h.versions.pop();
        h.calls.remove(4);
        h.calls[1] = call(Kind::Find, "", 1062, 1063, registered("ann", 1000, 1));
    };
    assert!(checks(again).contains(&"revived"));
}

#[test]
fn a_wrong_clock_is_followed_slowly() {
    let shifted = |h: &mut History| {
        h.calls[3].answer = Answer::Unknown("hung up".to_owned());
        h.calls[1] = call(Kind::Find, "", 1066, 1068, registered("ann", 1000, 1));
        h.faults = vec![Record {
            wrong_clock: true,
            ..fault("step of a host's clock", 0, 1_000_000)
        }];
    };
    assert_eq!(checks(shifted), Vec::<&str>::new());
}

#[test]
fn a_name_that_is_busy_without_a_cause_is_found() {
    let busy = |from, to| call(Kind::Register, "eve", from, to, problem(423, "name_busy"));
    assert_eq!(checks(|h| h.calls[2] = busy(1041, 1042)), Vec::<&str>::new());
    assert_eq!(checks(|h| h.calls[2] = busy(1100, 1110)), ["busy"]);
    let excused = |h: &mut History| {
        h.calls[2] = busy(1100, 1110);
        h.faults = vec![fault("kill a host", 500_000, 600_000)];
    };
    assert_eq!(checks(excused), Vec::<&str>::new());
}

#[test]
fn a_lease_that_is_lost_without_a_cause_is_found() {
    let lost = |to| call(Kind::Register, "eve", 5000, to, problem(503, "lease_lost"));
    assert_eq!(checks(|h| h.calls[2] = lost(5100)), ["lease"]);
    assert_eq!(checks(|h| h.calls[2] = lost(8000)), Vec::<&str>::new());
}

#[test]
fn a_lock_that_nobody_can_have_is_found() {
    let seen = |h: &mut History, at_ms: i64| {
        h.sightings = vec![Sighting {
            at_us: at_ms * 1000,
            server: 0,
            key: "namelock:chaos:0cc175b9c0f1b6a831c399e269772661".to_owned(),
        }];
    };
    assert_eq!(checks(|h| seen(h, 1060)), Vec::<&str>::new());
    assert_eq!(
        checks(|h| seen(h, 4000)),
        Vec::<&str>::new(),
        "a release may take that long"
    );
    assert_eq!(checks(|h| seen(h, 9000)), ["lock"]);
}

#[test]
fn a_host_that_does_not_fit_and_serves_is_found() {
    let misfit = |h: &mut History| {
        h.calls[0].host = crate::fleet::NEWCOMER;
        h.faults = vec![Record {
            misfit: true,
            ..fault("host with another list", 900_000, 1_100_000)
        }];
    };
    assert_eq!(checks(misfit), ["misfit"]);
}

#[test]
fn a_name_that_is_not_served_again_is_found() {
    let missing = |h: &mut History| {
        h.faults = vec![Record {
            missing: vec!["a at host 1".to_owned()],
            ..fault("kill a host", 0, 1)
        }];
    };
    assert_eq!(checks(missing), ["service"]);
}

#[test]
fn a_write_after_the_next_grant_is_found() {
    let late = |h: &mut History| {
        h.sections[2].begin_us = 900_000;
        h.sections[2].end_us = 900_000;
        h.faults = vec![fault("delay PostgreSQL", 0, 1)];
    };
    assert_eq!(checks(late), ["late", "late"]);
}

#[test]
fn a_write_after_the_end_of_its_own_lease_is_found() {
    let late = |written_ms: i64| {
        checks(|h| {
            h.versions[0].written_ms = written_ms;
            h.sections = vec![section(1, 990_000, 1_040_000)];
            h.faults = vec![fault("delay PostgreSQL", 0, 1)];
        })
    };
    assert_eq!(
        late(1040 + 3000),
        Vec::<&str>::new(),
        "its lease may have been renewed at 1040"
    );
    assert_eq!(late(1040 + 4000), ["late"]);
}

#[test]
fn what_a_power_cut_would_take_is_found() {
    let history = good();
    let found = |cut_us, kept| lost_by_power_cut(&history.calls, &history.versions[..kept], cut_us).len();
    assert_eq!(found(2_000_000, 3), 0);
    assert_eq!(found(2_000_000, 2), 1);
    assert_eq!(found(1_050_000, 2), 0, "the second was not answered yet");
}

#[test]
fn a_request_that_is_sent_again_is_neither_refused_because_of_itself_nor_done_twice() {
    let again = |from_ms, to_ms, answer| Call {
        attempt: 2,
        ..call(Kind::Register, "ann", from_ms, to_ms, answer)
    };
    let refused = || problem(409, "name_taken");
    let found = |history: &History| {
        let violations = check(history).into_iter().map(|violation| violation.check);
        violations
            .filter(|check| ["retry", "twice"].contains(check))
            .collect::<Vec<_>>()
    };
    let mut history = good();
    history.calls.push(again(1030, 1040, refused()));
    assert_eq!(found(&history), ["retry"]);
    // Somebody else may have had the name by then, or ann has it only since.
    for (from_ms, to_ms) in [(1040, 1060), (998, 1010)] {
        let mut history = good();
        history.calls.push(again(from_ms, to_ms, refused()));
        assert_eq!(found(&history), [""; 0], "{from_ms}");
    }
    let mut history = good();
    history.calls.push(again(1030, 1040, registered("ann", 1000, 1)));
    assert_eq!(found(&history), [""; 0]);
    // A second registration of the same request, while the row of the first one is there.
    let mut history = good();
    history.versions = vec![version("ann", 1000, Some(1100), 1), version("ann", 1200, Some(1300), 2)];
    assert_eq!(found(&history), ["twice"]);
    history.versions[1] = version("ann", 20_000, Some(20_100), 2);
    assert_eq!(found(&history), [""; 0], "it may have been forgotten");
}
