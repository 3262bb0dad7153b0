//! What is read of a certificate: when it ends, and whose it is.
//!
//! rustls serves a certificate whether it has ended or not, and only clients look. So nobody on this side would notice that a
//! renewal has failed, until nobody can connect any more.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use x509_cert::Certificate;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{DateTime, Decode};

use crate::hex::hex;
use crate::text::one_line;

/// How long before its end a certificate should have been renewed. What renews certificates does it well before that: of those
/// that last for 90 days, 30 days before their end. Shorter ones are warned of for as long as they last.
pub(super) const SOON: Duration = Duration::from_hours(14 * 24);

/// Longest common name that is shown, in bytes.
const NAME_MAX: usize = 64;

/// Bytes of the SHA-256 that are shown: enough to find a certificate among those of an authority.
const DIGEST_SHOWN: usize = 8;

/// The common name in the subject of a certificate (X.520, `id-at-commonName`).
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// When what a listener shows ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct End(DateTime);

/// What an operator should know of the end of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Warning {
    /// Clients refuse the listener.
    HasEnded(End),
    /// They will soon.
    EndsSoon(End),
    /// Nobody knows when.
    Unknown,
}

impl End {
    /// The end of the certificate, or of one between it and the authority's if that ends before; none: one of them cannot be read.
    pub(super) fn of(chain: &[CertificateDer<'_>]) -> Option<Self> {
        let end = |der: &CertificateDer<'_>| {
            let certificate = Certificate::from_der(der).ok()?;
            Some(Self(certificate.tbs_certificate.validity.not_after.to_date_time()))
        };
        let ends = chain.iter().map(end).collect::<Option<Vec<_>>>()?;
        ends.into_iter().min()
    }

    /// In seconds since 1970.
    pub fn unix_seconds(self) -> u64 {
        self.0.unix_duration().as_secs()
    }

    /// What an operator should know of it at this time.
    pub(super) fn warning(self, now: SystemTime) -> Option<Warning> {
        // A clock before 1970 is wrong, and then nothing has ended by it.
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        match self.0.unix_duration().checked_sub(now) {
            None => Some(Warning::HasEnded(self)),
            Some(left) if left < SOON => Some(Warning::EndsSoon(self)),
            Some(_) => None,
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HasEnded(End(at)) => write!(f, "the certificate ended at {at}, and clients refuse it; renew it"),
            Self::EndsSoon(End(at)) => write!(f, "the certificate ends at {at}, and clients refuse it then; renew it"),
            Self::Unknown => {
                f.write_str("nobody can tell when the certificate ends, because it cannot be read; look at it")
            }
        }
    }
}

/// Names whoever shows this certificate for the log: by the common name of its subject, if it has one that can be read, and by
/// the beginning of its SHA-256, which nobody else's certificate has.
pub fn name_of(certificate: &CertificateDer<'_>) -> String {
    let digest = Sha256::digest(certificate);
    let digest = format!("(certificate {})", hex(digest.get(..DIGEST_SHOWN).unwrap_or_default()));
    match common_name(certificate) {
        Some(name) => format!("{} {digest}", one_line(&name, NAME_MAX)),
        None => digest,
    }
}

fn common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let mut parts = certificate
        .tbs_certificate
        .subject
        .0
        .iter()
        .flat_map(|part| part.0.iter());
    let name = parts.find(|part| part.oid == COMMON_NAME)?;
    Some(String::from_utf8_lossy(name.value.value()).into_owned())
}
