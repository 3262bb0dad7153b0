//! One failure on its way out: what the caller reads, and what only the log does.

use std::error::Error;
use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::response::{IntoResponse, Response};
use namelock_names::NamesError;
use namelock_sandbox::{CallError, Cause};
use serde::Serialize;

use super::kind::{ErrorKind, Retry};
use crate::admission::AdmissionError;
use crate::text::{chain, one_line};
use crate::tokens::Denied;
use crate::tokens::right::Right;

/// Longest text about one failure, in bytes: it may come from a guest or echo a request.
const DETAIL_MAX: usize = 1024;

/// How long a caller is asked to wait where waiting helps and nothing says for how long.
const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(1);

/// One failure: what the caller is told, and what only the operator may read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    kind: ErrorKind,
    detail: String,
    retry_after: Option<Duration>,
    chain: Option<String>,
}

/// The body of an answer (RFC 9457), with this API's members behind the standard ones.
#[derive(Serialize)]
struct Body9457<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: &'a str,
    code: &'static str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
}

impl Problem {
    /// Makes a problem; `detail` is shown to the caller.
    pub fn new(kind: ErrorKind, detail: impl AsRef<str>) -> Self {
        let retry_after = match kind.retry() {
            Retry::Later => Some(RETRY_AFTER_DEFAULT),
            Retry::No => None,
        };
        Self {
            kind,
            detail: one_line(detail.as_ref(), DETAIL_MAX),
            retry_after,
            chain: None,
        }
    }

    /// Adds how long the caller should wait.
    pub fn after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Adds what failed underneath, for the log.
    pub fn because(self, cause: &dyn Error) -> Self {
        self.because_of(chain(cause))
    }

    /// Adds what failed underneath, already written as one line.
    pub fn because_of(mut self, chain: String) -> Self {
        self.chain = Some(chain);
        self
    }

    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What the caller is told.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// What the log says: the chain of causes, or the detail where there is none.
    pub fn for_log(&self) -> &str {
        self.chain.as_deref().unwrap_or(&self.detail)
    }

    /// Renders the answer.
    pub fn render(&self, request_id: &str) -> Response {
        // Rounded up: a caller must not come back too early.
        let ms = self
            .retry_after
            .map(|wait| u64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX));
        let body = Body9457 {
            r#type: format!("urn:namelock:error:{}", self.kind.label()),
            title: self.kind.title(),
            status: self.kind.status().as_u16(),
            detail: &self.detail,
            code: self.kind.label(),
            request_id,
            retry_after_ms: ms,
        };
        let body = serde_json::to_vec(&body).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.kind.status();
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.kind == ErrorKind::Unauthorized {
            // Without it a 401 is not one (RFC 9110, section 11.6.1).
            response
                .headers_mut()
                .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(ms) = ms {
            // Whole seconds, and rounded up for the same reason.
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from(ms.div_ceil(1000).max(1)));
        }
        response
    }
}

/// Passes the problem on to where the request ends: only there is the request's id known, and only there is it logged.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.kind.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Denied<Right>> for Problem {
    fn from(denied: Denied<Right>) -> Self {
        let kind = match denied {
            Denied::Missing | Denied::Unknown => ErrorKind::Unauthorized,
            Denied::Right(_) => ErrorKind::Forbidden,
        };
        Self::new(kind, denied.to_string())
    }
}

impl From<AdmissionError> for Problem {
    fn from(refused: AdmissionError) -> Self {
        let (kind, after) = match refused {
            AdmissionError::Rate { after } | AdmissionError::Tenant { after } => (ErrorKind::TenantLimit, after),
            AdmissionError::Host { after } => (ErrorKind::Overloaded, after),
        };
        Self::new(kind, refused.to_string()).after(after)
    }
}

impl From<NamesError> for Problem {
    fn from(error: NamesError) -> Self {
        Self::new(ErrorKind::NamesUnavailable, "the names database does not answer").because(&error)
    }
}

impl From<CallError> for Problem {
    fn from(error: CallError) -> Self {
        Self::of_call(&error)
    }
}

