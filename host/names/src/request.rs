//! Requests that may be repeated: how the first one is told from a repetition.
//!
//! A request that a caller may send again has a key. The key's digest is written in the same statement as the row that the
//! request saves or changes, so the two are durable together, and one key has at most one registration. A row has a slot
//! for the request that saved its registration and another for the last one that changed it, so that to change a
//! registration does not make the retry of its first request forgotten.
//!
//! A key is remembered for as long as the row holds that registration: also after it has ended or was freed, until the name
//! is saved again or the row is purged. What is found by a key is the registration as it is now.
//!
//! A unique index for each slot decides between requests that come at once. A key that is used to save one name and to
//! change another is refused too, except where PostgreSQL runs both at once: then either is found by its own fingerprint.

use std::fmt;

use sha2::{Digest, Sha256};

/// How many bytes of a digest are kept: enough that no two requests ever share them.
const DIGEST_BYTES: usize = 16;

/// The key of a request and the fingerprint of what it asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RequestKey {
    /// The digest of the tenant and the key.
    pub key: [u8; DIGEST_BYTES],
    /// The digest of everything that the request asks for.
    pub fingerprint: [u8; DIGEST_BYTES],
}

impl RequestKey {
    /// Makes the key of a request from what its caller has called it, and its fingerprint from its parts, such as method,
    /// name and body. Where one part ends and the next begins makes a difference.
    pub fn new(tenant: &str, key: &str, parts: &[&[u8]]) -> Self {
        Self {
            key: digest(&[tenant.as_bytes(), key.as_bytes()]),
            fingerprint: digest(parts),
        }
    }
}

impl fmt::Debug for RequestKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [key, fingerprint] = [self.key, self.fingerprint].map(u128::from_be_bytes);
        write!(formatter, "RequestKey({key:032x}, {fingerprint:032x})")
    }
}

fn digest(parts: &[&[u8]]) -> [u8; DIGEST_BYTES] {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    let mut short = [0; DIGEST_BYTES];
    short.copy_from_slice(&digest.finalize()[..DIGEST_BYTES]);
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_of_its_tenant_and_a_fingerprint_of_all_parts() {
        let one = RequestKey::new("t", "k", &[b"POST", b"name"]);
        assert_eq!(one, RequestKey::new("t", "k", &[b"POST", b"name"]));
        assert_ne!(one.key, RequestKey::new("tk", "", &[b"POST", b"name"]).key);
        let parts: [&[&[u8]]; 3] = [&[b"POSTname"], &[b"POSTn", b"ame"], &[b"POST", b"name", b""]];
        for parts in parts {
            let other = RequestKey::new("t", "k", parts);
            assert_eq!(other.key, one.key);
            assert_ne!(other.fingerprint, one.fingerprint);
        }
        // Stored: never to be changed.
        assert_eq!(
            format!("{one:?}"),
            "RequestKey(083f911db87e6b64f0eecbf597d2ac2c, ce814140dd1bda598c5b0a645f445149)"
        );
    }
}
