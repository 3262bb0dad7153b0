//! The public HTTP API: five calls on the names of a tenant, and its log.
//!
//! A call reads its request; whatever becomes of it ends in `observe`, the one place where a request gets its id, is
//! rendered if it failed, is counted and logged.

mod address;
mod app;
mod body;
pub mod connections;
mod cursor;
mod follow;
mod idempotency;
mod observe;
pub mod wire;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Extension, Request, State};
use axum::http::header::{ALLOW, CONTENT_TYPE, LOCATION};
use axum::http::{HeaderName, HeaderValue, StatusCode, Uri};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use namelock_names::ListQuery;
use namelock_sandbox::{CallError, Context, DatabaseTime, Phase, Written};

pub(crate) use self::address::location;
pub use self::app::App;
pub use self::body::BodyLimits;
pub use self::follow::Follows;
pub(crate) use self::idempotency::{IDEMPOTENCY_KEY, NAMESPACE as REQUESTS, REPLAYED};

use self::address::{LOG, NAME, NAMES};
use self::idempotency::Fingerprint;
use self::observe::{Served, observe};
use crate::admission::Admitted;
use crate::error::{ErrorKind, Problem};
use crate::recordings::Taped;
use crate::tenants::{Ready, TenantId};
use crate::tokens::Denied;
use crate::tokens::right::Right;

/// The routes of the public listener.
pub fn router(app: Arc<App>) -> Router {
    Router::new()
        .route(NAMES, get(list).post(register))
        .route(NAME, get(find).patch(update).delete(free))
        .route(LOG, get(log))
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(Arc::clone(&app), observe))
        .with_state(app)
}

