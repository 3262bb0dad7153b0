//! Pulls one component.
//!
//! The manifest is asked for by its digest, and then its layer, and each is used only if its bytes have its digest. So a registry
//! can refuse to serve, and cannot choose what is served. What it could do beside that is bounded: lengths, waits, redirects, and
//! where credentials go.

use hyper::header::{HeaderValue, LOCATION};
use hyper::{Response, StatusCode, Uri, body::Incoming};
use tokio::time::timeout;

use crate::authorization::authorize;
use crate::config::OciConfig;
use crate::credentials::Credentials;
use crate::digest::Digest;
use crate::error::PullError;
use crate::manifest::{ACCEPT, MANIFEST_MAX, component};
use crate::reference::{Reference, is_loopback};
use crate::transport::{Question, Transport, host_of, roots};

/// How often a layer may be elsewhere.
const REDIRECTS_MAX: usize = 3;

/// Pulls components.
#[derive(Clone, Debug)]
pub struct Puller {
    config: OciConfig,
    credentials: Credentials,
}

/// A component with its manifest, both of which have their digests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    pub(crate) manifest: Vec<u8>,
    pub(crate) component: Vec<u8>,
}

impl Pulled {
    /// The length of the component, in bytes.
    pub fn bytes(&self) -> usize {
        self.component.len()
    }
}

/// One pull.
struct Pull<'a> {
    puller: &'a Puller,
    reference: &'a Reference,
    transport: Transport,
    authorization: Option<HeaderValue>,
}

impl Puller {
    /// Pulls like this.
    pub fn new(config: OciConfig) -> Self {
        Self {
            config,
            credentials: Credentials::default(),
        }
    }

    /// Says what is wrong with the authorities of the configuration.
    ///
    /// # Errors
    ///
    /// Which file cannot be used, and why.
    pub fn check_roots(config: &OciConfig) -> Result<(), String> {
        match &config.roots {
            Some(file) => roots(Some(file)).map(drop),
            None => Ok(()),
        }
    }

    /// Pulls a component of at most `max` bytes.
    ///
    /// # Errors
    ///
    /// See [`PullError`].
    pub async fn pull(&self, reference: &Reference, max: u64) -> Result<Pulled, PullError> {
        let pull = async {
            let config = self.config.clone();
            let transport = tokio::task::spawn_blocking(move || Transport::open(&config)).await;
            let mut pull = Pull {
                puller: self,
                reference,
                transport: transport.unwrap_or_else(|panic| Err(PullError::Tls(panic.to_string())))?,
                authorization: None,
            };
            pull.run(max).await
        };
        match timeout(self.config.timeout, pull).await {
            Ok(pulled) => pulled,
            Err(_) => Err(PullError::TakesLong(self.config.timeout)),
        }
    }
}

impl Pull<'_> {
    async fn run(&mut self, max: u64) -> Result<Pulled, PullError> {
        let manifest = self.manifest().await?;
        let layer = component(&manifest)?;
        if layer.bytes > max {
            return Err(PullError::TooLarge {
                bytes: layer.bytes,
                max,
            });
        }
        let component = self.layer(layer.digest, layer.bytes).await?;
        Ok(Pulled { manifest, component })
    }

    async fn manifest(&mut self) -> Result<Vec<u8>, PullError> {
        let digest = self.reference.digest();
        let url = self.url("manifests", digest)?;
        let question = Question {
            what: "manifest",
            url: &url,
            accept: ACCEPT,
        };
        let mut answer = self.transport.ask(&question, None, None).await?;
        if answer.status() == StatusCode::UNAUTHORIZED {
            let puller = self.puller;
            let of_host = (&puller.config, &puller.credentials);
            let authorization = authorize(&self.transport, of_host, self.reference, answer.headers()).await?;
            answer = self.transport.ask(&question, Some(&authorization), None).await?;
            self.authorization = Some(authorization);
        }
        if answer.status().is_redirection() {
            return Err(self.redirect(&question, "only layers may be elsewhere"));
        }
        self.check_status(&question, &answer)?;
        let manifest = self.transport.read(&question, answer, MANIFEST_MAX as u64).await?;
        check_digest(&question, digest, Digest::of(&manifest))?;
        Ok(manifest)
    }

    async fn layer(&self, digest: Digest, bytes: u64) -> Result<Vec<u8>, PullError> {
        let registry = self.url("blobs", digest)?;
        let mut url = registry.clone();
        let mut redirects = 0;
        loop {
            let question = Question {
                what: "component",
                url: &url,
                accept: "application/octet-stream, */*",
            };
            // Keeps P7: who is not the registry does not see what the registry wants to see.
            let authorization = self.authorization.as_ref().filter(|_| is_same_origin(&registry, &url));
            let answer = self.transport.ask(&question, authorization, None).await?;
            if answer.status().is_redirection() {
                let to = match redirects {
                    REDIRECTS_MAX => Err("it was redirected three times already"),
                    _ => target(&url, answer.headers().get(LOCATION)),
                };
                url = to.map_err(|problem| self.redirect(&question, problem))?;
                redirects += 1;
                continue;
            }
            self.check_status(&question, &answer)?;
            let component = self.read_component(&question, answer, bytes).await?;
            // It may be long, and others are waiting for this thread.
            let hashed = tokio::task::spawn_blocking(move || (Digest::of(&component), component)).await;
            let (found, component) = hashed.map_err(|panic| PullError::Cut {
                what: question.what,
                host: host_of(question.url),
                cause: panic.to_string(),
            })?;
            check_digest(&question, digest, found)?;
            return Ok(component);
        }
    }

    /// Reads a component that has so many bytes.
    async fn read_component(
        &self,
        question: &Question<'_>,
        answer: Response<Incoming>,
        bytes: u64,
    ) -> Result<Vec<u8>, PullError> {
        let length = |found| PullError::Length {
            host: host_of(question.url),
            expected: bytes,
            found,
        };
        match self.transport.read(question, answer, bytes).await {
            Err(PullError::TooLong { .. }) => Err(length("more")),
            Ok(component) if component.len() as u64 != bytes => Err(length("fewer")),
            read => read,
        }
    }

    /// The address of something in the repository.
    fn url(&self, kind: &str, digest: Digest) -> Result<Uri, PullError> {
        let (registry, repository) = (self.reference.registry(), self.reference.repository());
        let url = format!("{}/v2/{repository}/{kind}/{digest}", registry.origin());
        url.parse()
            .map_err(|error: hyper::http::uri::InvalidUri| PullError::Unreached {
                host: registry.to_string(),
                cause: error.to_string(),
            })
    }

    fn redirect(&self, question: &Question<'_>, problem: &'static str) -> PullError {
        PullError::Redirect {
            what: question.what,
            host: host_of(question.url),
            problem,
        }
    }

    fn check_status(&self, question: &Question<'_>, answer: &Response<Incoming>) -> Result<(), PullError> {
        let (what, host) = (question.what, host_of(question.url));
        let config = || self.puller.config.docker_config.clone();
        match answer.status() {
            StatusCode::OK => Ok(()),
            StatusCode::NOT_FOUND => Err(PullError::NotThere { what, host }),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(PullError::Denied { host, config: config() }),
            status => Err(PullError::Status {
                what,
                host,
                status: status.as_u16(),
            }),
        }
    }
}

