//! The id of a tenant.

use std::borrow::Borrow;
use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

/// The id of a tenant: `[a-z0-9][a-z0-9-]{0,62}`.
///
/// It is part of a path, a lock key and a log field, so it has no character that means something in any of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId(Arc<str>);

/// The text is not the id of a tenant.
#[derive(Debug, thiserror::Error)]
#[error("a tenant's id is 1 to 63 of a-z, 0-9 and -, and does not start with -")]
pub struct InvalidTenantId;

impl FromStr for TenantId {
    type Err = InvalidTenantId;

    fn from_str(text: &str) -> Result<Self, InvalidTenantId> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let valid = (1..=63).contains(&text.len()) && !text.starts_with('-') && text.bytes().all(allowed);
        valid.then(|| Self(text.into())).ok_or(InvalidTenantId)
    }
}

impl TenantId {
    /// The tenant whose directory this is; none: its name is not the id of one.
    pub fn of_directory(dir: &Path) -> Option<Self> {
        dir.canonicalize().ok()?.file_name()?.to_str()?.parse().ok()
    }

    /// A tenant of whom nothing is known.
    pub fn somebody() -> Self {
        Self("tenant".into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for TenantId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_id_is_accepted_exactly_by_its_rule(text in "[a-zA-Z0-9./_%-]{0,70}") {
            let chars: Vec<char> = text.chars().collect();
            let allowed = |c: &char| matches!(c, 'a'..='z' | '0'..='9' | '-');
            let expect = (1..=63).contains(&chars.len()) && chars.iter().all(allowed) && chars[0] != '-';
            prop_assert_eq!(TenantId::from_str(&text).is_ok(), expect);
        }

        #[test]
        fn a_valid_id_names_one_entry_of_the_directory(text in any::<String>()) {
            if let Ok(id) = TenantId::from_str(&text) {
                let joined = Path::new("tenants").join(id.as_str());
                prop_assert_eq!(joined.parent(), Some(Path::new("tenants")));
                prop_assert_eq!(joined.components().count(), 2);
            }
        }
    }

    // Shows P6: no id leads to another tenant's files.
    #[test]
    fn an_id_cannot_lead_out_of_the_directory() {
        for text in [
            "", ".", "..", "../x", "/etc", "a/b", "a\\b", "a\0", "a\n", "A", "é", "-a", "a.b", "a%2fb",
        ] {
            assert!(TenantId::from_str(text).is_err(), "{text:?}");
        }
        assert!(TenantId::from_str(&"a".repeat(63)).is_ok());
        assert!(TenantId::from_str(&"a".repeat(64)).is_err());
    }
}
