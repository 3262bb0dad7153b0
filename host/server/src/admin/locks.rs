//! The locks that calls on this host hold.
//!
//! Hosts of a fleet do not know each other, so each lists its own; `namelock admin locks` asks several.

use std::time::{Duration, SystemTime};

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use namelock_lock::held::HeldLease;
use namelock_types::milliseconds;
use serde::{Deserialize, Serialize};

use super::access::Operator;
use super::answer::{Asked, Named, Refusal, json};
use super::host::Admin;
use crate::http::REQUESTS;
use crate::telemetry::OPERATOR;
use crate::tokens::right::AdminRight;

/// How many locks an answer lists at most.
const LOCKS_MAX: usize = 10_000;

/// How many locks are listed, if the question does not say.
fn limit_default() -> usize {
    100
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LocksQuery {
    #[serde(default = "limit_default")]
    limit: usize,
    /// Whether the names are listed, and not only their digests.
    #[serde(default)]
    names: bool,
}

/// A lock that a call holds.
#[derive(Serialize)]
struct HeldLock {
    id: u64,
    tenant: Option<String>,
    request_id: Option<String>,
    namespace: String,
    digest: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    fencing_token: u64,
    age_ms: u64,
    remaining_ms: u64,
    /// By the wall clock of this host, since 1970. The lease itself is not counted by that clock.
    deadline_ms: u64,
    waiting: usize,
}

impl HeldLock {
    /// A lock without its name.
    fn of(held: &HeldLease, now: Duration) -> Self {
        let holder = held.holder.as_ref();
        Self {
            id: held.id,
            tenant: holder.map(|holder| holder.client.to_string()),
            request_id: holder.map(|holder| holder.request.to_string()),
            namespace: held.key.namespace().to_owned(),
            digest: held.key.digest().to_owned(),
            name: None,
            fencing_token: held.fencing_token.get(),
            age_ms: milliseconds(held.age),
            remaining_ms: milliseconds(held.remaining),
            deadline_ms: milliseconds(now.saturating_add(held.remaining)),
            waiting: held.waiting,
        }
    }
}

impl Admin {
    /// The leases on names. Those on the keys of requests are the host's own: they end with their requests, and to end one would
    /// end nothing else.
    fn held(&self) -> impl Iterator<Item = HeldLease> {
        let held = self.locks.held(usize::MAX);
        held.into_iter().filter(|held| held.key.namespace() != REQUESTS)
    }
}

/// Lists the locks that calls on this host hold, the oldest first.
pub(super) async fn list(
    State(admin): State<Admin>,
    Extension(operator): Extension<Operator>,
    Asked(query): Asked<LocksQuery>,
) -> Result<Response, Refusal> {
    if query.names {
        operator.check(AdminRight::Names, &admin.logins)?;
    }
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let held = admin.held().take(query.limit.min(LOCKS_MAX));
    let locks = held.map(|held| HeldLock {
        name: query.names.then(|| held.name.reveal().to_owned()),
        ..HeldLock::of(&held, now)
    });
    Ok(json(StatusCode::OK, &locks.collect::<Vec<_>>()))
}

/// Ends a lease, as if it had expired.
pub(super) async fn end(
    State(admin): State<Admin>,
    Extension(operator): Extension<Operator>,
    Named(id): Named<u64>,
) -> Result<Response, Refusal> {
    match admin.held().find(|held| held.id == id) {
        Some(held) if admin.locks.end_lease(id) => {
            let key = held.key.as_str();
            tracing::warn!(target: OPERATOR, operator = &*operator.name, lease = id, key, "a lease was ended by the operator");
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        _ => Err(Refusal::new(
            StatusCode::NOT_FOUND,
            format!("no call on this host holds the lease {id}; it may have ended: list them again"),
        )),
    }
}
