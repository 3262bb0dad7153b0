//! The two listeners of a host: where they are, and their TLS.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpSocket};

use super::RunError;
use super::manager::Sockets;
use crate::config::Config;
use crate::config::source::ConfigError;
use crate::logins::Logins;
use crate::tls::{Tls, TlsFiles};

/// How many connections the kernel keeps until they are accepted; it has a limit of its own, `net.core.somaxconn`,
/// usually 4096. Where they find no room, a client's next try comes a second later.
const BACKLOG: u32 = 4096;

/// Where a listener is, with the real port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The address.
    pub socket: SocketAddr,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.socket)
    }
}

/// Where the server listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The public listener.
    pub public: Address,
    /// The admin listener.
    pub admin: Address,
}

/// Reads the files of the TLS of one listener, which is that of the section with this name.
pub(crate) fn open_tls(section: &'static str, files: &TlsFiles) -> Result<Option<Arc<Tls>>, ConfigError> {
    Tls::open(section, files).map_err(|error| ConfigError::new(format!("{section}.tls_certificate"), error.to_string()))
}

/// The TLS of both listeners.
#[derive(Clone)]
pub(crate) struct Identities {
    public: Option<Arc<Tls>>,
    admin: Option<Arc<Tls>>,
}

impl Identities {
    /// Reads the files that the configuration names.
    pub(crate) fn open(config: &Config) -> Result<Self, ConfigError> {
        Ok(Self {
            public: open_tls("http", &config.http.tls)?,
            admin: open_tls("admin", &config.admin.tls)?,
        })
    }

    /// That of each listener that has it.
    pub(super) fn all(&self) -> Vec<Arc<Tls>> {
        [&self.public, &self.admin].into_iter().flatten().cloned().collect()
    }

    /// Who was not let in at the admin listener: the handshake notes it too.
    pub(super) fn logins(&self) -> Arc<Logins> {
        self.admin
            .as_ref()
            .map(|tls| Arc::clone(tls.logins()))
            .unwrap_or_default()
    }

    /// Takes up what their files become, for ever.
    pub(super) async fn keep_fresh(self) {
        let keep = async |tls: Option<Arc<Tls>>| match tls {
            Some(tls) => tls.keep_fresh().await,
            None => std::future::pending().await,
        };
        tokio::join!(keep(self.public), keep(self.admin));
    }
}

/// What a listener is made of.
pub(super) struct Port {
    address: SocketAddr,
    flag: &'static str,
    /// Opened by the service manager, at this address.
    opened: Option<std::net::TcpListener>,
    tls: Option<Arc<Tls>>,
}

/// What both are made of.
pub(super) struct Ports {
    pub(super) public: Port,
    pub(super) admin: Port,
}

impl Ports {
    /// The public and the admin listener. Where the manager has opened one, the configuration has its address
    /// ([`Sockets::place`]).
    pub(super) fn new(config: &Config, identities: &Identities, sockets: Sockets) -> Self {
        let public = Port {
            address: config.http.listen,
            flag: "--listen",
            opened: sockets.public,
            tls: identities.public.clone(),
        };
        let admin = Port {
            address: config.admin.listen,
            flag: "--admin",
            opened: sockets.admin,
            tls: identities.admin.clone(),
        };
        Self { public, admin }
    }
}

impl Port {
    /// Listens there.
    pub(super) fn bind(self) -> Result<Bound, RunError> {
        let listener = match self.opened {
            Some(opened) => TcpListener::from_std(opened).map_err(RunError::Runtime)?,
            None => bind(self.address, self.flag)?,
        };
        let tls = self.tls;
        Ok(Bound { listener, tls })
    }
}

/// A listener that is bound.
pub(super) struct Bound {
    pub(super) listener: TcpListener,
    pub(super) tls: Option<Arc<Tls>>,
}

impl Bound {
    /// Where it is.
    pub(super) fn address(&self) -> Result<Address, RunError> {
        Ok(Address {
            scheme: if self.tls.is_some() { "https" } else { "http" },
            socket: self.listener.local_addr().map_err(RunError::Runtime)?,
        })
    }
}

// Keeps P6: a burst of connections of one caller fills no queue in which another one's would wait for the kernel to try again.
fn bind(address: SocketAddr, flag: &'static str) -> Result<TcpListener, RunError> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    };
    let listen = |socket: TcpSocket| {
        // As `TcpListener::bind` does: a host that is started again gets its port at once.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    socket
        .and_then(listen)
        .map_err(|source| RunError::Bind { address, flag, source })
}
