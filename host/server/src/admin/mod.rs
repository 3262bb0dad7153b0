//! The admin listener: what an operator sees of a host, and how he steers it.
//!
//! In reading order:
//!
//! - `host`: what the routes know of it;
//! - `operators`: who is known; `access`: who may ask for what;
//! - `answer`: how refusals and answers are written, and how questions are read;
//! - `health`: whether the host lives and is ready, for whoever asks;
//! - `scrape`: the metrics;
//! - `locks`: the locks that calls hold; `tenants`: the tenants, and those that are being loaded; `versions`: which version of
//!   a component is served; `deploy`: puts tenants for all hosts of a fleet;
//! - `steer`: the log and the end of the host.
//!
//! `docs/admin.openapi.yaml` describes every route. To add one, add it to `GUARDED` and describe it there.

mod access;
mod answer;
mod deploy;
mod health;
mod host;
mod locks;
mod operators;
mod scrape;
mod steer;
mod tenants;
mod versions;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::middleware::from_fn_with_state;
use axum::response::IntoResponse;
use axum::routing::{MethodRouter, delete, get, post};

use self::answer::Asked;
pub use self::host::Admin;
pub use self::operators::Operators;

use crate::overview::Question;
use crate::{page, same_site};

/// A path, and what can be done there.
type Route = (&'static str, fn() -> MethodRouter<Admin>);

/// The description of the public API.
const OPENAPI: &str = include_str!("../../../../docs/openapi.json");

/// The description of this one.
const ADMIN_OPENAPI: &str = include_str!("../../../../docs/admin.openapi.json");

/// What whoever reaches the listener may ask: balancers and supervisors have no token, and learn nothing else from it.
const OPEN: &[Route] = &[
    // The process answers, so it is alive: restarting it would fix nothing that it waits for.
    ("/healthz", || get(async || "ok\n")),
    ("/readyz", || get(health::readyz)),
];

/// What an operator may ask and do, if his token has the right: `read` for what changes nothing, `write` for the rest.
const GUARDED: &[Route] = &[
    ("/openapi.json", || get(async || json_text(OPENAPI))),
    ("/admin/openapi.json", || get(async || json_text(ADMIN_OPENAPI))),
    ("/metrics", || get(scrape::metrics)),
    ("/locks", || get(locks::list)),
    ("/locks/{id}", || delete(locks::end)),
    ("/tenants", || get(tenants::list)),
    ("/tenants/{id}", || {
        get(tenants::one).put(deploy::deploy).delete(deploy::remove)
    }),
    ("/tenants/{id}/disable", || post(tenants::disable)),
    ("/tenants/{id}/enable", || post(tenants::enable)),
    ("/tenants/{id}/versions", || get(versions::list)),
    ("/tenants/{id}/rollback", || post(versions::roll_back)),
    ("/tenants/{id}/promote", || post(versions::promote)),
    ("/reload", || post(versions::reload)),
    ("/overview", || get(overview)),
    ("/compiling", || get(tenants::compiling)),
    ("/log", || get(steer::log).put(steer::set_log)),
    ("/drain", || get(steer::drained).post(steer::drain)),
];

/// The paths of the admin listener.
pub fn paths() -> impl Iterator<Item = &'static str> {
    OPEN.iter().chain(GUARDED).map(|(path, _)| *path)
}

/// The routes of the admin listener.
pub fn router(admin: Admin) -> Router {
    let with = |router: Router<Admin>, (path, methods): &Route| router.route(path, methods());
    let guarded = GUARDED
        .iter()
        .fold(Router::new(), with)
        .fallback(answer::no_path)
        .method_not_allowed_fallback(answer::no_method)
        .layer(from_fn_with_state(admin.clone(), access::guard));
    let open = OPEN.iter().fold(Router::new(), with);
    let names = admin.known_as.clone();
    open.method_not_allowed_fallback(answer::no_method)
        .merge(guarded)
        .with_state(admin)
        .merge(page::router())
        .layer(from_fn_with_state(names, same_site::check))
}

/// What the page shows, as it is now.
async fn overview(State(admin): State<Admin>, Asked(question): Asked<Question>) -> impl IntoResponse {
    let answer = admin.overview.answer(&question).await;
    ([(CACHE_CONTROL, "no-store")], answer::json(StatusCode::OK, &answer))
}

fn json_text(text: &'static str) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], text)
}
