//! The public HTTP API: five calls on the names of a tenant.
//!
//! A call reads its request; whatever becomes of it ends in `observe`, the one place where a request gets its id, is
//! rendered if it failed, is counted and logged.

mod address;
mod app;
mod body;
pub mod connections;
mod cursor;
mod idempotency;
mod observe;
pub mod wire;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Extension, Request, State};
use axum::http::header::{ALLOW, CONTENT_TYPE, LOCATION};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use namelock_names::{ListQuery, NamesError, PastRequest, RequestKey};
use namelock_sandbox::{CallError, DatabaseTime, Written};
use namelock_types::{Safety, is_removed};

pub use self::app::App;
pub use self::body::BodyLimits;

use self::address::{NAME, NAMES};
use self::idempotency::{Fingerprint, Keyed};
use self::observe::{RequestId, observe};
use crate::admission::Admitted;
use crate::error::{ErrorKind, Problem};
use crate::tenants::tokens::Right;
use crate::tenants::{Ready, TenantId};

/// The routes of the public listener.
pub fn router(app: Arc<App>) -> Router {
    Router::new()
        .route(NAMES, get(list).post(register))
        .route(NAME, get(find).patch(update).delete(free))
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(Arc::clone(&app), observe))
        .with_state(app)
}

async fn register(
    State(app): State<Arc<App>>,
    Extension(id): Extension<RequestId>,
    request: Request,
) -> Result<Response, Problem> {
    let ready = tenant_of(&app, request.uri())?;
    let admitted = admit(&ready, request.headers(), Right::Register)?;
    let key = idempotency::key_of(request.headers())?;
    let body = body::read_body(request.into_body(), app.body).await?;
    // Only now: a caller that sends its body slowly occupies its tenant's capacity, and nothing of the host's.
    let _running = admitted.run(&app.calls).await?;
    let parsed = ready
        .handler
        .on_behalf(&ready.tenant.account, || wire::parse_register(&body));
    let request = parsed.await?;
    let keyed = key.map(|key| Fingerprint::of_register(&request).keyed(key));
    let run = |key| {
        ready
            .handler
            .register(&app.powers, &ready.tenant, id.as_str(), request, key)
    };
    let saved = once(&app, &ready, keyed, run).await?;
    let location = address::location(&ready.tenant.id, &saved.registration.name);
    let mut response = answer(&saved, StatusCode::CREATED)?;
    if let Ok(location) = location.try_into() {
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
}

async fn update(
    State(app): State<Arc<App>>,
    Extension(id): Extension<RequestId>,
    request: Request,
) -> Result<Response, Problem> {
    let ready = tenant_of(&app, request.uri())?;
    let admitted = admit(&ready, request.headers(), Right::Update)?;
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
    let run = |key| {
        ready
            .handler
            .update(&app.powers, &ready.tenant, id.as_str(), request, key)
    };
    answer(&once(&app, &ready, keyed, run).await?, StatusCode::OK)
}

/// Runs a request, or answers it as it was answered before if it was sent with a key and has succeeded.
async fn once<F: Future<Output = Result<Written, CallError>>>(
    app: &App,
    ready: &Ready,
    keyed: Option<Keyed>,
    run: impl FnOnce(Option<RequestKey>) -> F,
) -> Result<Written, Problem> {
    let Some(keyed) = keyed.filter(|_| !is_removed(Safety::Idempotency)) else {
        return Ok(run(None).await?);
    };
    let begun = idempotency::begin(&app.powers.locks, &ready.tenant, keyed).await?;
    let time = DatabaseTime::begin(&ready.tenant.account);
    let found = app.powers.names.find_request(&ready.tenant.id, begun.key).await;
    drop(time);
    let written = match found.map_err(names_failed)? {
        PastRequest::Replayed(registration) => Ok(Written {
            registration: *registration,
            replayed: true,
        }),
        PastRequest::KeyReused => Err(CallError::KeyReused),
        PastRequest::Unknown => run(Some(begun.key)).await,
    };
    begun.end().await;
    Ok(written?)
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
async fn list(State(app): State<Arc<App>>, request: Request) -> Result<Response, Problem> {
    let ready = tenant_of(&app, request.uri())?;
    let admitted = admit(&ready, request.headers(), Right::List)?;
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
    let time = DatabaseTime::begin(&ready.tenant.account);
    let page = app.powers.names.list(query).await;
    drop(time);
    let page = page.map_err(names_failed)?;
    let next = page.next.map(|name| cursor::write(&ready.tenant.id, &list, &name));
    let write = || wire::page(&page.registrations, next);
    let body = ready.handler.on_behalf(&ready.tenant.account, write).await?;
    Ok(([(CONTENT_TYPE, "application/json")], body).into_response())
}

/// Answers from the database alone; the handler has no part in reading a name.
async fn find(State(app): State<Arc<App>>, request: Request) -> Result<Response, Problem> {
    let ready = tenant_of(&app, request.uri())?;
    let admitted = admit(&ready, request.headers(), Right::Find)?;
    let name = address::name_of(request.uri())?;
    let _running = admitted.run(&app.calls).await?;
    let time = DatabaseTime::begin(&ready.tenant.account);
    let found = app.powers.names.find(&ready.tenant.id, &name).await;
    drop(time);
    let registration = found.map_err(names_failed)?;
    let none = || Problem::new(ErrorKind::NotFound, "this name has no active registration");
    let body = wire::registration(&registration.ok_or_else(none)?)?;
    Ok(([(CONTENT_TYPE, "application/json")], body).into_response())
}

async fn free(
    State(app): State<Arc<App>>,
    Extension(id): Extension<RequestId>,
    request: Request,
) -> Result<Response, Problem> {
    let ready = tenant_of(&app, request.uri())?;
    let admitted = admit(&ready, request.headers(), Right::Free)?;
    let name = address::name_of(request.uri())?;
    let owner = address::owner_of(request.uri().query())?;
    let _running = admitted.run(&app.calls).await?;
    ready
        .handler
        .free(&app.powers, &ready.tenant, id.as_str(), name, owner)
        .await?;
    Ok(StatusCode::NO_CONTENT.into_response())
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

fn names_failed(error: NamesError) -> Problem {
    Problem::new(ErrorKind::NamesUnavailable, "the names database does not answer").because(&error)
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
        Problem::new(ErrorKind::TenantUnavailable, detail).because_of(not_served.reason.to_string())
    })
}

/// Admits a request; its token comes first, because a caller without one must not use up the rate of those with one.
fn admit(ready: &Ready, headers: &HeaderMap, right: Right) -> Result<Admitted, Problem> {
    ready.tokens.check(headers, right)?;
    Ok(ready.admission.admit()?)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::body::Body;
    use axum::http::Version;
    use http_body_util::BodyExt;
    use namelock_lock::{LockConfig, LockUrl, Locks};
    use namelock_names::{NamesConfig, NamesUrl};
    use namelock_sandbox::{CacheConfig, CompilerConfig, Powers, Sandbox, SandboxConfig};
    use serde_json::Value;
    use tempfile::TempDir;
    use tower::ServiceExt;

    use super::observe::REQUEST_ID;
    use super::*;
    use crate::admission::Calls;
    use crate::config::Limits;
    use crate::metrics::Now;
    use crate::tenants::{Rules, Tenants, directory};

    /// A host whose only tenant, `broken`, has no component.
    struct Host {
        app: Arc<App>,
        _dir: TempDir,
    }

    impl Host {
        async fn start() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let tenants = dir.path().join("tenants");
            std::fs::create_dir_all(tenants.join("broken")).unwrap();
            let config = SandboxConfig {
                instances: 1,
                ..SandboxConfig::default()
            };
            let compiler = CompilerConfig {
                cache: CacheConfig {
                    dir: dir.path().join("cache"),
                    files: 1,
                    bytes: 1,
                },
                ..CompilerConfig::default()
            };
            let limits = Limits::default();
            let rules = Rules {
                defaults: &limits,
                max: &limits,
                hold_max: Duration::MAX,
                shared_namespace: &[],
            };
            let candidates = directory::scan(&tenants, &rules).unwrap();
            let tenants = Tenants::new(Sandbox::new(&config, compiler).unwrap());
            tenants.load(candidates).await;
            let names = NamesUrl::Sqlite(dir.path().join("names.db"));
            let app = App {
                tenants: Arc::new(tenants),
                powers: Powers {
                    locks: Locks::open(&LockUrl::Memory, LockConfig::default()).unwrap(),
                    names: namelock_names::open(&names, NamesConfig::default()).await.unwrap(),
                },
                calls: Calls::new(1, 0, Duration::from_millis(1)),
                metrics: Arc::default(),
                body: BodyLimits {
                    max: 64,
                    timeout: Duration::from_millis(50),
                },
            };
            Self {
                app: Arc::new(app),
                _dir: dir,
            }
        }

        async fn ask(&self, method: &str, uri: &str) -> Response {
            let request = Request::builder().method(method).uri(uri).header("host", "t");
            let request = request.header(REQUEST_ID, "mine-1");
            self.send(request.body(Body::empty()).unwrap()).await
        }

        fn metrics(&self) -> String {
            self.app.metrics.render(&Now {
                calls_running: 0,
                log_lines_dropped: 0,
                log_queue_bytes: 0,
                tenants: &[],
                tenants_max: 0,
            })
        }

        async fn send(&self, request: Request) -> Response {
            router(Arc::clone(&self.app)).oneshot(request).await.unwrap()
        }
    }

    async fn json(response: Response) -> Value {
        serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
    }

    // Shows P7: a request for a tenant that is unknown or cannot be served is refused with a code.
    #[tokio::test]
    async fn a_request_that_reaches_no_handler_gets_its_code() {
        let host = Host::start().await;
        let check = async |method: &str, uri: &str, status: u16, code: &str| {
            let response = host.ask(method, uri).await;
            assert_eq!(response.status(), status, "{method} {uri}");
            assert_eq!(response.headers()["content-type"], "application/problem+json");
            assert_eq!(response.headers()["x-request-id"], "mine-1");
            let body = json(response).await;
            assert_eq!(
                (&body["code"], &body["status"]),
                (&Value::from(code), &Value::from(status)),
                "{method} {uri}"
            );
            assert_eq!(body["request_id"], "mine-1");
        };
        check("GET", "/", 404, "not_found").await;
        check("GET", "/v1", 404, "not_found").await;
        check("GET", "/v1/acme", 404, "not_found").await;
        check("GET", "/v2/acme/names/n", 404, "not_found").await;
        check("GET", "/v1/acme/names/a/b", 404, "not_found").await;
        check("POST", "/v1/acme/names", 404, "unknown_tenant").await;
        check("GET", "/v1/acme/names/n", 404, "unknown_tenant").await;
        check("DELETE", "/v1/acme/names/n?owner=o", 404, "unknown_tenant").await;
        check("GET", "/v1/../names/n", 404, "unknown_tenant").await;
        check("GET", "/v1/..%2f..%2fetc/names/n", 404, "unknown_tenant").await;
        check("GET", "/v1/ACME/names/n", 404, "unknown_tenant").await;
        check("GET", "/v1/%zz/names/n", 400, "invalid_request").await;
        check("GET", "/v1/%ff/names/n", 400, "invalid_request").await;
        check("POST", "/v1/broken/names", 503, "tenant_unavailable").await;
        check("GET", "/v1/broken/names/n", 503, "tenant_unavailable").await;
        check("DELETE", "/v1/b%72oken/names/n?owner=o", 503, "tenant_unavailable").await;
    }

    #[tokio::test]
    async fn a_wrong_method_is_told_the_allowed_ones() {
        let host = Host::start().await;
        let check = async |method: &str, uri: &str, allow: &str| {
            let response = host.ask(method, uri).await;
            assert_eq!(response.status(), 405, "{method} {uri}");
            assert_eq!(response.headers()["allow"], allow, "{method} {uri}");
            assert_eq!(json(response).await["code"], "unsupported");
        };
        check("PUT", "/v1/acme/names", "GET,HEAD,POST").await;
        check("DELETE", "/v1/acme/names", "GET,HEAD,POST").await;
        check("PUT", "/v1/acme/names/n", "GET,HEAD,PATCH,DELETE").await;
        check("POST", "/v1/acme/names/n", "GET,HEAD,PATCH,DELETE").await;
    }

    #[tokio::test]
    async fn a_request_has_one_host_since_http_1_1() {
        let host = Host::start().await;
        let check = async |version: Version, hosts: &[&str], status: u16| {
            let request = Request::builder().version(version).uri("/v1/acme/names/n");
            let request = hosts
                .iter()
                .fold(request, |request, host| request.header("host", *host));
            let response = host.send(request.body(Body::empty()).unwrap()).await;
            assert_eq!(response.status(), status, "{version:?} {hosts:?}");
        };
        check(Version::HTTP_11, &["a"], 404).await;
        check(Version::HTTP_11, &[], 400).await;
        check(Version::HTTP_11, &["a", "a"], 400).await;
        check(Version::HTTP_10, &[], 404).await;
    }

    #[tokio::test]
    async fn every_request_is_counted_under_its_operation() {
        let host = Host::start().await;
        host.ask("POST", "/v1/acme/names").await;
        host.ask("HEAD", "/v1/acme/names/n").await;
        host.ask("DELETE", "/v1/broken/names/n").await;
        host.ask("GET", "/nothing").await;
        host.ask("PUT", "/v1/acme/names/n").await;
        let text = host.metrics();
        for line in [
            r#"namelock_requests_total{operation="register",code="unknown_tenant"} 1"#,
            r#"namelock_requests_total{operation="find",code="unknown_tenant"} 1"#,
            r#"namelock_requests_total{operation="free",code="tenant_unavailable"} 1"#,
            r#"namelock_requests_total{operation="other",code="not_found"} 1"#,
            r#"namelock_requests_total{operation="other",code="unsupported"} 1"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
