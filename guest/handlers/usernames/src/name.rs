//! The rules for names of users, and the key by which two that look alike are one.

use std::ops::RangeInclusive;

use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};
use unicode_security::{GeneralSecurityProfile, MixedScript, skeleton};

/// The longest name that can be locked, in bytes.
const KEY_BYTES_MAX: usize = 255;

/// How often [`key`] is applied at most; twice is what the data of Unicode takes.
const ROUNDS_MAX: usize = 4;

/// The name of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserName {
    display: String,
    key: String,
}

impl UserName {
    /// Checks `text`, or returns the rule that it breaks; `chars` is how many characters a name may have.
    pub fn parse(text: &str, chars: RangeInclusive<usize>) -> Result<Self, NameError> {
        let display: String = text.trim().nfkc().collect();
        let count = display.chars().count();
        if !chars.contains(&count) {
            let (min, max) = chars.into_inner();
            return Err(NameError::Length { count, min, max });
        }
        let mut before = None;
        for char in display.chars() {
            let fits = match char {
                // One alone, between two letters.
                '.' | '_' | '-' => before.is_some_and(|before| !is_separator(before)),
                _ if is_combining_mark(char) => before.is_some_and(|before| !is_separator(before)),
                _ => char.is_alphanumeric(),
            };
            if !fits || !char.identifier_allowed() {
                return Err(NameError::Character { char });
            }
            before = Some(char);
        }
        if before.is_some_and(is_separator) {
            return Err(NameError::End);
        }
        if !display.as_str().is_single_script() {
            return Err(NameError::Scripts);
        }
        let key = key(&display);
        if key.len() > KEY_BYTES_MAX {
            return Err(NameError::Key { bytes: key.len() });
        }
        Ok(Self { display, key })
    }

    /// Returns the name as its user wrote it, in the form NFKC.
    pub fn display(&self) -> &str {
        &self.display
    }

    /// Returns what is locked and saved.
    pub fn key(&self) -> &str {
        &self.key
    }
}

/// Returns what all texts have in common that look like `text` in any case: its skeleton as UTS 39 defines it, case-folded.
///
/// The skeleton of `0` is a capital `O`, so it is folded and taken again until nothing changes; that makes a key its own
/// key. It is not for reading: that of `tom` is `torn`.
pub fn key(text: &str) -> String {
    let mut key = text.to_owned();
    for _ in 0..ROUNDS_MAX {
        // What stands for itself alone, such as an accent, has a space in it.
        let next: String = skeleton(fold(&key).trim()).collect();
        if next == key {
            break;
        }
        key = next;
    }
    key
}

/// Returns `text` in the form NFKC and without differences of case. By way of uppercase, where `ß` is `SS` and both
/// lowercase sigmas are one; letter by letter, because the lowercase of a sigma depends on what is around it.
fn fold(text: &str) -> String {
    let composed: String = text.nfkc().collect();
    let upper = composed.to_uppercase();
    upper.chars().flat_map(char::to_lowercase).nfkc().collect()
}

fn is_separator(char: char) -> bool {
    matches!(char, '.' | '_' | '-')
}

/// The rule that a name breaks. The texts are meant for the person who chose the name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It is too short or too long.
    #[error("a user name has {min} to {max} characters; this one has {count}")]
    Length {
        /// How many characters it has.
        count: usize,
        /// How many it must have.
        min: usize,
        /// How many it may have.
        max: usize,
    },
    /// It has a character that is not allowed, or not allowed there.
    #[error(
        "a user name has letters and digits, with single \".\", \"_\" and \"-\" between them; {char:?} is not allowed \
         there"
    )]
    Character {
        /// The first such character.
        char: char,
    },
    /// It ends in `.`, `_` or `-`.
    #[error("a user name must end with a letter or a digit")]
    End,
    /// It mixes scripts, such as Latin and Cyrillic.
    #[error("all letters of a user name must be of one script")]
    Scripts,
    /// What is locked would be too long.
    #[error("this user name is too long: it is compared as {bytes} bytes, of at most {KEY_BYTES_MAX}")]
    Key {
        /// How many bytes that would be.
        bytes: usize,
    },
    /// It looks like a reserved word.
    #[error("this user name is reserved, or looks like one that is")]
    Reserved,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_that_look_alike_have_one_key() {
        fn check(one: &str, other: &str) {
            assert_eq!(key(one), key(other), "{one:?} {other:?}");
        }
        check("Ann", "ann");
        check("paypal", "раураl"); // Cyrillic but for the last letter
        check("paypal", "paypa1");
        check("paypal", "PAYPA1");
        check("scope", "ѕсоре"); // Cyrillic
        check("bob", "b0b");
        check("tom", "torn");
        check("ｗｉｄｅ", "wide"); // full width
        check("Stra\u{df}e", "STRASSE");
        check("caf\u{e9}", "cafe\u{301}");
        check("σας", "ΣΑΣ");
    }

    #[test]
    fn names_that_do_not_look_alike_have_keys_of_their_own() {
        fn check(one: &str, other: &str) {
            assert_ne!(key(one), key(other), "{one:?} {other:?}");
        }
        check("ann", "anne");
        check("ann", "änn");
        check("a.b", "a_b");
        check("ab", "a-b");
        check("борис", "boris");
    }

    #[test]
    fn the_key_of_each_character_is_its_own_key() {
        let unstable: Vec<_> = ('\0'..=char::MAX)
            .filter(|char| {
                let once = key(&char.to_string());
                key(&once) != once
            })
            .collect();
        assert!(unstable.is_empty(), "{unstable:?}");
    }

    #[test]
    fn a_name_keeps_the_form_in_which_it_was_written() {
        fn check(text: &str, display: &str) {
            let name = UserName::parse(text, 1..=30);
            assert_eq!(name.as_ref().map(UserName::display), Ok(display), "{text:?}");
        }
        check(" Ann.Lee ", "Ann.Lee");
        check("Ｔｏｍ", "Tom");
        check("Борис", "Борис");
        check("東京タワー", "東京タワー"); // Han and Katakana are one script here: Japanese
        check("हिन्दी", "हिन्दी");
        check("x-1_y.2", "x-1_y.2");
    }

    #[test]
    fn an_invalid_name_is_refused_with_the_rule_it_breaks() {
        fn check(text: &str, expected: NameError) {
            assert_eq!(UserName::parse(text, 3..=30), Err(expected), "{text:?}");
        }
        let length = |count| NameError::Length { count, min: 3, max: 30 };
        let character = |char| NameError::Character { char };
        check("  ab ", length(2));
        check(&"x".repeat(31), length(31));
        check("ann lee", character(' '));
        check(".ann", character('.'));
        check("ann..lee", character('.'));
        check("ann!", character('!'));
        check("an\u{200d}n", character('\u{200d}')); // a joiner that nobody sees
        check("\u{301}ann", character('\u{301}'));
        check("ann🦀", character('🦀'));
        check("ann_", NameError::End);
        check("раypal", NameError::Scripts); // Cyrillic, then Latin
        check("аnn", NameError::Scripts);
    }

    proptest! {
        #[test]
        fn a_key_is_its_own_key(text in "\\PC{0,40}") {
            let once = key(&text);
            prop_assert_eq!(key(&once), once);
        }

        #[test]
        fn the_display_form_has_the_key_of_the_name(text in "[\\w._-]{1,40}") {
            if let Ok(name) = UserName::parse(&text, 1..=40) {
                prop_assert_eq!(key(&text), name.key());
                prop_assert_eq!(key(name.display()), name.key());
            }
        }
    }
}
