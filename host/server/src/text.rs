//! Text for logs and answers: errors with their causes, on one bounded line.

use std::error::Error;

use namelock_types::error_chain;

/// Longest chain of causes in one log line, in bytes.
const CHAIN_MAX: usize = 4096;

/// Writes an error and its causes as one bounded line.
pub fn chain(error: &dyn Error) -> String {
    one_line(&error_chain(error), CHAIN_MAX)
}

/// Puts text on one line of at most `max` bytes: runs of spaces and control characters become one space.
pub fn one_line(text: &str, max: usize) -> String {
    let mut line = String::with_capacity(text.len().min(max));
    for word in text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
    {
        if !line.is_empty() {
            line.push(' ');
        }
        line.extend(word.chars().flat_map(visible));
        if line.len() > max {
            line.truncate(line.floor_char_boundary(max.saturating_sub('…'.len_utf8())));
            line.push('…');
            break;
        }
    }
    line
}

/// A character as it is, or escaped where it would not be seen, or would change the order in which others are.
fn visible(c: char) -> impl Iterator<Item = char> {
    let escaped = c.escape_debug();
    let is_seen = escaped.len() == 1 || matches!(c, '"' | '\'' | '\\');
    let (seen, hidden) = if is_seen {
        (Some(c), None)
    } else {
        (None, Some(escaped))
    };
    seen.into_iter().chain(hidden.into_iter().flatten())
}

/// Quotes text from outside for the log: what is no plain character is escaped, and what makes it longer than `max`
/// bytes is cut.
pub fn quoted(text: &str, max: usize) -> String {
    let mut line = String::with_capacity(text.len().min(max));
    line.push('"');
    for c in text.chars() {
        let escaped = c.escape_debug();
        let bytes: usize = escaped.clone().map(char::len_utf8).sum();
        // Room for the quotation mark, and for the dots where the rest does not fit.
        if line.len() + bytes + '…'.len_utf8() + 1 > max {
            line.push('…');
            break;
        }
        line.extend(escaped);
    }
    line.push('"');
    line
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer\nof two lines")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn a_chain_of_causes_is_one_line() {
        let error = Outer(std::io::Error::other("wasm backtrace:\n  0: secret"));
        assert_eq!(chain(&error), "outer of two lines: wasm backtrace: 0: secret");
    }

    #[test]
    fn what_would_not_be_seen_is_escaped() {
        assert_eq!(one_line("tenant \u{202e}\"x\"\n\u{0} é", 64), r#"tenant \u{202e}"x" é"#);
    }

    #[test]
    fn what_is_quoted_cannot_end_its_quotes_or_its_line() {
        assert_eq!(quoted("a\"b\nc\\ é\u{202e}", 64), r#""a\"b\nc\\ é\u{202e}""#);
        assert_eq!(quoted("abcdefgh", 10), "\"abcde…\"");
    }

    proptest! {
        #[test]
        fn any_text_is_quoted_in_its_bounds(text in any::<String>(), max in 8usize..64) {
            let line = quoted(&text, max);
            prop_assert!(line.len() <= max);
            prop_assert!(!line.chars().any(char::is_control));
        }

        #[test]
        fn any_text_becomes_one_short_line(text in any::<String>(), max in 3usize..64) {
            let line = one_line(&text, max);
            prop_assert!(line.len() <= max);
            prop_assert!(!line.chars().any(char::is_control));
        }
    }
}
