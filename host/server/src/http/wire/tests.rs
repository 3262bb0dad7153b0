use namelock_names::FencingToken;
use proptest::prelude::*;

use super::*;

#[test]
fn a_body_is_read_whole_or_refused() {
    let request = parse_register(
        r#"{"name":"room 1","owner":"ann","lifetime_ms":60000,"attributes":{"z":"1","a":"2"}}"#.as_bytes(),
    );
    let request = request.unwrap();
    assert_eq!((request.name.as_str(), request.owner.as_str()), ("room 1", "ann"));
    assert_eq!(request.lifetime, Some(Duration::from_secs(60)));
    let expect = [("z", "1"), ("a", "2")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(request.attributes, expect, "in the order of the body");

    let request = parse_register(br#"{"name":"n","owner":"o","lifetime_ms":null,"attributes":null}"#).unwrap();
    assert_eq!((request.lifetime, request.attributes.len()), (None, 0));
}

#[test]
fn a_wrong_body_says_what_is_wrong() {
    let check = |body: &str, kind: ErrorKind, expect: &str| {
        let problem = parse_register(body.as_bytes()).err().unwrap();
        assert_eq!(problem.kind(), kind, "{body}");
        assert!(problem.detail().contains(expect), "{body}: {}", problem.detail());
    };
    let long = "x".repeat(256);
    for body in ["", "[]", "null", "7", r#"["n","o",null,null]"#, "{"] {
        let expect = if body == "{" { "EOF" } else { "a JSON object" };
        check(body, ErrorKind::InvalidRequest, expect);
    }
    check(r#"{"name":"n"}"#, ErrorKind::InvalidRequest, "missing field `owner`");
    check(
        r#"{"name":"n","owner":"o","x":1}"#,
        ErrorKind::InvalidRequest,
        "unknown field `x`",
    );
    check(
        r#"{"name":"n","name":"m","owner":"o"}"#,
        ErrorKind::InvalidRequest,
        "duplicate field `name`",
    );
    check(
        r#"{"name":"n","owner":"o"} x"#,
        ErrorKind::InvalidRequest,
        "trailing characters",
    );
    check(
        r#"{"name":"n","owner":"o","lifetime_ms":-1}"#,
        ErrorKind::InvalidRequest,
        "-1",
    );
    check(
        r#"{"name":"n","owner":"o","lifetime_ms":1.5}"#,
        ErrorKind::InvalidRequest,
        "`1.5`, expected a whole number",
    );
    check(
        r#"{"name":"n","owner":"o","attributes":{"a":1}}"#,
        ErrorKind::InvalidRequest,
        "expected a string",
    );
    check(
        r#"{"name":"n","owner":"o","attributes":[]}"#,
        ErrorKind::InvalidRequest,
        "an object whose values are strings",
    );
    check(
        r#"{"name":"n","owner":"o","attributes":{"a":"1","a":"2"}}"#,
        ErrorKind::InvalidRequest,
        "`a` is given twice",
    );
    check(
        r#"{"name":"n","owner":""}"#,
        ErrorKind::InvalidRequest,
        "an owner is 1 to 255 bytes",
    );
    check(
        &format!(r#"{{"name":"n","owner":"{long}"}}"#),
        ErrorKind::InvalidRequest,
        "this one is 256",
    );
    check(
        r#"{"name":"","owner":"o"}"#,
        ErrorKind::NameInvalid,
        "a name is 1 to 255 bytes",
    );
    check(
        &format!(r#"{{"name":"{long}","owner":"o"}}"#),
        ErrorKind::NameInvalid,
        "this one is 256",
    );
    check(
        r#"{"name":"\ud800","owner":"o"}"#,
        ErrorKind::InvalidRequest,
        "hex escape",
    );
    assert_eq!(
        parse_register(b"{\"name\":\"\xff\",\"owner\":\"o\"}")
            .err()
            .unwrap()
            .kind(),
        ErrorKind::InvalidRequest
    );
}

#[test]
fn a_registration_is_written_with_its_attributes_in_order() {
    let saved = Registration {
        name: "n".into(),
        owner: "o".into(),
        created_ms: 1,
        expires_ms: None,
        fencing_token: FencingToken::new(7),
        attributes: [("z", "1"), ("a", "2"), ("z", "3")]
            .map(|(key, value)| (key.into(), value.into()))
            .into(),
    };
    let text = String::from_utf8(registration(&saved).unwrap()).unwrap();
    let head = r#"{"name":"n","owner":"o","created_ms":1,"expires_ms":null,"fencing_token":7,"#;
    assert_eq!(text, format!(r#"{head}"attributes":{{"z":"1","a":"2"}}}}"#));
}

proptest! {
    #[test]
    fn any_body_is_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse_register(&body);
    }

    #[test]
    fn any_json_is_read_or_refused(body in r#"[\[\]{}:,"a-z0-9\\. ]{0,80}"#) {
        let _ = parse_register(body.as_bytes());
        let _ = parse_register(format!(r#"{{"name":"n","owner":"o","attributes":{body}}}"#).as_bytes());
    }

    #[test]
    fn an_accepted_body_keeps_its_strings(name in ".{1,60}", owner in ".{1,60}", key in any::<String>()) {
        let body = serde_json::json!({ "name": name, "owner": owner, "attributes": { &key: "v" } });
        let request = parse_register(body.to_string().as_bytes()).unwrap();
        prop_assert_eq!(request.name, name);
        prop_assert_eq!(request.owner, owner);
        prop_assert_eq!(request.attributes, [(key, "v".to_owned())]);
    }
}
