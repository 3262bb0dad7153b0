//! The admin listener, and who may use it.

use std::net::SocketAddr;

use crate::same_site::HostName;
use crate::tls::TlsFiles;
use crate::tokens::right::{AdminRight, TokenRight};
use crate::tokens::{Rights, TokenSection, Tokens};

/// The settings of the admin listener.
#[derive(Clone, Debug)]
pub struct AdminConfig {
    /// The address that it listens on.
    pub listen: SocketAddr,
    /// Its TLS.
    pub tls: TlsFiles,
    /// What operators may do who show certificates.
    pub client_rights: Vec<AdminRight>,
    /// The names by which a browser may ask it.
    pub hosts: Vec<HostName>,
    /// Whether it may listen beyond loopback although there are no tokens.
    pub open: bool,
    /// The tokens of operators.
    pub tokens: AdminTokens,
}

/// The tokens of operators, as they are written and as they are checked.
#[derive(Clone, Debug, Default)]
pub struct AdminTokens {
    /// As in the file.
    pub(super) sections: Vec<TokenSection<AdminRight>>,
    /// To be compared with those that requests have.
    pub tokens: Tokens<AdminRight>,
}

impl AdminConfig {
    /// What operators may do who show certificates; none: they cannot show any.
    pub fn certificates(&self) -> Option<Rights<AdminRight>> {
        let rights = || self.client_rights.iter().copied().collect();
        self.tls.client_roots.is_some().then(rights)
    }
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8081)),
            tls: TlsFiles::default(),
            client_rights: AdminRight::ALL.to_vec(),
            hosts: Vec::new(),
            open: false,
            tokens: AdminTokens::default(),
        }
    }
}
