//! Certificates for tests, made when they are needed.

use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};
use tempfile::TempDir;

/// The file with the certificate of an authority.
const FILE: &str = "authority.pem";

/// An authority of its own, which nobody knows but who is given its certificate.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

/// A certificate and its key, in PEM.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

impl Authority {
    /// Makes an authority.
    ///
    /// # Panics
    ///
    /// When there are no random numbers for its key.
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "authority of a test");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let issuer = CertifiedIssuer::self_signed(params, new_key()).expect("an authority");
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join(FILE), issuer.pem()).expect("a file in its folder");
        Self { issuer, folder }
    }

    /// Its certificate, in PEM.
    pub fn certificate(&self) -> String {
        self.issuer.pem()
    }

    /// A file with it, for as long as this authority is there.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join(FILE)
    }

    /// Signs a certificate for these names and addresses, which a server or a client can show.
    ///
    /// # Panics
    ///
    /// When one is neither a name nor an address.
    pub fn sign(&self, names: &[&str]) -> Identity {
        self.issue(&params_for(names))
    }

    /// Signs one with this common name, for whoever connects.
    ///
    /// # Panics
    ///
    /// As [`sign`](Self::sign) does.
    pub fn sign_for(&self, common_name: &str) -> Identity {
        let mut params = params_for(&[]);
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, common_name);
        self.issue(&params)
    }

    /// Signs one that ends at this time.
    ///
    /// # Panics
    ///
    /// As [`sign`](Self::sign) does.
    pub fn sign_until(&self, names: &[&str], end: SystemTime) -> Identity {
        let mut params = params_for(names);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = end.into();
        self.issue(&params)
    }

    /// Signs one that has expired long ago.
    ///
    /// # Panics
    ///
    /// As [`sign`](Self::sign) does.
    pub fn sign_expired(&self, names: &[&str]) -> Identity {
        self.sign_until(names, date_time_ymd(2020, 2, 1).into())
    }

    fn issue(&self, params: &CertificateParams) -> Identity {
        let key = new_key();
        Identity {
            certificate: params.signed_by(&key, &self.issuer).expect("a certificate").pem(),
            key: key.serialize_pem(),
        }
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

fn params_for(names: &[&str]) -> CertificateParams {
    let names = names.iter().map(ToString::to_string).collect::<Vec<_>>();
    let mut params = CertificateParams::new(names).expect("names and addresses");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params
}

fn new_key() -> KeyPair {
    KeyPair::generate().expect("a key")
}
