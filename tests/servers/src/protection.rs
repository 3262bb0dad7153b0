//! A memcached that is spoken to over TLS, or asks for a password.

use std::fs;
use std::net::SocketAddr;

use tempfile::TempDir;

use crate::certificates::Identity;

/// How a memcached is protected.
#[derive(Debug, Clone, Copy, Default)]
pub struct Protection<'a> {
    /// The certificate that it shows (`-Z`). None: it does not speak TLS.
    pub tls: Option<&'a Identity>,
    /// The certificate, in PEM, of the authority that has issued those of its clients, which then must show one.
    pub clients: Option<&'a str>,
    /// The user and the password that it asks for (`-Y`).
    pub login: Option<(&'a str, &'a str)>,
}

/// The files of a protected memcached.
#[derive(Debug)]
pub(crate) struct Protected {
    folder: TempDir,
    is_tls: bool,
    login: Option<(String, String)>,
    has_clients: bool,
}

impl Protected {
    pub(crate) fn new(protection: &Protection<'_>) -> Self {
        let protected = Self {
            folder: tempfile::tempdir().expect("a folder"),
            is_tls: protection.tls.is_some(),
            login: protection
                .login
                .map(|(user, password)| (user.to_owned(), password.to_owned())),
            has_clients: protection.clients.is_some(),
        };
        if let Some(identity) = protection.tls {
            protected.replace(identity);
        }
        if let Some(clients) = protection.clients {
            protected.write("clients.pem", clients);
        }
        if let Some((user, password)) = protection.login {
            protected.write("users", &format!("{user}:{password}\n"));
        }
        protected
    }

    /// Puts another certificate where the server finds it.
    pub(crate) fn replace(&self, identity: &Identity) {
        self.write("server.pem", &identity.certificate);
        self.write("server.key", &identity.key);
    }

    pub(crate) fn flags(&self) -> Vec<String> {
        let mut flags = Vec::new();
        if self.is_tls {
            let mut options = format!(
                "ssl_chain_cert={},ssl_key={}",
                self.path("server.pem"),
                self.path("server.key")
            );
            if self.has_clients {
                // 2: a client must show a certificate.
                options += &format!(",ssl_verify_mode=2,ssl_ca_cert={}", self.path("clients.pem"));
            }
            flags.extend(["-Z".to_owned(), "-o".to_owned(), options]);
        }
        if self.login.is_some() {
            flags.extend(["-Y".to_owned(), self.path("users")]);
        }
        flags
    }

    /// Where it listens: at `address`, and in the clear at `raw`, where that is another one.
    pub(crate) fn listen(&self, address: SocketAddr, raw: SocketAddr) -> String {
        match self.is_tls {
            true => format!("{address},notls:{raw}"),
            false => address.to_string(),
        }
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.is_tls
    }

    pub(crate) fn login(&self) -> Option<(&str, &str)> {
        let (user, password) = self.login.as_ref()?;
        Some((user, password))
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).expect("a file in its folder");
    }
}
