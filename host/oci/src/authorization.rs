//! Gets what a registry wants to see with a request: a token of its token server, or a user with a password.
//!
//! A registry answers 401 with a challenge ("Token Authentication Specification" of the distribution project). `Bearer` says where
//! tokens are had, and the credentials for the registry are sent there, because that is what they are for. So a registry decides
//! who sees them, but not that they are sent in the clear: the token server is asked over TLS, or is on this machine as its
//! registry is. Nobody but the registry itself can ask for credentials: where it redirects to cannot.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use hyper::{StatusCode, Uri};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use crate::config::OciConfig;
use crate::credentials::{Credential, Credentials};
use crate::error::PullError;
use crate::reference::{Reference, Registry, is_loopback};
use crate::transport::{Question, Transport, host_of};

/// Longest answer of a token server, in bytes.
const TOKEN_ANSWER_MAX: u64 = 64 << 10;

/// What a registry wants.
#[derive(Debug, PartialEq, Eq)]
enum Challenge {
    Basic,
    Bearer { realm: Uri, service: Option<String> },
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
}

/// Answers the challenge in the head of a 401.
pub(crate) async fn authorize(
    transport: &Transport,
    (config, credentials): (&OciConfig, &Credentials),
    reference: &Reference,
    head: &HeaderMap,
) -> Result<HeaderValue, PullError> {
    let registry = reference.registry();
    let refused = |problem| PullError::Challenge {
        host: registry.to_string(),
        problem,
    };
    let challenge = challenge(head, registry).map_err(refused)?;
    let found = credentials.find(config, &registry.in_docker_config()).await?;
    match (challenge, found) {
        (Challenge::Basic, Some(Credential::Password(user, password))) => {
            basic(&user, &password).ok_or_else(|| refused("the credentials cannot be sent"))
        }
        (Challenge::Basic, Some(Credential::Identity(_))) => Err(refused("it takes no identity token")),
        (Challenge::Basic, None) => Err(PullError::NoCredentials {
            host: registry.to_string(),
            config: config.docker_config.clone(),
        }),
        (Challenge::Bearer { realm, service }, found) => {
            let has_credentials = found.is_some();
            let answer = token(transport, reference, (&realm, service.as_deref()), found).await?;
            match answer {
                Some(token) => Ok(token),
                None if has_credentials => Err(PullError::Denied {
                    host: host_of(&realm),
                    config: config.docker_config.clone(),
                }),
                None => Err(PullError::NoCredentials {
                    host: registry.to_string(),
                    config: config.docker_config.clone(),
                }),
            }
        }
    }
}

/// Gets a token; none: it is not given with these credentials.
async fn token(
    transport: &Transport,
    reference: &Reference,
    (realm, service): (&Uri, Option<&str>),
    credential: Option<Credential>,
) -> Result<Option<HeaderValue>, PullError> {
    let refused = |problem| PullError::Challenge {
        host: reference.registry().to_string(),
        problem,
    };
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let mut query = format!(
        "scope={}",
        encoded(&format!("repository:{}:pull", reference.repository()))
    );
    if let Some(service) = service {
        query.push_str(&format!("&service={}", encoded(service)));
    }
    let (url, authorization, form) = match credential {
        Some(Credential::Identity(token)) => {
            let form = format!(
                "grant_type=refresh_token&client_id=namelock&{query}&refresh_token={}",
                encoded(&token)
            );
            (realm.clone(), None, Some(form))
        }
        other => {
            let authorization = match other {
                Some(Credential::Password(user, password)) => {
                    Some(basic(&user, &password).ok_or_else(|| refused("the credentials cannot be sent"))?)
                }
                _ => None,
            };
            let separator = if realm.query().is_some() { '&' } else { '?' };
            let url = format!("{realm}{separator}{query}").parse();
            (
                url.map_err(|_| refused("its realm is no address"))?,
                authorization,
                None,
            )
        }
    };
    let question = Question {
        what: "token",
        url: &url,
        accept: "application/json",
    };
    let answer = transport.ask(&question, authorization.as_ref(), form).await?;
    match answer.status() {
        StatusCode::OK => {}
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST => return Ok(None),
        status => {
            return Err(PullError::Status {
                what: question.what,
                host: host_of(&url),
                status: status.as_u16(),
            });
        }
    }
    let answer = transport.read(&question, answer, TOKEN_ANSWER_MAX).await?;
    let answer: TokenAnswer =
        serde_json::from_slice(&answer).map_err(|_| refused("its token server answers with no token"))?;
    let token = answer.token.or(answer.access_token).filter(|token| !token.is_empty());
    let token = token.ok_or_else(|| refused("its token server answers with no token"))?;
    let header = secret(&format!("Bearer {token}"));
    header
        .map(Some)
        .ok_or_else(|| refused("its token server answers with a token that cannot be sent"))
}

