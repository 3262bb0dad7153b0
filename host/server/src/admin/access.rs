//! Who may use the admin listener, and for what.
//!
//! Keeps P7: whoever is not known, or has not the right, is refused before anything else is looked at; a route whose method
//! nobody has thought of needs the right to change things.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::answer::Refusal;
use super::host::Admin;
use crate::http::connections::Certified;
use crate::tokens::right::AdminRight;
use crate::tokens::{Denied, Rights, Tokens};

/// Who is logged as having done something where no token is asked for.
const ANYBODY: &str = "anybody (no admin.tokens)";

/// Who is logged where a certificate was shown.
const CERTIFIED: &str = "whoever shows a client certificate";

/// What is said to who shows none where there are no tokens.
const SHOW_ONE: &str = "the admin listener asks for a client certificate of an authority in admin.tls_client_roots";

/// Who asks.
#[derive(Clone, Debug)]
pub(super) struct Operator {
    /// The name of the token, for the log.
    pub(super) name: Arc<str>,
    rights: Rights<AdminRight>,
}

impl Operator {
    /// Whether he may do this.
    pub(super) fn check(&self, right: AdminRight) -> Result<(), Refusal> {
        Ok(self.rights.check(right)?)
    }
}

/// Tells who sends a request, by its head alone; `certificates` says whether operators can show those instead of tokens.
fn operator(tokens: &Tokens<AdminRight>, certificates: bool, head: &Parts) -> Result<Operator, Denied<AdminRight>> {
    let with_all = |name: &str| Operator {
        name: name.into(),
        rights: Rights::all(),
    };
    if head.extensions.get::<Certified>().is_some_and(Certified::counts) {
        return Ok(with_all(CERTIFIED));
    }
    match tokens.find(&head.headers)? {
        Some(token) => Ok(Operator {
            name: Arc::clone(&token.name),
            rights: token.rights,
        }),
        None if certificates => Err(Denied::Missing),
        None => Ok(with_all(ANYBODY)),
    }
}

/// The right that a request needs whatever it asks for.
fn needed(method: &Method) -> AdminRight {
    match *method {
        Method::GET | Method::HEAD => AdminRight::Read,
        _ => AdminRight::Write,
    }
}

/// Lets a request through whose sender has the right, and leaves the [`Operator`] with it.
pub(super) async fn guard(State(admin): State<Admin>, request: Request, next: Next) -> Response {
    let (mut head, body) = request.into_parts();
    let only_certificates = admin.certificates && admin.tokens.is_open();
    let operator = operator(&admin.tokens, admin.certificates, &head)
        .map_err(|denied| {
            if only_certificates {
                return Refusal::new(StatusCode::UNAUTHORIZED, SHOW_ONE);
            }
            Refusal::from(denied)
        })
        .and_then(|operator| operator.check(needed(&head.method)).map(|()| operator));
    match operator {
        Ok(operator) => {
            head.extensions.insert(operator);
            next.run(Request::from_parts(head, body)).await
        }
        Err(refusal) => refusal.into_response(),
    }
}
