//! Shows a stranger's text.

/// Adds a stranger's text, in which no character is left that a log or a terminal could take for more than text; no
/// more than `max` bytes of it.
pub(crate) fn push_escaped(to: &mut String, text: &str, max: usize) {
    let mut left = max;
    for character in text.chars() {
        // It ends nothing, unlike the other kind.
        if character == '\'' && left > 0 {
            left -= 1;
            to.push(character);
            continue;
        }
        let escaped = character.escape_debug();
        let Some(rest) = left.checked_sub(escaped.clone().map(char::len_utf8).sum()) else {
            to.push('…');
            return;
        };
        left = rest;
        to.extend(escaped);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, max: usize, expect: &str) {
        let mut to = String::new();
        push_escaped(&mut to, text, max);
        assert_eq!(to, expect);
    }

    #[test]
    fn a_text_is_escaped_and_cut_where_an_escape_would_not_fit() {
        check("a\nb", 4, "a\\nb");
        check("a\nb", 3, "a\\n…");
        check("a\nb", 2, "a…");
        check("\u{1b}[0m", 100, "\\u{1b}[0m");
        check("", 0, "");
    }
}
