//! What is written is read again, and nothing else.

use super::*;

fn record(name: &str) -> Record {
    Record {
        registration: Registration {
            name: name.to_owned(),
            owner: "ann \u{0}\n\"".to_owned(),
            created_ms: 1,
            expires_ms: Some(2),
            fencing_token: FencingToken::new(u64::from(u32::MAX)),
            attributes: vec![("k".to_owned(), "\u{10ffff}".to_owned())],
        },
        ended: true,
        hold_ms: 3,
        saved_by: Some(RequestKey {
            key: [1; 16],
            fingerprint: [255; 16],
        }),
        changed_by: None,
    }
}

fn export(names: &[&str]) -> String {
    let mut writer = Writer::begin(Vec::new(), &Header::new("demo", 5)).unwrap();
    for name in names {
        writer.record(record(name)).unwrap();
    }
    let (bytes, length) = writer.end().unwrap();
    assert_eq!(bytes.len() as u64, length);
    String::from_utf8(bytes).unwrap()
}

/// Reads all; an error has the number of its line.
fn read(text: &[u8]) -> Result<Vec<Record>, (u64, Problem)> {
    let (mut reader, header) = Reader::begin(text)?;
    assert_eq!(header.tenant, "demo");
    let mut records = Vec::new();
    loop {
        let next = reader.next(&NamesConfig::default());
        match next.map_err(|problem| (reader.line, problem))? {
            Some(record) => records.push(record),
            None => return Ok(records),
        }
    }
}

#[test]
fn what_is_written_is_read_again() {
    assert_eq!(read(export(&[]).as_bytes()).unwrap(), []);
    let names = ["a", "a\n", "b\u{0}", "é"];
    assert_eq!(read(export(&names).as_bytes()).unwrap(), names.map(record));
    // Left out where it is nothing, and a form that is never to be changed.
    let mut writer = Writer::begin(Vec::new(), &Header::new("demo", 5)).unwrap();
    let mut least = record("a");
    (least.ended, least.hold_ms, least.saved_by) = (false, 0, None);
    least.registration.expires_ms = None;
    least.registration.attributes.clear();
    writer.record(least.clone()).unwrap();
    let (bytes, _) = writer.end().unwrap();
    let text = String::from_utf8(bytes.clone()).unwrap();
    let line = text.lines().nth(1).unwrap();
    let expected = r#"{"name":"a","owner":"ann \u0000\n\"","created_ms":1,"fencing_token":4294967295}"#;
    assert_eq!(line, expected);
    assert_eq!(read(&bytes).unwrap(), [least]);
}

#[test]
fn an_export_that_was_cut_off_anywhere_is_refused() {
    let whole = export(&["a", "b"]);
    for length in 0..whole.len() {
        assert!(read(&whole.as_bytes()[..length]).is_err(), "{length}");
    }
}

#[test]
fn a_byte_that_was_changed_anywhere_is_noticed() {
    let whole = export(&["a", "b"]);
    for place in 0..whole.len() {
        let mut changed = whole.clone().into_bytes();
        changed[place] ^= 1;
        // What the first line says of the program and the tenant is checked elsewhere, and by the digest.
        let read = std::panic::catch_unwind(|| read(&changed));
        assert!(!matches!(read, Ok(Ok(_))), "{place}");
    }
}

#[track_caller]
fn refused(text: &str, line: u64, problem: &str) {
    let error = read(text.as_bytes()).unwrap_err();
    assert!(error.0 == line && error.1.contains(problem), "{error:?}");
}

#[test]
fn what_is_wrong_is_said_with_its_line() {
    let whole = export(&["a", "b", "c"]);
    let lines: Vec<_> = whole.lines().collect();
    let with = |index: usize, line: &str| {
        let mut lines = lines.clone();
        lines[index] = line;
        lines.join("\n") + "\n"
    };
    refused("", 1, "cut off");
    refused("hello\n", 1, "no export of names");
    refused(
        &with(0, r#"{"format":"other","version":1,"tenant":"demo","time_ms":1}"#),
        1,
        "\"other\"",
    );
    refused(&whole.replace(r#""version":1"#, r#""version":2"#), 1, "version 2");
    refused(&with(2, "{\"name\":\"b\""), 3, "EOF");
    refused(&with(2, ""), 3, "EOF");
    refused(&with(2, "\u{feff}{}"), 3, "expected value");
    refused(&with(2, "{\"name\":\"b\"}"), 3, "missing field");
    refused(
        &with(2, &lines[2].replace("\"owner\"", "\"own\"")),
        3,
        "unknown field `own`",
    );
    refused(
        &with(2, &lines[2].replace("\"created_ms\":1", "\"created_ms\":-1")),
        3,
        "-1",
    );
    refused(
        &with(2, &lines[2].replace("\"created_ms\":1", "\"created_ms\":7")),
        3,
        "before it begins",
    );
    refused(&with(2, &lines[2].replace("0101", "01")), 3, "32 hexadecimal digits");
    refused(&with(2, lines[1]), 3, "comes twice");
    refused(&with(2, lines[3]), 4, "comes twice");
    refused(&with(3, &lines[2].replace("\"b\"", "\"aa\"")), 4, "not in order");
    refused(&with(2, &lines[2].replace("ann", "eve")), 5, "SHA-256");
    refused(
        &[lines[0], lines[1], lines[3], lines[4]]
            .map(|line| format!("{line}\n"))
            .concat(),
        4,
        "there are 2 names",
    );
    refused(&format!("{whole}\n"), 5, "something comes after");
    refused(&with(2, &"x".repeat(2 << 20)), 3, "more than 1048576 bytes");
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    let whole = export(&["a", "b"]).replace("ann", "an\u{1}");
    let broken: Vec<_> = whole.bytes().map(|byte| if byte == 1 { 0xff } else { byte }).collect();
    assert!(read(&broken).is_err());
}
