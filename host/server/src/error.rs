//! The closed list of codes, and the one place that turns them into answers.
//!
//! An [`ErrorKind`] is the whole of what the response, the metric label and the log field say about a failure. Nothing
//! here has a `_` arm: a new kind does not compile before its status, label, title and retry are decided.

use std::error::Error;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use namelock_sandbox::{CallError, Cause};
use namelock_types::error_chain;
use serde::Serialize;

use crate::admission::AdmissionError;
use crate::tenants::tokens::Denied;

/// Longest text about one failure, in bytes: it may come from a guest or echo a request.
const DETAIL_MAX: usize = 1024;

/// Longest chain of causes in one log line, in bytes.
const CHAIN_MAX: usize = 4096;

/// What a caller is asked to wait where waiting helps and nobody knows for how long.
const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(1);

/// Why a request was not done: one of a closed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum ErrorKind {
    /// The request cannot be understood.
    InvalidRequest,
    /// The request carries no credentials that this host accepts.
    Unauthorized,
    /// The token does not have the right, or the handler says that this caller may not.
    Forbidden,
    /// No tenant has this id.
    UnknownTenant,
    /// The name has no active registration, or the path is none of ours.
    NotFound,
    /// Somebody has the name.
    NameTaken,
    /// The body is longer than this host reads.
    PayloadTooLarge,
    /// The name is not one, by its length or by the handler's rules.
    NameInvalid,
    /// Somebody is at work on the name.
    NameBusy,
    /// The tenant has used up what it may use at once.
    TenantLimit,
    /// The handler ended in a trap.
    HandlerTrapped,
    /// The handler asked for more memory than it may have.
    HandlerOutOfMemory,
    /// The handler did not end in its time.
    HandlerDeadline,
    /// The lease ended before the work did.
    LeaseLost,
    /// The lock service does not answer, or may not grant safely.
    LockUnavailable,
    /// The names database does not answer.
    NamesUnavailable,
    /// The tenant's component cannot be loaded, or its handler says that it cannot work now.
    TenantUnavailable,
    /// This host has as many calls as it runs at once.
    Overloaded,
    /// A fault of this host.
    Internal,
}

impl ErrorKind {
    /// Every kind, in the order of the declaration, so that `kind as usize` is its index.
    pub const ALL: [Self; 19] = [
        Self::InvalidRequest,
        Self::Unauthorized,
        Self::Forbidden,
        Self::UnknownTenant,
        Self::NotFound,
        Self::NameTaken,
        Self::PayloadTooLarge,
        Self::NameInvalid,
        Self::NameBusy,
        Self::TenantLimit,
        Self::HandlerTrapped,
        Self::HandlerOutOfMemory,
        Self::HandlerDeadline,
        Self::LeaseLost,
        Self::LockUnavailable,
        Self::NamesUnavailable,
        Self::TenantUnavailable,
        Self::Overloaded,
        Self::Internal,
    ];

