//! The admin listener: liveness, readiness, tenants and metrics.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use namelock_account::Level;
use namelock_lock::Locks;
use namelock_names::Names;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::admission::Calls;
use crate::metrics::{Metrics, Now};
use crate::telemetry::LogWriter;
use crate::tenants::Tenants;
use crate::text::chain;

/// How long a service may take to report that it is ready; most probes give up after about a second.
const READY_TIMEOUT: Duration = Duration::from_secs(1);

/// What the admin listener reports on.
#[derive(Clone)]
pub struct Admin {
    /// The lock service.
    pub locks: Locks,
    /// The names database.
    pub names: Arc<dyn Names>,
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// The host's limit of calls.
    pub calls: Arc<Calls>,
    /// The tenants, served or not.
    pub tenants: Arc<Tenants>,
    /// How many of them have metrics of their own.
    pub metrics_tenants: usize,
    /// The log.
    pub log: LogWriter,
    /// Cancelled once the process is stopping.
    pub draining: CancellationToken,
}

/// The answer of `/readyz`: whether this host can serve requests, and every reason why not.
#[derive(Debug, Serialize)]
struct Readiness {
    ready: bool,
    reasons: Vec<Reason>,
}

#[derive(Debug, Serialize)]
struct Reason {
    part: &'static str,
    reason: String,
}

/// The description of the public API.
const OPENAPI: &str = include_str!("../../../docs/openapi.json");

/// The routes of the admin listener.
pub fn router(admin: Admin) -> Router {
    Router::new()
        // The process answers, so it is alive: restarting it would fix nothing that it waits for.
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route(
            "/openapi.json",
            get(async || ([(CONTENT_TYPE, "application/json")], OPENAPI)),
        )
        .route("/tenants", get(tenants))
        .route("/tenants/{id}", get(tenant))
        .route("/metrics", get(metrics))
        .with_state(admin)
}

async fn readyz(State(admin): State<Admin>) -> Response {
    let locks = tokio::time::timeout(READY_TIMEOUT, admin.locks.ready());
    let names = tokio::time::timeout(READY_TIMEOUT, admin.names.ready());
    let (locks, names) = tokio::join!(locks, names);
    let late = || Err(format!("no answer within {READY_TIMEOUT:?}"));
    let checks = [
        (
            "host",
            if admin.draining.is_cancelled() {
                Err("stopping".to_owned())
            } else {
                Ok(())
            },
        ),
        ("lock", locks.unwrap_or_else(|_| late())),
        (
            "names",
            names.map_or_else(|_| late(), |ready| ready.map_err(|error| chain(&error))),
        ),
    ];
    let reasons = checks.into_iter().filter_map(|(part, check)| {
        Some(Reason {
            part,
            reason: check.err()?,
        })
    });
    let reasons: Vec<_> = reasons.collect();
    let status = if reasons.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let body = serde_json::to_vec(&Readiness {
        ready: reasons.is_empty(),
        reasons,
    })
    .unwrap_or_default();
    (status, [(CONTENT_TYPE, "application/json")], body).into_response()
}

/// Lists every tenant: which component is served, the reason if the contents of its directory are not, and what it has used.
async fn tenants(State(admin): State<Admin>) -> Response {
    json(&admin.tenants.status())
}

/// The same of one tenant.
async fn tenant(State(admin): State<Admin>, Path(id): Path<String>) -> Response {
    // What others have written meanwhile shows here too: the rows of a tenant are the fleet's.
    if let (Some(account), Ok(usage)) = (admin.tenants.account(&id), admin.names.usage(&id).await) {
        account.set(Level::Registrations, usage.registrations);
        account.set(Level::RegistrationBytes, usage.bytes);
    }
    match admin.tenants.status_of(&id) {
        Some(status) => json(&status),
        None => (StatusCode::NOT_FOUND, "no tenant has this id\n").into_response(),
    }
}

fn json(value: &impl Serialize) -> Response {
    let body = serde_json::to_vec(value).unwrap_or_default();
    ([(CONTENT_TYPE, "application/json")], body).into_response()
}

async fn metrics(State(admin): State<Admin>) -> Response {
    let text = admin.metrics.render(&Now {
        calls_running: admin.calls.running(),
        log_lines_dropped: admin.log.dropped(),
        log_queue_bytes: admin.log.queued(),
        tenants: &admin.tenants.usage(),
        tenants_max: admin.metrics_tenants,
    });
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}
