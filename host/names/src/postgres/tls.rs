//! TLS to the server, if the server offers it (`sslmode=prefer`, the default) or the URL demands it
//! (`sslmode=require`).
//!
//! The server's certificate is always checked, against the roots of this machine or of a file (`names.tls_roots`). A
//! server whose certificate is not signed by one of them is refused, never used without the check.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres_rustls::MakeRustlsConnect;

/// Makes what TLS connections are made with; `roots` is a file of root certificates in PEM, none: those of this
/// machine. An error says which file cannot be used.
pub(crate) fn connector(roots: Option<&Path>) -> Result<MakeRustlsConnect, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(root_store(roots)?)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

fn root_store(roots: Option<&Path>) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    let Some(path) = roots else {
        // A root that cannot be read on this machine matters only when a certificate needs it.
        let found = rustls_native_certs::load_native_certs();
        store.add_parsable_certificates(found.certs);
        return Ok(store);
    };
    let failed = |error: &dyn std::fmt::Display| format!("cannot read {}: {error}", path.display());
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| failed(&error))? {
        let certificate = certificate.map_err(|error| failed(&error))?;
        store.add(certificate).map_err(|error| failed(&error))?;
    }
    if store.is_empty() {
        return Err(failed(&"there is no certificate in it"));
    }
    Ok(store)
}
