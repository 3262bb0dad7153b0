//! What a request has done whose key is known.

use crate::error::SaveError;
use crate::registration::Registration;
use crate::request::RequestKey;

/// What is known of a key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum PastRequest {
    /// No request with this key has succeeded, or it is forgotten.
    #[default]
    Unknown,
    /// This registration was saved or changed by the same request. It may have been changed or have ended since.
    Replayed(Box<Registration>),
    /// Another request had this key.
    KeyReused,
}

impl PastRequest {
    /// Why a write for the request is refused, if it is.
    pub(crate) fn refusal(self) -> Option<SaveError> {
        match self {
            Self::Unknown => None,
            Self::Replayed(registration) => Some(SaveError::Replayed(registration)),
            Self::KeyReused => Some(SaveError::KeyReused),
        }
    }

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
