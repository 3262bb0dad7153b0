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

fn fleet(text: &str, config: &LockConfig) -> Fleet {
    let lists = lists(text);
    Fleet {
        lists,
        ..Fleet::new(&["any:1".to_owned()], config)
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
    let first = fleet("X", &config).first_value();
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
fn a_host_says_what_differs() {
    let config = LockConfig::default();
    let own = fleet("X", &config);
    assert_eq!(own.differs(&own.first_value()), None);
    let other = fleet("Y", &config).first_value();
    let reason = own.differs(&other).unwrap();
    assert!(
        reason.contains("are Y:1,shared:1, this host's X:1,shared:1") && reason.contains("same lock URL"),
        "{reason}"
    );
    let longer = LockConfig {
        lease: Duration::from_secs(20),
        ..config
    };
    let reason = own.differs(&fleet("X", &longer).first_value()).unwrap();
    assert!(
        reason.contains("lease=20000ms") && reason.contains("lease=10000ms") && reason.contains("lock.lease"),
        "{reason}"
    );
}

#[tokio::test]
async fn the_value_with_the_greatest_base_is_that_of_the_fleet() {
    let config = LockConfig::default();
    let fleet = Fleet::new(&["a:1".to_owned(), "b:1".to_owned()], &config);
    let first = fleet.first_value();
    let later = Value {
        base: 7,
        ..first.clone()
    };
    fleet.record("a:1", &later, Duration::ZERO);
    fleet.record("b:1", &first, Duration::ZERO);
    assert_eq!(fleet.newest("b:1"), Some(later.clone()));
    fleet.record_refusal("a:1", Some(later.clone()), "it differs");
    assert_eq!(fleet.newest("b:1"), Some(later));
    assert_eq!(fleet.newest("a:1"), Some(first), "what it had itself was refused");
    assert_eq!(fleet.refusal().unwrap().reason, "it differs");
    fleet.record_asked("a:1");
    fleet.record_asked("a:1");
    assert_eq!(*fleet.unasked.borrow(), 1);
    fleet.record_asked("b:1");
    fleet.asked().await;
}
