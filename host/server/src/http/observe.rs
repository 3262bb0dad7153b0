//! Where every request begins and ends: here alone it gets its id, its problem is rendered, and it is counted and
//! logged.

use std::sync::{Arc, OnceLock};

use axum::body::HttpBody;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{ALLOW, CONNECTION, HOST};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use namelock_account::{Account, Counter};
use namelock_sandbox::{Context, Phase, Phases};

use super::address::{LOG, NAME, NAMES, decode, tenant_segment};
use super::app::App;
use super::follow::ended;
use crate::error::{ErrorKind, Outcome, Problem};
use crate::metrics::Operation;
use crate::recordings::is_of_handler;
use crate::telemetry::{self, RequestEnd};
use crate::tenants::{Ready, TenantId};
use crate::trace::{self, About, End, Parent, SEGMENTS_MAX, Traced};

/// The header with a request's id, in both directions.
pub(super) const REQUEST_ID: &str = "x-request-id";

/// The header with the SHA-256 of the component that ran.
const COMPONENT: &str = "namelock-component";

/// Longest body, in bytes, that may be left unread without ending the connection: it has arrived with the head.
const UNREAD_BODY_MAX: u64 = 4096;

/// The request's own id if it can be written to a header and a log line as it is; otherwise a new one. It identifies the request
/// in its answer, in the log and in the tenant's log.
fn request_id(headers: &HeaderMap) -> Arc<str> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
    match given.filter(|id| (1..=64).contains(&id.len()) && id.bytes().all(allowed)) {
        Some(id) => id.into(),
        None => format!("{:016x}", rand::random::<u64>()).into(),
    }
}

/// The version of its tenant by which a request is served, once its token shows that it is the tenant's own. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Served(Arc<OnceLock<Arc<Ready>>>);

impl Served {
    /// Notes the version.
    pub(super) fn by(&self, ready: &Arc<Ready>) {
        // A request is served by one alone.
        let _ = self.0.set(Arc::clone(ready));
    }
}

/// A request that has begun and is counted and logged exactly once, also when its caller hangs up: then the server
/// drops the future of the request, and this with it.
struct Begun {
    app: Arc<App>,
    context: Context,
    operation: Operation,
    tenant: Option<TenantId>,
    account: Option<Arc<Account>>,
    served: Served,
    traced: Option<Traced>,
    ended: bool,
}

impl Begun {
    fn new(app: Arc<App>, request: &Request) -> Self {
        let tenant = tenant_segment(request.uri()).and_then(|text| decode(text).ok()?.parse::<TenantId>().ok());
        let mut context = Context::new(request_id(request.headers()));
        let parent = Parent::of(request.headers());
        let about = || about(&app, request, &context, tenant.as_ref());
        let traced = app
            .tracer
            .as_ref()
            .and_then(|tracer| tracer.begin(parent.as_ref(), about));
        if traced.is_some() {
            context.phases = Arc::new(Phases::with_timeline(SEGMENTS_MAX));
        }
        // The log tells of a trace of the caller's also if this host has no part in it.
        let trace_id = traced.as_ref().map(Traced::trace_id);
        context.trace_id = trace_id.or(parent.map(|parent| parent.trace_id));
        Self {
            context,
            operation: operation_of(request),
            account: tenant.as_ref().and_then(|id| app.tenants.account(id.as_str())),
            tenant,
            traced,
            app,
            served: Served::default(),
            ended: false,
        }
    }

    /// Counts and logs how it ended; `status` is that of the answer, if there is one. Returns the version of the tenant whose
    /// component was run, or was about to be.
    fn end(&mut self, outcome: Outcome, status: Option<StatusCode>, problem: Option<&Problem>) -> Option<Arc<Ready>> {
        self.ended = true;
        let (phases, timeline) = self.context.phases.end();
        let ready = self.served.0.get();
        let ran = ready.filter(|_| !phases[Phase::Instantiate as usize].is_zero());
        if let Some(ready) = ran {
            ready.count(matches!(outcome, Outcome::Failed(kind) if is_of_handler(kind)));
        }
        self.app.metrics.record(self.operation, outcome, &phases);
        let tenant = self.account.as_ref().map(|account| &**account.tenant());
        self.app.faults.note(outcome, tenant, &self.context.request_id);
        if let (Some(tracer), Some(traced)) = (&self.app.tracer, self.traced.take()) {
            let trace_id = traced.trace_id();
            let ended = traced.end(End {
                operation: self.operation.label(),
                code: outcome.label(),
                status,
                took: phases.iter().sum(),
                timeline: timeline.unwrap_or_default(),
            });
            if tracer.end(ended) {
                self.app.metrics.exemplify(self.operation, &phases, trace_id);
            }
        }
        if let Some(account) = &self.account {
            account.count_request(outcome.index(), phases.iter().sum());
            if outcome == Outcome::ClientGone {
                account.charge(Counter::ClientsGone, 1);
            }
        }
        let end = RequestEnd {
            request_id: &self.context.request_id,
            trace_id: self.context.trace_id,
            tenant: self.tenant.as_ref().map(TenantId::as_str),
            operation: self.operation,
            outcome,
            component: ran.map(|ready| &*ready.component),
            error: problem.map(Problem::for_log),
            phases: &phases,
        };
        telemetry::log_end(&end, self.account.as_deref());
        // A stranger's requests are not the tenant's, and would displace those that are.
        if let Some(ready) = ready {
            ended(ready, &end, problem.map(Problem::detail));
        }
        ran.cloned()
    }
}

