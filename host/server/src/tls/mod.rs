//! TLS of a listener: the certificate that it shows, and those of clients that it accepts.
//!
//! Certificates are short-lived today, and whatever renews them replaces files. So the files are looked at every second, and
//! what they have become is served to whoever connects from then on. A file that is half written, or a certificate whose key is
//! not there yet, replaces nothing: what was served before still is, and the log says why if that lasts. The log says as well
//! when what is served ends soon, or has ended (`certificate`): it is served all the same, because whoever looks at the host to
//! mend it comes the same way.
//!
//! rustls with *ring*, as for the names database: no C library, and no protocol before TLS 1.2. What else was considered:
//! OpenSSL, which the container would have to bring; and to leave TLS to a proxy, which stays possible, but then whoever is on
//! the network between the two reads the tokens.

mod certificate;
mod files;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::RwLock;
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;

pub use self::certificate::{End, Warning, name_of};
use self::files::Contents;
pub use self::files::{TlsError, TlsFiles, certificates, private_key, roots};
use crate::logins::Logins;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The name of HTTP/2 in the TLS handshake (RFC 9113, section 3.2).
pub const HTTP_2: &[u8] = b"h2";

/// That of HTTP/1.1 (RFC 7301, section 6).
const HTTP_1_1: &[u8] = b"http/1.1";

/// The TLS of one listener.
#[derive(Debug)]
pub struct Tls {
    /// Which listener it is, as in the configuration: `http` or `admin`.
    listener: &'static str,
    files: TlsFiles,
    current: RwLock<Current>,
    logins: Arc<Logins>,
}

/// What is served with.
#[derive(Debug)]
struct Current {
    contents: Contents,
    config: Arc<ServerConfig>,
    /// When the certificate ends, if it can be read.
    end: Option<End>,
    /// Grows when the authorities of clients change.
    roots: u64,
}

impl Tls {
    /// Reads the files; none: the listener has no TLS.
    pub fn open(listener: &'static str, files: &TlsFiles) -> Result<Option<Arc<Self>>, TlsError> {
        let Some(contents) = files.read()? else {
            return Ok(None);
        };
        Ok(Some(Arc::new(Self {
            listener,
            files: files.clone(),
            current: RwLock::new(Current::of(contents)?),
            logins: Arc::default(),
        })))
    }

    /// What the next handshake is made with, and the number of the authorities that it accepts.
    pub fn current(&self) -> (Arc<ServerConfig>, u64) {
        let current = self.current.read();
        (Arc::clone(&current.config), current.roots)
    }

    /// Whether clients are still accepted by the authorities of this number.
    pub fn accepts(&self, roots: u64) -> bool {
        self.current.read().roots == roots
    }

    /// Which listener it is, as in the configuration: `http` or `admin`.
    pub fn listener(&self) -> &'static str {
        self.listener
    }

    /// Who was not let in at this listener.
    pub fn logins(&self) -> &Arc<Logins> {
        &self.logins
    }

    /// When the certificate that is shown ends, if it can be read.
    pub fn end(&self) -> Option<End> {
        self.current.read().end
    }

    /// What an operator should know of that end at this time.
    pub fn warning(&self, now: SystemTime) -> Option<Warning> {
        match self.end() {
            Some(end) => end.warning(now),
            None => Some(Warning::Unknown),
        }
    }

    /// Takes up what the files become, for ever, and tells the log when what is shown ends.
    pub async fn keep_fresh(&self) {
        let (mut refused, mut told) = (None, None);
        loop {
            self.warn_once(&mut told);
            tokio::time::sleep(LOOK_EVERY).await;
            let files = self.files.clone();
            let Ok(read) = tokio::task::spawn_blocking(move || files.read()).await else {
                continue;
            };
            match read.and_then(|contents| self.take_up(contents)) {
                Ok(()) => refused = None,
                Err(error) => self.refuse(error, &mut refused),
            }
        }
    }

    /// Tells the log what an operator should know of the certificate, unless it was told so already.
    fn warn_once(&self, told: &mut Option<Warning>) {
        let warning = self.warning(SystemTime::now());
        if warning == *told {
            return;
        }
        *told = warning;
        if let Some(warning) = warning {
            let (listener, file) = (self.listener, self.files.certificate.as_ref());
            tracing::warn!(listener, file = file.map(tracing::field::debug), "{warning}");
        }
    }

    /// Serves with these contents of the files from now on.
    fn take_up(&self, contents: Option<Contents>) -> Result<(), TlsError> {
        let Some(contents) = contents.filter(|contents| self.current.read().contents != *contents) else {
            return Ok(());
        };
        let mut fresh = Current::of(contents)?;
        let mut current = self.current.write();
        fresh.roots = current.roots + u64::from(!fresh.contents.has_roots_of(&current.contents));
        *current = fresh;
        drop(current);
        tracing::info!(
            listener = self.listener,
            "serving with the new certificate and authorities"
        );
        Ok(())
    }

    /// Logs what is wrong with the files, once, and only when it is so a second time: their writer may be between two of them.
    fn refuse(&self, error: TlsError, before: &mut Option<(TlsError, bool)>) {
        let logged = match before {
            Some((same, logged)) if *same == error => {
                if !*logged {
                    let listener = self.listener;
                    tracing::error!(listener, %error, "cannot take up the new certificate; the one of before is served");
                }
                true
            }
            _ => false,
        };
        *before = Some((error, logged));
    }
}

impl Current {
    fn of(contents: Contents) -> Result<Self, TlsError> {
        let (chain, key) = contents.identity()?;
        let end = End::of(&chain);
        let config = server_config(&contents, chain, key)?;
        Ok(Self {
            contents,
            config,
            end,
            roots: 0,
        })
    }
}

fn server_config(
    contents: &Contents,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| contents.unusable(&error))?;
    let builder = match contents.client_roots()? {
        None => builder.with_no_client_auth(),
        Some(roots) => {
            // Who shows no certificate may still have a token, and may ask whether the host is ready.
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .allow_unauthenticated()
                .build()
                .map_err(|error| contents.unusable_roots(&error))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|error| contents.unusable(&error))?;
    config.alpn_protocols = vec![HTTP_2.to_vec(), HTTP_1_1.to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests;
