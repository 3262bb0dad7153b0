//! The promises P1, P2, …: where code keeps them and where tests show them.
//!
//! `docs/architecture.md` numbers them in its section "Promises". Code cites one as `// Keeps P5: why`, and the line above a
//! test as `// Shows P5: what`. AWS's duvet does the same with the requirements of an RFC.

use std::collections::BTreeSet;

use crate::files::File;
use crate::lexer::Source;

/// Checks all sources against the document, and tells every promise without code or without a test, and every wrong citation.
pub fn check(document: &str, sources: &[File]) -> Vec<String> {
    let promised = promised(document);
    if promised.is_empty() {
        return vec!["the section Promises of the document numbers none, as in **P1**".to_owned()];
    }
    let mut found = gaps(&promised);
    let (mut kept, mut shown) = (BTreeSet::new(), BTreeSet::new());
    for file in sources {
        for citation in citations(&file.text) {
            let place = format!("{}:{}", file.path, citation.line);
            match citation.promise {
                Err(text) => found.push(format!(
                    "{place}: `{text}` is not of the form `Keeps P1: why` or `Shows P1: what`"
                )),
                Ok(number) if !promised.contains(&number) => {
                    found.push(format!("{place}: there is no promise P{number}"));
                }
                Ok(number) if citation.shows => {
                    shown.insert(number);
                    if !citation.above_test {
                        found.push(format!("{place}: no test follows on `Shows P{number}`"));
                    }
                }
                Ok(number) => {
                    kept.insert(number);
                }
            }
        }
    }
    for number in &promised {
        if !kept.contains(number) {
            found.push(format!("P{number}: no code has a line `// Keeps P{number}: …`"));
        }
        if !shown.contains(number) {
            found.push(format!("P{number}: no test has a line `// Shows P{number}: …`"));
        }
    }
    found
}

fn gaps(promised: &BTreeSet<u32>) -> Vec<String> {
    let last = promised.last().copied().unwrap_or_default();
    let missing = (1..=last).filter(|number| !promised.contains(number));
    missing
        .map(|number| format!("the document has no P{number}, but a P{last}"))
        .collect()
}

/// The numbers of the promises: the section "Promises" has each at the beginning of a heading, of a list entry or of bold text.
pub fn promised(document: &str) -> BTreeSet<u32> {
    let mut numbers = BTreeSet::new();
    let mut level = None;
    for line in document.lines() {
        let hashes = line.bytes().take_while(|byte| *byte == b'#').count();
        if hashes > 0 && level.is_none_or(|level| hashes <= level) {
            level = line[hashes..].trim().starts_with("Promises").then_some(hashes);
        } else if level.is_some() {
            numbers.extend(number(
                line.trim_start_matches(|c: char| "#-*|. ".contains(c) || c.is_ascii_digit()),
            ));
        }
    }
    numbers
}

/// The number of a promise that a text begins with.
fn number(text: &str) -> Option<u32> {
    let rest = text.strip_prefix('P')?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let ends = !rest[digits..].starts_with(|c: char| c.is_alphanumeric());
    rest[..digits].parse().ok().filter(|_| ends)
}

struct Citation {
    line: usize,
    shows: bool,
    /// The number; or the text of the comment where it is none.
    promise: Result<u32, String>,
    above_test: bool,
}

fn citations(text: &str) -> Vec<Citation> {
    let source = Source::new(text);
    let lines: Vec<_> = source.code.lines().collect();
    let read = |comment: &crate::lexer::Comment| {
        let shows = comment.text.starts_with("Shows P");
        if !shows && !comment.text.starts_with("Keeps P") {
            return None;
        }
        let rest = &comment.text["Keeps ".len()..];
        let what = rest.split_once(": ").map(|(_, what)| what.trim()).unwrap_or_default();
        let promise = number(rest).filter(|number| rest.starts_with(&format!("P{number}: ")) && !what.is_empty());
        // "Shows Postgres as …" is a sentence.
        let is_citation = rest[1..].starts_with(|c: char| c.is_ascii_digit());
        is_citation.then(|| Citation {
            line: comment.line,
            shows,
            promise: promise.ok_or_else(|| comment.text.clone()),
            above_test: is_test(&lines[comment.line.min(lines.len())..], &lines),
        })
    };
    source.comments.iter().filter_map(read).collect()
}

