//! Who may use the admin listener, and for what.
//!
//! Keeps P7: whoever is not known, or has not the right, is refused before anything else is looked at; a route whose method
//! nobody has thought of needs the right to change things. Who is refused is counted, and the log says where from ([`Logins`]).

use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::answer::Refusal;
use super::host::Admin;
pub(super) use super::operators::Operator;
use super::operators::{self, Shows, Stranger};
use crate::logins::{Logins, NotLetIn};
use crate::tokens::right::AdminRight;

/// What is said to who shows none where there are no tokens.
const SHOW_ONE: &str = "the admin listener asks for a client certificate of an authority in admin.tls_client_roots";

impl Operator {
    /// Checks that he may do this.
    pub(super) fn check(&self, right: AdminRight, logins: &Logins) -> Result<(), Refusal> {
        self.rights.check(right).map_err(|denied| {
            logins.refuse(NotLetIn::MissingRight, self.address);
            match self.shows {
                Shows::Certificate => {
                    let detail = format!("admin.tls_client_rights gives certificates no right to {right}");
                    Refusal::new(StatusCode::FORBIDDEN, detail)
                }
                Shows::Token | Shows::Nothing => denied.into(),
            }
        })
    }
}

impl From<Stranger> for Refusal {
    fn from(stranger: Stranger) -> Self {
        match stranger {
            Stranger::NoCertificate => Self::new(StatusCode::UNAUTHORIZED, SHOW_ONE),
            Stranger::NoToken(denied) => denied.into(),
        }
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
    let operator = match admin.operators.find(&head) {
        Ok(operator) => operator.check(needed(&head.method), &admin.logins).map(|()| operator),
        Err((why, stranger)) => {
            admin.logins.refuse(why, operators::address(&head));
            Err(stranger.into())
        }
    };
    match operator {
        Ok(operator) => {
            head.extensions.insert(operator);
            next.run(Request::from_parts(head, body)).await
        }
        Err(refusal) => refusal.into_response(),
    }
}
