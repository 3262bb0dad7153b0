//! The metrics, for whoever scrapes them.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use tokio::runtime::Handle;

use super::host::Admin;
use crate::metrics::{self, Backend, Now};

pub(super) async fn metrics(State(admin): State<Admin>, headers: HeaderMap) -> Response {
    let backends = admin.backends().await;
    let runtime = Handle::current().metrics();
    let text = admin.metrics.render(Now {
        calls_running: admin.calls.running(),
        calls_waiting: admin.calls.waiting(),
        log_lines_dropped: admin.log.writer.dropped(),
        log_queue_bytes: admin.log.writer.queued(),
        draining: admin.draining.is_cancelled(),
        backends: backends
            .map(|(name, check)| Backend {
                name,
                up: check.is_ok(),
            })
            .into(),
        not_let_in: admin.logins.counts(),
        certificates: admin
            .tls
            .iter()
            .filter_map(|tls| Some((tls.listener(), tls.end()?.unix_seconds())))
            .collect(),
        locks: Some(admin.locks.figures()),
        clock_off_ms: admin.names.clock_off_ms(),
        names: admin.names.figures(),
        runtime: (runtime.num_alive_tasks(), runtime.global_queue_depth()),
        traces: admin.traces.map(|figures| figures.counts()).unwrap_or_default(),
        states: admin
            .tenants
            .states()
            .map(|(state, count)| (state.label(), count))
            .into(),
        pulls: admin
            .tenants
            .pulls()
            .map(|(outcome, count)| (outcome.label(), count))
            .into(),
        tenants: admin.tenants.usage(),
        tenants_max: admin.metrics_tenants,
    });
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    if accept.is_some_and(metrics::wants_openmetrics) {
        ([(CONTENT_TYPE, metrics::MEDIA_TYPE)], text).into_response()
    } else {
        ([(CONTENT_TYPE, metrics::CLASSIC_MEDIA_TYPE)], metrics::classic(&text)).into_response()
    }
}
