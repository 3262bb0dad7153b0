//! TLS to memcached (`-Z`): what is trusted, what is shown, and what to do when one of both is refused.
//!
//! The server's certificate is always checked, for its name too, and anew for each connection: no session is resumed, so a
//! certificate that has expired or is trusted no longer is refused at the next connection. The files are read anew for each
//! connection as well ([`TlsFiles`]).

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{AlertDescription, CertificateError, ClientConfig, Error, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::tls_files::TlsFiles;

/// The largest file that is read: the certificates of all authorities that a browser trusts have a quarter of that.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The largest piece that is encrypted at once.
///
/// memcached reads into a buffer of 16 KiB in which the beginning of a command may stand already, and does not look again for what
/// of a piece found no room in it: the end of a batch in pieces of the usual 16 KiB may wait until the next one comes, which
/// is never (seen with 1.6.18). Of pieces of half the size each finds room.
const PIECE_BYTES: usize = 8 * 1024;

/// How connections are encrypted.
#[derive(Debug)]
pub(super) struct Tls {
    files: TlsFiles,
    /// What this machine trusts, where no file says what to trust. It is read once: there are over a hundred.
    of_machine: Option<Arc<RootCertStore>>,
}

impl Tls {
    /// Reads the files once, so that what is wrong with them is found at the start.
    pub(super) fn open(files: &TlsFiles) -> Result<Self, String> {
        let of_machine = files.ca.is_none().then(|| {
            let mut roots = RootCertStore::empty();
            // A root that cannot be read on this machine matters only when a certificate needs it.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            Arc::new(roots)
        });
        let tls = Self {
            files: files.clone(),
            of_machine,
        };
        tls.config()?;
        Ok(tls)
    }

    /// Encrypts a connection to the server that must have a certificate for `name`. Its caller bounds the time.
    pub(super) async fn encrypt(
        self: &Arc<Self>,
        socket: TcpStream,
        name: ServerName<'static>,
    ) -> Result<TlsStream<TcpStream>, String> {
        let tls = Arc::clone(self);
        let config = tokio::task::spawn_blocking(move || tls.config()).await;
        let config = config.map_err(|error| format!("cannot read the files of TLS: {error}"))??;
        let connected = TlsConnector::from(Arc::new(config)).connect(name, socket).await;
        connected.map_err(|error| match cause(&error) {
            Some(cause) => explain(cause),
            None => NO_TLS.to_owned(),
        })
    }

    /// Reads the files.
    fn config(&self) -> Result<ClientConfig, String> {
        let roots = match (&self.files.ca, &self.of_machine) {
            (Some(path), _) => Arc::new(roots(path)?),
            (None, Some(roots)) => Arc::clone(roots),
            (None, None) => Arc::new(RootCertStore::empty()),
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots);
        let mut config = match (&self.files.certificate, &self.files.key) {
            (Some(certificate), Some(key)) => {
                let certificates = certificates("lock.certificate", certificate)?;
                let key = PrivateKeyDer::from_pem_slice(&read("lock.key", key)?)
                    .map_err(|error| wrong("lock.key", key, &format!("there is no key in PEM in it ({error})")))?;
                builder.with_client_auth_cert(certificates, key).map_err(|error| {
                    format!(
                        "lock.certificate {} and lock.key cannot be used together: {error}; write both of one pair",
                        certificate.display()
                    )
                })?
            }
            _ => builder.with_no_client_auth(),
        };
        config.resumption = Resumption::disabled();
        config.max_fragment_size = Some(PIECE_BYTES);
        Ok(config)
    }
}

fn roots(path: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("lock.ca", path)? {
        let added = roots.add(certificate);
        added.map_err(|error| wrong("lock.ca", path, &error.to_string()))?;
    }
    Ok(roots)
}

fn certificates(key: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = read(key, path)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let certificates = certificates.map_err(|error| wrong(key, path, &error.to_string()))?;
    if certificates.is_empty() {
        return Err(wrong(key, path, "there is no certificate in PEM in it"));
    }
    Ok(certificates)
}

fn read(key: &str, path: &Path) -> Result<Vec<u8>, String> {
    let read = || -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut text)?;
        Ok(text)
    };
    let text = read().map_err(|error| wrong(key, path, &error.to_string()))?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(wrong(key, path, "it has more than 1 MiB"));
    }
    Ok(text)
}

fn wrong(key: &str, path: &Path, problem: &str) -> String {
    format!("cannot use {key} {}: {problem}; give it a file in PEM", path.display())
}

/// What is wrong where a handshake has no answer, or one that is none: a memcached without TLS waits, answers or closes the
/// connection, as it happens to read the handshake, and that is one fault.
pub(super) const NO_TLS: &str =
    "there is no answer in TLS; either it stands still, or it is a memcached without TLS: start that with -Z";

/// What is wrong where a server ends the connection after the handshake. One that wants a certificate says so only then, and
/// what it says may be lost with the connection.
pub(super) const NOT_WELCOME: &str = "it ends the connection after the handshake of TLS, as it does where it asks for a certificate (ssl_verify_mode); set \
     lock.certificate and lock.key to one that its ssl_ca_cert has signed, and its key";

/// The error of TLS that an error of a stream comes from.
pub(super) fn cause(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

/// Says what is wrong between this host and the server, and how to mend it. It is the same text for the same fault, so that it is
/// logged once.
pub(super) fn explain(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(problem) => explain_certificate(problem),
        Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            // The authority of this host's certificate has the name of one that the server trusts, and another key.
            | AlertDescription::DecryptError
            | AlertDescription::HandshakeFailure,
        ) => NOT_WELCOME.into(),
        Error::InvalidMessage(_) => NO_TLS.into(),
        other => format!("TLS fails: {other}"),
    }
}

fn explain_certificate(problem: &CertificateError) -> String {
    match problem {
        // The latter is one of an authority that has the name of one that is trusted, and another key.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "its certificate is signed by none that is trusted; set lock.ca to the certificate of the authority that has \
             signed it"
                .into()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "its certificate is for another name; write the server in lock.url as its certificate names it, or give it a \
             certificate for this name"
                .into()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its certificate has expired; give it a new one, and send it refresh_certs".into()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet; set the clock of this machine, or give it another one".into()
        }
        other => format!("its certificate cannot be used ({other}); give it another one"),
    }
}

#[cfg(test)]
mod tests;
