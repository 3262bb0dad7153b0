//! Keeps other sites from using the admin listener through the browser of somebody who can reach it.
//!
//! A listener on loopback is out of reach for strangers, but not for a page that an operator has open in another tab. Two ways
//! lead from there to here, and each is closed:
//!
//! - a page can *send* a request anywhere. What changes something is refused where the browser says that another site asks for it
//!   (`Sec-Fetch-Site`; of an older browser, or over plain HTTP beyond loopback, `Origin`). Programs that are no browsers send
//!   neither, and are not concerned;
//! - a page can *read* answers from an address that its own name leads to: its server lets the name point here for a moment ("DNS
//!   rebinding"). Then `Host` has that name. So a host is asked by its address, as `localhost`, or by a name in `admin.hosts`. With
//!   TLS any name will do: a browser has found it in the certificate, and strangers have none for theirs.
//!
//! Probes and scrapers ask by whatever name their configuration has, so `/healthz`, `/readyz` and `/metrics` take any.

use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{HOST, ORIGIN, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::text::quoted;

/// What may be asked by any name.
const BY_ANY_NAME: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// Longest part of a name that an answer repeats, in bytes.
const NAME_SHOWN: usize = 100;

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// The name of a host, without a port, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostName(String);

/// The text is no name of a host.
#[derive(Debug, thiserror::Error)]
#[error("the name of a host has letters, digits, `-` and `.`, and neither scheme nor port, as in host-3.example.net")]
pub struct InvalidHostName;

impl FromStr for HostName {
    type Err = InvalidHostName;

    fn from_str(text: &str) -> Result<Self, InvalidHostName> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
        let valid = (1..=253).contains(&text.len()) && text.bytes().all(allowed);
        valid.then(|| Self(text.to_ascii_lowercase())).ok_or(InvalidHostName)
    }
}

impl std::fmt::Display for HostName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// The names by which the listener may be asked, beside its address and `localhost`.
#[derive(Clone, Debug)]
pub enum Names {
    /// Any: whoever asks has seen that the name is in the certificate.
    Any,
    /// These.
    These(Arc<[HostName]>),
}

/// Why a request is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Refused {
    #[error("this listener is not known as {0}: ask it by its address, or add the name to admin.hosts")]
    Name(String),
    #[error("a page of another site asks for this: open the page of this listener")]
    OtherSite,
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = match self {
            Self::Name(_) => StatusCode::MISDIRECTED_REQUEST,
            Self::OtherSite => StatusCode::FORBIDDEN,
        };
        (status, format!("{self}\n")).into_response()
    }
}