/// Whether these lines of code, from which comments have been taken, begin with a test: attributes, one of which names
/// a test, and then a function; or a function that the file's `suite! { … }` runs for each implementation.
fn is_test(lines: &[&str], file: &[&str]) -> bool {
    let mut attributes = String::new();
    for line in lines.iter().map(|line| line.trim()).filter(|line| !line.is_empty()) {
        let open = attributes.matches('[').count() > attributes.matches(']').count();
        if !open && !line.starts_with("#[") {
            let function = line.split_once("fn ").and_then(|(_, rest)| rest.split_once('('));
            return function.is_some_and(|(name, _)| attributes.contains("test") || is_in_suite(name, file));
        }
        attributes.push_str(line);
    }
    false
}

/// Whether the file has a `suite! { … }` with this function.
fn is_in_suite(function: &str, file: &[&str]) -> bool {
    let suite = file.iter().skip_while(|line| !line.starts_with("suite! {")).skip(1);
    suite
        .take_while(|line| !line.starts_with('}'))
        .any(|line| line.split_whitespace().next() == Some(function))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = "# Map\n\n- **P9** is elsewhere\n\n## Promises\n\n- **P1** One owner.\n- **P2** Durable, unlike P8.\n\n## Words\n\nP7 no\n";

    fn found(code: &str, tests: &str) -> Vec<String> {
        check(DOCUMENT, &[File::new("a.rs", code), File::new("b.rs", tests)])
    }

    const CODE: &str = "//! Keeps P1: a\nfn a() {} // Keeps P2: b\n";
    const TESTS: &str = "// Shows P1: a\n// More.\n#[test]\nfn a() {}\n// Shows P2: b\n#[tokio::test(\n    x = \"y\",\n)]\nasync fn b() {}\n";

    #[test]
    fn promises_are_read_from_their_section() {
        assert_eq!(promised(DOCUMENT), BTreeSet::from([1, 2]));
        assert_eq!(
            promised("## Promises\n### P1: one\n1. **P2** two\n| P3 | three |\nPx\nP4x\n"),
            BTreeSet::from([1, 2, 3])
        );
    }

    #[test]
    fn nothing_is_wrong_where_each_promise_has_code_and_a_test() {
        assert_eq!(found(CODE, TESTS), Vec::<String>::new());
    }

    #[test]
    fn a_promise_without_code_or_without_a_test_is_found() {
        assert_eq!(
            found(&CODE.replace("Keeps P2", "Holds P2"), TESTS),
            ["P2: no code has a line `// Keeps P2: …`"]
        );
        assert_eq!(
            found(CODE, &TESTS.replace("// Shows P1: a\n", "")),
            ["P1: no test has a line `// Shows P1: …`"]
        );
    }

    #[test]
    fn a_citation_of_no_promise_is_found() {
        assert_eq!(
            found(&format!("{CODE}// Keeps P3: c\n"), TESTS),
            ["a.rs:3: there is no promise P3"]
        );
        for wrong in ["Keeps P1", "Keeps P1 and P2: c", "Keeps P1:"] {
            let found = found(&format!("{CODE}// {wrong}\n"), TESTS);
            assert!(
                found[0].starts_with("a.rs:3: ") && found[0].contains("form"),
                "{found:?}"
            );
        }
        assert_eq!(
            found(
                &format!("{CODE}// Keeps Postgres alive.\nconst A: &str = \"// Keeps P3: c\";"),
                TESTS
            ),
            Vec::<String>::new()
        );
    }

    #[test]
    fn what_shows_a_promise_is_above_a_test() {
        for no_test in ["fn c() {}", "#[test]\nmod c {}", "", "#[inline]\nfn c() {}"] {
            let tests = format!("{TESTS}// Shows P1: c\n{no_test}");
            assert_eq!(
                found(CODE, &tests),
                ["b.rs:10: no test follows on `Shows P1`"],
                "{no_test}"
            );
        }
    }

    #[test]
    fn a_function_of_a_suite_is_a_test() {
        let suite =
            |test: &str| format!("{TESTS}// Shows P1: c\nasync fn c(table: Table) {{}}\nsuite! {{\n    {test}\n}}\n");
        assert_eq!(found(CODE, &suite("c with x;")), [""; 0]);
        assert_eq!(found(CODE, &suite("d")), ["b.rs:10: no test follows on `Shows P1`"]);
    }

    #[test]
    fn a_document_without_promises_or_with_a_gap_is_found() {
        assert!(check("# Map\n", &[])[0].contains("numbers none"));
        let document = DOCUMENT.replace("**P2**", "**P3**");
        let found = check(&document, &[File::new("a.rs", CODE), File::new("b.rs", TESTS)]);
        assert_eq!(found[0], "the document has no P2, but a P3");
    }
}
