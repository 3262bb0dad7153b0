//! What a call has written, and for which request.
//!
//! # Requests that are sent again
//!
//! A call may be made for a request with an idempotency key. Its first write that leaves a registration takes the key along, and
//! the database refuses the key to any other row. So a handler returns the registration that it wrote first. If the database says
//! that the request has succeeded before, the call's answer is that registration, whatever the handler makes of it.

use std::time::Duration;

use namelock_names::{ApplyError, Keep, PastRequest, RequestKey};

use crate::request::Repeatable;

/// What a call has written.
#[derive(Debug, Default)]
pub(crate) struct Writes {
    /// How many it has begun.
    pub(crate) begun: u32,
    /// The request that it is made for, until a write has taken it along.
    pub(super) request: Option<RequestKey>,
    /// What lasts while a write of this request is undecided.
    pub(crate) keep: Keep,
    /// What a write has found out of it: that it was done before, or that its key is that of another one.
    pub(crate) past_request: PastRequest,
    /// For how long the name that it wanted to save last is held for its last owner.
    pub(crate) held: Option<Duration>,
}

impl Writes {
    pub(crate) fn of(request: Option<Repeatable>) -> Self {
        let (request, keep) = request.map(|request| (request.key, request.keep)).unzip();
        Self {
            request,
            keep: keep.unwrap_or_default(),
            ..Self::default()
        }
    }

    /// The request that the call is made for, if no write has taken it along.
    pub(crate) fn unwritten_request(&self) -> Option<RequestKey> {
        self.request
    }
}

/// What is left of the error of several writes: a handler that gave them knows which they are.
pub(super) fn one_error(error: ApplyError) -> namelock_names::SaveError {
    match error {
        ApplyError::Write { error, .. } | ApplyError::All(error) => error,
        ApplyError::NoRegistration { .. } => namelock_names::SaveError::Invalid {
            reason: error.to_string(),
        },
    }
}
