//! Who may use the admin listener, and for what.
//!
//! Keeps P7: whoever is not known, or has not the right, is refused before anything else is looked at; a route whose method
//! nobody has thought of needs the right to change things. Who is refused is counted, and the log says where from ([`Logins`]).

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use parking_lot::RwLock;

use super::answer::Refusal;
use super::host::Admin;
use crate::config::AdminConfig;
use crate::http::connections::{Certified, PeerAddress};
use crate::logins::{Logins, NotLetIn};
use crate::tokens::right::AdminRight;
use crate::tokens::{Denied, Rights, Tokens};

/// Who is logged as having done something where no token is asked for.
const ANYBODY: &str = "anybody (no admin.tokens)";

/// What is said to who shows none where there are no tokens.
const SHOW_ONE: &str = "the admin listener asks for a client certificate of an authority in admin.tls_client_roots";

/// Who may use the listener, and for what.
#[derive(Debug)]
pub struct Operators {
    tokens: RwLock<Arc<Tokens<AdminRight>>>,
    /// What operators may do who show certificates instead; none: they cannot.
    certificates: Option<Rights<AdminRight>>,
}

/// Who asks.
#[derive(Clone, Debug)]
pub(super) struct Operator {
    /// The name of the token, or of whoever shows a certificate, for the log.
    pub(super) name: Arc<str>,
    shows: Shows,
    rights: Rights<AdminRight>,
    address: Option<IpAddr>,
}

/// By what an operator is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shows {
    Nothing,
    Token,
    Certificate,
}

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

impl Operators {
    /// Those that the configuration names.
    pub fn new(admin: &AdminConfig) -> Self {
        Self {
            tokens: RwLock::new(Arc::new(admin.tokens.tokens.clone())),
            certificates: admin.certificates(),
        }
    }

    /// Knows these tokens from now on, and no others.
    // Keeps P7: a token that was taken out of the file is refused in the next request, also on connections that are open.
    pub fn replace(&self, tokens: Tokens<AdminRight>) {
        *self.tokens.write() = Arc::new(tokens);
    }

    /// Tells who sends a request, by its head alone.
    fn find(&self, head: &Parts) -> Result<Operator, (NotLetIn, Refusal)> {
        let tokens = Arc::clone(&self.tokens.read());
        let with = |shows, name: &Arc<str>, rights: Rights<AdminRight>| Operator {
            name: Arc::clone(name),
            shows,
            rights,
            address: address(head),
        };
        let certified = head.extensions.get::<Certified>();
        if let (Some(certified), Some(rights)) = (certified.filter(|certified| certified.counts()), self.certificates) {
            return Ok(with(Shows::Certificate, &certified.name, rights));
        }
        let nothing = match certified {
            // Its authority is no more among those of the listener.
            Some(_) => NotLetIn::UnknownCertificate,
            None => NotLetIn::NothingShown,
        };
        match tokens.find(&head.headers) {
            Ok(Some(token)) => Ok(with(Shows::Token, &token.name, token.rights)),
            Ok(None) if self.certificates.is_some() => Err((nothing, Refusal::new(StatusCode::UNAUTHORIZED, SHOW_ONE))),
            Ok(None) => Ok(with(Shows::Nothing, &ANYBODY.into(), Rights::all())),
            Err(Denied::Missing) => Err((nothing, Denied::Missing.into())),
            Err(denied) => Err((NotLetIn::UnknownToken, denied.into())),
        }
    }
}

/// Where a request comes from.
fn address(head: &Parts) -> Option<IpAddr> {
    head.extensions
        .get::<PeerAddress>()
        .map(|PeerAddress(address)| *address)
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
        Err((why, refusal)) => {
            admin.logins.refuse(why, address(&head));
            Err(refusal)
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
