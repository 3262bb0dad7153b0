//! Codes, and the check character at their end.
//!
//! It is that of ISO 7064 MOD 37,36, for letters and digits: it finds every single wrong character, and every swap of two
//! neighbours but a few.

/// The characters of a code, in the order of their values.
const ALPHABET: &[u8; 36] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// The characters that are drawn: without `I`, `L`, `O` and `U`, which are read as others or make words. Five random bits
/// choose one.
const DRAWN: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// The longest code, in characters.
pub const CODE_CHARS_MAX: usize = 64;

/// A code in its canonical form: capitals and digits, the last one of which is the check character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Code(String);

/// What a caller asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// This code.
    Code(Code),
    /// Any that begins with this; it may be empty.
    Any {
        /// In the canonical form.
        prefix: String,
    },
}

impl Wish {
    /// Reads a request's name: `new`, a beginning and `*`, or a code.
    pub fn parse(text: &str) -> Result<Self, CodeError> {
        let prefix = match text.trim() {
            new if new.eq_ignore_ascii_case("new") => "",
            text => match text.strip_suffix('*') {
                Some(prefix) => prefix,
                None => return Code::parse(text).map(Self::Code),
            },
        };
        let prefix = canonical(prefix)?;
        Ok(Self::Any { prefix })
    }
}

impl Code {
    /// Brings `text` into the canonical form: spaces and hyphens are left out, and letters become capitals.
    pub fn parse(text: &str) -> Result<Self, CodeError> {
        let code = canonical(text)?;
        match code.len() {
            2..=CODE_CHARS_MAX => {}
            chars => return Err(CodeError::Length { chars }),
        }
        let (body, given) = code.split_at(code.len() - 1);
        if !given.starts_with(check_character(body)) {
            return Err(CodeError::Check);
        }
        Ok(Self(code))
    }

    /// Makes a code of a beginning in the canonical form and of one more character for each random byte; none where the
    /// check character is one that is not drawn.
    pub fn of(prefix: &str, random: &[u8]) -> Option<Self> {
        let drawn = random.iter().map(|byte| char::from(DRAWN[usize::from(byte % 32)]));
        let mut code: String = prefix.chars().chain(drawn).collect();
        let check = check_character(&code);
        code.push(check);
        DRAWN.contains(&u8::try_from(check).ok()?).then_some(Self(code))
    }

    /// Returns the canonical form.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn canonical(text: &str) -> Result<String, CodeError> {
    let chars = text.chars().filter(|char| !matches!(char, ' ' | '-'));
    chars
        .map(|char| match char {
            _ if char.is_ascii_alphanumeric() => Ok(char.to_ascii_uppercase()),
            _ => Err(CodeError::Character { char }),
        })
        .collect()
}

/// Returns the check character of ISO 7064 MOD 37,36 for capitals and digits.
fn check_character(body: &str) -> char {
    let mut product = 36;
    for byte in body.bytes() {
        let value = ALPHABET.iter().position(|own| *own == byte).unwrap_or(0);
        let sum = match (product + value) % 36 {
            0 => 36,
            sum => sum,
        };
        product = sum * 2 % 37;
    }
    char::from(ALPHABET[(37 - product) % 36])
}

/// The rule that a code breaks. The texts are meant for the person who typed it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodeError {
    /// It has a character that no code has.
    #[error("a code has letters A to Z and digits, and hyphens and spaces to read it; {char:?} is none of them")]
    Character {
        /// The first such character.
        char: char,
    },
    /// It is too short or too long.
    #[error("a code has 2 to {CODE_CHARS_MAX} characters; this one has {chars}")]
    Length {
        /// How many characters it has.
        chars: usize,
    },
    /// Its check character is not that of the rest.
    #[error("this code has a typing mistake: its last character does not fit the rest")]
    Check,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_character_is_that_of_the_standard() {
        // The examples of two standards that use it: ISAN (ISO 15706) and GRid.
        assert_eq!(check_character("B159D8FA01240000"), 'K');
        assert_eq!(check_character("A12425GABC1234002"), 'M');
    }

    #[test]
    fn a_single_wrong_character_is_found() {
        let code = Code::of("SUMMER", &[0, 7, 30, 12, 5]).unwrap();
        let code = code.as_str();
        let mut tried = 0;
        for at in 0..code.len() {
            for wrong in ALPHABET.iter().filter(|wrong| **wrong != code.as_bytes()[at]) {
                let mut typed = code.as_bytes().to_vec();
                typed[at] = *wrong;
                let typed = String::from_utf8(typed).unwrap();
                assert_eq!(Code::parse(&typed), Err(CodeError::Check), "{typed}");
                tried += 1;
            }
        }
        assert_eq!(tried, code.len() * 35);
    }

    #[test]
    fn a_code_is_read_however_it_is_written() {
        let code = Code::parse("A1-2425G-ABC1234002-M").unwrap();
        assert_eq!(code.as_str(), "A12425GABC1234002M");
        assert_eq!(Code::parse(" a12425g abc1234002m"), Ok(code));
    }

    #[test]
    fn what_is_no_code_is_refused() {
        fn check(text: &str, expected: CodeError) {
            assert_eq!(Wish::parse(text), Err(expected), "{text:?}");
        }
        check("A12425GABC1234002N", CodeError::Check);
        check("A1*2", CodeError::Character { char: '*' });
        check("é*", CodeError::Character { char: 'é' });
        check("7", CodeError::Length { chars: 1 });
        check("-", CodeError::Length { chars: 0 });
        check(&"7".repeat(65), CodeError::Length { chars: 65 });
    }

    #[test]
    fn new_and_a_beginning_with_a_star_ask_for_any_code() {
        fn check(text: &str, prefix: &str) {
            let prefix = prefix.to_owned();
            assert_eq!(Wish::parse(text), Ok(Wish::Any { prefix }), "{text:?}");
        }
        check("new", "");
        check(" NEW ", "");
        check("*", "");
        check("summer-*", "SUMMER");
    }

    #[test]
    fn a_code_that_is_made_reads_as_itself_and_has_no_letter_that_is_misread() {
        let mut made = 0;
        for byte in 0..=u8::MAX {
            if let Some(code) = Code::of("", &[byte, 31, 0, byte / 8]) {
                made += 1;
                assert_eq!(Code::parse(code.as_str()).as_ref(), Ok(&code));
                assert!(!code.as_str().contains(['I', 'L', 'O', 'U']), "{code:?}");
            }
        }
        // 4 of 36 check characters are not drawn.
        assert!((200..256).contains(&made), "{made}");
    }
}