impl Problem {
    /// The failure that a call ended with.
    pub fn of_call(error: &CallError) -> Self {
        let problem = match error {
            CallError::Invalid(detail) => Self::new(ErrorKind::NameInvalid, detail),
            CallError::Taken(None) => Self::new(ErrorKind::NameTaken, "somebody has this name"),
            CallError::Taken(Some(wait)) => {
                let detail = "only the last owner can take this name now; it is held for a while after it became free";
                Self::new(ErrorKind::NameTaken, detail).after(*wait)
            }
            CallError::Busy(wait) => Self::new(ErrorKind::NameBusy, "somebody is at work on this name").after(*wait),
            CallError::Missing => Self::new(ErrorKind::NotFound, "this name has no active registration"),
            CallError::KeyReused => Self::new(
                ErrorKind::IdempotencyKeyReused,
                "another request was sent with this Idempotency-Key; make a new key for each request",
            ),
            CallError::Unsupported => Self::new(
                ErrorKind::Unsupported,
                "this tenant's handler does not let registrations be changed",
            ),
            CallError::Forbidden(detail) => Self::new(ErrorKind::Forbidden, detail),
            CallError::Unavailable { detail, cause } => {
                let problem = match cause {
                    // The handler knows only that it was refused.
                    Some(Cause::Limit(limit, _)) => Self::new(
                        kind_of(*cause),
                        format!(
                            "the tenant is at its limits.{}; its handler says: {detail}",
                            limit.key()
                        ),
                    ),
                    _ => Self::new(kind_of(*cause), detail),
                };
                match cause {
                    Some(Cause::LockUnavailable(Some(wait)) | Cause::Limit(_, Some(wait))) => problem.after(*wait),
                    _ => problem,
                }
            }
            // The texts below are fixed: what really happened may reveal the inside of the host or the handler.
            CallError::Trapped { .. } => Self::new(ErrorKind::HandlerTrapped, "the tenant's handler ended in a trap"),
            CallError::OutOfMemory { .. } => Self::new(
                ErrorKind::HandlerOutOfMemory,
                "the tenant's handler needs more memory than it may have",
            ),
            CallError::Deadline { .. } => Self::new(
                ErrorKind::HandlerDeadline,
                "the tenant's handler did not end in the time that it has",
            ),
            // It says the same whoever is to blame: a slow handler, memcached, or an operator who has ended the lease.
            CallError::LeaseLost => Self::new(
                ErrorKind::LeaseLost,
                "the lock was lost before the tenant's handler was done; send the request again with its Idempotency-Key to find out whether it saved the name",
            ),
            CallError::Limit { limit } => Self::new(
                ErrorKind::TenantLimit,
                format!("the handler used more {limit} than it may"),
            ),
            CallError::Overloaded => Self::new(ErrorKind::Overloaded, "no room to run the tenant's handler now"),
            CallError::Internal { .. } | CallError::Differs(_) => {
                Self::new(ErrorKind::Internal, "the host failed; its log says why")
            }
        };
        problem.because(error)
    }
}

/// The code of a handler that gave up: it only says `unavailable`, and the host knows what failed underneath.
fn kind_of(cause: Option<Cause>) -> ErrorKind {
    match cause {
        Some(Cause::LockUnavailable(_)) => ErrorKind::LockUnavailable,
        Some(Cause::NamesUnavailable) => ErrorKind::NamesUnavailable,
        Some(Cause::LeaseLost) => ErrorKind::LeaseLost,
        Some(Cause::Limit(..)) => ErrorKind::TenantLimit,
        None => ErrorKind::TenantUnavailable,
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use namelock_account::Limit;

    use super::*;

    async fn rendered(problem: &Problem) -> (Response<()>, serde_json::Value) {
        let (parts, body) = problem.render("r-1").into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (Response::from_parts(parts, ()), serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn a_problem_is_rendered_as_rfc_9457_says() {
        let (response, body) = rendered(&Problem::new(ErrorKind::NameTaken, "somebody has this name")).await;
        assert_eq!(response.status(), 409);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert!(!response.headers().contains_key("retry-after"));
        let expect = serde_json::json!({
            "type": "urn:namelock:error:name_taken", "title": "The name is taken", "status": 409,
            "detail": "somebody has this name", "code": "name_taken", "request_id": "r-1",
        });
        assert_eq!(body, expect);
    }

    #[tokio::test]
    async fn a_wait_is_given_in_milliseconds_and_in_seconds_rounded_up() {
        let check = async |wait: u64, header: &str| {
            let problem = Problem::from(CallError::Busy(Duration::from_millis(wait)));
            let (response, body) = rendered(&problem).await;
            assert_eq!(body["retry_after_ms"], wait);
            assert_eq!(response.headers()["retry-after"], header, "{wait}");
        };
        check(0, "1").await;
        check(250, "1").await;
        check(1000, "1").await;
        check(1001, "2").await;
        check(u64::MAX, "18446744073709552").await;
    }

    #[test]
    fn what_failed_underneath_decides_the_code() {
        let check = |cause, expect| {
            let error = CallError::Unavailable {
                detail: "later".into(),
                cause,
            };
            assert_eq!(Problem::from(error).kind(), expect);
        };
        check(Some(Cause::LockUnavailable(None)), ErrorKind::LockUnavailable);
        check(Some(Cause::NamesUnavailable), ErrorKind::NamesUnavailable);
        check(Some(Cause::LeaseLost), ErrorKind::LeaseLost);
        check(Some(Cause::Limit(Limit::Writes, None)), ErrorKind::TenantLimit);
        check(None, ErrorKind::TenantUnavailable);
    }

    #[derive(Debug, thiserror::Error)]
    #[error("outer\nof two lines")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn the_chain_is_for_the_log_alone() {
        let cause = Outer(std::io::Error::other("wasm backtrace:\n  0: secret"));
        let problem = Problem::new(ErrorKind::Internal, "the host failed").because(&cause);
        assert_eq!(problem.for_log(), "outer of two lines: wasm backtrace: 0: secret");
        assert_eq!(problem.detail(), "the host failed");
    }
}
