//! Traces from the start of a host to its stop.

use std::future::Future;

use super::error::RunError;
use crate::config::TraceConfig;
use crate::trace::{Exporter, Tracer};

/// What makes traces and what sends them; none of both: nothing is traced.
pub(super) struct Traces {
    pub(super) tracer: Option<Tracer>,
    pub(super) exporter: Option<Exporter>,
}

impl Traces {
    pub(super) fn open(config: &TraceConfig) -> Result<Self, RunError> {
        let Some(url) = &config.otlp else {
            let (tracer, exporter) = (None, None);
            return Ok(Self { tracer, exporter });
        };
        let opened = Tracer::open(url, config).map_err(|source| RunError::Trace {
            url: url.to_string(),
            source,
        });
        let (tracer, exporter) = opened?;
        tracing::info!(collector = %url, "sending traces");
        Ok(Self {
            tracer: Some(tracer),
            exporter: Some(exporter),
        })
    }
}

/// Sends traces until the last request has ended, and then what is left.
pub(super) async fn send(exporter: Option<Exporter>, served: impl Future<Output = ()>) {
    if let Some(exporter) = exporter {
        exporter.run(served).await;
    }
}
