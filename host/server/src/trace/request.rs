//! A request that is traced, from its beginning to its end.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::extract::MatchedPath;
use axum::http::{Method, StatusCode, Version};
use namelock_sandbox::phases::Timeline;
use namelock_sandbox::{Digest, TraceId};

use super::parent::{Parent, SpanId};

/// What is known of a request when it begins.
#[derive(Debug)]
pub struct About {
    /// Its method.
    pub method: Method,
    /// The template of its path; none: it has none of those that there are.
    pub route: Option<MatchedPath>,
    /// Its version of HTTP.
    pub version: Version,
    /// Its id.
    pub request_id: Arc<str>,
    /// The tenant in its address.
    pub tenant: Option<String>,
    /// The component that serves this tenant.
    pub component: Option<Digest>,
    /// What other tracers have noted.
    pub state: String,
}

/// A request that is traced and has not ended.
#[derive(Debug)]
pub struct Traced {
    pub(super) trace_id: TraceId,
    pub(super) span_id: SpanId,
    pub(super) parent: Option<SpanId>,
    pub(super) began: SystemTime,
    pub(super) about: About,
}

/// How a request ended.
#[derive(Debug)]
pub struct End {
    /// What it has asked for.
    pub operation: &'static str,
    /// The code, as in metric and log.
    pub code: &'static str,
    /// The status of its answer; none: its caller had gone.
    pub status: Option<StatusCode>,
    /// How long it took.
    pub took: Duration,
    /// Its phases.
    pub timeline: Timeline,
}

/// A request that is traced and has ended.
#[derive(Debug)]
pub struct Ended {
    pub(super) traced: Traced,
    pub(super) end: End,
}

impl Traced {
    /// Begins the span of a request, in the trace of its caller or in one of its own.
    pub(super) fn begin(parent: Option<&Parent>, about: About) -> Self {
        Self {
            trace_id: parent.map_or_else(|| TraceId(new_id(rand::random)), |parent| parent.trace_id),
            span_id: new_span_id(),
            parent: parent.map(|parent| parent.span_id),
            began: SystemTime::now(),
            about,
        }
    }

    /// The trace that it belongs to.
    pub fn trace_id(&self) -> TraceId {
        self.trace_id
    }

    /// Ends the span.
    pub fn end(self, end: End) -> Ended {
        Ended { traced: self, end }
    }
}

impl Ended {
    /// How many spans it has: its own, and one for each phase.
    pub(super) fn spans(&self) -> u64 {
        1 + self.end.timeline.segments.len() as u64
    }
}

/// Makes the id of a span.
pub(super) fn new_span_id() -> SpanId {
    SpanId(new_id(rand::random))
}

/// Draws an id that is not zero, as the standard asks for.
fn new_id<const N: usize>(draw: impl Fn() -> [u8; N]) -> [u8; N] {
    loop {
        let id = draw();
        if id != [0; N] {
            return id;
        }
    }
}
