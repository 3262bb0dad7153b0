//! What is counted of traces.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The counters of a tracer.
#[derive(Debug, Default)]
pub struct Figures {
    queued: AtomicU64,
    sent: AtomicU64,
    queue_full: AtomicU64,
    not_taken: AtomicU64,
    over_rate: AtomicU64,
}

/// What was counted until now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Spans that the collector has taken.
    pub sent: u64,
    /// Spans that found no room in the queue.
    pub queue_full: u64,
    /// Spans that the collector has refused, or has not taken in time.
    pub not_taken: u64,
    /// Requests that were not traced because others had used up `trace.rate`.
    pub over_rate: u64,
}

impl Counts {
    /// Spans that were dropped.
    pub fn dropped(&self) -> u64 {
        self.queue_full + self.not_taken
    }
}

impl Figures {
    pub(super) fn queued(&self, spans: u64, is_queued: bool) {
        let counter = if is_queued { &self.queued } else { &self.queue_full };
        counter.fetch_add(spans, Relaxed);
    }

    pub(super) fn sent(&self, spans: u64) {
        self.sent.fetch_add(spans, Relaxed);
    }

    pub(super) fn not_taken(&self, spans: u64) {
        self.not_taken.fetch_add(spans, Relaxed);
    }

    pub(super) fn over_rate(&self) {
        self.over_rate.fetch_add(1, Relaxed);
    }

    /// Spans that were queued, and of which it is not known what has become of them.
    pub(super) fn pending(&self) -> u64 {
        let settled = self.sent.load(Relaxed) + self.not_taken.load(Relaxed);
        self.queued.load(Relaxed).saturating_sub(settled)
    }

    /// What was counted until now.
    pub fn counts(&self) -> Counts {
        Counts {
            sent: self.sent.load(Relaxed),
            queue_full: self.queue_full.load(Relaxed),
            not_taken: self.not_taken.load(Relaxed),
            over_rate: self.over_rate.load(Relaxed),
        }
    }
}
