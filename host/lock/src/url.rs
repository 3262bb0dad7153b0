//! Where the locks are.

use std::fmt;
use std::str::FromStr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use rustls::pki_types::ServerName;

use crate::error::OpenError;

/// The most servers that one URL names.
const SERVERS_MAX: usize = 64;

/// The most bytes of user and password together: a line of memcached's file of users is cut beyond 256.
const LOGIN_BYTES_MAX: usize = 250;

/// What is written as `%XX` in a user or a password (RFC 3986, all but "unreserved").
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// How user and password are to be written.
const LOGIN_FORM: &str = "user and password stand once, before the first server, as in \
                          memcacheds://user:password@host:port, with %40 for @, %3A for :, %2F for /, %2C for a comma \
                          and %25 for %";

/// Where the table of locks is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LockUrl {
    /// Inside this process: `memory:`. Other processes neither see these locks nor are kept out by them.
    Memory,
    /// In memcached servers: `memcached://host:port,host:port`. Each name has one of them.
    Memcached(MemcachedUrl),
}

/// Memcached servers, and how all of them are spoken to: `memcacheds://user:password@host:port,host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemcachedUrl {
    /// Each as `host:port`.
    pub servers: Vec<String>,
    /// Whether over TLS: `memcacheds://`.
    pub tls: bool,
    /// What each is told before anything else, where it asks for that (`memcached -Y`).
    pub login: Option<Login>,
}

/// A user of memcached, and the password, which is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    user: String,
    password: String,
}

impl MemcachedUrl {
    /// Servers, each as `host:port`, without TLS and password.
    pub fn plain(servers: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            servers: servers.into_iter().map(Into::into).collect(),
            tls: false,
            login: None,
        }
    }

    /// Reads what stands behind `memcached://` or `memcacheds://`.
    fn parse(rest: &str, tls: bool) -> Result<Self, String> {
        let (login, servers) = match rest.rsplit_once('@') {
            Some((login, servers)) => (Some(Login::parse(login)?), servers),
            None => (None, rest),
        };
        let servers: Vec<_> = servers.strip_suffix('/').unwrap_or(servers).split(',').collect();
        let is_server = |server: &&str| {
            let parts = server.rsplit_once(':');
            parts.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0))
        };
        if !servers.iter().all(is_server) {
            return Err(
                "after memcached:// it needs host:port, for example 127.0.0.1:11211; separate several with commas"
                    .into(),
            );
        }
        if servers.len() > SERVERS_MAX {
            return Err(format!(
                "it names {} servers, each as host:port; the most is {SERVERS_MAX}",
                servers.len()
            ));
        }
        let mut earlier = servers.iter().enumerate();
        if earlier.any(|(at, server)| servers[..at].contains(server)) {
            return Err("it names one host:port twice".into());
        }
        if let Some(server) = servers.iter().find(|server| tls && server_name(server).is_none()) {
            return Err(format!(
                "no certificate can be for the host of {server}; write host:port with its name or its IP address"
            ));
        }
        Ok(Self {
            tls,
            login,
            ..Self::plain(servers)
        })
    }
}

/// The name that the certificate of this `host:port` must have.
pub(crate) fn server_name(server: &str) -> Option<ServerName<'static>> {
    let (host, _) = server.rsplit_once(':')?;
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    ServerName::try_from(address.unwrap_or(host).to_owned()).ok()
}

impl Login {
    /// A user and a password, as they stand in memcached's file, `user:password`.
    ///
    /// # Errors
    ///
    /// Why such a line cannot be there. It does not tell the password.
    pub fn new(user: impl Into<String>, password: impl Into<String>) -> Result<Self, String> {
        let (user, password) = (user.into(), password.into());
        if user.is_empty() || password.is_empty() {
            return Err(format!("its user or its password is empty; {LOGIN_FORM}"));
        }
        let is_odd = |text: &str| text.contains(|c: char| c.is_whitespace() || c.is_control());
        if is_odd(&user) || is_odd(&password) || user.contains(':') {
            return Err(
                "memcached (-Y) takes no user with a colon, and no user or password with blanks or control \
                        characters; choose others"
                    .into(),
            );
        }
        if user.len() + password.len() > LOGIN_BYTES_MAX {
            return Err(format!(
                "its user and password have more than {LOGIN_BYTES_MAX} bytes, which memcached (-Y) does not take; \
                 choose shorter ones"
            ));
        }
        Ok(Self { user, password })
    }

    /// The user.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The password, which must be in no log and no error.
    pub(crate) fn password(&self) -> &str {
        &self.password
    }

    /// Reads what stands before the `@`.
    fn parse(text: &str) -> Result<Self, String> {
        let Some((user, password)) = text.split_once(':') else {
            return Err(format!("it has a user and no password; {LOGIN_FORM}"));
        };
        let decode = |text: &str| {
            let is_escaped =
                |after: &str| after.len() >= 2 && after.bytes().take(2).all(|byte| byte.is_ascii_hexdigit());
            if text.contains(['@', ':', '/', ',']) || !text.split('%').skip(1).all(is_escaped) {
                return Err(LOGIN_FORM.to_owned());
            }
            let decoded = percent_decode_str(text).decode_utf8();
            decoded
                .map(String::from)
                .map_err(|_| "its user or its password is not UTF-8".to_owned())
        };
        Self::new(decode(user)?, decode(password)?)
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

impl FromStr for LockUrl {
    type Err = OpenError;

    fn from_str(url: &str) -> Result<Self, OpenError> {
        if url == "memory:" {
            return Ok(Self::Memory);
        }
        let parsed = match url.split_once("://") {
            Some(("memcached", rest)) => MemcachedUrl::parse(rest, false),
            Some(("memcacheds", rest)) => MemcachedUrl::parse(rest, true),
            _ => Err("it is none of memory:, memcached://host:port and memcacheds://host:port (over TLS)".to_owned()),
        };
        parsed.map(Self::Memcached).map_err(|reason| OpenError::Url {
            url: without_password(url),
            reason,
        })
    }
}

/// What of a URL that is wrong can be shown: what may be a password, wrongly written too, is left out.
fn without_password(url: &str) -> String {
    if let Some((_, servers)) = url.rsplit_once('@') {
        return format!("…@{servers}");
    }
    let (scheme, rest) = url.split_at(url.find("://").map_or(0, |at| at + 3));
    match rest.split_once(':') {
        // `user:password` without a server; an IPv6 address begins with a bracket.
        Some((host, port)) if !host.starts_with('[') && !port.starts_with(|c: char| c.is_ascii_digit()) => {
            format!("{scheme}{host}:…")
        }
        _ => url.to_owned(),
    }
}

impl fmt::Display for LockUrl {
    /// Without the password. What is shown with a user alone is refused where a URL is read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory:"),
            Self::Memcached(url) => url.fmt(f),
        }
    }
}

impl fmt::Display for MemcachedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.tls { "memcacheds://" } else { "memcached://" })?;
        if let Some(login) = &self.login {
            write!(f, "{}@", utf8_percent_encode(&login.user, ESCAPED))?;
        }
        f.write_str(&self.servers.join(","))
    }
}

#[cfg(test)]
mod tests;
