//! Where the locks are, and the limit on everything that could grow or wait.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::error::OpenError;

/// The longest relative time to live that memcached takes; anything larger is read as a date (its `doc/protocol.txt`).
const TTL_SECONDS_MAX: u64 = 60 * 60 * 24 * 30;

/// What memcached's clock, which ticks once a second and was seen to jump by two ticks, may take from an item's life.
const COARSE_CLOCK: Duration = Duration::from_secs(2);

/// Where the table of locks is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LockUrl {
    /// Inside this process: `memory:`. Other processes neither see these locks nor are kept out by them.
    Memory,
    /// A memcached server, as `host:port`: `memcached://host:port`.
    Memcached(String),
}

impl FromStr for LockUrl {
    type Err = OpenError;

    fn from_str(url: &str) -> Result<Self, OpenError> {
        let bad = |reason: &str| OpenError::Url {
            url: url.to_owned(),
            reason: reason.to_owned(),
        };
        if url == "memory:" {
            return Ok(Self::Memory);
        }
        let Some(server) = url.strip_prefix("memcached://") else {
            return Err(bad("it is neither memory: nor memcached://host:port"));
        };
        let server = server.strip_suffix('/').unwrap_or(server);
        if server.contains(',') {
            return Err(bad("several servers are not supported yet: name one host:port"));
        }
        match server.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0) => {
                Ok(Self::Memcached(server.to_owned()))
            }
            _ => Err(bad(
                "after memcached:// it needs host:port, for example 127.0.0.1:11211",
            )),
        }
    }
}

impl fmt::Display for LockUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory:"),
            Self::Memcached(server) => write!(f, "memcached://{server}"),
        }
    }
}

/// The limits of the lock service. Every field has a sound default.
#[derive(Debug, Clone)]
pub struct LockConfig {
    /// How long a lease is trusted unless it is renewed.
    pub lease: Duration,
    /// The longest that one acquire may wait, whatever the caller wishes.
    pub max_wait: Duration,
    /// How many callers may wait for a name at once, over all names.
    pub waiters: usize,
    /// How many connections there are to a memcached server.
    pub lanes: usize,
    /// How many operations may queue for one lane; one more is refused at once.
    pub queue: usize,
    /// How many operations one lane sends at once.
    pub batch: usize,
    /// How long making a connection may take, with the questions that are asked when it stands.
    pub connect_timeout: Duration,
    /// How long one batch may take from the first byte sent to the last byte read. A server that is slower than this is
    /// treated as gone, and what it granted in that time is not trusted.
    pub exchange_timeout: Duration,
    /// How long a lane waits after the first failed connection before it tries again; it doubles each time, with jitter.
    pub backoff_min: Duration,
    /// What that wait grows to.
    pub backoff_max: Duration,
    /// How many leases may be waiting to be released in the background; one more is left to its expiry.
    pub reaper_queue: usize,
    /// How many locks the table inside this process holds; one more is refused.
    pub memory_locks: usize,
}

impl Default for LockConfig {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(10),
            max_wait: Duration::from_secs(30),
            waiters: 16_384,
            lanes: 2,
            queue: 8_192,
            batch: 256,
            connect_timeout: Duration::from_secs(1),
            exchange_timeout: Duration::from_secs(1),
            backoff_min: Duration::from_millis(10),
            backoff_max: Duration::from_secs(1),
            reaper_queue: 65_536,
            memory_locks: 1_000_000,
        }
    }
}

impl LockConfig {
    /// The time to live that is sent with a lock, in whole seconds.
    ///
    /// An item with `TTL` T really lives between T - 1 and T seconds, T - 2 where the server's clock jumps by two ticks; and an
    /// item that is stored after a stall is dated by a clock that stood still, so the stall comes off too. A stall of
    /// [`exchange_timeout`](Self::exchange_timeout) or more breaks the connection and the grant is not trusted; so with
    /// `T = lease + 2 s + exchange_timeout`, rounded up, the item outlives the trust in it.
    pub fn ttl_seconds(&self) -> u32 {
        let ttl = self.lease + COARSE_CLOCK + self.exchange_timeout;
        let whole = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
        u32::try_from(whole.min(TTL_SECONDS_MAX)).unwrap_or(u32::MAX)
    }

    /// Refuses what could not work.
    pub(crate) fn check(&self) -> Result<(), OpenError> {
        let limits = [
            ("lanes", self.lanes),
            ("queue", self.queue),
            ("batch", self.batch),
            ("reaper_queue", self.reaper_queue),
            ("memory_locks", self.memory_locks),
            ("waiters", self.waiters),
        ];
        if let Some((name, _)) = limits.into_iter().find(|(_, value)| *value == 0) {
            return Err(OpenError::Config(format!("{name} is 0; it must be at least 1")));
        }
        let times = [
            ("lease", self.lease),
            ("connect_timeout", self.connect_timeout),
            ("exchange_timeout", self.exchange_timeout),
            ("backoff_min", self.backoff_min),
        ];
        if let Some((name, _)) = times.into_iter().find(|(_, value)| value.is_zero()) {
            return Err(OpenError::Config(format!("{name} is 0; it must be at least 1ms")));
        }
        if self.lease > Duration::from_secs(24 * 60 * 60) {
            return Err(OpenError::Config(
                "lease is over a day; a lock that is lost is not given again before".into(),
            ));
        }
        if self.exchange_timeout > Duration::from_secs(60) || self.connect_timeout > Duration::from_secs(60) {
            return Err(OpenError::Config(
                "exchange_timeout and connect_timeout are at most 60s".into(),
            ));
        }
        if self.backoff_max < self.backoff_min {
            return Err(OpenError::Config("backoff_max is below backoff_min".into()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_the_locks_are() {
        let memcached = |server: &str| LockUrl::Memcached(server.to_owned());
        assert_eq!("memory:".parse::<LockUrl>().unwrap(), LockUrl::Memory);
        assert_eq!("memcached://a:1".parse::<LockUrl>().unwrap(), memcached("a:1"));
        assert_eq!(
            "memcached://[::1]:11211/".parse::<LockUrl>().unwrap(),
            memcached("[::1]:11211")
        );
    }

    #[test]
    fn a_bad_url_is_refused_with_a_way_to_mend_it() {
        for url in [
            "",
            "memory",
            "redis://a:1",
            "memcached://",
            "memcached://a",
            "memcached://a:0",
            "memcached://a:b",
            "memcached://:1",
            "memcached://a:1,b:2",
        ] {
            let error = url.parse::<LockUrl>().unwrap_err().to_string();
            assert!(
                error.contains(url) && (error.contains("host:port") || error.contains("memory:")),
                "{url}: {error}"
            );
        }
    }

    #[test]
    fn the_time_to_live_outlasts_the_lease_by_clock_and_stall() {
        let mut config = LockConfig::default();
        assert_eq!(config.ttl_seconds(), 13);
        config.exchange_timeout = Duration::from_millis(1001);
        assert_eq!(config.ttl_seconds(), 14);
        config.lease = Duration::from_millis(500);
        assert_eq!(config.ttl_seconds(), 4);
    }
}
