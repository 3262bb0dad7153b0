//! How the admin listener writes its answers and refusals, and how it reads what is asked.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequestParts, Path, Query};
use axum::http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::host::Admin;
use crate::text::one_line;
use crate::tokens::Denied;
use crate::tokens::right::AdminRight;

/// Longest text about a refusal, in bytes: it may repeat what was asked.
const DETAIL_MAX: usize = 1024;

/// Longest body that is read, in bytes.
const BODY_MAX: usize = 4096;

/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a question is not answered.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    detail: String,
}

/// The body of a refusal (RFC 9457). Without a `type` the status says what kind it is.
#[derive(Serialize)]
struct Body9457<'a> {
    title: &'a str,
    status: u16,
    detail: &'a str,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, detail: impl AsRef<str>) -> Self {
        Self {
            status,
            detail: one_line(detail.as_ref(), DETAIL_MAX),
        }
    }

    fn invalid(detail: impl AsRef<str>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = Body9457 {
            title: self.status.canonical_reason().unwrap_or_default(),
            status: self.status.as_u16(),
            detail: &self.detail,
        };
        let body = serde_json::to_vec(&body).unwrap_or_default();
        let mut response = (self.status, [(CONTENT_TYPE, "application/problem+json")], body).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            let bearer = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(WWW_AUTHENTICATE, bearer);
        }
        response
    }
}

impl From<Denied<AdminRight>> for Refusal {
    fn from(denied: Denied<AdminRight>) -> Self {
        let status = match denied {
            Denied::Missing | Denied::Unknown => StatusCode::UNAUTHORIZED,
            Denied::Right(_) => StatusCode::FORBIDDEN,
        };
        Self::new(status, denied.to_string())
    }
}

/// Answers a path that there is not.
pub(super) async fn no_path(uri: Uri) -> Refusal {
    let detail = format!(
        "there is no {}; /admin/openapi.json describes what there is",
        uri.path()
    );
    Refusal::new(StatusCode::NOT_FOUND, detail)
}

/// Answers a method that a path does not have; the header `Allow` is added to it.
pub(super) async fn no_method() -> Refusal {
    let detail = "this path does not support this method; the header Allow lists those that it supports";
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, detail)
}

/// Answers with a value as JSON.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    let body = serde_json::to_vec(value).unwrap_or_default();
    (status, [(CONTENT_TYPE, "application/json")], body).into_response()
}

/// What stands behind the question mark.
pub(super) struct Asked<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequestParts<Admin> for Asked<T> {
    type Rejection = Refusal;

    async fn from_request_parts(head: &mut Parts, _: &Admin) -> Result<Self, Refusal> {
        let query = Query::try_from_uri(&head.uri).map_err(|error| Refusal::invalid(error.body_text()))?;
        Ok(Self(query.0))
    }
}

/// What stands in the path.
pub(super) struct Named<T>(pub(super) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Admin> for Named<T> {
    type Rejection = Refusal;

    async fn from_request_parts(head: &mut Parts, admin: &Admin) -> Result<Self, Refusal> {
        let path = Path::from_request_parts(head, admin).await;
        Ok(Self(path.map_err(|error| Refusal::invalid(error.body_text()))?.0))
    }
}

/// Reads a body in JSON.
pub(super) async fn read<T: DeserializeOwned>(body: Body) -> Result<T, Refusal> {
    read_up_to(body, BODY_MAX, BODY_TIMEOUT).await
}

/// Reads a body in JSON that has at most so many bytes, and arrives in this time.
pub(super) async fn read_up_to<T: DeserializeOwned>(body: Body, max: usize, within: Duration) -> Result<T, Refusal> {
    let read = tokio::time::timeout(within, to_bytes(body, max)).await;
    let bytes = match read {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(error)) => {
            let detail = format!("cannot read the body, which has at most {max} bytes: {error}");
            return Err(Refusal::invalid(detail));
        }
        Err(_) => return Err(Refusal::invalid(format!("the body did not arrive within {within:?}"))),
    };
    serde_json::from_slice(&bytes)
        .map_err(|error| Refusal::invalid(format!("the body is not what it should be: {error}")))
}
