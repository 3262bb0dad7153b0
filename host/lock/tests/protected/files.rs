//! The files of TLS of a test's host.

use std::fs;
use std::path::{Path, PathBuf};

use namelock_lock::TlsFiles;
use namelock_test_servers::Authority;
use tempfile::TempDir;

/// A folder for them.
pub(crate) struct Files(TempDir);

impl Files {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Writes those of a host that trusts one authority, and has a certificate of another one.
    pub(crate) fn write(&self, trusted: &Authority, own: &Authority) -> TlsFiles {
        let identity = own.sign(&["host.example.org"]);
        TlsFiles {
            ca: Some(self.file("ca.pem", &trusted.certificate())),
            certificate: Some(self.file("host.pem", &identity.certificate)),
            key: Some(self.file("host.key", &identity.key)),
        }
    }

    /// Writes one file.
    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

/// What trusts this authority.
pub(crate) fn trusts(authority: &Authority) -> TlsFiles {
    TlsFiles {
        ca: Some(authority.file()),
        ..TlsFiles::default()
    }
}