fn check_digest(question: &Question<'_>, expected: Digest, found: Digest) -> Result<(), PullError> {
    if found == expected {
        return Ok(());
    }
    Err(PullError::Digest {
        what: question.what,
        host: host_of(question.url),
        expected,
        found,
    })
}

/// Where a redirect leads, if it may be followed.
// Keeps P7: what began over TLS goes on over TLS, and no other machine leads to a service of this one that has no TLS.
fn target(from: &Uri, location: Option<&HeaderValue>) -> Result<Uri, &'static str> {
    let location = location.ok_or("it does not say where to")?;
    let location = location.to_str().map_err(|_| "where it leads to is no address")?;
    let location = location.split('#').next().unwrap_or_default();
    let to = match location.starts_with('/') && !location.starts_with("//") {
        true => format!("{}://{}{location}", from.scheme_str().unwrap_or("https"), host_of(from)),
        false => location.to_owned(),
    };
    let to: Uri = to.parse().map_err(|_| "where it leads to is no address")?;
    let authority = to.authority().ok_or("where it leads to is no address")?;
    if authority.as_str().contains('@') {
        return Err("where it leads to has a user in it");
    }
    match (from.scheme_str(), to.scheme_str()) {
        (_, Some("https")) => Ok(to),
        (Some("http"), Some("http")) if is_loopback(authority.host()) => Ok(to),
        _ => Err("where it leads to is not https"),
    }
}

fn is_same_origin(one: &Uri, other: &Uri) -> bool {
    one.scheme() == other.scheme() && one.authority() == other.authority()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leads(from: &str, to: &str) -> Result<String, &'static str> {
        let to = HeaderValue::from_str(to).unwrap();
        target(&from.parse().unwrap(), Some(&to)).map(|uri| uri.to_string())
    }

    // Shows P7: what began over TLS goes on over TLS.
    #[test]
    fn a_redirect_leads_to_tls_or_stays_on_this_machine() {
        let (far, near) = ("https://ghcr.io/v2/a/blobs/x", "http://127.0.0.1:5000/v2/a/blobs/x");
        for (from, to, expect) in [
            (far, "https://cdn.example/x?sig=y#z", "https://cdn.example/x?sig=y"),
            (far, "/elsewhere", "https://ghcr.io/elsewhere"),
            (near, "/elsewhere", "http://127.0.0.1:5000/elsewhere"),
            (near, "http://localhost:1/x", "http://localhost:1/x"),
            (near, "https://cdn.example/x", "https://cdn.example/x"),
        ] {
            assert_eq!(leads(from, to).as_deref(), Ok(expect), "{to}");
        }
        for (from, to) in [
            (far, "http://cdn.example/x"),
            (far, "http://127.0.0.1:8081/tenants"),
            (near, "http://10.0.0.1/x"),
            (far, "https://user:password@cdn.example/x"),
            (far, "//cdn.example/x"),
            (far, "file:///etc/passwd"),
            (far, "x"),
            (far, ""),
        ] {
            assert!(leads(from, to).is_err(), "{to}: {:?}", leads(from, to));
        }
        assert!(target(&far.parse().unwrap(), None).is_err());
    }

    #[test]
    fn an_origin_is_scheme_name_and_port() {
        let same = |other: &str| is_same_origin(&"https://a:1/x".parse().unwrap(), &other.parse().unwrap());
        assert!(same("https://A:1/y"));
        assert!(!same("https://a/x") && !same("http://a:1/x") && !same("https://b:1/x"));
    }
}
