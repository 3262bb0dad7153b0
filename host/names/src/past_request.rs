//! What a request has done whose key is known.

use crate::registration::Registration;
use crate::request::RequestKey;

/// What is known of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PastRequest {
    /// No request with this key has succeeded, or it is forgotten.
    Unknown,
    /// This registration was saved or changed by the same request. It may have been changed or have ended since.
    Replayed(Box<Registration>),
    /// Another request had this key.
    KeyReused,
}

impl PastRequest {
    /// Judges what the rows that know a key say: their fingerprints and registrations.
    pub(crate) fn judge(request: &RequestKey, found: Vec<(Vec<u8>, Registration)>) -> Self {
        let is_known = !found.is_empty();
        let same = found
            .into_iter()
            .find(|(fingerprint, _)| fingerprint.as_slice() == request.fingerprint);
        match same {
            Some((_, registration)) => Self::Replayed(Box::new(registration)),
            None if is_known => Self::KeyReused,
            None => Self::Unknown,
        }
    }
}
