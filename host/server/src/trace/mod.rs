//! Traces: where the time of single requests goes, sent to a collector in OTLP.
//!
//! In reading order:
//!
//! - `parent`: the trace that a caller has begun (W3C Trace Context);
//! - this file: which requests are traced, and the queue of those that have ended;
//! - `request`: a request that is traced; `spans`: it as spans in OTLP;
//! - `exporter`: sends them; `client`: over HTTP;
//! - `figures`: what is counted of them.
//!
//! # Spans are made at the end
//!
//! Each phase of a request is noted already, because their times add up to that of the request
//! ([`Phases`](namelock_sandbox::Phases)). Of a request that is traced a bounded timeline is noted besides, and its spans are made
//! of it when it has ended, outside of the request. So a request that is not traced costs a look at its headers and a random number, and a
//! host without `trace.otlp` the look alone. Spans of the crate `tracing` (and `tracing-opentelemetry`) would be made for every request
//! before it is known whether anybody wants them, would pass through the filter of the log, and would tell the same as the phases.
//!
//! The messages are those of `opentelemetry-proto`. Its sibling `opentelemetry-otlp`, with the processor of `opentelemetry_sdk`, would send
//! them too, but does not tell how many spans it drops and how many a collector refuses, runs a thread of its own, and takes settings
//! from variables of the environment that no document of this host names.
//!
//! # Bounds
//!
//! Whoever can reach the host can send a `traceparent` that asks for a trace. `trace.rate` bounds how many are made for callers. Those
//! that the host begins itself are bounded apart, so that no caller can keep an operator from seeing them. What has ended waits in a queue
//! of `trace.queue`; each has at most [`SEGMENTS_MAX`] phases. What finds no room, or is not taken by the collector in time, is dropped and
//! counted. It is not sent again: a collector that is down gets what comes once it is back.

mod client;
mod exporter;
pub mod figures;
mod parent;
mod request;
mod spans;

use std::sync::Arc;
use std::time::Instant;

use namelock_account::Bucket;
use parking_lot::Mutex;
use tokio::sync::mpsc;

pub use self::client::OpenError;
pub use self::exporter::Exporter;
pub use self::parent::{Parent, SpanId, state_of};
pub use self::request::{About, End, Ended, Traced};

use self::figures::Figures;
use crate::config::{OtlpUrl, TraceConfig};

/// How many phases of one request are spans of their own; the rest are summed.
pub const SEGMENTS_MAX: usize = 64;

/// Chooses the requests that are traced, and queues them when they have ended.
#[derive(Debug)]
pub struct Tracer {
    one_in: u32,
    /// Traces that callers ask for.
    callers: Mutex<Bucket>,
    /// Traces that the host begins.
    own: Mutex<Bucket>,
    queue: mpsc::Sender<Ended>,
    figures: Arc<Figures>,
}

impl Tracer {
    /// Makes one, and what sends its traces to `url`.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub fn open(url: &OtlpUrl, config: &TraceConfig) -> Result<(Self, Exporter), OpenError> {
        let (queue, ended) = mpsc::channel(config.queue);
        let figures = Arc::<Figures>::default();
        let bucket = || Mutex::new(Bucket::new(config.rate, config.rate, Instant::now()));
        let exporter = Exporter::new(url, config, ended, Arc::clone(&figures))?;
        let tracer = Self {
            one_in: config.one_in,
            callers: bucket(),
            own: bucket(),
            queue,
            figures,
        };
        Ok((tracer, exporter))
    }

    /// Begins the span of a request, if it is to be traced.
    // Keeps P6: whatever callers ask for, so many traces are made in a second and no more.
    pub fn begin(&self, parent: Option<&Parent>, about: impl FnOnce() -> About) -> Option<Traced> {
        let bucket = match parent {
            Some(parent) if parent.sampled => &self.callers,
            // Who has begun the trace has decided that nobody looks at it.
            Some(_) => return None,
            None if self.one_in > 0 && rand::random_range(0..self.one_in) == 0 => &self.own,
            None => return None,
        };
        if bucket.lock().take(Instant::now()).is_err() {
            self.figures.over_rate();
            return None;
        }
        Some(Traced::begin(parent, about()))
    }

    /// Queues a request that has ended; false: there is no room.
    pub fn end(&self, ended: Ended) -> bool {
        let spans = ended.spans();
        let is_queued = self.queue.try_send(ended).is_ok();
        self.figures.queued(spans, is_queued);
        is_queued
    }

    /// What is counted of its traces.
    pub fn figures(&self) -> Arc<Figures> {
        Arc::clone(&self.figures)
    }
}

#[cfg(test)]
mod tests;