async fn register(
    State(app): State<Arc<App>>,
    Extension(context): Extension<Context>,
    request: Request,
) -> Result<Response, Problem> {
    let ready = tenant_of(&app, request.uri())?;
    let admitted = admit(&ready, &request, Right::Register)?;
    let key = idempotency::key_of(request.headers())?;
    let body = body::read_body(request.into_body(), app.body).await?;
    // Only now: a caller that sends its body slowly occupies its tenant's capacity, and nothing of the host's.
    let _running = admitted.run(&app.calls).await?;
    let parsed = ready
        .handler
        .on_behalf(&ready.tenant.account, || wire::parse_register(&body));
    let request = parsed.await?;
    let keyed = key.map(|key| Fingerprint::of_register(&request).keyed(key));
    let (powers, tenant, taped) = (
        &app.powers,
        &ready.tenant,
        &Taped::new(app.recorder.as_ref(), &ready, &app.powers),
    );
    let phases = Arc::clone(&context.phases);
    let run = |key| async move {
        let registered = taped.handler().register(powers, tenant, &context, request, key);
        taped.end(registered.await)
    };
    let saved = idempotency::once(&app, &ready, &phases, keyed, run).await?;
    let location = address::location(&ready.tenant.id, &saved.registration.name);
    let mut response = answer(&saved, StatusCode::CREATED)?;
    if let Ok(location) = location.try_into() {
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
}

async fn update(
    State(app): State<Arc<App>>,
    Extension(context): Extension<Context>,
    request: Request,
) -> Result<Response, Problem> {
    let ready = tenant_of(&app, request.uri())?;
    let admitted = admit(&ready, &request, Right::Update)?;
    if !ready.handler.lets_update() {
        let mut response = Problem::from(CallError::Unsupported).into_response();
        // Without it a 405 is not one (RFC 9110, section 15.5.6).
        let allow = HeaderValue::from_static("GET,HEAD,DELETE");
        response.headers_mut().insert(ALLOW, allow);
        return Ok(response);
    }
    let name = address::name_of(request.uri())?;
    let key = idempotency::key_of(request.headers())?;
    let body = body::read_body(request.into_body(), app.body).await?;
    let _running = admitted.run(&app.calls).await?;
    let parsed = ready
        .handler
        .on_behalf(&ready.tenant.account, || wire::parse_update(name, &body));
    let request = parsed.await?;
    let keyed = key.map(|key| Fingerprint::of_update(&request).keyed(key));
    let (powers, tenant, taped) = (
        &app.powers,
        &ready.tenant,
        &Taped::new(app.recorder.as_ref(), &ready, &app.powers),
    );
    let phases = Arc::clone(&context.phases);
    let run = |key| async move {
        let updated = taped.handler().update(powers, tenant, &context, request, key);
        taped.end(updated.await)
    };
    answer(
        &idempotency::once(&app, &ready, &phases, keyed, run).await?,
        StatusCode::OK,
    )
}

fn answer(written: &Written, status: StatusCode) -> Result<Response, Problem> {
    let headers = [(CONTENT_TYPE, "application/json")];
    let mut response = (status, headers, wire::registration(&written.registration)?).into_response();
    if written.replayed {
        let replayed = HeaderName::from_static(idempotency::REPLAYED);
        response
            .headers_mut()
            .insert(replayed, HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// Answers from the database alone, page by page.
async fn list(
    State(app): State<Arc<App>>,
    Extension(context): Extension<Context>,
    request: Request,
) -> Result<Response, Problem> {
    let ready = tenant_of(&app, request.uri())?;
    let admitted = admit(&ready, &request, Right::List)?;
    let list = address::list_of(request.uri().query())?;
    let after = list.after.as_deref();
    let after = after
        .map(|after| cursor::read(&ready.tenant.id, &list, after))
        .transpose()?;
    let _running = admitted.run(&app.calls).await?;
    let query = ListQuery {
        tenant: ready.tenant.id.to_string(),
        prefix: list.prefix.clone(),
        owner: list.owner.clone(),
        after,
        limit: list.limit as usize,
    };
    let time = DatabaseTime::begin(&ready.tenant.account, &context.phases, Phase::Find);
    let page = app.powers.names.list(query).await;
    drop(time);
    context.phases.enter(Phase::Answer);
    let page = page?;
    let next = page.next.map(|name| cursor::write(&ready.tenant.id, &list, &name));
    let write = || wire::page(&page.registrations, next);
    let body = ready.handler.on_behalf(&ready.tenant.account, write).await?;
    Ok(([(CONTENT_TYPE, "application/json")], body).into_response())
}

/// Answers from the database alone; the handler has no part in reading a name.
async fn find(
    State(app): State<Arc<App>>,
    Extension(context): Extension<Context>,
    request: Request,
) -> Result<Response, Problem> {
    let ready = tenant_of(&app, request.uri())?;
    let admitted = admit(&ready, &request, Right::Find)?;
    let name = address::name_of(request.uri())?;
    let _running = admitted.run(&app.calls).await?;
    let time = DatabaseTime::begin(&ready.tenant.account, &context.phases, Phase::Find);
    let found = app.powers.names.find(&ready.tenant.id, &name).await;
    drop(time);
    context.phases.enter(Phase::Answer);
    let registration = found?;
    let none = || Problem::new(ErrorKind::NotFound, "this name has no active registration");
    let body = wire::registration(&registration.ok_or_else(none)?)?;
    Ok(([(CONTENT_TYPE, "application/json")], body).into_response())
}

async fn free(
    State(app): State<Arc<App>>,
    Extension(context): Extension<Context>,
    request: Request,
) -> Result<Response, Problem> {
    let ready = tenant_of(&app, request.uri())?;
    let admitted = admit(&ready, &request, Right::Free)?;
    let name = address::name_of(request.uri())?;
    let owner = address::owner_of(request.uri().query())?;
    let _running = admitted.run(&app.calls).await?;
    let taped = Taped::new(app.recorder.as_ref(), &ready, &app.powers);
    let call = taped.handler();
    let freed = call.free(&app.powers, &ready.tenant, &context, name, owner);
    taped.end(freed.await)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Follows the tenant's log until the caller, the tenant's tokens or the host end it.
async fn log(State(app): State<Arc<App>>, request: Request) -> Result<Response, Problem> {
    let ready = tenant_of(&app, request.uri())?;
    check_token(&ready, &request, Right::Log)?;
    // A follow lasts for long and runs nothing, so it is none of the tenant's calls.
    ready.admission.count()?;
    address::no_query(request.uri().query())?;
    app.follows.begin(&app.tenants, &ready, request.headers())
}

async fn unknown_path() -> Problem {
    Problem::new(
        ErrorKind::NotFound,
        "there is nothing at this path; names are at /v1/{tenant}/names",
    )
}

async fn wrong_method() -> Problem {
    Problem::new(
        ErrorKind::Unsupported,
        "this path does not support this method; the header Allow lists those that it supports",
    )
}

/// Finds the tenant in the address.
///
/// Whether a tenant exists is no secret, as its id is part of every address: the answer for an unknown tenant does not
/// depend on a token. Neither does the one for a tenant that cannot be served: its tokens may be what is wrong with it.
fn tenant_of(app: &App, uri: &Uri) -> Result<Arc<Ready>, Problem> {
    let text = address::decode(address::tenant_segment(uri).unwrap_or_default())?;
    let unknown = || Problem::new(ErrorKind::UnknownTenant, "no tenant has this id");
    let id = text.parse::<TenantId>().map_err(|_| unknown())?;
    app.tenants.get(id.as_str()).ok_or_else(unknown)?.map_err(|not_served| {
        let detail = format!("this tenant cannot be served: {}", not_served.public_reason);
        let problem = Problem::new(ErrorKind::TenantUnavailable, detail).because_of(not_served.reason.to_string());
        match not_served.retry_after {
            Some(wait) => problem.after(wait),
            None => problem,
        }
    })
}

/// Admits a request; its token comes first, because a caller without one must not use up the rate of those with one.
fn admit(ready: &Arc<Ready>, request: &Request, right: Right) -> Result<Admitted, Problem> {
    check_token(ready, request, right)?;
    Ok(ready.admission.admit()?)
}

/// Checks that a request may have this, and tells whoever observes it that it is the tenant's own if its token is.
fn check_token(ready: &Arc<Ready>, request: &Request, right: Right) -> Result<(), Problem> {
    let checked = ready.tokens.check(request.headers(), right);
    if let (Ok(()) | Err(Denied::Right(_)), Some(served)) = (&checked, request.extensions().get::<Served>()) {
        served.by(ready);
    }
    Ok(checked?)
}

#[cfg(test)]
mod tests;
