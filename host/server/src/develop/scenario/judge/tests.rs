use serde_json::json;

use super::*;

fn ask(expect: Expect) -> Ask {
    Ask {
        request: Request::Register {
            owner: "ann".to_owned(),
            lifetime_ms: None,
            attributes: Default::default(),
        },
        name: "blue".to_owned(),
        key: None,
        callers: None,
        winners: 1,
        others: vec!["name_taken".to_owned(), "name_busy".to_owned()],
        expect,
        held: Vec::new(),
        faults: None,
    }
}

fn saved(owner: &str) -> Answer {
    Answer {
        status: 201,
        replayed: false,
        body: json!({ "name": "blue", "owner": owner, "created_ms": 900, "expires_ms": 1500, "attributes": { "a": "b" } }),
    }
}

fn refused(status: u16, code: &str) -> Answer {
    Answer {
        status,
        replayed: false,
        body: json!({ "code": code, "detail": "the name is taken" }),
    }
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// What differs, as one line each.
fn lines(differences: &[Difference]) -> Vec<String> {
    let line = |difference: &Difference| format!("{} | {}", difference.expected, difference.got);
    differences.iter().map(line).collect()
}

#[test]
fn each_field_that_is_expected_is_compared_and_no_other() {
    let of = |expect: Expect| lines(&one(&ask(expect), &saved("ann"), 1000));
    assert!(of(Expect::default()).is_empty());
    let same = Expect {
        name: text("blue"),
        owner: text("ann"),
        lifetime: Some(Lifetime::Ms(500)),
        attributes: Some([("a".to_owned(), "b".to_owned())].into()),
        replayed: Some(false),
        ..Expect::default()
    };
    assert!(of(same).is_empty());
    let other = Expect {
        name: text("red"),
        owner: text("bob"),
        lifetime: Some(Lifetime::Endless),
        attributes: Some([("a".to_owned(), "c".to_owned())].into()),
        replayed: Some(true),
        ..Expect::default()
    };
    let expect = [
        r#"name = "red" | name = "blue""#,
        r#"owner = "bob" | owner = "ann""#,
        r#"lifetime_ms = "endless" | lifetime_ms = 500"#,
        r#"attributes = {"a":"c"} | attributes = {"a":"b"}"#,
        "replayed = true | replayed = false",
    ];
    assert_eq!(of(other), expect);
}

#[test]
fn a_code_is_expected_and_got_or_neither() {
    let expect = |code: &str, detail: Option<&str>| {
        ask(Expect {
            code: text(code),
            detail: detail.map(str::to_owned),
            ..Expect::default()
        })
    };
    let taken = refused(409, "name_taken");
    assert!(one(&expect("name_taken", None), &taken, 0).is_empty());
    assert!(one(&expect("name_taken", Some("is taken")), &taken, 0).is_empty());
    assert_eq!(
        lines(&one(&expect("name_taken", Some("is busy")), &taken, 0)),
        [r#"a text with "is busy" | 409 name_taken: the name is taken"#]
    );
    assert_eq!(
        lines(&one(&expect("name_busy", None), &taken, 0)),
        ["name_busy | 409 name_taken: the name is taken"]
    );
    assert_eq!(
        lines(&one(&ask(Expect::default()), &taken, 0)),
        ["success | 409 name_taken: the name is taken"]
    );
    let differences = lines(&one(&expect("name_taken", None), &saved("ann"), 0));
    assert!(differences[0].starts_with("name_taken | 201 {"), "{differences:?}");
}

#[test]
fn of_several_callers_as_many_as_expected_have_it() {
    let asks: Vec<_> = (1..=3)
        .map(|_| {
            ask(Expect {
                owner: text("ann"),
                ..Expect::default()
            })
        })
        .collect();
    let judged = |answers: [Answer; 3]| lines(&all(&asks, &answers, 1000));
    let (taken, busy) = (refused(409, "name_taken"), refused(423, "name_busy"));
    assert!(judged([taken.clone(), saved("ann"), busy.clone()]).is_empty());
    assert_eq!(
        judged([taken.clone(), taken.clone(), busy.clone()]),
        ["1 of 3 callers succeeds | 0 succeed"]
    );
    assert_eq!(
        judged([saved("ann"), taken.clone(), saved("ann")]),
        ["1 of 3 callers succeeds | 2 succeed"]
    );
    assert_eq!(
        judged([saved("bob"), taken.clone(), busy.clone()]),
        [r#"owner = "ann" | caller 1: owner = "bob""#]
    );
    assert_eq!(
        judged([saved("ann"), taken.clone(), refused(500, "handler_trapped")]),
        ["success or name_taken or name_busy | caller 3: 500 handler_trapped: the name is taken"]
    );
    // Where two may have one each, two do.
    let two: Vec<_> = asks.iter().cloned().map(|ask| Ask { winners: 2, ..ask }).collect();
    assert!(all(&two, &[saved("ann"), taken.clone(), saved("ann")], 1000).is_empty());
    assert_eq!(
        lines(&all(&two, &[saved("ann"), taken.clone(), busy.clone()], 1000)),
        ["2 of 3 callers succeed | 1 succeed"]
    );
    // Where a code is expected, all get it.
    let refuse: Vec<_> = (1..=3)
        .map(|_| {
            ask(Expect {
                code: text("name_taken"),
                ..Expect::default()
            })
        })
        .collect();
    assert!(all(&refuse, &[taken.clone(), taken.clone(), taken.clone()], 0).is_empty());
    assert_eq!(
        lines(&all(&refuse, &[taken.clone(), busy, taken], 0)),
        ["name_taken | caller 2: 423 name_busy: the name is taken"]
    );
}
