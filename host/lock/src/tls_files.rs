//! The files of TLS to memcached.

use std::path::PathBuf;

use crate::url::LockUrl;

/// Files in PEM for `memcacheds://`. They are read again for each connection, so what replaces them is taken up without a
/// restart; connections that are there go on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificates that may have signed the server's. None: those that this machine trusts.
    pub ca: Option<PathBuf>,
    /// The certificate of this host, and those between it and the one that the server trusts (memcached's `ssl_ca_cert`). Only
    /// with `key`.
    pub certificate: Option<PathBuf>,
    /// The key of that certificate.
    pub key: Option<PathBuf>,
}

impl TlsFiles {
    /// Refuses files that would be of no use: whoever has set them believes that locks are protected.
    // Keeps P7: what was to be encrypted is never sent in the clear by accident.
    pub(crate) fn check(&self, urls: &[&LockUrl]) -> Result<(), String> {
        let keys = [
            ("lock.ca", &self.ca),
            ("lock.certificate", &self.certificate),
            ("lock.key", &self.key),
        ];
        let is_tls = |url: &&LockUrl| matches!(url, LockUrl::Memcached(url) if url.tls);
        if let Some((key, _)) = keys.iter().find(|(_, path)| path.is_some())
            && !urls.iter().any(is_tls)
        {
            return Err(format!(
                "{key} is set, and nothing is sent over TLS; write memcacheds:// in lock.url, or take {key} out"
            ));
        }
        match (&self.certificate, &self.key) {
            (Some(_), None) => Err("lock.certificate is set, and its key is not; set lock.key too".into()),
            (None, Some(_)) => Err("lock.key is set, and its certificate is not; set lock.certificate too".into()),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_tls_that_would_be_of_no_use_are_refused() {
        let [plain, tls] = ["memcached://a:1", "memcacheds://a:1"].map(|url| url.parse::<LockUrl>().unwrap());
        let path = Some(PathBuf::from("x.pem"));
        let files = TlsFiles {
            ca: path.clone(),
            ..TlsFiles::default()
        };
        assert_eq!(files.check(&[&tls]), Ok(()));
        assert_eq!(files.check(&[&plain, &tls]), Ok(()), "the list is being changed");
        assert!(files.check(&[&plain]).unwrap_err().contains("write memcacheds://"));
        assert!(
            files
                .check(&[&LockUrl::Memory])
                .unwrap_err()
                .contains("take lock.ca out")
        );
        assert_eq!(TlsFiles::default().check(&[&plain]), Ok(()));

        let alone = TlsFiles {
            certificate: path.clone(),
            ..TlsFiles::default()
        };
        assert!(alone.check(&[&tls]).unwrap_err().contains("set lock.key too"));
        let alone = TlsFiles {
            key: path,
            ..TlsFiles::default()
        };
        assert!(alone.check(&[&tls]).unwrap_err().contains("set lock.certificate too"));
    }
}
