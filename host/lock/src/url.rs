//! Where the locks are.

use std::fmt;
use std::str::FromStr;

use crate::error::OpenError;

/// The most servers that one URL names.
const SERVERS_MAX: usize = 64;

/// Where the table of locks is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LockUrl {
    /// Inside this process: `memory:`. Other processes neither see these locks nor are kept out by them.
    Memory,
    /// Memcached servers, each as `host:port`: `memcached://host:port,host:port`. Each name has one of them.
    Memcached(Vec<String>),
}

impl FromStr for LockUrl {
    type Err = OpenError;

    fn from_str(url: &str) -> Result<Self, OpenError> {
        if url == "memory:" {
            return Ok(Self::Memory);
        }
        // What comes before the last @ may be a password, and is in no log and no error.
        let shown = url
            .rsplit_once('@')
            .map_or(url.to_owned(), |(_, rest)| format!("…@{rest}"));
        let bad = |reason: &str| OpenError::Url {
            url: shown.clone(),
            reason: reason.to_owned(),
        };
        if shown != url {
            return Err(bad(
                "a lock service has no user and no password; write memcached://host:port",
            ));
        }
        let Some(servers) = url.strip_prefix("memcached://") else {
            return Err(bad("it is neither memory: nor memcached://host:port"));
        };
        let servers: Vec<_> = servers.strip_suffix('/').unwrap_or(servers).split(',').collect();
        let is_server = |server: &&str| {
            let parts = server.rsplit_once(':');
            parts.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0))
        };
        if !servers.iter().all(is_server) {
            return Err(bad(
                "after memcached:// it needs host:port, for example 127.0.0.1:11211; separate several with commas",
            ));
        }
        if servers.len() > SERVERS_MAX {
            return Err(bad(&format!(
                "it names {} servers, each as host:port; the most is {SERVERS_MAX}",
                servers.len()
            )));
        }
        let twice = servers
            .iter()
            .enumerate()
            .any(|(at, server)| servers[..at].contains(server));
        if twice {
            return Err(bad("it names one host:port twice"));
        }
        Ok(Self::Memcached(servers.into_iter().map(str::to_owned).collect()))
    }
}

impl fmt::Display for LockUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory:"),
            Self::Memcached(servers) => write!(f, "memcached://{}", servers.join(",")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_the_locks_are() {
        let memcached = |servers: &[&str]| LockUrl::Memcached(servers.iter().map(ToString::to_string).collect());
        assert_eq!("memory:".parse::<LockUrl>().unwrap(), LockUrl::Memory);
        assert_eq!("memcached://a:1".parse::<LockUrl>().unwrap(), memcached(&["a:1"]));
        assert_eq!(
            "memcached://a:1,b:2".parse::<LockUrl>().unwrap(),
            memcached(&["a:1", "b:2"])
        );
        assert_eq!(memcached(&["a:1", "b:2"]).to_string(), "memcached://a:1,b:2");
        assert_eq!(
            "memcached://[::1]:11211/".parse::<LockUrl>().unwrap(),
            memcached(&["[::1]:11211"])
        );
    }

    #[test]
    fn a_bad_url_is_refused_with_a_way_to_fix_it() {
        for url in [
            "",
            "memory",
            "redis://a:1",
            "memcached://",
            "memcached://a",
            "memcached://a:0",
            "memcached://a:b",
            "memcached://:1",
            "memcached://a:1,",
            "memcached://a:1,a:1",
        ] {
            let error = url.parse::<LockUrl>().unwrap_err().to_string();
            assert!(
                error.contains(url) && (error.contains("host:port") || error.contains("memory:")),
                "{url}: {error}"
            );
        }
    }

    #[test]
    fn a_password_is_refused_and_not_shown() {
        for url in [
            "memcached://user:s3cret@a:1",
            "redis://user:s3c@ret@a:1",
            "memcached://a:1,u:s3cret@b:2",
        ] {
            let error = url.parse::<LockUrl>().unwrap_err().to_string();
            assert!(
                error.contains("no user and no password") && !error.contains("s3c"),
                "{error}"
            );
        }
    }
}
