//! The three calls.
//!
//! A request is read by its call, and whatever becomes of it ends in `observe`: there alone it gets its id, is rendered
//! if it failed, is counted and logged.

pub mod connections;
pub mod wire;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Extension, MatchedPath, Request, State};
use axum::http::header::{ALLOW, CONNECTION, CONTENT_TYPE, LOCATION};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use namelock_names::NamesError;
use namelock_sandbox::Powers;

use crate::admission::{Arrived, Calls};
use crate::error::{ErrorKind, Problem};
use crate::metrics::{Metrics, Operation};
use crate::telemetry::{self, Ended};
use crate::tenants::tokens::Right;
use crate::tenants::{Ready, TenantId, Tenants};

/// The path of all names of a tenant.
const NAMES: &str = "/v1/{tenant}/names";
/// The path of one name.
const NAME: &str = "/v1/{tenant}/names/{name}";

/// A body that is refused unread and no longer than this has arrived with the head, and does not end the connection.
const DRAINED_MAX: u64 = 4096;

/// The header with a request's id, in both directions.
const REQUEST_ID: &str = "x-request-id";

/// What the calls share.
pub struct App {
    /// Who is served.
    pub tenants: Arc<Tenants>,
    /// What a handler is given.
    pub powers: Powers,
    /// How many calls run at once.
    pub calls: Arc<Calls>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// How much of a body is read, and for how long.
    pub body: BodyLimits,
}

/// How much of a body is read, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimits {
    /// Longest body, in bytes.
    pub max: usize,
    /// How long it may take to arrive.
    pub timeout: Duration,
}

/// The id under which a request is found again: in the answer, in the log, and in the tenant's log.
#[derive(Clone, Debug)]
struct RequestId(Arc<str>);

impl RequestId {
    /// Keeps the client's own id if it is one that can stand in a header and a log line as it is.
    fn of(headers: &HeaderMap) -> Self {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
        match given.filter(|id| (1..=64).contains(&id.len()) && id.bytes().all(allowed)) {
            Some(id) => Self(id.into()),
            None => Self(format!("{:016x}", rand::random::<u64>()).into()),
        }
    }
}

/// The routes of the public listener.
pub fn router(app: Arc<App>) -> Router {
    Router::new()
        .route(NAMES, post(register))
        .route(NAME, get(find).delete(free))
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(Arc::clone(&app), observe))
        .with_state(app)
}

