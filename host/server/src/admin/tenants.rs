//! The tenants: what they are and use, which of them are being loaded, and whether their calls are answered.

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use namelock_account::Level;
use serde::Deserialize;

use super::access::Operator;
use super::answer::{Asked, Named, Refusal, json};
use super::host::Admin;
use crate::telemetry::OPERATOR;
use crate::tenants::Disabled;
use crate::text::quoted;

/// How many tenants an answer lists at most.
const TENANTS_MAX: usize = 10_000;

/// How many tenants are listed, if the question does not say.
fn limit_default() -> usize {
    1000
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TenantsQuery {
    #[serde(default = "limit_default")]
    limit: usize,
    /// The last tenant that is known already.
    #[serde(default)]
    after: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CompilingQuery {
    #[serde(default = "limit_default")]
    limit: usize,
}

/// Lists tenants: which component is served, the reason if the contents of its directory are not, and what it has used; and after
/// which of them the next ones come.
pub(super) async fn list(State(admin): State<Admin>, Asked(query): Asked<TenantsQuery>) -> Response {
    // At least one: whoever goes on from page to page comes to an end.
    let limit = query.limit.clamp(1, TENANTS_MAX);
    json(StatusCode::OK, &admin.tenants.status(&query.after, limit))
}

/// The same of one tenant.
pub(super) async fn one(State(admin): State<Admin>, Named(id): Named<String>) -> Result<Response, Refusal> {
    // What others have written meanwhile shows here too: the rows of a tenant are the fleet's.
    if let (Some(account), Ok(usage)) = (admin.tenants.account(&id), admin.names.usage(&id).await) {
        account.set(Level::Registrations, usage.registrations);
        account.set(Level::RegistrationBytes, usage.bytes);
    }
    let status = admin.tenants.status_of(&id).ok_or_else(|| unknown(&id))?;
    Ok(json(StatusCode::OK, &status))
}

/// Has the calls of a tenant refused from now on.
pub(super) async fn disable(
    State(admin): State<Admin>,
    Extension(operator): Extension<Operator>,
    Named(id): Named<String>,
) -> Result<Response, Refusal> {
    let status = admin.tenants.disable(&id, Disabled::Yes).ok_or_else(|| unknown(&id))?;
    tracing::warn!(target: OPERATOR, operator = &*operator.name, tenant = id, "a tenant was disabled by the operator");
    Ok(json(StatusCode::OK, &status))
}

/// Has them answered again.
pub(super) async fn enable(
    State(admin): State<Admin>,
    Extension(operator): Extension<Operator>,
    Named(id): Named<String>,
) -> Result<Response, Refusal> {
    let status = admin.tenants.disable(&id, Disabled::No).ok_or_else(|| unknown(&id))?;
    tracing::warn!(target: OPERATOR, operator = &*operator.name, tenant = id, "a tenant was enabled by the operator");
    Ok(json(StatusCode::OK, &status))
}

/// Lists the tenants whose components are being loaded: those at work first.
pub(super) async fn compiling(State(admin): State<Admin>, Asked(query): Asked<CompilingQuery>) -> Response {
    json(StatusCode::OK, &admin.tenants.loading(query.limit.min(TENANTS_MAX)))
}

pub(super) fn unknown(id: &str) -> Refusal {
    let id = quoted(id, 80);
    Refusal::new(StatusCode::NOT_FOUND, format!("no tenant of this host has the id {id}"))
}
