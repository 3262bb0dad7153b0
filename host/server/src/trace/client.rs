//! Sends messages in OTLP over HTTP, as binary protobuf, which every collector takes.

use std::io;
use std::sync::Arc;

use axum::http::header::{CONTENT_TYPE, USER_AGENT};
use axum::http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use prost::Message;
use rustls::{ClientConfig, RootCertStore};

use crate::config::OtlpUrl;
use crate::text::chain;

/// Longest answer of a collector that is read, in bytes.
const ANSWER_MAX: usize = 64 << 10;

/// Why traces cannot be sent to a collector, whatever it answers.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// TLS cannot be used.
    #[error("cannot use TLS")]
    Tls(#[from] rustls::Error),
    /// There is nothing to check the collector's certificate with.
    #[error("this machine trusts no certificate; install its ca-certificates, or set SSL_CERT_FILE to a file of them")]
    NoRoots(#[source] Option<io::Error>),
}

/// Why a collector has not taken a message.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    #[error("{0}")]
    Request(String),
    #[error("it answers {0}")]
    Status(StatusCode),
}

/// A connection to one collector, which is made again when it breaks.
#[derive(Debug)]
pub(super) struct Client {
    url: OtlpUrl,
    http: HttpClient<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Client {
    pub(super) fn new(url: &OtlpUrl) -> Result<Self, OpenError> {
        let mut roots = RootCertStore::empty();
        if url.is_tls() {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
            if roots.is_empty() {
                let error = found.errors.into_iter().next().map(io::Error::other);
                return Err(OpenError::NoRoots(error));
            }
        }
        let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .build();
        let mut http = HttpClient::builder(TokioExecutor::new());
        // One message is sent after the other.
        http.pool_max_idle_per_host(1);
        Ok(Self {
            url: url.clone(),
            http: http.build(connector),
        })
    }

    pub(super) fn url(&self) -> &OtlpUrl {
        &self.url
    }

    /// Sends a message, and returns how many of its spans the collector has refused. However long it takes: the caller has
    /// a limit.
    pub(super) async fn send(&self, message: &ExportTraceServiceRequest) -> Result<u64, SendError> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(self.url.uri())
            .header(CONTENT_TYPE, "application/x-protobuf")
            .header(USER_AGENT, concat!("namelock/", env!("CARGO_PKG_VERSION")))
            .body(Full::from(message.encode_to_vec()))
            .map_err(|error| SendError::Request(error.to_string()))?;
        let sent = self.http.request(request).await;
        let (head, body) = sent.map_err(|error| SendError::Request(chain(&error)))?.into_parts();
        if !head.status.is_success() {
            return Err(SendError::Status(head.status));
        }
        // What cannot be read says nothing of refusals. The connection cannot be used again then, and that is all.
        let answer = match Limited::new(body, ANSWER_MAX).collect().await {
            Ok(answer) => ExportTraceServiceResponse::decode(answer.to_bytes()).unwrap_or_default(),
            Err(_) => ExportTraceServiceResponse::default(),
        };
        let refused = answer.partial_success.map_or(0, |partial| partial.rejected_spans);
        Ok(u64::try_from(refused).unwrap_or(0))
    }
}
