//! TLS to admin listeners that have it, and the certificate that an operator shows.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::config::source::ConfigError;
use crate::tls::{self, TlsError};

/// What an operator gives for TLS.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct TlsFlags {
    /// The authorities that sign the certificates of the hosts, in PEM; without it the hosts are asked without TLS
    #[arg(long, value_name = "FILE", global = true)]
    tls_roots: Option<PathBuf>,
    /// The name in the certificates of the hosts [default: their addresses]
    #[arg(long, value_name = "NAME", global = true, requires = "tls_roots")]
    tls_name: Option<String>,
    /// A certificate to show to the hosts instead of a token, in PEM
    #[arg(long, value_name = "FILE", global = true, requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// The private key of this certificate, in PEM
    #[arg(long, value_name = "FILE", global = true, requires_all = ["tls_certificate", "tls_roots"])]
    tls_key: Option<PathBuf>,
}

/// How hosts are spoken to where they have TLS.
#[derive(Clone, Debug)]
pub(crate) struct ClientTls {
    config: Arc<ClientConfig>,
    /// None: each by its address.
    name: Option<ServerName<'static>>,
}

/// The stream to a host.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl TlsFlags {
    /// Reads the files; none: hosts are asked without TLS.
    pub(super) fn read(&self) -> Result<Option<ClientTls>, ConfigError> {
        let Some(roots) = &self.tls_roots else {
            return Ok(None);
        };
        let wrong = |flag| move |error: TlsError| ConfigError::new(flag, error.to_string());
        let unusable = |flag| move |error: rustls::Error| ConfigError::new(flag, format!("cannot use TLS: {error}"));
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(unusable("--tls-roots"))?
            .with_root_certificates(tls::roots(roots).map_err(wrong("--tls-roots"))?);
        let config = match (&self.tls_certificate, &self.tls_key) {
            (Some(certificate), Some(key)) => {
                let chain = tls::certificates(certificate).map_err(wrong("--tls-certificate"))?;
                let key = tls::private_key(key).map_err(wrong("--tls-key"))?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(unusable("--tls-key"))?
            }
            _ => builder.with_no_client_auth(),
        };
        let name = self.tls_name.clone().map(|name| {
            let problem = format!("`{name}` is neither a name of a host nor an address");
            ServerName::try_from(name).map_err(|_| ConfigError::new("--tls-name", problem))
        });
        Ok(Some(ClientTls {
            config: Arc::new(config),
            name: name.transpose()?,
        }))
    }
}

impl Stream {
    /// Speaks TLS on this connection, if hosts have it.
    pub(super) fn open(stream: TcpStream, host: SocketAddr, tls: Option<&ClientTls>) -> io::Result<Self> {
        let Some(tls) = tls else {
            return Ok(Self::Plain(stream));
        };
        let name = tls.name.clone().unwrap_or(ServerName::IpAddress(host.ip().into()));
        let session = ClientConnection::new(Arc::clone(&tls.config), name).map_err(io::Error::other)?;
        Ok(Self::Tls(Box::new(StreamOwned::new(session, stream))))
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}