    /// The status of the response.
    pub fn status(self) -> StatusCode {
        match self {
            Self::InvalidRequest => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::UnknownTenant | Self::NotFound => StatusCode::NOT_FOUND,
            Self::NameTaken => StatusCode::CONFLICT,
            Self::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NameInvalid => StatusCode::UNPROCESSABLE_ENTITY,
            Self::NameBusy => StatusCode::LOCKED,
            Self::TenantLimit => StatusCode::TOO_MANY_REQUESTS,
            Self::HandlerTrapped | Self::HandlerOutOfMemory | Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::LeaseLost
            | Self::LockUnavailable
            | Self::NamesUnavailable
            | Self::TenantUnavailable
            | Self::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
            Self::HandlerDeadline => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// The code, as the response, the metric and the log spell it.
    pub fn label(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::UnknownTenant => "unknown_tenant",
            Self::NotFound => "not_found",
            Self::NameTaken => "name_taken",
            Self::PayloadTooLarge => "payload_too_large",
            Self::NameInvalid => "name_invalid",
            Self::NameBusy => "name_busy",
            Self::TenantLimit => "tenant_limit",
            Self::HandlerTrapped => "handler_trapped",
            Self::HandlerOutOfMemory => "handler_out_of_memory",
            Self::HandlerDeadline => "handler_deadline",
            Self::LeaseLost => "lease_lost",
            Self::LockUnavailable => "lock_unavailable",
            Self::NamesUnavailable => "names_unavailable",
            Self::TenantUnavailable => "tenant_unavailable",
            Self::Overloaded => "overloaded",
            Self::Internal => "internal",
        }
    }

    /// A summary for people that is the same for every occurrence (RFC 9457, section 3.1.3).
    pub fn title(self) -> &'static str {
        match self {
            Self::InvalidRequest => "The request cannot be understood",
            Self::Unauthorized => "The request is not authorised",
            Self::Forbidden => "The request is forbidden",
            Self::UnknownTenant => "There is no such tenant",
            Self::NotFound => "Nothing is here",
            Self::NameTaken => "The name is taken",
            Self::PayloadTooLarge => "The body is too large",
            Self::NameInvalid => "The name is not valid",
            Self::NameBusy => "Somebody is at work on the name",
            Self::TenantLimit => "The tenant is at its limit",
            Self::HandlerTrapped => "The handler failed",
            Self::HandlerOutOfMemory => "The handler ran out of memory",
            Self::HandlerDeadline => "The handler ran out of time",
            Self::LeaseLost => "The lock was lost before the work was done",
            Self::LockUnavailable => "The lock service is not available",
            Self::NamesUnavailable => "The names database is not available",
            Self::TenantUnavailable => "The tenant cannot be served",
            Self::Overloaded => "The host is overloaded",
            Self::Internal => "The host failed",
        }
    }

    /// Whether the same request may do better after a wait.
    ///
    /// A handler that trapped or used up its limits is not on the list: it would most likely do so again, at our cost.
    pub fn retryable(self) -> bool {
        match self {
            Self::NameBusy
            | Self::TenantLimit
            | Self::LeaseLost
            | Self::LockUnavailable
            | Self::NamesUnavailable
            | Self::Overloaded => true,
            Self::InvalidRequest
            | Self::Unauthorized
            | Self::Forbidden
            | Self::UnknownTenant
            | Self::NotFound
            | Self::NameTaken
            | Self::PayloadTooLarge
            | Self::NameInvalid
            | Self::HandlerTrapped
            | Self::HandlerOutOfMemory
            | Self::HandlerDeadline
            | Self::TenantUnavailable
            | Self::Internal => false,
        }
    }
}

/// One failure on its way out: what the caller is told, and beside it what only the operator may read.
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
        let retry_after = kind.retryable().then_some(RETRY_AFTER_DEFAULT);
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

    /// What the log is told: the chain of causes, or the detail where there is none.
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

/// Hands the problem on to where the request ends: only there is the request's id known, and only there is it logged.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.kind.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
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

