use super::super::exchange::Exchange;
use super::super::tests::recording;
use super::*;

fn with_log(lines: &[&str]) -> Recording {
    let mut recording = recording();
    recording.log = lines.iter().map(|line| (*line).to_owned()).collect();
    recording
}

fn row(owner: &str, value: &str) -> Answer {
    Answer::Registration(Some(Row {
        name: "blue".to_owned(),
        owner: owner.to_owned(),
        created_ms: 1,
        expires_ms: None,
        fencing_token: 2,
        attributes: vec![("floor".to_owned(), value.to_owned())],
    }))
}

fn answered(answers: &[Answer]) -> Vec<Answer> {
    let mut recording = recording();
    let exchange = |answer: &Answer| Exchange {
        answer: Some(answer.clone()),
        ..recording.exchanges[0].clone()
    };
    recording.exchanges = answers.iter().map(exchange).collect();
    let exchanges = recording.without_owners().exchanges.into_iter();
    exchanges.map(|exchange| exchange.answer.unwrap()).collect()
}

#[test]
fn equal_owners_have_equal_pseudonyms_of_their_length() {
    let all = answered(&[row("annabel", "2"), row("bob", "annabel"), row("owner-1", "bob")]);
    assert_eq!(
        all,
        [
            row("owner-1", "value-1"),
            row("owner-2", "owner-1"),
            row("owner-3", "owner-2")
        ]
    );
    let long = "x".repeat(40);
    let [Answer::Registration(Some(row))] = &answered(&[row(&long, "")])[..] else {
        panic!("a row")
    };
    assert!(
        row.owner.starts_with("owner-2...") && row.owner.len() == 40,
        "{}",
        row.owner
    );
    assert_eq!(row.attributes[0].1, "", "nothing is nobody's");
}

#[test]
fn a_key_stays_if_it_is_the_name_of_a_field() {
    for field in ["floor", "floor_2", "max-guests"] {
        assert!(is_field(field), "{field}");
    }
    for other in ["", "Ann", "+49 30 1", "ann@example.org", "2", &"a".repeat(33)] {
        assert!(!is_field(other), "{other}");
    }
}

#[test]
fn what_a_handler_has_made_of_them_is_replaced() {
    let lines = [
        "annabel takes blue",
        "for:annabel, annabella",
        "floor 2, not 12 or 2nd",
        "blueannabel",
    ];
    let recording = with_log(&lines).without_owners();
    assert_eq!(
        recording.log,
        [
            "owner-1 takes blue",
            "for:owner-1, owner-1la",
            "floor value-1, not 12 or 2nd",
            "blueowner-1",
        ]
    );
    assert_eq!(
        (recording.owners, recording.request.name()),
        (Owners::Pseudonyms, "blue")
    );
}

#[test]
fn lines_are_escaped_where_texts_are_found() {
    let mut recording = with_log(&["of \\\"q\\\"\\u{7f}!"]);
    if let Request::Register { owner, .. } = &mut recording.request {
        *owner = "\"q\"\u{7f}".to_owned();
    }
    assert_eq!(recording.without_owners().log, ["of owner-1!"]);
}

#[test]
fn an_owner_that_is_called_as_the_name_is_compared_as_equal() {
    let mut recording = with_log(&["blue for blue"]);
    if let Request::Register { owner, .. } = &mut recording.request {
        *owner = "blue".to_owned();
    }
    let recording = recording.without_owners();
    assert_eq!(recording.log, ["blue for blue"], "names stay");
    // What the handler says of the pseudonym.
    let mask = recording.mask();
    assert_eq!(mask.of("blue for owner-1"), mask.of(&recording.log[0]));
    assert_ne!(mask.of("blue for bob"), mask.of(&recording.log[0]));
    // Nothing is hidden in a recording with owners.
    assert_eq!(
        super::super::tests::recording().mask().of("blue for ann"),
        "blue for ann"
    );
}
