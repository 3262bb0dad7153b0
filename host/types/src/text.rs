//! The length of names and owners.

/// The longest name and the longest owner, in bytes of UTF-8.
pub const TEXT_BYTES_MAX: usize = 255;

/// The error of a name or an owner that is empty or too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} is 1 to {TEXT_BYTES_MAX} bytes of UTF-8; this one is {bytes}")]
pub struct LengthError {
    what: &'static str,
    bytes: usize,
}

/// Checks that a name is 1 to [`TEXT_BYTES_MAX`] bytes long. Every other rule about names is the handler's.
///
/// # Errors
///
/// [`LengthError`] states the length of the name.
pub fn check_name(name: &str) -> Result<(), LengthError> {
    check("a name", name)
}

/// Checks that an owner is 1 to [`TEXT_BYTES_MAX`] bytes long.
///
/// # Errors
///
/// [`LengthError`] states the length of the owner.
pub fn check_owner(owner: &str) -> Result<(), LengthError> {
    check("an owner", owner)
}

fn check(what: &'static str, text: &str) -> Result<(), LengthError> {
    match text.len() {
        1..=TEXT_BYTES_MAX => Ok(()),
        bytes => Err(LengthError { what, bytes }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_1_to_255_bytes_long() {
        let refusal = |name: &str| check_name(name).map_err(|error| error.to_string());
        assert_eq!(refusal("x"), Ok(()));
        assert_eq!(refusal(&"x".repeat(255)), Ok(()));
        let expect = |bytes: usize| Err(format!("a name is 1 to 255 bytes of UTF-8; this one is {bytes}"));
        assert_eq!(refusal(""), expect(0));
        assert_eq!(refusal(&"x".repeat(256)), expect(256));
        assert_eq!(refusal(&"ü".repeat(128)), expect(256), "bytes count, not characters");
    }

    #[test]
    fn an_owner_has_the_same_bounds_as_a_name() {
        assert!(check_owner(&"x".repeat(255)).is_ok());
        assert!(check_owner("").unwrap_err().to_string().starts_with("an owner is"));
    }
}
