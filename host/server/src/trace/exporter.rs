//! Sends traces to the collector, many together.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::client::{Client, OpenError};
use super::figures::Figures;
use super::request::Ended;
use super::spans::Origin;
use crate::config::{OtlpUrl, TraceConfig};
use crate::telemetry::Told;

/// How many traces are sent together. With the longest timelines that is a message of about a megabyte.
const BATCH_MAX: usize = 100;

/// How long the stop of a host waits for what it has still to send.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// Sends the traces that a [`Tracer`](super::Tracer) queues.
#[derive(Debug)]
pub struct Exporter {
    ended: mpsc::Receiver<Ended>,
    every: Duration,
    timeout: Duration,
    client: Client,
    origin: Origin,
    figures: Arc<Figures>,
    told: Told,
}

impl Exporter {
    pub(super) fn new(
        url: &OtlpUrl,
        config: &TraceConfig,
        ended: mpsc::Receiver<Ended>,
        figures: Arc<Figures>,
    ) -> Result<Self, OpenError> {
        Ok(Self {
            ended,
            every: config.every,
            timeout: config.timeout,
            client: Client::new(url)?,
            origin: Origin::new(),
            figures,
            told: Told::default(),
        })
    }

    /// Sends what is queued until `stop` returns; then what is left, for a short time.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let (closing, figures) = (CancellationToken::new(), Arc::clone(&self.figures));
        let exporting = self.export(&closing);
        tokio::pin!(exporting);
        tokio::select! {
            () = &mut exporting => return,
            () = stop => closing.cancel(),
        }
        if tokio::time::timeout(FLUSH_TIMEOUT, exporting).await.is_err() {
            let spans = figures.pending();
            tracing::warn!(spans, within = ?FLUSH_TIMEOUT, "spans were dropped: the collector has not taken them in time");
        }
    }

    async fn export(mut self, closing: &CancellationToken) {
        loop {
            let batch = self.collect(closing).await;
            if batch.is_empty() {
                return;
            }
            self.send(batch).await;
        }
    }

    /// Waits for traces that are sent together; none: there are no more, and never will be.
    async fn collect(&mut self, closing: &CancellationToken) -> Vec<Ended> {
        let mut batch = Vec::new();
        let (ended, every) = (&mut self.ended, self.every);
        let full = async {
            batch.extend(ended.recv().await);
            // Traces that a timeout finds in the batch stay in it.
            let _ = tokio::time::timeout(every, async {
                while !batch.is_empty() && batch.len() < BATCH_MAX {
                    match ended.recv().await {
                        Some(trace) => batch.push(trace),
                        None => return,
                    }
                }
            })
            .await;
        };
        tokio::select! {
            biased;
            () = full => return batch,
            () = closing.cancelled() => {}
        }
        self.ended.close();
        while batch.len() < BATCH_MAX
            && let Ok(trace) = self.ended.try_recv()
        {
            batch.push(trace);
        }
        batch
    }

    async fn send(&mut self, batch: Vec<Ended>) {
        let spans: u64 = batch.iter().map(Ended::spans).sum();
        let message = self.origin.message(batch);
        let sent = tokio::time::timeout(self.timeout, self.client.send(&message)).await;
        let (refused, why) = match sent {
            Ok(Ok(0)) => (0, "trace.queue was full".to_owned()),
            Ok(Ok(refused)) => (spans.min(refused), "it has refused some of a message".to_owned()),
            Ok(Err(error)) => (spans, error.to_string()),
            Err(_) => (spans, format!("no answer within {:?}", self.timeout)),
        };
        self.figures.sent(spans - refused);
        self.figures.not_taken(refused);
        let dropped = self.figures.counts().dropped();
        if let Some(spans) = self.told.tell(dropped, Instant::now()) {
            let collector = self.client.url();
            tracing::warn!(%collector, spans, why, "spans were dropped; requests are served, and traces begin again by themselves");
        }
    }
}
