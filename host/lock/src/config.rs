//! Where the locks are, and the limit on everything that could grow or wait.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::error::OpenError;

/// The longest relative time to live that memcached takes; anything larger is read as a date (its `doc/protocol.txt`).
const TTL_SECONDS_MAX: u64 = 60 * 60 * 24 * 30;

/// The most servers that one URL names.
const SERVERS_MAX: usize = 64;

/// What memcached's clock, which ticks once a second and was seen to jump by two ticks, may take from an item's life.
pub(crate) const COARSE_CLOCK: Duration = Duration::from_secs(2);

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
        let bad = |reason: &str| OpenError::Url {
            url: url.to_owned(),
            reason: reason.to_owned(),
        };
        if url == "memory:" {
            return Ok(Self::Memory);
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
            let mend =
                "after memcached:// it needs host:port, for example 127.0.0.1:11211; several with a comma between";
            return Err(bad(mend));
        }
        if servers.len() > SERVERS_MAX {
            return Err(bad(&format!(
                "it names more than {SERVERS_MAX} servers, each as host:port"
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

/// The limits of the lock service. Every field has a sound default.
#[derive(Debug, Clone)]
pub struct LockConfig {
    /// How long a lease is trusted unless it is renewed.
    pub lease: Duration,
    /// For how long a lease can be held, however often it is renewed.
    pub max_hold: Duration,
    /// For how long nothing is granted once a server was seen to have forgotten its locks; none: for one lease, which is how long
    /// those that it has forgotten may still be trusted.
    pub restart_grace: Option<Duration>,
    /// How often a server is asked whether it evicts.
    pub watch_every: Duration,
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
    /// What that wait grows to. A server that was just started is watched for a bit longer than this before it is used.
    pub backoff_max: Duration,
    /// How many leases may be waiting to be released in the background, and as many may be under way; one more is left to its expiry.
    pub reaper_queue: usize,
    /// How many locks the table inside this process holds; one more is refused.
    pub memory_locks: usize,
}

impl Default for LockConfig {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(10),
            max_hold: Duration::from_secs(60),
            restart_grace: None,
            watch_every: Duration::from_secs(10),
            max_wait: Duration::from_secs(30),
            waiters: 16_384,
            lanes: 2,
            queue: 8_192,
            batch: 256,
            connect_timeout: Duration::from_secs(1),
            exchange_timeout: Duration::from_secs(1),
            backoff_min: Duration::from_millis(10),
            backoff_max: Duration::from_millis(500),
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

    /// For how long nothing is granted once a server was seen to have forgotten its locks.
    pub fn grace(&self) -> Duration {
        self.restart_grace.unwrap_or(self.lease)
    }

    /// How often a connection asks its server something, also when nobody wants a lock; see [`stall`](Self::stall).
    pub(crate) fn heartbeat(&self) -> Duration {
        self.exchange_timeout / 4
    }

    /// How long a host takes to notice that a server which it can reach has forgotten its locks: a lane that was waiting to connect
    /// again does so by then, and any other one has asked.
    pub(crate) fn notice(&self) -> Duration {
        self.backoff_max + self.heartbeat() * 2
    }

    /// A reply that is later than this shows that the server stood still, and what it grants soon after is not trusted: its clock
    /// may not have noticed yet. A shorter stall, with the pause between two questions, is no longer than `exchange_timeout`, and
    /// that is in the time to live.
    pub(crate) fn stall(&self) -> Duration {
        self.exchange_timeout - self.heartbeat()
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
            ("watch_every", self.watch_every),
        ];
        if let Some((name, _)) = times.into_iter().find(|(_, value)| value.is_zero()) {
            return Err(OpenError::Config(format!("{name} is 0; it must be at least 1ms")));
        }
        if self.lease > Duration::from_secs(24 * 60 * 60) {
            return Err(OpenError::Config(
                "lease is over a day; a lock that is lost is not given again before".into(),
            ));
        }
        if self.max_hold < self.lease {
            return Err(OpenError::Config(
                "max_hold is below lease; it must be at least as long".into(),
            ));
        }
        if self.grace() > Duration::from_secs(24 * 60 * 60) {
            return Err(OpenError::Config("restart_grace is over a day".into()));
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
    fn the_time_to_live_outlasts_the_lease_by_clock_and_stall() {
        let mut config = LockConfig::default();
        assert_eq!(config.ttl_seconds(), 13);
        config.exchange_timeout = Duration::from_millis(1001);
        assert_eq!(config.ttl_seconds(), 14);
        config.lease = Duration::from_millis(500);
        assert_eq!(config.ttl_seconds(), 4);
    }
}
