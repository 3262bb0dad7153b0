use super::super::Request;
use super::super::exchange::Exchange;
use super::super::exchange::{Answer, Row};
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
    let all = answered(&[row("annabel", "2"), row("bob", "annabel"), row("carl", "bob")]);
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
fn what_the_component_has_said_is_that_of_a_replay() {
    let mut recording = with_log(&["annabel takes blue"]);
    recording.broke_down = Some("at annabel".to_owned());
    recording.outcome.text = Some("annabel was busy".to_owned());
    let masked = recording.without_owners();
    assert_eq!((masked.owners, masked.request.name()), (Owners::Pseudonyms, "blue"));
    assert_eq!(
        (masked.log.len(), &masked.broke_down, &masked.outcome.text),
        (0, &None, &None)
    );

    let replayed = Replayed {
        log: vec!["owner-1 takes blue".to_owned()],
        text: Some("owner-1 was busy".to_owned()),
        ..Replayed::default()
    };
    let kept = masked.clone().as_replayed(replayed.clone()).unwrap();
    assert_eq!(
        (kept.log, kept.outcome.text),
        (replayed.log.clone(), replayed.text.clone())
    );
    let other_way = Replayed {
        difference: Some("it asked something else".to_owned()),
        ..replayed
    };
    assert_eq!(masked.as_replayed(other_way), None);
}

#[test]
fn a_pseudonym_is_no_text_of_the_recording() {
    let mut recording = recording();
    if let Request::Register { owner, attributes, .. } = &mut recording.request {
        "owner-2".clone_into(owner);
        *attributes = [("value-1", "owner-1"), ("\u{e9}", "color"), ("color", "red")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .to_vec();
    }
    let Request::Register { owner, attributes, .. } = recording.without_owners().request else {
        panic!("it registers")
    };
    let attributes: Vec<_> = attributes
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    assert_eq!(owner, "owner-3");
    assert_eq!(
        attributes,
        [("value-1", "value-2"), ("value-3", "value-4"), ("color", "value-5")]
    );
}
