//! What an operator changes of the host as a whole: what it logs, and that it stops.

use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};

use super::access::Operator;
use super::answer::{Refusal, json, read};
use super::host::Admin;
use crate::telemetry::{FilterError, OPERATOR};
use crate::text::quoted;

/// The filter that is to be set.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewFilter {
    filter: String,
    /// For how long; none: until the host stops.
    for_ms: Option<u64>,
}

/// How far the host is with stopping.
#[derive(Debug, Serialize)]
struct Drain {
    draining: bool,
    calls_running: usize,
    calls_waiting: usize,
    locks_held: usize,
}

impl Drain {
    fn of(admin: &Admin) -> Self {
        Self {
            draining: admin.draining.is_cancelled(),
            calls_running: admin.calls.running(),
            calls_waiting: admin.calls.waiting(),
            locks_held: admin.locks.figures().held,
        }
    }
}

/// Says what is logged.
pub(super) async fn log(State(admin): State<Admin>) -> Response {
    json(StatusCode::OK, &admin.log.filter.now())
}

/// Sets what is logged, for a while or until the host stops.
pub(super) async fn set_log(
    State(admin): State<Admin>,
    Extension(operator): Extension<Operator>,
    body: Body,
) -> Result<Response, Refusal> {
    let NewFilter { filter, for_ms } = read(body).await?;
    let set = admin.log.filter.set(&filter, for_ms.map(Duration::from_millis));
    set.map_err(|error| {
        let status = match error {
            FilterError::Fixed(_) => StatusCode::SERVICE_UNAVAILABLE,
            FilterError::Invalid(_) | FilterError::TooLong | FilterError::Time => StatusCode::BAD_REQUEST,
        };
        Refusal::new(status, error.to_string())
    })?;
    let filter = quoted(&filter, 256);
    tracing::warn!(target: OPERATOR, operator = &*operator.name, %filter, for_ms, "the filter of the log was set by the operator");
    Ok(json(StatusCode::OK, &admin.log.filter.now()))
}

/// Says whether the host is stopping, and what it still does.
pub(super) async fn drained(State(admin): State<Admin>) -> Response {
    json(StatusCode::OK, &Drain::of(&admin))
}

/// Has the host stop as SIGTERM does. Asked again it does nothing more: whoever has lost the answer may repeat the question.
pub(super) async fn drain(State(admin): State<Admin>, Extension(operator): Extension<Operator>) -> Response {
    if !admin.draining.is_cancelled() {
        tracing::warn!(target: OPERATOR, operator = &*operator.name, "the host was told to stop by the operator");
        admin.draining.cancel();
    }
    json(StatusCode::ACCEPTED, &Drain::of(&admin))
}
