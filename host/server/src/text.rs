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
        line.push_str(word);
        if line.len() > max {
            line.truncate(line.floor_char_boundary(max.saturating_sub('…'.len_utf8())));
            line.push('…');
            break;
        }
    }
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

    proptest! {
        #[test]
        fn any_text_becomes_one_short_line(text in any::<String>(), max in 3usize..64) {
            let line = one_line(&text, max);
            prop_assert!(line.len() <= max);
            prop_assert!(!line.chars().any(char::is_control));
        }
    }
}
