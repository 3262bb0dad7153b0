//! Which version of a tenant's component is served: those that are kept, and the ways back and forward.

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};

use super::access::Operator;
use super::answer::{Named, Refusal, json, read};
use super::host::Admin;
use super::tenants::unknown;
use crate::telemetry::OPERATOR;
use crate::tenants::Status;
use crate::tenants::versions::{RollbackError, Version};
use crate::text::chain;

/// What is to be served.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rollback {
    /// The SHA-256 of a version that is kept; none: the one before.
    to: Option<String>,
}

/// The versions of a tenant.
#[derive(Serialize)]
struct Versions {
    /// The one that is served.
    component: Option<String>,
    /// The one that is tried.
    tried: Option<String>,
    /// Those that are kept, the newest first.
    versions: Vec<Version>,
}

/// Lists the versions of a tenant that are kept.
pub(super) async fn list(State(admin): State<Admin>, Named(id): Named<String>) -> Result<Response, Refusal> {
    let mut versions = admin.tenants.versions(&id).await.ok_or_else(|| unknown(&id))?;
    let status = admin.tenants.status_of(&id).ok_or_else(|| unknown(&id))?;
    versions.reverse();
    let answer = Versions {
        component: status.component,
        tried: status.tried.map(|tried| tried.component),
        versions,
    };
    Ok(json(StatusCode::OK, &answer))
}

/// Serves an earlier version, and takes back what was put after it.
pub(super) async fn roll_back(
    State(admin): State<Admin>,
    Extension(operator): Extension<Operator>,
    Named(id): Named<String>,
    body: Body,
) -> Result<Response, Refusal> {
    let Rollback { to } = read(body).await?;
    let to = to.map(|to| {
        to.parse().map_err(|error| {
            let detail = format!("`to` is no version: {error}");
            Refusal::new(StatusCode::BAD_REQUEST, detail)
        })
    });
    let rolled_back = admin.tenants.roll_back(&id, to.transpose()?).await;
    let component = rolled_back.ok_or_else(|| unknown(&id))?.map_err(refused)?;
    tracing::warn!(target: OPERATOR, operator = &*operator.name, tenant = id, %component, "a tenant was returned to an earlier version by the operator");
    let status = admin.tenants.status_of(&id).ok_or_else(|| unknown(&id))?;
    Ok(json(StatusCode::OK, &status))
}

/// Serves all calls with the version that is tried.
pub(super) async fn promote(
    State(admin): State<Admin>,
    Extension(operator): Extension<Operator>,
    Named(id): Named<String>,
) -> Result<Response, Refusal> {
    let status = || -> Result<Status, Refusal> { admin.tenants.status_of(&id).ok_or_else(|| unknown(&id)) };
    status()?;
    let Some(component) = admin.tenants.promote(&id).await else {
        let detail = "no version of this tenant is tried; [canary] in its tenant.toml has new ones tried";
        return Err(Refusal::new(StatusCode::CONFLICT, detail));
    };
    tracing::warn!(target: OPERATOR, operator = &*operator.name, tenant = id, %component, "the version that is tried was made the one that serves by the operator");
    Ok(json(StatusCode::OK, &status()?))
}

/// What becomes of the directory of tenants.
#[derive(Serialize)]
struct Reload {
    reading: bool,
}

/// Reads the directory of tenants again, as at SIGHUP.
pub(super) async fn reload(State(admin): State<Admin>, Extension(operator): Extension<Operator>) -> Response {
    tracing::warn!(target: OPERATOR, operator = &*operator.name, "the tenants are read again because the operator says so");
    admin.tenants.read_again();
    json(StatusCode::ACCEPTED, &Reload { reading: true })
}

fn refused(error: RollbackError) -> Refusal {
    let status = match error {
        RollbackError::NoneKept | RollbackError::NothingBefore | RollbackError::NotServed { .. } => {
            StatusCode::CONFLICT
        }
        RollbackError::Unknown(_) => StatusCode::NOT_FOUND,
        RollbackError::Fleet { .. } => StatusCode::SERVICE_UNAVAILABLE,
        RollbackError::Io(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    Refusal::new(status, chain(&error))
}
