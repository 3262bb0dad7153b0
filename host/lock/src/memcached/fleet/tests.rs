use std::time::Duration;

use super::*;

fn list(name: &str) -> List {
    List::new(&[format!("{name}:1"), "shared:1".to_owned()])
}

/// `X`, or `X>Y`: X, then Y.
fn lists(text: &str) -> Lists {
    match text.split_once('>') {
        Some((previous, current)) => Lists {
            previous: Some(list(previous)),
            current: list(current),
        },
        None => Lists {
            previous: None,
            current: list(text),
        },
    }
}

#[test]
fn what_a_host_does_follows_from_its_lists_and_the_value_that_it_finds() {
    use Verdict::{Announce, Finish, Refuse, Use};
    let table = [
        ("X", [Use, Announce, Refuse]),
        ("X>Y", [Use, Use, Finish]),
        ("Y", [Refuse, Use, Use]),
        ("Y>X", [Finish, Use, Use]),
        ("X>Z", [Use, Announce, Refuse]),
        ("Z>X", [Finish, Refuse, Refuse]),
        ("Y>Z", [Refuse, Refuse, Use]),
        ("Z>Y", [Refuse, Refuse, Finish]),
        ("Z", [Refuse, Refuse, Refuse]),
        ("Z>W", [Refuse, Refuse, Refuse]),
    ];
    for (found, expected) in table {
        let found = lists(found);
        let verdicts = ["X", "X>Y", "Y"].map(|own| lists(own).judge(&found));
        assert_eq!(verdicts, expected, "found {found}");
    }
}

// Whatever is written, its writer accepts, so that no two hosts write in turn for ever.
#[test]
fn nobody_writes_again_what_was_written_for_somebody_who_can_use_it() {
    let all = ["X", "Y", "Z", "X>Y", "Y>X", "X>Z", "Z>X", "Y>Z", "Z>Y"].map(lists);
    for own in &all {
        assert_eq!(own.judge(own), Verdict::Use, "{own}");
        for other in &all {
            let theirs = own.judge(other);
            // Two changes at once are refused by who came first (`Fleet::differs`).
            let at_once = own.previous.is_some() && own.previous == other.previous;
            if matches!(theirs, Verdict::Announce | Verdict::Finish) && !at_once {
                let answer = other.judge(own);
                assert!(matches!(answer, Verdict::Use | Verdict::Refuse), "{own} and {other}");
            }
        }
    }
}

#[test]
fn a_value_is_read_as_it_was_written() {
    let config = LockConfig::default();
    let first = Value {
        lists: lists("X"),
        from: None,
        times: Times::new(&config),
        base: 0,
        counted: 0,
        waits: false,
    };
    let changed = Value {
        lists: lists("X>Y"),
        from: Some(list("Z")),
        base: u64::MAX,
        counted: 7,
        waits: true,
        ..first.clone()
    };
    for value in [first, changed] {
        assert_eq!(value.to_string().parse(), Ok(value));
    }
    for text in ["", "0", "1 list=a:1", "2 list=a:1 previous=- from=-"] {
        assert_eq!(text.parse::<Value>(), Err(()), "{text}");
    }
}

#[test]
fn a_later_value_replaces_what_it_may_have_come_from_and_no_other() {
    let value = |text: &str, from: Option<&str>, base| Value {
        lists: lists(text),
        from: from.map(list),
        times: Times::new(&LockConfig::default()),
        base,
        counted: 0,
        waits: false,
    };
    let (first, announced, finished) = (value("X", None, 0), value("X>Y", None, 7), value("Y", Some("X"), 8));
    assert!(announced.replaces(&first) && finished.replaces(&announced));
    assert!(
        finished.replaces(&first),
        "its server was down when the change was announced"
    );
    assert!(!first.replaces(&announced) && !announced.replaces(&finished));
    assert!(!finished.replaces(&value("Y", Some("X"), 7)), "it says the same");
    assert!(!finished.replaces(&value("Z", None, 0)), "another fleet's");
    assert!(value("X>Z", None, 8).replaces(&announced), "one that was given up");
}

#[test]
fn the_longest_hold_is_agreed_on_unless_a_value_does_not_tell() {
    let with = |max_hold| {
        Times::new(&LockConfig {
            max_hold,
            ..LockConfig::default()
        })
    };
    let (minute, hour) = (with(Duration::from_secs(60)), with(Duration::from_secs(3600)));
    let silent = Times {
        hold_ms: None,
        ..minute
    };
    assert!(!minute.agree(&hour) && !hour.agree(&minute));
    assert!(silent.agree(&minute) && hour.agree(&silent) && silent.agree(&silent));
    assert_eq!(silent.to_string(), "lease=10000ms grace=10000ms ttl=13s");
    assert_eq!(minute.to_string(), "lease=10000ms grace=10000ms ttl=13s hold=60000ms");
}
