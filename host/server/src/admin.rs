//! The admin listener: liveness, readiness, tenants and metrics.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get};
use namelock_account::Level;
use namelock_lock::Locks;
use namelock_lock::held::HeldLease;
use namelock_names::Names;
use namelock_types::milliseconds;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::admission::Calls;
use crate::http::REQUESTS;
use crate::metrics::{self, Backend, Metrics, Now};
use crate::telemetry::LogWriter;
use crate::tenants::Tenants;
use crate::text::chain;

/// How long a service may take to report that it is ready; most probes give up after about a second.
const READY_TIMEOUT: Duration = Duration::from_secs(1);

/// How many locks an answer lists at most.
const LOCKS_MAX: usize = 10_000;

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
        .route("/locks", get(locks))
        .route("/locks/{id}", delete(end_lease))
        .route("/tenants", get(tenants))
        .route("/tenants/{id}", get(tenant))
        .route("/metrics", get(all_metrics))
        .with_state(admin)
}

async fn readyz(State(admin): State<Admin>) -> Response {
    let host = if admin.draining.is_cancelled() {
        Err("stopping".to_owned())
    } else {
        Ok(())
    };
    let [lock, names] = admin.backends().await;
    let reasons = [("host", host), lock, names].into_iter().filter_map(|(part, check)| {
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

impl Admin {
    /// Asks the services that the host needs; of each, why it does not answer.
    async fn backends(&self) -> [(&'static str, Result<(), String>); 2] {
        let locks = tokio::time::timeout(READY_TIMEOUT, self.locks.ready());
        let names = tokio::time::timeout(READY_TIMEOUT, self.names.ready());
        let (locks, names) = tokio::join!(locks, names);
        let late = || Err(format!("no answer within {READY_TIMEOUT:?}"));
        [
            ("lock", locks.unwrap_or_else(|_| late())),
            (
                "names",
                names.map_or_else(|_| late(), |ready| ready.map_err(|error| chain(&error))),
            ),
        ]
    }

    /// The leases on names. Those on the keys of requests are the host's own: they end with their requests, and to end one would
    /// end nothing else.
    fn held(&self) -> impl Iterator<Item = HeldLease> {
        let held = self.locks.held(usize::MAX);
        held.into_iter().filter(|held| held.key.namespace() != REQUESTS)
    }
}

/// How many locks are listed, if the question does not say.
fn limit_default() -> usize {
    100
}

#[derive(Debug, Deserialize)]
struct LocksQuery {
    #[serde(default = "limit_default")]
    limit: usize,
}

/// A lock that a call holds.
#[derive(Debug, Serialize)]
struct HeldLock {
    id: u64,
    namespace: String,
    digest: String,
    fencing_token: u64,
    age_ms: u64,
    remaining_ms: u64,
    waiting: usize,
}

impl From<HeldLease> for HeldLock {
    fn from(held: HeldLease) -> Self {
        Self {
            id: held.id,
            namespace: held.key.namespace().to_owned(),
            digest: held.key.digest().to_owned(),
            fencing_token: held.fencing_token.get(),
            age_ms: milliseconds(held.age),
            remaining_ms: milliseconds(held.remaining),
            waiting: held.waiting,
        }
    }
}

/// Lists the locks that calls on this host hold, the oldest first.
async fn locks(State(admin): State<Admin>, Query(query): Query<LocksQuery>) -> Response {
    let held = admin.held().take(query.limit.min(LOCKS_MAX));
    json(&held.map(HeldLock::from).collect::<Vec<_>>())
}

/// Ends a lease, as if it had expired.
async fn end_lease(State(admin): State<Admin>, Path(id): Path<u64>) -> Response {
    match admin.held().find(|held| held.id == id) {
        Some(held) if admin.locks.end_lease(id) => {
            tracing::warn!(lease = id, key = held.key.as_str(), "a lease was ended by the operator");
            StatusCode::NO_CONTENT.into_response()
        }
        _ => (StatusCode::NOT_FOUND, "no call on this host holds this lease\n").into_response(),
    }
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

async fn all_metrics(State(admin): State<Admin>, headers: HeaderMap) -> Response {
    let backends = admin.backends().await;
    let runtime = Handle::current().metrics();
    let text = admin.metrics.render(Now {
        calls_running: admin.calls.running(),
        calls_waiting: admin.calls.waiting(),
        log_lines_dropped: admin.log.dropped(),
        log_queue_bytes: admin.log.queued(),
        draining: admin.draining.is_cancelled(),
        backends: backends
            .map(|(name, check)| Backend {
                name,
                up: check.is_ok(),
            })
            .into(),
        locks: Some(admin.locks.figures()),
        clock_off_ms: admin.names.clock_off_ms(),
        runtime: (runtime.num_alive_tasks(), runtime.global_queue_depth()),
        states: admin
            .tenants
            .states()
            .map(|(state, count)| (state.label(), count))
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