/// What a trace says of a request.
fn about(app: &App, request: &Request, context: &Context, tenant: Option<&TenantId>) -> About {
    let ready = tenant.and_then(|id| app.tenants.get(id.as_str())?.ok());
    About {
        method: request.method().clone(),
        route: request.extensions().get::<MatchedPath>().cloned(),
        version: request.version(),
        request_id: Arc::clone(&context.request_id),
        tenant: tenant.map(|id| id.as_str().to_owned()),
        component: ready.map(|ready| ready.handler.digest()),
        state: trace::state_of(request.headers()),
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        if !self.ended {
            self.end(Outcome::ClientGone, None, None);
        }
    }
}

/// Runs a request, then renders, counts and logs its end.
pub(super) async fn observe(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let mut begun = Begun::new(app, &request);
    let id = Arc::clone(&begun.context.request_id);
    let version = request.version();
    let body_at_least = request.body().size_hint().lower();
    request.extensions_mut().insert(begun.context.clone());
    request.extensions_mut().insert(begun.served.clone());

    let mut response = match check_host(&request) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    let problem = response.extensions_mut().remove::<Problem>();
    if let Some(problem) = &problem {
        let allow = response.headers_mut().remove(ALLOW);
        response = problem.render(&id);
        response.headers_mut().extend(allow.map(|allow| (ALLOW, allow)));
        let unread = problem.kind() == ErrorKind::PayloadTooLarge || body_at_least > UNREAD_BODY_MAX;
        if unread && version < Version::HTTP_2 {
            // The rest of the body is not read, so the connection ends; a client that does not know would reuse it.
            response
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    let outcome = problem
        .as_ref()
        .map_or(Outcome::Ok, |problem| Outcome::Failed(problem.kind()));
    let ran = begun.end(outcome, Some(response.status()), problem.as_ref());
    if let Some(component) = ran.and_then(|ready| HeaderValue::from_str(&ready.component).ok()) {
        response.headers_mut().insert(COMPONENT, component);
    }
    if let (Outcome::Failed(ErrorKind::TenantLimit), Some(account)) = (outcome, &begun.account) {
        // Keeps P6: nothing is held any more but the connection.
        let turn = account.refusal_turn();
        if !turn.is_zero() {
            tokio::time::sleep(turn).await;
        }
    }
    response
}

/// Refuses what RFC 9112 (section 3.2) tells a server to refuse: an HTTP/1.1 request that does not say which host it is
/// for, or says so twice, could mean one host to a proxy and another one to whoever is behind it. In HTTP/2 a request says it in
/// `:authority`, or in `Host`, and in both only if they agree (RFC 9113, section 8.3.1).
fn check_host(request: &Request) -> Result<(), Problem> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let (host, one_more) = (hosts.next(), hosts.next());
    let said = match request.version() {
        Version::HTTP_2 => request.uri().authority().map(|authority| authority.as_str().as_bytes()),
        _ => None,
    };
    let agreed = match (said, host) {
        (Some(said), Some(host)) => said == host.as_bytes(),
        (None, None) => request.version() < Version::HTTP_11,
        (Some(_), None) | (None, Some(_)) => true,
    };
    if agreed && one_more.is_none() {
        return Ok(());
    }
    let detail = "a request says for which host it is exactly once: in the header Host, or in :authority; before HTTP/1.1 it need not";
    Err(Problem::new(ErrorKind::InvalidRequest, detail))
}

fn operation_of(request: &Request) -> Operation {
    let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    match (path, request.method()) {
        (Some(NAMES), &Method::POST) => Operation::Register,
        (Some(NAME), &Method::GET | &Method::HEAD) => Operation::Find,
        (Some(NAME), &Method::DELETE) => Operation::Free,
        (Some(NAME), &Method::PATCH) => Operation::Update,
        (Some(NAMES), &Method::GET | &Method::HEAD) => Operation::List,
        (Some(LOG), &Method::GET | &Method::HEAD) => Operation::Log,
        _ => Operation::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clients_request_id_is_kept_if_it_is_harmless() {
        let id_of = |given: Option<&[u8]>| {
            let mut headers = HeaderMap::new();
            if let Some(id) = given {
                headers.insert(REQUEST_ID, HeaderValue::from_bytes(id).unwrap());
            }
            request_id(&headers)
        };
        let longest = "x".repeat(64);
        for kept in ["a", "A-1_b.c", &longest] {
            assert_eq!(&*id_of(Some(kept.as_bytes())), kept);
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
}