/// Refuses what another site asks for, and marks every answer as one that other sites may not use.
pub async fn check(State(names): State<Names>, request: Request, next: Next) -> Response {
    let mut response = match judge(&names, &request) {
        Ok(()) => next.run(request).await,
        Err(refused) => refused.into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
    response
}

fn judge(names: &Names, request: &Request) -> Result<(), Refused> {
    let headers = request.headers();
    let in_target = request.uri().authority().map(|authority| authority.as_str());
    let Some(authority) = in_target.or_else(|| text(headers, &HOST)) else {
        // Every browser says whom it asks.
        return Ok(());
    };
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if !(is_read && BY_ANY_NAME.contains(&request.uri().path()) || is_known(names, authority)) {
        return Err(Refused::Name(quoted(authority, NAME_SHOWN)));
    }
    if is_read || is_same_site(headers, authority) {
        Ok(())
    } else {
        Err(Refused::OtherSite)
    }
}

/// Whether a name can be nobody else's: an address, this machine, or what the operator has said.
fn is_known(names: &Names, authority: &str) -> bool {
    let Names::These(hosts) = names else {
        return true;
    };
    if let Some(rest) = authority.strip_prefix('[') {
        return rest
            .split_once(']')
            .is_some_and(|(address, _)| address.parse::<Ipv6Addr>().is_ok());
    }
    let name = authority.split_once(':').map_or(authority, |(name, _)| name);
    let name = name.to_ascii_lowercase();
    name.parse::<IpAddr>().is_ok()
        || name == "localhost"
        || name.ends_with(".localhost")
        || hosts.iter().any(|host| host.0 == name)
}

fn is_same_site(headers: &HeaderMap, authority: &str) -> bool {
    if headers.contains_key(&FETCH_SITE) {
        return matches!(text(headers, &FETCH_SITE), Some("same-origin" | "none"));
    }
    if !headers.contains_key(&ORIGIN) {
        return true;
    }
    let origin = text(headers, &ORIGIN).and_then(|origin| origin.split_once("://"));
    origin.is_some_and(|(_, origin)| origin.eq_ignore_ascii_case(authority))
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn judged(method: &str, path: &str, headers: &[(&str, &str)]) -> Result<(), Refused> {
        judged_with(
            &Names::These(Arc::from(["host-3.example.net".parse::<HostName>().unwrap()])),
            method,
            path,
            headers,
        )
    }

    fn judged_with(names: &Names, method: &str, path: &str, headers: &[(&str, &str)]) -> Result<(), Refused> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        judge(names, &request.body(Body::empty()).unwrap())
    }

    #[test]
    fn a_listener_is_asked_by_its_address_or_a_name_that_is_its_own() {
        for host in [
            "127.0.0.1:8081",
            "10.0.0.5",
            "[::1]:8081",
            "localhost:1",
            "LOCALHOST",
            "a.localhost",
            "Host-3.example.net:8081",
        ] {
            assert_eq!(judged("GET", "/overview", &[("host", host)]), Ok(()), "{host}");
        }
        assert_eq!(judged("GET", "/overview", &[]), Ok(()));
    }

    #[test]
    fn a_name_that_a_stranger_lets_point_here_is_refused() {
        for host in [
            "evil.example",
            "127.0.0.1.evil.example",
            "localhost.evil.example:8081",
            "[evil]:1",
            "notlocalhost",
            "host-3.example.net.evil",
            "",
        ] {
            let refused = judged("GET", "/overview", &[("host", host)]);
            assert!(matches!(refused, Err(Refused::Name(_))), "{host}: {refused:?}");
            let refused = judged("DELETE", "/locks/1", &[("host", host)]);
            assert!(matches!(refused, Err(Refused::Name(_))), "{host}: {refused:?}");
        }
        // A request in absolute form, as HTTP/2 has it too, counts by its target.
        let refused = judged("GET", "http://evil.example/overview", &[("host", "127.0.0.1")]);
        assert!(matches!(refused, Err(Refused::Name(_))), "{refused:?}");
        for path in BY_ANY_NAME {
            assert_eq!(judged("GET", path, &[("host", "evil.example")]), Ok(()));
            assert!(judged("POST", path, &[("host", "evil.example")]).is_err());
        }
    }

    #[test]
    fn with_a_certificate_any_name_will_do_and_other_sites_are_refused_all_the_same() {
        let asked = ("host", "host-9.example.net");
        assert_eq!(judged_with(&Names::Any, "GET", "/overview", &[asked]), Ok(()));
        let foreign = [asked, ("origin", "https://evil.example")];
        let refused = judged_with(&Names::Any, "DELETE", "/locks/1", &foreign);
        assert_eq!(refused, Err(Refused::OtherSite));
    }

    #[test]
    fn what_changes_something_is_refused_to_another_site() {
        let of = |headers: &[(&str, &str)]| {
            let host = ("host", "127.0.0.1:8081");
            judged("DELETE", "/locks/1", &[&[host], headers].concat())
        };
        let own = ("origin", "http://127.0.0.1:8081");
        for headers in [
            &[][..],
            &[own],
            &[("sec-fetch-site", "same-origin"), own],
            &[("sec-fetch-site", "none")],
        ] {
            assert_eq!(of(headers), Ok(()), "{headers:?}");
        }
        for headers in [
            &[("origin", "http://127.0.0.1:9999")][..],
            &[("origin", "https://evil.example")],
            &[("origin", "null")],
            &[("origin", "")],
            &[("sec-fetch-site", "cross-site"), own],
            // Another port of this machine.
            &[("sec-fetch-site", "same-site"), own],
            &[("sec-fetch-site", "ä")],
        ] {
            assert_eq!(of(headers), Err(Refused::OtherSite), "{headers:?}");
        }
    }

    #[test]
    fn a_name_of_a_host_has_neither_scheme_nor_port() {
        for wrong in ["", "http://a", "a:1", "a b", "ä"] {
            assert!(wrong.parse::<HostName>().is_err(), "{wrong}");
        }
        assert_eq!("A.b-c".parse::<HostName>().unwrap().to_string(), "a.b-c");
    }
}
