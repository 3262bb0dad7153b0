use super::*;

/// A recording of a call that looked for a name, and did not get the lock on it.
pub(crate) fn recording() -> Recording {
    Recording {
        version: VERSION,
        component: "00".to_owned(),
        tenant: "t".to_owned(),
        request_id: "r".to_owned(),
        owners: Owners::Kept,
        request: Request::Register {
            name: "blue".to_owned(),
            owner: "annabel".to_owned(),
            lifetime_ms: Some(1),
            attributes: vec![("floor".to_owned(), "2".to_owned())],
        },
        keyed: true,
        settings: vec![("a".to_owned(), "b".to_owned())],
        limits: Limits {
            memory: 1,
            stack: 2,
            cpu_time_ms: 3,
            wall_time_ms: 4,
            host_calls: 5,
            host_bytes: 6,
            handles: 7,
            random_bytes: 8,
            log_bytes: 9,
        },
        seed: "ab".repeat(32),
        wall_ms: vec![1_900_000_000_000, -2],
        monotonic_ms: vec![3],
        exchanges: vec![
            Exchange {
                question: Question::Find {
                    name: "blue".to_owned(),
                },
                answer: Some(Answer::Registration(None)),
                noted: None,
                held_ms: None,
            },
            Exchange {
                question: Question::Acquire {
                    name: "blue".to_owned(),
                    wait_ms: 0,
                },
                answer: Some(Answer::Busy(7)),
                noted: Some(Noted::Limit {
                    limit: "writes".to_owned(),
                    after_ms: None,
                }),
                held_ms: Some(1),
            },
        ],
        before: None,
        ended: None,
        log: vec!["abc".to_owned()],
        broke_down: None,
        outcome: Outcome {
            code: "name_busy".to_owned(),
            text: Some("busy".to_owned()),
            registration: None,
        },
    }
}

#[test]
fn what_is_written_is_read_again() {
    let text = recording().write().unwrap();
    assert_eq!(Recording::read(&text).unwrap(), recording());
}

#[test]
fn another_version_is_told_from_something_else() {
    let read = |text: &str| Recording::read(text.as_bytes()).unwrap_err().to_string();
    assert!(read("{\"version\":7,\"future\":[]}").starts_with("it has version 7 of recordings"));
    for text in ["", "{}", "[1]", "{\"version\":1}", "{\"version\":-1}"] {
        assert!(read(text).starts_with("it is not a recording of a call"), "{text}");
    }
    let text = String::from_utf8(recording().write().unwrap()).unwrap();
    assert!(read(&text.replace("keyed", "locked")).contains("unknown field `locked`"));
}
