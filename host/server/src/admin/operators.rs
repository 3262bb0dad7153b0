//! Who is known at the admin listener: by a token, or by a certificate.

use std::net::IpAddr;
use std::sync::Arc;

use axum::http::request::Parts;
use parking_lot::RwLock;

use crate::config::AdminConfig;
use crate::http::connections::{Certified, PeerAddress};
use crate::logins::NotLetIn;
use crate::tokens::right::AdminRight;
use crate::tokens::{Denied, Rights, Tokens};

/// Who is logged as having done something where no token is asked for.
const ANYBODY: &str = "anybody (no admin.tokens)";

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
    pub(super) shows: Shows,
    pub(super) rights: Rights<AdminRight>,
    pub(super) address: Option<IpAddr>,
}

/// By what an operator is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shows {
    Nothing,
    Token,
    Certificate,
}

/// Who is not known, and what he should have shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stranger {
    /// There are no tokens, but certificates.
    NoCertificate,
    /// There are tokens.
    NoToken(Denied<AdminRight>),
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
    pub(super) fn find(&self, head: &Parts) -> Result<Operator, (NotLetIn, Stranger)> {
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
            Ok(None) if self.certificates.is_some() => Err((nothing, Stranger::NoCertificate)),
            Ok(None) => Ok(with(Shows::Nothing, &ANYBODY.into(), Rights::all())),
            Err(Denied::Missing) => Err((nothing, Stranger::NoToken(Denied::Missing))),
            Err(denied) => Err((NotLetIn::UnknownToken, Stranger::NoToken(denied))),
        }
    }
}

/// Where a request comes from.
pub(super) fn address(head: &Parts) -> Option<IpAddr> {
    head.extensions
        .get::<PeerAddress>()
        .map(|PeerAddress(address)| *address)
}