fn basic(user: &str, password: &str) -> Option<HeaderValue> {
    secret(&format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
}

/// A value that no debug output shows.
fn secret(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Reads the challenge of a registry: that for a token, if there are several.
fn challenge(head: &HeaderMap, registry: &Registry) -> Result<Challenge, &'static str> {
    let (mut bearer, mut basic) = (None, false);
    for value in head.get_all(WWW_AUTHENTICATE) {
        let text = value.to_str().map_err(|_| "its challenge is no text")?;
        for challenge in http_auth::parse_challenges(text).map_err(|_| "its challenge cannot be read")? {
            if challenge.scheme.eq_ignore_ascii_case("basic") {
                basic = true;
            } else if challenge.scheme.eq_ignore_ascii_case("bearer") && bearer.is_none() {
                let value = |key: &str| {
                    let mut all = challenge.params.iter();
                    let (_, value) = all.find(|(name, _)| name.eq_ignore_ascii_case(key))?;
                    Some(value.to_unescaped())
                };
                bearer = Some((value("realm").unwrap_or_default(), value("service")));
            }
        }
    }
    match (bearer, basic) {
        (Some((realm, service)), _) => Ok(Challenge::Bearer {
            realm: checked_realm(&realm, registry)?,
            service,
        }),
        (None, true) => Ok(Challenge::Basic),
        (None, false) => Err("it asks neither for a token nor for a password"),
    }
}

// Keeps P7: credentials are sent over TLS, or stay on this machine.
fn checked_realm(realm: &str, registry: &Registry) -> Result<Uri, &'static str> {
    let realm: Uri = realm.parse().map_err(|_| "its realm is no address")?;
    let authority = realm.authority().ok_or("its realm is no address")?;
    if authority.as_str().contains('@') {
        return Err("its realm has a user in it");
    }
    match realm.scheme_str() {
        Some("https") => Ok(realm),
        Some("http") if registry.is_loopback() && is_loopback(authority.host()) => Ok(realm),
        _ => Err("its realm is not https"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(registry: &str, values: &[&str]) -> Result<Challenge, &'static str> {
        let mut head = HeaderMap::new();
        for value in values {
            head.append(WWW_AUTHENTICATE, value.parse().unwrap());
        }
        challenge(&head, &registry.parse().unwrap())
    }

    #[test]
    fn a_challenge_says_how_to_ask() {
        let bearer = |realm: &str, service: Option<&str>| {
            Ok(Challenge::Bearer {
                realm: realm.parse().unwrap(),
                service: service.map(str::to_owned),
            })
        };
        let hub =
            r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:x:pull""#;
        assert_eq!(
            read("docker.io", &[hub]),
            bearer("https://auth.docker.io/token", Some("registry.docker.io"))
        );
        assert_eq!(read("ghcr.io", &[r#"basic realm="x""#]), Ok(Challenge::Basic));
        let both = [r#"Basic realm="x""#, r#"bearer realm="https://a/t""#];
        assert_eq!(read("ghcr.io", &both), bearer("https://a/t", None));
        assert_eq!(
            read("127.0.0.1:5000", &[r#"Bearer realm="http://[::1]:1/t""#]),
            bearer("http://[::1]:1/t", None)
        );
    }

    // Shows P7: a registry cannot have credentials sent in the clear, or to a service of this machine.
    #[test]
    fn a_strange_challenge_is_refused() {
        for realm in [
            "http://auth.example/token",
            "http://127.0.0.1:8081/",
            "ftp://auth.example",
            "https://user:password@auth.example/",
            "/token",
            "auth.example",
            "",
            "https://",
        ] {
            let refused = read("ghcr.io", &[&format!("Bearer realm=\"{realm}\"")]);
            assert!(refused.is_err(), "{realm}: {refused:?}");
        }
        assert!(read("127.0.0.1:5000", &[r#"Bearer realm="http://10.0.0.1/""#]).is_err());
        for value in ["Bearer", "Digest realm=\"x\"", "=,=", "Bearer realm=\"https://a"] {
            assert!(read("ghcr.io", &[value]).is_err(), "{value}");
        }
        assert!(read("ghcr.io", &[]).is_err());
    }

    #[test]
    fn a_secret_is_not_shown() {
        let header = basic("ann", "secret").unwrap();
        assert_eq!(format!("{header:?}"), "Sensitive");
        assert!(secret("Bearer a\r\nhost: b").is_none());
    }
}
