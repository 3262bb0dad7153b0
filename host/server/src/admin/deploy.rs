//! Puts tenants for all hosts of a fleet, and removes them.

use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use namelock_names::catalog::CatalogError;
use serde::{Deserialize, Serialize};

use super::access::Operator;
use super::answer::{Named, Refusal, json, read_up_to};
use super::host::Admin;
use super::tenants::unknown;
use crate::telemetry::OPERATOR;
use crate::tenants::TenantId;
use crate::tenants::fleet::{Deploy, DeployError, Fleet};
use crate::text::{chain, quoted};

/// How long a deployment may take to arrive: a component of many megabytes over a slow line.
const BODY_TIMEOUT: Duration = Duration::from_secs(120);

/// The most that is in a deployment besides its component: settings, and the names of members.
const REST_MAX: usize = 256 << 10;

/// What is deployed of a tenant; what is left out stays as it is.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Deployment {
    /// The text of its `tenant.toml`.
    settings: Option<String>,
    /// Its component, in base64.
    component: Option<String>,
}

#[derive(Serialize)]
struct Answer {
    tenant: String,
    component: String,
    revision: u64,
}

#[derive(Serialize)]
struct Removed {
    tenant: String,
    removed: bool,
}

/// Tries what is deployed, and puts it for all hosts.
pub(super) async fn deploy(
    State(admin): State<Admin>,
    Extension(operator): Extension<Operator>,
    Named(id): Named<String>,
    body: Body,
) -> Result<Response, Refusal> {
    let fleet = fleet(&admin)?;
    let id = parsed(&id)?;
    let max = fleet.component_max() / 3 * 4 + REST_MAX;
    let Deployment { settings, component } = read_up_to(body, max, BODY_TIMEOUT).await?;
    if settings.is_none() && component.is_none() {
        return Err(invalid(
            "there is nothing to deploy: send `component`, `settings`, or both",
        ));
    }
    let component = component.map(|text| BASE64.decode(text)).transpose();
    let component = component.map_err(|error| invalid(&format!("`component` is not in base64: {error}")))?;
    let deployed = fleet.deploy(&admin.tenants, &id, Deploy { settings, component });
    let deployed = deployed.await.map_err(refused)?;
    let component = deployed.component;
    tracing::warn!(target: OPERATOR, operator = &*operator.name, tenant = %id, %component, revision = deployed.revision, "a tenant was deployed by the operator");
    let answer = Answer {
        tenant: id.to_string(),
        component: component.to_string(),
        revision: deployed.revision,
    };
    Ok(json(StatusCode::OK, &answer))
}

/// Removes a tenant from all hosts.
pub(super) async fn remove(
    State(admin): State<Admin>,
    Extension(operator): Extension<Operator>,
    Named(id): Named<String>,
) -> Result<Response, Refusal> {
    let fleet = fleet(&admin)?;
    let tenant = parsed(&id)?;
    let removed = fleet
        .remove(&tenant)
        .await
        .map_err(DeployError::from)
        .map_err(refused)?;
    if !removed {
        return Err(unknown(&id));
    }
    tracing::warn!(target: OPERATOR, operator = &*operator.name, tenant = id, "a tenant was removed by the operator");
    let answer = Removed { tenant: id, removed };
    Ok(json(StatusCode::OK, &answer))
}

fn fleet(admin: &Admin) -> Result<&Fleet, Refusal> {
    let detail =
        "this host has its tenants in a directory: put the files there, or start the hosts with --tenants postgres:";
    admin
        .fleet
        .as_deref()
        .ok_or_else(|| Refusal::new(StatusCode::CONFLICT, detail))
}

fn parsed(id: &str) -> Result<TenantId, Refusal> {
    id.parse()
        .map_err(|error| invalid(&format!("{} is no id of a tenant: {error}", quoted(id, 80))))
}

fn invalid(detail: &str) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, detail)
}

fn refused(error: DeployError) -> Refusal {
    let status = match &error {
        DeployError::Refused(_) => StatusCode::UNPROCESSABLE_ENTITY,
        DeployError::Catalog(CatalogError::Changed { .. }) => StatusCode::CONFLICT,
        DeployError::Catalog(
            CatalogError::NoComponent { .. } | CatalogError::TooLong { .. } | CatalogError::Invalid { .. },
        ) => StatusCode::UNPROCESSABLE_ENTITY,
        DeployError::Catalog(CatalogError::Unavailable { .. } | CatalogError::Unknown { .. }) => {
            StatusCode::SERVICE_UNAVAILABLE
        }
    };
    Refusal::new(status, chain(&error))
}
