//! The rules of docs/monitoring/alerts.yml, in the time that a test has.

use crate::monitoring::ALERTS;

/// For how long a condition must hold, in place of minutes: as long as from one scrape to the next.
const FOR: &str = "1s";

/// The time over which rates are taken, and back to which a rule looks: several scrapes.
const WINDOW: &str = "10s";

/// The rules with other times, and otherwise as they are: neither an expression nor a label is touched.
pub(super) fn shortened() -> String {
    let rules = std::fs::read_to_string(ALERTS).unwrap();
    let lines = rules.lines().map(|line| match line.split_once("for: ") {
        Some((indent, time)) if indent.trim().is_empty() && is_time(time) => format!("{indent}for: {FOR}\n"),
        _ => shorten(&shorten(line, "["), " offset ") + "\n",
    });
    let short: String = lines.collect();
    check_that_only_times_differ(&rules, &short);
    short
}

/// Replaces the time behind each place where `before` stands.
fn shorten(line: &str, before: &str) -> String {
    let mut parts = line.split(before);
    let mut short = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(part.len());
        let (time, rest) = part.split_at(end);
        short += before;
        short += if is_time(time) { WINDOW } else { time };
        short += rest;
    }
    short
}

/// Whether a word is a time as Prometheus writes it.
fn is_time(word: &str) -> bool {
    let digits = word.strip_suffix(['s', 'm', 'h']);
    digits.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Compares all that is no word, and each word that is no time.
#[track_caller]
fn check_that_only_times_differ(rules: &str, short: &str) {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let between = |text: &str| text.replace(is_word, "");
    assert_eq!(between(rules), between(short));
    let (mut kept, mut replaced) = (0, 0);
    for (word, after) in rules.split(|c| !is_word(c)).zip(short.split(|c| !is_word(c))) {
        if word == after {
            kept += 1;
        } else {
            assert!(is_time(word) && is_time(after), "{word:?} has become {after:?}");
            replaced += 1;
        }
    }
    assert!(
        kept > 100 && replaced > 10,
        "{kept} words are as they were, {replaced} are not"
    );
}