impl From<CallError> for Problem {
    fn from(error: CallError) -> Self {
        let problem = match &error {
            CallError::Invalid(detail) => Self::new(ErrorKind::NameInvalid, detail),
            CallError::Taken => Self::new(ErrorKind::NameTaken, "somebody has this name"),
            CallError::Busy(wait) => Self::new(ErrorKind::NameBusy, "somebody is at work on this name").after(*wait),
            CallError::Forbidden(detail) => Self::new(ErrorKind::Forbidden, detail),
            CallError::Unavailable { detail, cause } => {
                let problem = Self::new(kind_of(*cause), detail);
                match cause {
                    Some(Cause::LockUnavailable(Some(wait))) => problem.after(*wait),
                    _ => problem,
                }
            }
            // The words of what follows are fixed: what really happened may show the inside of the host or the handler.
            CallError::Trapped { .. } => Self::new(ErrorKind::HandlerTrapped, "the tenant's handler ended in a trap"),
            CallError::OutOfMemory { .. } => Self::new(
                ErrorKind::HandlerOutOfMemory,
                "the tenant's handler needs more memory than it may have",
            ),
            CallError::Deadline { .. } => Self::new(
                ErrorKind::HandlerDeadline,
                "the tenant's handler did not end in the time that it has",
            ),
            CallError::LeaseLost => Self::new(
                ErrorKind::LeaseLost,
                "the tenant's handler took longer than its lease; whether it saved the name, GET tells",
            ),
            CallError::Limit { limit } => Self::new(
                ErrorKind::TenantLimit,
                format!("the handler used more {limit} than it may"),
            ),
            CallError::Overloaded => Self::new(ErrorKind::Overloaded, "no room to run the tenant's handler now"),
            CallError::Internal { .. } => Self::new(ErrorKind::Internal, "the host failed; its log says why"),
        };
        problem.because(&error)
    }
}

/// What failed underneath a handler that gave up: it says `unavailable`, the host knows better of what.
fn kind_of(cause: Option<Cause>) -> ErrorKind {
    match cause {
        Some(Cause::LockUnavailable(_)) => ErrorKind::LockUnavailable,
        Some(Cause::NamesUnavailable) => ErrorKind::NamesUnavailable,
        Some(Cause::LeaseLost) => ErrorKind::LeaseLost,
        Some(Cause::LeaseLimit) => ErrorKind::TenantLimit,
        None => ErrorKind::TenantUnavailable,
    }
}

/// Returns an error and everything that caused it, as one bounded line.
pub fn chain(error: &dyn Error) -> String {
    one_line(&error_chain(error), CHAIN_MAX)
}

/// Puts text on one line of at most `max` bytes: runs of spaces and control characters become one space.
pub fn one_line(text: &str, max: usize) -> String {
    let mut line = String::with_capacity(text.len().min(max));
    for word in text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
    {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
        if line.len() > max {
            line.truncate(line.floor_char_boundary(max.saturating_sub('…'.len_utf8())));
            line.push('…');
            break;
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_code_has_the_status_that_was_promised() {
        let table = [
            ("invalid_request", 400),
            ("unauthorized", 401),
            ("forbidden", 403),
            ("unknown_tenant", 404),
            ("not_found", 404),
            ("name_taken", 409),
            ("payload_too_large", 413),
            ("name_invalid", 422),
            ("name_busy", 423),
            ("tenant_limit", 429),
            ("handler_trapped", 500),
            ("handler_out_of_memory", 500),
            ("handler_deadline", 504),
            ("lease_lost", 503),
            ("lock_unavailable", 503),
            ("names_unavailable", 503),
            ("tenant_unavailable", 503),
            ("overloaded", 503),
            ("internal", 500),
        ];
        let all: Vec<_> = ErrorKind::ALL
            .iter()
            .map(|kind| (kind.label(), kind.status().as_u16()))
            .collect();
        assert_eq!(all, table);
    }

    #[test]
    fn a_kind_is_its_own_index() {
        for (index, kind) in ErrorKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, index, "{}", kind.label());
        }
    }

    async fn rendered(problem: &Problem) -> (Response<()>, serde_json::Value) {
        let (parts, body) = problem.render("r-1").into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (Response::from_parts(parts, ()), serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn a_problem_is_rendered_as_rfc_9457_has_it() {
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
    async fn a_wait_is_told_in_milliseconds_and_in_seconds_rounded_up() {
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
        check(Some(Cause::LeaseLimit), ErrorKind::TenantLimit);
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

    proptest! {
        #[test]
        fn any_text_becomes_one_short_line(text in any::<String>(), max in 3usize..64) {
            let line = one_line(&text, max);
            prop_assert!(line.len() <= max);
            prop_assert!(!line.chars().any(char::is_control));
        }
    }
}
