//! The files of a listener's TLS, in PEM (RFC 7468).

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The longest file, in bytes.
const FILE_MAX: u64 = 1 << 20;

/// Where the TLS of a listener comes from; without a certificate and a key it has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate that the listener shows, and those between it and the authority's.
    pub certificate: Option<PathBuf>,
    /// The private key of the certificate.
    pub key: Option<PathBuf>,
    /// The authorities whose certificates clients may show.
    pub client_roots: Option<PathBuf>,
}

/// Why files cannot be served with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// One of the two is not given.
    #[error("a certificate needs its key, and a key its certificate; give both, or none for a listener without TLS")]
    Half,
    /// Authorities for clients without TLS.
    #[error("clients show their certificates in TLS only; give a certificate and a key too")]
    NoTls,
    /// A file cannot be read.
    #[error("cannot read {path}: {error}")]
    Read {
        /// Which one.
        path: String,
        /// Why not.
        error: String,
    },
    /// A file has not what it should.
    #[error("{path} has no {what} in PEM; it begins with `-----BEGIN`")]
    Empty {
        /// Which one.
        path: String,
        /// What it should have.
        what: &'static str,
    },
    /// What a file has cannot be used.
    #[error("{path} cannot be used: {error}")]
    Unusable {
        /// Which one.
        path: String,
        /// Why not.
        error: String,
    },
}

/// What the files had when they were read.
#[derive(PartialEq, Eq)]
pub(super) struct Contents {
    certificate: Pem,
    key: Pem,
    client_roots: Option<Pem>,
}

#[derive(PartialEq, Eq)]
struct Pem {
    path: PathBuf,
    bytes: Vec<u8>,
}

/// Shows none of the bytes: one of the files has a secret.
impl fmt::Debug for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contents")
            .field("certificate", &self.certificate.path)
            .field("key", &self.key.path)
            .finish_non_exhaustive()
    }
}

impl TlsFiles {
    /// Reads them; none: the listener has no TLS.
    pub(super) fn read(&self) -> Result<Option<Contents>, TlsError> {
        match (&self.certificate, &self.key, &self.client_roots) {
            (Some(certificate), Some(key), client_roots) => Ok(Some(Contents {
                certificate: Pem::read(certificate)?,
                key: Pem::read(key)?,
                client_roots: client_roots.as_deref().map(Pem::read).transpose()?,
            })),
            (None, None, None) => Ok(None),
            (None, None, Some(_)) => Err(TlsError::NoTls),
            (Some(_), None, _) | (None, Some(_), _) => Err(TlsError::Half),
        }
    }
}

impl Contents {
    /// The certificate with those between it and the authority's, and its key.
    pub(super) fn identity(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
        Ok((self.certificate.certificates()?, self.key.private_key()?))
    }

    /// Whether the authorities for clients are those of other contents.
    pub(super) fn has_roots_of(&self, other: &Self) -> bool {
        self.client_roots == other.client_roots
    }

    /// The authorities for the certificates of clients.
    pub(super) fn client_roots(&self) -> Result<Option<RootCertStore>, TlsError> {
        self.client_roots.as_ref().map(Pem::roots).transpose()
    }

    /// The certificate, or its key, cannot be used.
    pub(super) fn unusable(&self, error: &rustls::Error) -> TlsError {
        let error = match error {
            rustls::Error::InconsistentKeys(_) => format!("{} is not its key", self.key.path.display()),
            error => error.to_string(),
        };
        self.certificate.unusable(error)
    }

    /// The authorities for clients cannot be used.
    pub(super) fn unusable_roots(&self, error: &dyn fmt::Display) -> TlsError {
        self.client_roots
            .as_ref()
            .unwrap_or(&self.certificate)
            .unusable(error.to_string())
    }
}

/// Reads the certificates in a file.
///
/// # Errors
///
/// It cannot be read, or has none.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    Pem::read(path)?.certificates()
}

/// Reads the private key in a file.
///
/// # Errors
///
/// It cannot be read, or has none.
pub fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    Pem::read(path)?.private_key()
}

/// Reads the authorities that are to be trusted.
///
/// # Errors
///
/// The file cannot be read, or has no certificate, or one that no authority can have.
pub fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    Pem::read(path)?.roots()
}

impl Pem {
    fn read(path: &Path) -> Result<Self, TlsError> {
        let read = || -> io::Result<Vec<u8>> {
            let mut bytes = Vec::new();
            File::open(path)?.take(FILE_MAX).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        match read() {
            Ok(bytes) => Ok(Self {
                path: path.to_owned(),
                bytes,
            }),
            Err(error) => Err(TlsError::Read {
                path: path.display().to_string(),
                error: error.to_string(),
            }),
        }
    }

    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let read = CertificateDer::pem_slice_iter(&self.bytes).collect::<Result<Vec<_>, _>>();
        let certificates = read.map_err(|error| {
            self.unusable(match error {
                // The library would show its end mark as numbers.
                pem::Error::MissingSectionEnd { .. } => "a certificate in it has no end".to_owned(),
                error => error.to_string(),
            })
        })?;
        if certificates.is_empty() {
            return Err(self.empty("certificate"));
        }
        Ok(certificates)
    }

    fn private_key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        PrivateKeyDer::from_pem_slice(&self.bytes).map_err(|_| self.empty("private key"))
    }

    fn roots(&self) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        for root in self.certificates()? {
            roots.add(root).map_err(|error| self.unusable(error.to_string()))?;
        }
        Ok(roots)
    }

    fn empty(&self, what: &'static str) -> TlsError {
        TlsError::Empty {
            path: self.path.display().to_string(),
            what,
        }
    }

    fn unusable(&self, error: String) -> TlsError {
        TlsError::Unusable {
            path: self.path.display().to_string(),
            error,
        }
    }
}
