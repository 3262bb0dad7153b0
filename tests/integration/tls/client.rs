//! A client that speaks TLS, and HTTP/1.1 or HTTP/2 in it.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use http_body_util::BodyExt;
use hyper::Request;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use namelock_test_servers::{Authority, Identity};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub(super) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// As long as no test waits.
const FOREVER_MS: u64 = 3_600_000;

/// Whom it trusts, and what it shows.
#[derive(Clone)]
pub(super) struct Client {
    address: SocketAddr,
    config: ClientConfig,
}

/// What was answered.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) status: u16,
    pub(super) body: String,
}

/// A connection on which requests can be sent.
pub(super) enum Connection {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
}

impl Client {
    /// A client that trusts this authority.
    pub(super) fn new(address: SocketAddr, authority: &Authority) -> Self {
        Self::with(address, authority, None)
    }

    /// The same, and it shows a certificate.
    pub(super) fn certified(address: SocketAddr, authority: &Authority, identity: &Identity) -> Self {
        Self::with(address, authority, Some(identity))
    }

    fn with(address: SocketAddr, authority: &Authority, identity: Option<&Identity>) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(certificate(&authority.certificate())).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
                let chain = vec![certificate(&identity.certificate)];
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        Self { address, config }
    }

    /// A stream on which the protocol of this name was agreed on.
    pub(super) async fn stream(&self, protocol: &str) -> Result<TlsStream<TcpStream>, Failure> {
        let mut config = self.config.clone();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        // Each handshake is a whole one, so that it meets the certificate of now.
        config.resumption = rustls::client::Resumption::disabled();
        let stream = TcpStream::connect(self.address).await?;
        let name = ServerName::IpAddress(self.address.ip().into());
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(protocol.as_bytes()));
        Ok(stream)
    }

    pub(super) async fn http1(&self) -> Result<Connection, Failure> {
        let stream = TokioIo::new(self.stream("http/1.1").await?);
        let (sender, connection) = http1::handshake(stream).await?;
        tokio::spawn(connection);
        Ok(Connection::Http1(sender))
    }

    pub(super) async fn http2(&self) -> Result<Connection, Failure> {
        let stream = TokioIo::new(self.stream("h2").await?);
        let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await?;
        tokio::spawn(connection);
        Ok(Connection::Http2(sender))
    }

    /// The frames of HTTP/2 as they come and go.
    pub(super) async fn frames(
        &self,
    ) -> Result<
        (
            h2::client::SendRequest<&'static [u8]>,
            h2::client::Connection<TlsStream<TcpStream>, &'static [u8]>,
        ),
        Failure,
    > {
        Ok(h2::client::Builder::new().handshake(self.stream("h2").await?).await?)
    }
}

impl Connection {
    /// Sends a request without a body.
    pub(super) async fn get(&mut self, path: &str) -> Result<Said, Failure> {
        self.send("GET", path, Body::empty()).await
    }

    /// Registers a name of this tenant.
    pub(super) async fn register(&mut self, tenant: &str, name: &str) -> Result<Said, Failure> {
        let body = format!(r#"{{"name":"{name}","owner":"ann"}}"#);
        self.send("POST", &format!("/v1/{tenant}/names"), body.into()).await
    }

    /// Registers a name whose handler holds the lock until it loses it.
    pub(super) async fn hold(&mut self, tenant: &str, name: &str) -> Result<Said, Failure> {
        let body = format!(r#"{{"name":"{name}","owner":"ann","attributes":{{"hold_ms":"{FOREVER_MS}"}}}}"#);
        self.send("POST", &format!("/v1/{tenant}/names"), body.into()).await
    }

    /// Sends a request.
    pub(super) async fn send(&mut self, method: &str, path: &str, body: Body) -> Result<Said, Failure> {
        let answer = match self {
            Self::Http1(sender) => {
                sender.ready().await?;
                let request = Request::builder()
                    .method(method)
                    .uri(path)
                    .header("host", "namelock.test");
                sender.send_request(request.body(body)?).await?
            }
            Self::Http2(sender) => sender.send_request(request(method, path, body)?).await?,
        };
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await?.to_bytes();
        let body = String::from_utf8(body.to_vec())?;
        Ok(Said { status, body })
    }

    /// One more handle for requests of this HTTP/2 connection.
    pub(super) fn another(&self) -> Self {
        match self {
            Self::Http1(_) => panic!("a connection of HTTP/1.1 has one request at a time"),
            Self::Http2(sender) => Self::Http2(sender.clone()),
        }
    }
}

/// A request of HTTP/2.
pub(super) fn request<B>(method: &str, path: &str, body: B) -> Result<Request<B>, Failure> {
    let uri = format!("https://namelock.test{path}");
    Ok(Request::builder().method(method).uri(uri).body(body)?)
}

fn certificate(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}