/// Where every request begins and ends.
///
/// A caller that hangs up ends its request by dropping this future: nobody is answered, so nothing is counted.
async fn observe(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = RequestId::of(request.headers());
    let operation = operation_of(&request);
    let body_at_least = request.body().size_hint().lower();
    let tenant = tenant_segment(request.uri()).and_then(|text| text.parse::<TenantId>().ok());
    request.extensions_mut().insert(id.clone());

    let mut response = next.run(request).await;
    let problem = response.extensions_mut().remove::<Problem>();
    if let Some(problem) = &problem {
        let allow = response.headers_mut().remove(ALLOW);
        response = problem.render(&id.0);
        response.headers_mut().extend(allow.map(|allow| (ALLOW, allow)));
        if problem.kind() == ErrorKind::PayloadTooLarge || body_at_least > DRAINED_MAX {
            // What is left of the body is not read, so the connection ends; a client that is not told would use it again.
            response
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }
    if let Ok(id) = HeaderValue::from_str(&id.0) {
        response.headers_mut().insert(REQUEST_ID, id);
    }

    let took = started.elapsed();
    app.metrics.record(operation, problem.as_ref().map(Problem::kind), took);
    let tenant = tenant.as_ref().map(TenantId::as_str);
    telemetry::log_end(&Ended {
        request_id: &id.0,
        tenant,
        operation,
        problem: problem.as_ref(),
        took,
    });
    response
}

fn operation_of(request: &Request) -> Operation {
    let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    match (path, request.method()) {
        (Some(NAMES), &Method::POST) => Operation::Register,
        (Some(NAME), &Method::GET | &Method::HEAD) => Operation::Find,
        (Some(NAME), &Method::DELETE) => Operation::Free,
        _ => Operation::Other,
    }
}

async fn register(
    State(app): State<Arc<App>>,
    Extension(id): Extension<RequestId>,
    request: Request,
) -> Result<Response, Problem> {
    let ready = tenant_of(&app, request.uri())?;
    let arrived = admit(&ready, request.headers(), Right::Register)?;
    let body = read_body(request.into_body(), app.body).await?;
    let request = wire::parse_register(&body)?;
    // Asked for only now: a caller that sends its body slowly has a place with its tenant, and nothing of the host.
    let _running = arrived.run(&app.calls).await?;
    let saved = ready
        .handler
        .register(&app.powers, &ready.tenant, &id.0, request)
        .await?;
    let location = wire::location(&ready.tenant.id, &saved.name);
    let headers = [(CONTENT_TYPE, "application/json".to_owned()), (LOCATION, location)];
    Ok((StatusCode::CREATED, headers, wire::registration(&saved)?).into_response())
}

/// Answers from the database alone: reading a name is no business of the handler.
async fn find(State(app): State<Arc<App>>, request: Request) -> Result<Response, Problem> {
    let ready = tenant_of(&app, request.uri())?;
    let arrived = admit(&ready, request.headers(), Right::Find)?;
    let name = name_of(request.uri())?;
    let _running = arrived.run(&app.calls).await?;
    let found = app
        .powers
        .names
        .find(&ready.tenant.id, &name)
        .await
        .map_err(names_failed)?;
    let nobody = || Problem::new(ErrorKind::NotFound, "this name has no active registration");
    let body = wire::registration(&found.ok_or_else(nobody)?)?;
    Ok(([(CONTENT_TYPE, "application/json")], body).into_response())
}

async fn free(
    State(app): State<Arc<App>>,
    Extension(id): Extension<RequestId>,
    request: Request,
) -> Result<Response, Problem> {
    let ready = tenant_of(&app, request.uri())?;
    let arrived = admit(&ready, request.headers(), Right::Free)?;
    let name = name_of(request.uri())?;
    let owner = wire::owner_of(request.uri().query())?;
    let _running = arrived.run(&app.calls).await?;
    ready
        .handler
        .free(&app.powers, &ready.tenant, &id.0, name, owner)
        .await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn unknown_path() -> Problem {
    Problem::new(
        ErrorKind::NotFound,
        "there is nothing at this path; names are at /v1/{tenant}/names",
    )
}

/// The list of codes has none for this, so it is a request like any other that cannot be understood.
async fn wrong_method() -> Problem {
    Problem::new(
        ErrorKind::InvalidRequest,
        "this path does not know this method; the header Allow has those that it knows",
    )
}

fn names_failed(error: NamesError) -> Problem {
    Problem::new(ErrorKind::NamesUnavailable, "the names database does not answer").because(&error)
}

/// The tenant's part of a path that the router matched, still encoded.
fn tenant_segment(uri: &Uri) -> Option<&str> {
    uri.path().strip_prefix("/v1/")?.split('/').next()
}

/// Finds the tenant that the address names.
///
/// Whether a tenant exists is no secret, as its id is part of every address: an unknown one is told before any token is asked for.
/// So is one that cannot be served: what is wrong with it may be its tokens.
fn tenant_of(app: &App, uri: &Uri) -> Result<Arc<Ready>, Problem> {
    let text = wire::decode(tenant_segment(uri).unwrap_or_default())?;
    let unknown = || Problem::new(ErrorKind::UnknownTenant, "no tenant has this id");
    let id = text.parse::<TenantId>().map_err(|_| unknown())?;
    app.tenants.get(id.as_str()).ok_or_else(unknown)?.map_err(|refused| {
        let detail = format!("this tenant cannot be served: {}", refused.told);
        Problem::new(ErrorKind::TenantUnavailable, detail).because_of(refused.reason)
    })
}

/// Lets a request in: its token first, because whoever has none must not use up the rate of those who have.
fn admit(ready: &Ready, headers: &HeaderMap, right: Right) -> Result<Arrived, Problem> {
    ready.tokens.check(headers, right)?;
    Ok(ready.admission.arrive()?)
}

/// The name in the address of one name.
fn name_of(uri: &Uri) -> Result<String, Problem> {
    let segment = uri.path().rsplit('/').next().unwrap_or_default();
    let name = wire::decode(segment)?;
    wire::check_name(&name)?;
    Ok(name)
}

/// Reads a body whole, up to its limits.
async fn read_body(body: Body, limits: BodyLimits) -> Result<Bytes, Problem> {
    let BodyLimits { max, timeout } = limits;
    let too_large = || Problem::new(ErrorKind::PayloadTooLarge, format!("a body is at most {max} bytes"));
    // The announced length is enough to refuse: then nothing of the body is read at all.
    if body.size_hint().lower() > max as u64 {
        return Err(too_large());
    }
    let late = || format!("the body did not arrive within {timeout:?}");
    let read = tokio::time::timeout(timeout, Limited::new(body, max).collect()).await;
    match read.map_err(|_| Problem::new(ErrorKind::InvalidRequest, late()))? {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
        Err(error) => Err(Problem::new(ErrorKind::InvalidRequest, "the body broke off").because(&*error)),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use hyper::body::{Frame, SizeHint};
    use namelock_lock::{LockConfig, LockUrl, Locks};
    use namelock_names::{NamesConfig, NamesUrl};
    use namelock_sandbox::{CacheConfig, CompilerConfig, Sandbox, SandboxConfig};
    use serde_json::Value;
    use tempfile::TempDir;
    use tower::ServiceExt;

    use super::*;
    use crate::config::Limits;
    use crate::tenants;

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
                },
                ..CompilerConfig::default()
            };
            let found = tenants::find(&tenants, &Limits::default(), &Limits::default()).unwrap();
            let tenants = Tenants::new(Sandbox::new(&config, compiler).unwrap());
            tenants.read(found).await;
            let names = NamesUrl::Sqlite(dir.path().join("names.db"));
            let app = App {
                tenants: Arc::new(tenants),
                powers: Powers {
                    locks: Locks::open(&LockUrl::Memory, LockConfig::default()).unwrap(),
                    names: namelock_names::open(&names, NamesConfig::default()).await.unwrap(),
                },
                calls: Arc::new(Calls::new(1, 0, Duration::from_millis(1))),
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
            let request = Request::builder().method(method).uri(uri).header(REQUEST_ID, "mine-1");
            self.send(request.body(Body::empty()).unwrap()).await
        }

        async fn send(&self, request: Request) -> Response {
            router(Arc::clone(&self.app)).oneshot(request).await.unwrap()
        }
    }

    async fn json(response: Response) -> Value {
        serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
    }

    #[tokio::test]
    async fn a_request_that_reaches_no_handler_has_its_code() {
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
    async fn a_wrong_method_hears_which_ones_there_are() {
        let host = Host::start().await;
        let check = async |method: &str, uri: &str, allow: &str| {
            let response = host.ask(method, uri).await;
            assert_eq!(response.status(), 400, "{method} {uri}");
            assert_eq!(response.headers()["allow"], allow, "{method} {uri}");
            assert_eq!(json(response).await["code"], "invalid_request");
        };
        check("GET", "/v1/acme/names", "POST").await;
        check("DELETE", "/v1/acme/names", "POST").await;
        check("PUT", "/v1/acme/names/n", "GET,HEAD,DELETE").await;
        check("POST", "/v1/acme/names/n", "GET,HEAD,DELETE").await;
    }

    #[tokio::test]
    async fn every_end_is_counted_under_its_operation() {
        let host = Host::start().await;
        host.ask("POST", "/v1/acme/names").await;
        host.ask("HEAD", "/v1/acme/names/n").await;
        host.ask("DELETE", "/v1/broken/names/n").await;
        host.ask("GET", "/nothing").await;
        host.ask("PUT", "/v1/acme/names/n").await;
        let text = host.app.metrics.render(0);
        for line in [
            r#"namelock_requests_total{operation="register",code="unknown_tenant"} 1"#,
            r#"namelock_requests_total{operation="find",code="unknown_tenant"} 1"#,
            r#"namelock_requests_total{operation="free",code="tenant_unavailable"} 1"#,
            r#"namelock_requests_total{operation="other",code="not_found"} 1"#,
            r#"namelock_requests_total{operation="other",code="invalid_request"} 1"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn a_clients_request_id_is_kept_if_it_is_harmless() {
        let id_of = |given: Option<&[u8]>| {
            let mut headers = HeaderMap::new();
            if let Some(id) = given {
                headers.insert(REQUEST_ID, HeaderValue::from_bytes(id).unwrap());
            }
            RequestId::of(&headers).0.to_string()
        };
        let longest = "x".repeat(64);
        for kept in ["a", "A-1_b.c", &longest] {
            assert_eq!(id_of(Some(kept.as_bytes())), kept);
        }
        let too_long = "x".repeat(65);
        for replaced in [
            None,
            Some(&b""[..]),
            Some(b"a b"),
            Some(b"a\tb"),
            Some(b"\xc3\xa9"),
            Some(too_long.as_bytes()),
        ] {
            let id = id_of(replaced);
            assert!(
                id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()),
                "{id}"
            );
        }
        assert_ne!(id_of(None), id_of(None));
    }

    #[test]
    fn the_name_of_an_address_is_checked() {
        let name = |segment: &str| {
            name_of(&format!("/v1/acme/names/{segment}").parse().unwrap()).map_err(|error| error.kind())
        };
        assert_eq!(name("a%2Fb%20c"), Ok("a/b c".into()));
        assert_eq!(name("%zz"), Err(ErrorKind::InvalidRequest));
        assert_eq!(name("%c3"), Err(ErrorKind::InvalidRequest));
        assert_eq!(name(&"x".repeat(255)), Ok("x".repeat(255)));
        assert_eq!(name(&"x".repeat(256)), Err(ErrorKind::NameInvalid));
        assert_eq!(
            name(&"%C3%A9".repeat(128)),
            Err(ErrorKind::NameInvalid),
            "the bytes count, not the characters"
        );
    }

    /// A body of one frame; `None` never comes.
    struct OneFrame {
        announced: SizeHint,
        frame: Option<Bytes>,
        sent: bool,
    }

    impl OneFrame {
        fn body(announced: SizeHint, frame: Option<usize>) -> Body {
            Body::new(Self {
                announced,
                frame: frame.map(|length| Bytes::from(vec![b' '; length])),
                sent: false,
            })
        }
    }

    impl HttpBody for OneFrame {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            let Some(frame) = self.frame.clone() else {
                return Poll::Pending;
            };
            let frame = (!self.sent).then(|| Ok(Frame::data(frame)));
            self.sent = true;
            Poll::Ready(frame)
        }

        fn size_hint(&self) -> SizeHint {
            self.announced
        }
    }

    #[tokio::test]
    async fn a_body_is_read_up_to_its_limits() {
        let check = async |body: Body, timeout: Duration, expect: Result<usize, ErrorKind>| {
            let read = read_body(body, BodyLimits { max: 64, timeout }).await;
            assert_eq!(read.map(|body| body.len()).map_err(|error| error.kind()), expect);
        };
        let (announced, unannounced) = (SizeHint::with_exact, SizeHint::new);
        let (soon, never) = (Duration::from_millis(1), Duration::MAX);
        check(OneFrame::body(announced(64), Some(64)), never, Ok(64)).await;
        check(OneFrame::body(unannounced(), Some(64)), never, Ok(64)).await;
        check(
            OneFrame::body(unannounced(), Some(65)),
            never,
            Err(ErrorKind::PayloadTooLarge),
        )
        .await;
        // By its announced length alone: nothing of it ever comes.
        check(
            OneFrame::body(announced(65), None),
            never,
            Err(ErrorKind::PayloadTooLarge),
        )
        .await;
        check(
            OneFrame::body(announced(64), None),
            soon,
            Err(ErrorKind::InvalidRequest),
        )
        .await;
        check(
            OneFrame::body(unannounced(), None),
            soon,
            Err(ErrorKind::InvalidRequest),
        )
        .await;
    }
}
