//! A collector that takes spans in OTLP over HTTP, played by a test.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use parking_lot::Mutex;
use prost::Message;
use rcgen::{CertifiedKey, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::fixture::eventually;

/// What a collector does with what it is sent.
#[derive(Clone, Copy)]
pub(super) enum Manner {
    /// Takes it.
    Takes,
    /// Says that it refuses so many of its spans.
    Refuses(i64),
    /// Answers with this status.
    Answers(StatusCode),
    /// Never answers.
    KeepsSilent,
}

/// A running collector; it ends with this.
pub(super) struct Collector {
    /// `http` or `https`.
    scheme: &'static str,
    address: SocketAddr,
    taken: Arc<Mutex<Taken>>,
    _serving: JoinSet<()>,
}

/// What it was sent.
#[derive(Default)]
struct Taken {
    messages: usize,
    resource: Vec<KeyValue>,
    spans: Vec<Span>,
}

impl Collector {
    pub(super) async fn start(manner: Manner) -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), manner).await
    }

    pub(super) async fn start_at(address: SocketAddr, manner: Manner) -> Self {
        Self::listen(address, manner, None).await
    }

    /// One that has this certificate, and takes what it is sent over TLS.
    pub(super) async fn start_with(certificate: &CertifiedKey<KeyPair>) -> Self {
        let key = PrivatePkcs8KeyDer::from(certificate.signing_key.serialize_der()).into();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.cert.der().clone()], key)
            .unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        Self::listen(address, Manner::Takes, Some(TlsAcceptor::from(Arc::new(tls)))).await
    }

    async fn listen(address: SocketAddr, manner: Manner, tls: Option<TlsAcceptor>) -> Self {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let taken = Arc::<Mutex<Taken>>::default();
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, Arc::clone(&taken), manner, tls));
        Self {
            scheme,
            address,
            taken,
            _serving: serving,
        }
    }

    /// The configuration of a host that traces, with more lines for its section.
    pub(super) fn config(&self, more: &str) -> String {
        config(&format!("{}://{}", self.scheme, self.address), more)
    }

    /// How many messages it was sent.
    pub(super) fn messages(&self) -> usize {
        self.taken.lock().messages
    }

    /// All spans that it was sent.
    pub(super) fn spans(&self) -> Vec<Span> {
        self.taken.lock().spans.clone()
    }

    /// What is said of the host that has sent them.
    pub(super) fn resource(&self) -> Vec<KeyValue> {
        self.taken.lock().resource.clone()
    }

    /// Waits until a trace is there, and returns its spans: first that of the request, then its phases in their order.
    pub(super) async fn trace(&self, trace_id: &str) -> Vec<Span> {
        let found = || {
            let mut spans = self.spans();
            spans.retain(|span| hex(&span.trace_id) == trace_id);
            spans
        };
        eventually("the trace is with the collector", async || !found().is_empty()).await;
        found()
    }
}

/// The configuration of a host that sends its traces to a collector at once.
pub(super) fn config(url: &str, more: &str) -> String {
    let every = if more.contains("every") { "" } else { "every = \"10ms\"" };
    format!("[trace]\notlp = \"{url}\"\n{every}\n{more}\n")
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An attribute as text.
pub(super) fn attribute(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        other => panic!("{key} is {other:?}"),
    }
}

async fn serve(listener: TcpListener, taken: Arc<Mutex<Taken>>, manner: Manner, tls: Option<TlsAcceptor>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (taken, tls) = (Arc::clone(&taken), tls.clone());
        connections.spawn(async move {
            match tls {
                None => connection(stream, &taken, manner).await,
                Some(tls) => {
                    // A host that does not trust it goes away.
                    if let Ok(stream) = tls.accept(stream).await {
                        connection(stream, &taken, manner).await;
                    }
                }
            }
        });
    }
}

async fn connection(stream: impl AsyncRead + AsyncWrite + Unpin, taken: &Mutex<Taken>, manner: Manner) {
    let service = service_fn(|request| answer(request, taken, manner));
    // A host may go away at any time.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer(
    request: Request<Incoming>,
    taken: &Mutex<Taken>,
    manner: Manner,
) -> Result<Response<Full<Bytes>>, Infallible> {
    assert_eq!(
        (request.method().as_str(), request.uri().path()),
        ("POST", "/v1/traces")
    );
    assert_eq!(request.headers()["content-type"], "application/x-protobuf");
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let message = ExportTraceServiceRequest::decode(body).unwrap();
    {
        let mut taken = taken.lock();
        taken.messages += 1;
        for of_resource in message.resource_spans {
            taken.resource = of_resource.resource.unwrap().attributes;
            let spans = of_resource.scope_spans.into_iter().flat_map(|of_scope| of_scope.spans);
            taken.spans.extend(spans);
        }
    }
    let (status, partial_success) = match manner {
        Manner::Takes => (StatusCode::OK, None),
        Manner::Answers(status) => (status, None),
        Manner::KeepsSilent => std::future::pending().await,
        Manner::Refuses(rejected_spans) => {
            let error_message = "too old".to_owned();
            let refused = ExportTracePartialSuccess {
                rejected_spans,
                error_message,
            };
            (StatusCode::OK, Some(refused))
        }
    };
    let answer = ExportTraceServiceResponse { partial_success };
    let mut response = Response::new(Full::from(answer.encode_to_vec()));
    *response.status_mut() = status;
    Ok(response)
}
