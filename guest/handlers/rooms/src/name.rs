//! The rules for names of rooms.
//!
//! The examples `rooms` in Python and JavaScript have the same. `characters.txt` says what they make of each character
//! of Unicode 14, and the tests of all three compare themselves with it. Of newer characters each language knows those
//! of its own version of Unicode, and refuses the others.

use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};

/// The longest name of a room, in characters (Unicode scalar values) of its canonical form.
pub const NAME_CHARS_MAX: usize = 64;

/// The name of a room in its canonical form: trimmed, lowercase, composed (NFC).
///
/// The lock and the database compare names byte for byte, so two spellings of one room must become the same bytes here.
/// Letters that only look alike, such as Latin and Cyrillic `a`, stay different.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomName(String);

impl RoomName {
    /// Brings `text` into the canonical form, or returns the rule that it breaks.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let name = canonical(text);
        if name.is_empty() {
            return Err(NameError::Empty);
        }
        let chars = name.chars().count();
        if chars > NAME_CHARS_MAX {
            return Err(NameError::TooLong { chars });
        }
        match (name.chars().next(), name.chars().next_back()) {
            (Some(first), Some(last)) if !is_separator(first) && !is_separator(last) => {}
            _ => return Err(NameError::Edge),
        }
        let mut before = ' ';
        for char in name.chars() {
            match char {
                ' ' if before == ' ' => return Err(NameError::Spaces),
                // Many scripts write a vowel, or its absence, as a mark on the preceding letter. Some of these marks
                // count as alphabetic, and need something to stand on all the same.
                _ if is_combining_mark(char) => {
                    if is_separator(before) {
                        return Err(NameError::Character { char });
                    }
                }
                _ if is_separator(char) || char.is_alphanumeric() => {}
                _ => return Err(NameError::Character { char }),
            }
            before = char;
        }
        Ok(Self(name))
    }

    /// Returns the canonical form.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Returns `text` trimmed, composed and in lowercase. It is composed before, because a letter and its accent may come
/// as one character or as two, and after, because changing the case can decompose a character.
fn canonical(text: &str) -> String {
    let composed: String = text.trim().nfc().collect();
    composed.to_lowercase().nfc().collect()
}

fn is_separator(char: char) -> bool {
    matches!(char, ' ' | '-' | '_')
}

/// Returns a character in quotes: by its number if it cannot be seen by itself.
fn quoted(char: char) -> String {
    if is_combining_mark(char) {
        return format!("'{}'", char.escape_unicode());
    }
    format!("{char:?}")
}

/// The rule that a name breaks. The texts are meant for the person who chose the name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It is empty, or only white space.
    #[error("the name of a room must have at least one letter or digit")]
    Empty,
    /// It has more than [`NAME_CHARS_MAX`] characters.
    #[error("the name of a room may have at most {NAME_CHARS_MAX} characters; this one has {chars}")]
    TooLong {
        /// How many characters it has.
        chars: usize,
    },
    /// It starts or ends with `-` or `_`.
    #[error("the name of a room must start and end with a letter or a digit")]
    Edge,
    /// It has two spaces in a row.
    #[error("the name of a room must not have two spaces in a row")]
    Spaces,
    /// It has a character that is not allowed in the name of a room.
    #[error(
        "the name of a room may have only letters, digits, single spaces, \"-\" and \"_\"; {} is none of them",
        quoted(*char)
    )]
    Character {
        /// The first such character.
        char: char,
    },
}

// tests/native has this file as well, and looks for the next one from here.
#[cfg(test)]
#[path = "name/characters.rs"]
mod characters;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn different_spellings_of_one_name_become_the_same_bytes() {
        fn check(text: &str, expected: &str) {
            assert_eq!(
                RoomName::parse(text).as_ref().map(RoomName::as_str),
                Ok(expected),
                "{text:?}"
            );
        }
        check("lobby", "lobby");
        check("  Lobby\t\n", "lobby");
        check("Café", "caf\u{e9}");
        check("CAFE\u{301}", "caf\u{e9}");
        check("\u{212b}ngstrom", "\u{e5}ngstrom");
        check("İzmir", "i\u{307}zmir");
        check("Room 7-b_2", "room 7-b_2");
        check("Зал ٣", "зал ٣");
        check("हिन्दी", "हिन्दी");
        check("あ", "あ");
        check(&"x".repeat(NAME_CHARS_MAX), &"x".repeat(NAME_CHARS_MAX));
    }

    #[test]
    fn an_invalid_name_is_refused_with_the_rule_it_breaks() {
        fn check(text: &str, expected: NameError) {
            assert_eq!(RoomName::parse(text), Err(expected), "{text:?}");
        }
        check("", NameError::Empty);
        check(" \u{a0}\t ", NameError::Empty);
        check(&"x".repeat(65), NameError::TooLong { chars: 65 });
        check("-lobby", NameError::Edge);
        check("lobby_", NameError::Edge);
        check("-", NameError::Edge);
        check("the  lobby", NameError::Spaces);
        check("the\tlobby", NameError::Character { char: '\t' });
        check("the\u{a0}lobby", NameError::Character { char: '\u{a0}' });
        check("lobby!", NameError::Character { char: '!' });
        check("lob\0by", NameError::Character { char: '\0' });
        check("\u{301}a", NameError::Character { char: '\u{301}' });
        check("a-\u{301}", NameError::Character { char: '\u{301}' });
        // A vowel sign, which counts as alphabetic.
        check("\u{93e}a", NameError::Character { char: '\u{93e}' });
        check("a \u{93e}", NameError::Character { char: '\u{93e}' });
        check("🦀", NameError::Character { char: '🦀' });
    }

    proptest! {
        #[test]
        fn the_canonical_form_is_stable(text in any::<String>()) {
            let once = canonical(&text);
            prop_assert_eq!(canonical(&once), once);
        }

        #[test]
        fn a_canonical_name_parses_to_itself(text in "\\PC{0,70}|[\\w _-]{0,70}") {
            if let Ok(name) = RoomName::parse(&text) {
                prop_assert_eq!(RoomName::parse(name.as_str()), Ok(name));
            }
        }

        #[test]
        fn case_and_composition_of_a_name_do_not_matter(text in "[a-zà-ÿ0-9]{1,30}") {
            let shouted: String = text.to_uppercase().nfd().collect();
            // A letter such as `ß` has no uppercase letter of its own; only letters that survive the round trip are
            // compared.
            prop_assume!(shouted.to_lowercase().nfc().eq(text.chars()));
            prop_assert_eq!(RoomName::parse(&shouted), RoomName::parse(&text));
        }
    }
}
