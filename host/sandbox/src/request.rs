//! What a call is made for, and what it leaves.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use namelock_names::{Change, Keep, PastRequest, Registration, RequestKey};

use crate::error::CallError;
use crate::phases::Phases;

/// The request that a call is made for, and where its time goes.
#[derive(Debug, Clone)]
pub struct Context {
    /// The id of the request, for logs.
    pub request_id: Arc<str>,
    /// Its phases.
    pub phases: Arc<Phases>,
    /// The trace that it belongs to, for logs; none: nobody traces it.
    pub trace_id: Option<TraceId>,
}

/// The id of a trace, as W3C Trace Context has it: what one request causes in every process that it comes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceId(pub [u8; 16]);

impl TraceId {
    /// How many digits it is written with.
    pub const DIGITS: usize = 32;
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Context {
    /// A request that begins now.
    pub fn new(request_id: impl Into<Arc<str>>) -> Self {
        Self {
            request_id: request_id.into(),
            phases: Arc::default(),
            trace_id: None,
        }
    }
}

/// What a caller asks a handler to register.
#[derive(Debug, Clone)]
pub struct Request {
    /// The name, unchanged.
    pub name: String,
    /// Who shall have it.
    pub owner: String,
    /// For how long, if the caller has a wish.
    pub lifetime: Option<Duration>,
    /// Whatever else the caller sent.
    pub attributes: Vec<(String, String)>,
}

/// What a caller asks a handler to change.
#[derive(Debug, Clone)]
pub struct UpdateRequest {
    /// The name, unchanged.
    pub name: String,
    /// Who asks.
    pub owner: String,
    /// What is to become of its registration.
    pub change: Change,
}

/// A registration that a call has saved or changed.
#[derive(Debug, Clone)]
pub struct Written {
    /// The registration.
    pub registration: Registration,
    /// Whether an earlier call for the same request did it.
    pub replayed: bool,
}

impl Written {
    /// What a request has written before; none: nothing is known of it.
    ///
    /// # Errors
    ///
    /// [`CallError::KeyReused`]: its key is that of another one.
    pub fn before(past: PastRequest) -> Result<Option<Self>, CallError> {
        match past {
            PastRequest::Unknown => Ok(None),
            PastRequest::Replayed(registration) => Ok(Some(Self {
                registration: *registration,
                replayed: true,
            })),
            PastRequest::KeyReused => Err(CallError::KeyReused),
        }
    }
}

/// A request that may be sent again.
#[derive(Debug, Clone)]
pub struct Repeatable {
    /// Its key, which its first write takes along.
    pub key: RequestKey,
    /// What lasts for as long as one of its writes may still be done, so that it is not run again before that is known.
    pub keep: Keep,
}
