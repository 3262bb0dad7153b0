//! Bytes as hexadecimal digits.

use std::fmt::Write as _;

/// Writes bytes as digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing to a text does not fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// Reads them again, also in capitals; none: it is anything else.
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let pairs = text.as_bytes().chunks_exact(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_written_and_read_again() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(from_hex(&hex(&all)), Some(all));
        assert_eq!(
            (hex(&[0, 10, 255]), from_hex("0AfF")),
            ("000aff".to_owned(), Some(vec![10, 255]))
        );
        for wrong in ["0", "0g", "+1", " 1", "\u{e9}"] {
            assert_eq!(from_hex(wrong), None, "{wrong}");
        }
    }
}
