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
    /// Sends a token without TLS also to hosts beyond loopback, where whoever is on the way can read it
    #[arg(long, global = true, conflicts_with = "tls_roots")]
    plain: bool,
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
    /// Refuses to send a secret to these hosts, if others could read it on its way.
    // Keeps P7: a secret does not leave the machine in the clear by accident.
    pub(super) fn guard_secret(&self, hosts: &[SocketAddr]) -> Result<(), ConfigError> {
        let beyond = hosts.iter().find(|host| !host.ip().to_canonical().is_loopback());
        match beyond {
            Some(host) if self.tls_roots.is_none() && !self.plain => {
                let problem = format!(
                    "the token would be sent as it is to {host}, and whoever is on the way could use it; give the host a \
                     certificate and pass its authority with --tls-roots, or pass --plain in a network that keeps others out"
                );
                Err(ConfigError::new("--admin", problem))
            }
            _ => Ok(()),
        }
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    // Shows P7: no secret leaves the machine in the clear by accident.
    #[test]
    fn a_secret_goes_beyond_loopback_only_with_tls_or_where_it_is_asked_for() {
        let hosts = |texts: &[&str]| -> Vec<SocketAddr> { texts.iter().map(|text| text.parse().unwrap()).collect() };
        let near = hosts(&["127.0.0.1:1", "127.8.9.1:2", "[::1]:3", "[::ffff:127.0.0.1]:4"]);
        let (flags, far) = (TlsFlags::default(), hosts(&["127.0.0.1:1", "10.0.0.1:8081"]));
        assert_eq!(flags.guard_secret(&near), Ok(()));
        for far in [
            &far,
            &hosts(&["0.0.0.0:1"]),
            &hosts(&["[::ffff:10.0.0.1]:1"]),
            &hosts(&["[fe80::1]:1"]),
        ] {
            assert!(flags.guard_secret(far).is_err(), "{far:?}");
        }
        let said = flags.guard_secret(&far).unwrap_err().to_string();
        for part in ["10.0.0.1:8081", "--tls-roots", "--plain"] {
            assert!(said.contains(part), "{said}");
        }
        let plain = TlsFlags {
            plain: true,
            ..TlsFlags::default()
        };
        let encrypted = TlsFlags {
            tls_roots: Some("ca.crt".into()),
            ..TlsFlags::default()
        };
        assert_eq!(
            (plain.guard_secret(&far), encrypted.guard_secret(&far)),
            (Ok(()), Ok(()))
        );
    }
}
