//! Asks over HTTP, and reads bounded answers.
//!
//! Whoever answers may be hostile: every wait has a limit, a head is at most 64 KiB, and a body is read up to a limit that its
//! reader says. Nothing is followed here, and no answer is unpacked: what comes is compared with a digest as it came.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{ACCEPT_ENCODING, CONTENT_TYPE, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Response, Uri, header};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use namelock_types::error_chain;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::time::timeout;

use crate::config::OciConfig;
use crate::error::PullError;

/// Longest head of an answer, in bytes.
const HEAD_MAX: usize = 64 << 10;

/// Most lines of a head.
const HEADERS_MAX: usize = 100;

/// Longest cause that is shown, in bytes.
const CAUSE_MAX: usize = 300;

/// What asks, for one pull: the next one reads the roots again, so authorities that are replaced need no restart.
#[derive(Debug)]
pub(crate) struct Transport {
    http: HttpClient<HttpsConnector<HttpConnector>, Full<Bytes>>,
    has_roots: bool,
    head_timeout: Duration,
    read_timeout: Duration,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question<'a> {
    /// What it is, for messages.
    pub(crate) what: &'static str,
    pub(crate) url: &'a Uri,
    pub(crate) accept: &'static str,
}

impl Transport {
    /// Reads the roots, which blocks for a moment.
    pub(crate) fn open(config: &OciConfig) -> Result<Self, PullError> {
        let roots = roots(config.roots.as_deref()).map_err(PullError::Tls)?;
        let has_roots = !roots.is_empty();
        let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| PullError::Tls(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(config.connect_timeout));
        tcp.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let mut http = HttpClient::builder(TokioExecutor::new());
        http.pool_max_idle_per_host(1)
            .http1_max_buf_size(HEAD_MAX)
            .http1_max_headers(HEADERS_MAX);
        Ok(Self {
            http: http.build(connector),
            has_roots,
            head_timeout: config.connect_timeout + config.read_timeout,
            read_timeout: config.read_timeout,
        })
    }

    /// Asks, with this authorization and this form if there are such, and returns the head of the answer.
    pub(crate) async fn ask(
        &self,
        question: &Question<'_>,
        authorization: Option<&HeaderValue>,
        form: Option<String>,
    ) -> Result<Response<Incoming>, PullError> {
        let host = host_of(question.url);
        if question.url.scheme_str() == Some("https") && !self.has_roots {
            return Err(PullError::NoRoots);
        }
        let unreached = |cause: &dyn Error| PullError::Unreached {
            host: host.clone(),
            cause: shown(cause),
        };
        let mut request = Request::builder()
            .uri(question.url)
            .header(header::ACCEPT, question.accept)
            .header(ACCEPT_ENCODING, "identity")
            .header(USER_AGENT, concat!("namelock/", env!("CARGO_PKG_VERSION")));
        if let Some(authorization) = authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let request = match form {
            Some(form) => request
                .method(Method::POST)
                .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(Full::from(form)),
            None => request.body(Full::default()),
        };
        let request = request.map_err(|error| unreached(&error))?;
        match timeout(self.head_timeout, self.http.request(request)).await {
            Ok(answer) => answer.map_err(|error| unreached(&error)),
            Err(_) => Err(PullError::Silent {
                host,
                within: self.head_timeout,
            }),
        }
    }

    /// Reads a body of at most `max` bytes.
    pub(crate) async fn read(
        &self,
        question: &Question<'_>,
        answer: Response<Incoming>,
        max: u64,
    ) -> Result<Vec<u8>, PullError> {
        let (what, mut body) = (question.what, answer.into_body());
        let too_long = || PullError::TooLong { what, max };
        let said = body.size_hint();
        if said.lower() > max {
            return Err(too_long());
        }
        // Allocated at once where the length is said, which is within the limit.
        let mut bytes = Vec::with_capacity(usize::try_from(said.exact().unwrap_or(0)).unwrap_or(0));
        loop {
            let Ok(next) = timeout(self.read_timeout, body.frame()).await else {
                return Err(PullError::Silent {
                    host: host_of(question.url),
                    within: self.read_timeout,
                });
            };
            let Some(frame) = next else { return Ok(bytes) };
            let frame = frame.map_err(|error| PullError::Cut {
                what,
                host: host_of(question.url),
                cause: shown(&error),
            })?;
            let Ok(data) = frame.into_data() else { continue };
            if (bytes.len() + data.len()) as u64 > max {
                return Err(too_long());
            }
            bytes.extend_from_slice(&data);
        }
    }
}

/// Who is asked, for messages.
pub(crate) fn host_of(url: &Uri) -> String {
    url.authority().map(ToString::to_string).unwrap_or_default()
}

/// The authorities that this machine trusts, and those in a file.
pub(crate) fn roots(file: Option<&Path>) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    // A root that cannot be read on this machine matters only when a certificate needs it.
    store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let Some(path) = file else { return Ok(store) };
    let failed = |error: &dyn std::fmt::Display| format!("cannot read {}: {error}", path.display());
    let of_machine = store.len();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| failed(&error))? {
        let certificate = certificate.map_err(|error| failed(&error))?;
        store.add(certificate).map_err(|error| failed(&error))?;
    }
    if store.len() == of_machine {
        return Err(failed(&"there is no certificate in it"));
    }
    Ok(store)
}

/// A cause on one bounded line.
fn shown(error: &dyn Error) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    error_chain(error).chars().take(CAUSE_MAX).map(plain).collect()
}
