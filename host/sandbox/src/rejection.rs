//! Why a handler refuses a request, and what its caller is told of it.

use std::time::Duration;

use crate::error::CallError;
use crate::state::State;
use crate::wit::bindings::exports::namelock::registration::handler as wit;
use crate::wit::bindings::updating::exports::namelock::registration::updates;

/// The longest text of a handler that a caller is told, in bytes.
const DETAIL_BYTES_MAX: usize = 1024;

/// Why a handler refuses a request.
pub(crate) enum Rejection {
    OfHandler(wit::Rejection),
    OfUpdates(updates::Rejection),
}

impl Rejection {
    /// Turns the handler's rejection into an error. Its texts are not trusted, so they are cut.
    pub(crate) fn error(self, state: &State) -> CallError {
        let unavailable = |detail| CallError::Unavailable {
            detail: short(detail),
            cause: state.cause,
        };
        match self {
            Self::OfUpdates(updates::Rejection::Missing) => CallError::Missing,
            Self::OfHandler(wit::Rejection::Taken) => CallError::Taken(state.writes.held),
            Self::OfHandler(wit::Rejection::Invalid(detail)) | Self::OfUpdates(updates::Rejection::Invalid(detail)) => {
                CallError::Invalid(short(detail))
            }
            Self::OfHandler(wit::Rejection::Busy(ms)) | Self::OfUpdates(updates::Rejection::Busy(ms)) => {
                CallError::Busy(Duration::from_millis(ms))
            }
            Self::OfHandler(wit::Rejection::Forbidden(detail))
            | Self::OfUpdates(updates::Rejection::Forbidden(detail)) => CallError::Forbidden(short(detail)),
            Self::OfHandler(wit::Rejection::Unavailable(detail))
            | Self::OfUpdates(updates::Rejection::Unavailable(detail)) => unavailable(detail),
        }
    }
}

fn short(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(DETAIL_BYTES_MAX));
    text
}
