//! How a name becomes a key.
//!
//! The key is `namelock:<namespace>:<md5-hex of the UTF-8 name>`. With the empty namespace that is
//! `namelock::<md5-hex>`, exactly the key of the Python idiom, so both sides exclude each other on the same memcached.
//! md5 makes names of any length and any bytes fit memcached's keys. It is not a security measure: two names with one
//! digest wait for each other, nothing more, because the names database compares whole names.

use std::fmt;
use std::sync::Arc;

use md5::{Digest, Md5};

use crate::error::AcquireError;

/// The key of a name's lock.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct LockKey(Arc<str>);

impl LockKey {
    /// Makes the key of `name` in `namespace`.
    ///
    /// A namespace is a tenant's id or empty, never a caller's text: it becomes part of the key as it is.
    ///
    /// # Errors
    ///
    /// [`AcquireError::InvalidName`] for a name that is empty or too long.
    pub fn new(namespace: &str, name: &str) -> Result<Self, AcquireError> {
        namelock_types::check_name(name)?;
        let mut key = String::with_capacity("namelock:".len() + namespace.len() + 1 + 32);
        key.push_str("namelock:");
        key.push_str(namespace);
        key.push(':');
        for byte in Md5::digest(name.as_bytes()) {
            key.push(char::from_digit(u32::from(byte >> 4), 16).unwrap_or('0'));
            key.push(char::from_digit(u32::from(byte & 0xf), 16).unwrap_or('0'));
        }
        Ok(Self(key.into()))
    }

    /// The key of the mark that a host leaves when it waits for this lock. A lock's key has no `@` there.
    pub(crate) fn mark(&self) -> Self {
        let name = self.0.strip_prefix("namelock:").unwrap_or(&self.0);
        Self(format!("namelock:@wait:{name}").into())
    }

    /// The namespace of the name.
    pub fn namespace(&self) -> &str {
        self.parts().0
    }

    /// The digest of the name.
    pub fn digest(&self) -> &str {
        self.parts().1
    }

    fn parts(&self) -> (&str, &str) {
        let name = self.0.strip_prefix("namelock:").unwrap_or(&self.0);
        name.rsplit_once(':').unwrap_or(("", name))
    }

    /// The key as it is sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for LockKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_key_is_that_of_the_python_idiom() {
        // python3 -c 'import hashlib; print("namelock::" + hashlib.md5("Blauer Raum 蓝".encode()).hexdigest())'
        let key = LockKey::new("", "Blauer Raum 蓝").unwrap();
        assert_eq!(key.as_str(), "namelock::da00d6569d95e8dd684112872fadbd9e");
        assert_eq!(
            (key.namespace(), key.digest()),
            ("", "da00d6569d95e8dd684112872fadbd9e")
        );
        let key = LockKey::new("acme", "a").unwrap();
        assert_eq!(key.as_str(), "namelock:acme:0cc175b9c0f1b6a831c399e269772661");
        assert_eq!(
            (key.namespace(), key.digest()),
            ("acme", "0cc175b9c0f1b6a831c399e269772661")
        );
    }

    #[test]
    fn an_invalid_name_has_no_key() {
        assert!(matches!(LockKey::new("t", ""), Err(AcquireError::InvalidName(_))));
        assert!(LockKey::new("t", &"x".repeat(255)).is_ok());
    }

    proptest! {
        #[test]
        fn every_name_gives_a_key_that_memcached_takes_verbatim(name in "\\PC{1,60}|[\\x00-\\x1f ]{1,60}") {
            let key = LockKey::new("acme", &name).unwrap();
            prop_assert!(key.as_str().len() <= 250);
            prop_assert!(key.as_str().bytes().all(|byte| byte.is_ascii_graphic()));
        }

        #[test]
        fn a_mark_has_a_key_that_no_lock_has(namespace in "|[a-z0-9][a-z0-9-]{0,62}", name in "\\PC{1,60}") {
            let lock = LockKey::new(&namespace, &name).unwrap();
            let mark = lock.mark();
            prop_assert!(mark.as_str().starts_with("namelock:@wait:") && mark.as_str().len() <= 250);
            prop_assert!(!lock.as_str().contains('@'));
            prop_assert_ne!(mark, LockKey::new(&namespace, &format!("{name}x")).unwrap().mark());
        }

        #[test]
        fn tenants_never_share_a_key(a in "[a-z0-9][a-z0-9-]{0,62}", b in "[a-z0-9][a-z0-9-]{0,62}", name in "\\PC{1,60}") {
            prop_assume!(a != b);
            prop_assert_ne!(LockKey::new(&a, &name).unwrap(), LockKey::new(&b, &name).unwrap());
        }
    }
}
