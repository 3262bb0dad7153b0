//! How a server is reached: the one place where connections to memcached are made, encrypted and authenticated.
//!
//! # The password
//!
//! A memcached with `-Y` takes a `set` with `user password` as its value before anything else. One without `-Y` would keep that as
//! an item, for all to read. So the server is asked for its version first, which one with `-Y` refuses to tell; where it is told,
//! the password is not sent. In the clear (`memcached://`) whoever listens hears the password, as with any service.

use std::collections::BTreeSet;
use std::sync::Arc;

use memcache::exp::Error;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::error::ConnectError;
use super::stream::Stream;
use super::tls::{NO_TLS, Tls};
use super::wire::Wire;
use crate::config::LockConfig;
use crate::error::OpenError;
use crate::url::{LockUrl, Login, MemcachedUrl, server_name};

/// The key of the `set` with the password; memcached ignores it.
const LOGIN_KEY: &str = "namelock:@login";

/// How the servers of both lists are reached.
#[derive(Debug)]
pub(super) struct Dialer {
    current: Access,
    previous: Option<Access>,
}

/// How the servers of one list are reached.
#[derive(Debug)]
struct Access {
    servers: BTreeSet<String>,
    tls: Option<Arc<Tls>>,
    login: Option<Login>,
}

impl Access {
    fn open(url: &MemcachedUrl, config: &LockConfig) -> Result<Self, OpenError> {
        let tls = url.tls.then(|| Tls::open(&config.tls)).transpose();
        Ok(Self {
            servers: url.servers.iter().cloned().collect(),
            tls: tls.map_err(OpenError::Config)?.map(Arc::new),
            login: url.login.clone(),
        })
    }
}

impl Dialer {
    pub(super) fn open(url: &MemcachedUrl, config: &LockConfig) -> Result<Self, OpenError> {
        let previous = match &config.previous {
            Some(LockUrl::Memcached(previous)) => Some(Access::open(previous, config)?),
            _ => None,
        };
        Ok(Self {
            current: Access::open(url, config)?,
            previous,
        })
    }

    /// Makes a connection to `server`, over which commands can be sent, until `deadline`.
    pub(super) async fn dial(&self, server: &str, deadline: Instant) -> Result<Wire, ConnectError> {
        let access = self.access(server);
        let connected = timeout_at(deadline, TcpStream::connect(server)).await;
        let socket = connected.map_err(|_| ConnectError::Timeout)??;
        socket.set_nodelay(true)?;
        let stream = match &access.tls {
            Some(tls) => {
                let name = server_name(server)
                    .ok_or_else(|| ConnectError::Tls(format!("no certificate can be for the host of {server}")))?;
                let encrypted = timeout_at(deadline, tls.encrypt(socket, name)).await;
                let stream = encrypted.unwrap_or_else(|_| Err(NO_TLS.into()));
                Stream::Tls(Box::new(stream.map_err(ConnectError::Tls)?))
            }
            None => Stream::Plain(socket),
        };
        let mut wire = Wire::new(stream);
        if let Some(login) = &access.login {
            let logged_in = timeout_at(deadline, log_in(&mut wire, login)).await;
            logged_in.map_err(|_| ConnectError::Timeout)??;
        }
        Ok(wire)
    }

    /// A server that is in both lists is reached as the new one says.
    fn access(&self, server: &str) -> &Access {
        match &self.previous {
            Some(previous) if !self.current.servers.contains(server) => previous,
            _ => &self.current,
        }
    }
}

/// Tells a server who this is. What it answers to the password is in no error: it could be the password.
async fn log_in(wire: &mut Wire, login: &Login) -> Result<(), ConnectError> {
    let asked = ask(wire, "version\r\n").await?;
    if asked.starts_with("VERSION") {
        return Err(ConnectError::Login(
            "it asks nobody for a password, so the one in lock.url protects nothing and was not sent; start it with -Y and \
             the file of its users, or take user and password out of lock.url"
                .into(),
        ));
    }
    if !asks_for_login(&asked) {
        let answer: String = asked.chars().take(80).collect();
        return Err(Error::Protocol(format!("it answered {answer:?}; is it a memcached?")).into());
    }
    let (user, password) = (login.user(), login.password());
    let bytes = user.len() + 1 + password.len();
    let answer = ask(wire, &format!("set {LOGIN_KEY} 0 0 {bytes}\r\n{user} {password}\r\n")).await?;
    match answer.as_str() {
        "STORED" => Ok(()),
        _ => Err(ConnectError::Login(format!(
            "it does not accept the password of the user {user:?}; write the same in lock.url and in its file of users (-Y), which \
             it reads at its start and on SIGHUP"
        ))),
    }
}

async fn ask(wire: &mut Wire, request: &str) -> Result<String, ConnectError> {
    let is_tls = wire.is_tls();
    let ask = async {
        wire.send(request).await?;
        wire.line().await
    };
    ask.await.map_err(|error| ConnectError::of_greeting(error, is_tls))
}

/// Whether a server answers so because it wants to be told a user and a password first.
pub(super) fn asks_for_login(answer: &str) -> bool {
    answer == "CLIENT_ERROR unauthenticated"
}

#[cfg(test)]
mod tests;
