//! The limit on everything that could grow or wait.

use std::time::Duration;

use crate::error::OpenError;
use crate::tls_files::TlsFiles;
use crate::url::LockUrl;

/// The longest relative time to live that memcached takes; anything larger is read as a date (its `doc/protocol.txt`).
const TTL_SECONDS_MAX: u64 = 60 * 60 * 24 * 30;

/// The longest lease and the longest grace period.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The longest time that one exchange with a server, or one connection to it, may be allowed.
const SERVER_TIMEOUT_MAX: Duration = Duration::from_secs(60);

/// How long a lock of the Python idiom lasts. Its holder trusts it for that long, also one that its server has forgotten.
const IDIOM_EXPIRY: Duration = Duration::from_secs(10);

/// The most by which memcached's clock, which ticks once a second and was seen to jump by two ticks, may shorten an
/// item's time.
pub(crate) const COARSE_CLOCK: Duration = Duration::from_secs(2);

/// The limits of the lock service. Every field has a sound default.
#[derive(Debug, Clone)]
pub struct LockConfig {
    /// How long a lease is trusted unless it is renewed.
    pub lease: Duration,
    /// How long a lease can be held, however often it is renewed.
    pub max_hold: Duration,
    /// The list of memcached servers that other hosts may still have, while it is changed; see
    /// `memcached::fleet`.
    pub previous: Option<LockUrl>,
    /// The files of TLS, where a URL is `memcacheds://`.
    pub tls: TlsFiles,
    /// How long nothing is granted once a server was seen to have forgotten its locks; at least as long as forgotten
    /// ones may still be trusted. None: for exactly that long.
    pub restart_grace: Option<Duration>,
    /// Whether locks are shared with programs that use the Python idiom: somebody uses the empty namespace.
    pub shared_with_idiom: bool,
    /// How often a server is asked whether it evicts.
    pub watch_every: Duration,
    /// The longest that one acquire may wait, whatever its caller asks for.
    pub max_wait: Duration,
    /// How many callers may wait for a lock at once, over all names.
    pub waiters: usize,
    /// How many connections there are to a memcached server.
    pub lanes: usize,
    /// How many operations may queue for one lane; one more is refused at once.
    pub queue: usize,
    /// How many operations one lane sends at once.
    pub batch: usize,
    /// How long making a connection may take, including the questions that are asked over it first.
    pub connect_timeout: Duration,
    /// How long one batch may take from the first byte sent to the last byte read. A slower server is treated as gone,
    /// and what it granted in that time is not trusted.
    pub exchange_timeout: Duration,
    /// How long a lane waits after the first failed connection before it tries again. It doubles each time, with
    /// jitter.
    pub backoff_min: Duration,
    /// The most that this wait grows to.
    pub backoff_max: Duration,
    /// How many leases may queue to be released in the background, and as many may be under way; one more is left to
    /// expire.
    pub reaper_queue: usize,
    /// How many locks the table inside this process holds; one more is refused.
    pub memory_locks: usize,
}

impl Default for LockConfig {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(10),
            max_hold: Duration::from_secs(60),
            previous: None,
            tls: TlsFiles::default(),
            restart_grace: None,
            shared_with_idiom: false,
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
    /// An item with a time to live of T really lives between T - 1 and T seconds, or T - 2 where the server's clock
    /// jumps by two ticks. A clock that is behind by more, because the server stood still, takes off more. So with
    /// `T = lease + 2 s + exchange_timeout`, rounded up, the item outlives the trust in it if the clock is behind by at
    /// most [`exchange_timeout`](Self::exchange_timeout). Whether it is, is read from the server for each grant, and one
    /// for which that is not proved is not trusted (`memcached::clock`).
    // Keeps P5: memcached keeps a lock for longer than anybody trusts it.
    pub fn ttl_seconds(&self) -> u32 {
        let ttl = self.lease + COARSE_CLOCK + self.exchange_timeout;
        let whole = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
        u32::try_from(whole.min(TTL_SECONDS_MAX)).unwrap_or(u32::MAX)
    }

    /// How long nothing is granted once a server was seen to have forgotten its locks.
    pub fn grace(&self) -> Duration {
        self.restart_grace.unwrap_or_default().max(self.grace_min())
    }

    /// How long a forgotten lock may still be trusted by its holder: a lease, or a lock of the Python idiom.
    // Keeps P7: nothing is granted while a forgotten lock may still be trusted.
    fn grace_min(&self) -> Duration {
        if self.shared_with_idiom {
            self.lease.max(IDIOM_EXPIRY)
        } else {
            self.lease
        }
    }

    /// How often a connection asks for its server's sentinels, even when nobody wants a lock. The pause between two
    /// looks makes what they prove of the server's clock less exact (`memcached::clock`), and `exchange_timeout`, which is
    /// part of the time to live, covers that four times.
    pub(crate) fn heartbeat(&self) -> Duration {
        self.exchange_timeout / 4
    }

    /// Refuses values that could not work, with the lock service at `url`.
    ///
    /// # Errors
    ///
    /// The first of them, and why.
    pub fn check(&self, url: &LockUrl) -> Result<(), OpenError> {
        self.check_not_zero().map_err(OpenError::Config)?;
        self.check_ranges().map_err(OpenError::Config)?;
        if let (Some(_), LockUrl::Memory) | (Some(LockUrl::Memory), _) = (&self.previous, url) {
            let reason = "previous is set, but the lock service is or was memory:; only a list of memcached servers can \
                          be changed while hosts run";
            return Err(OpenError::Config(reason.to_owned()));
        }
        // The programs of the idiom know one server, and exclude nobody whose names are on another one.
        if let LockUrl::Memcached(memcached) = url
            && self.shared_with_idiom
            && memcached.servers.len() > 1
        {
            let reason = "a namespace is shared with the Python idiom, whose programs know one memcached, and the lock \
                          service has several; give it one, or share no namespace (lock.shared_namespace)";
            return Err(OpenError::Config(reason.to_owned()));
        }
        let urls: Vec<_> = self.previous.iter().chain([url]).collect();
        self.tls.check(&urls).map_err(OpenError::Config)
    }

    fn check_not_zero(&self) -> Result<(), String> {
        let limits = [
            ("lanes", self.lanes),
            ("queue", self.queue),
            ("batch", self.batch),
            ("reaper_queue", self.reaper_queue),
            ("memory_locks", self.memory_locks),
            ("waiters", self.waiters),
        ];
        if let Some((name, _)) = limits.into_iter().find(|(_, value)| *value == 0) {
            return Err(format!("{name} is 0; it must be at least 1"));
        }
        let times = [
            ("lease", self.lease),
            ("connect_timeout", self.connect_timeout),
            ("exchange_timeout", self.exchange_timeout),
            ("backoff_min", self.backoff_min),
            ("watch_every", self.watch_every),
        ];
        match times.into_iter().find(|(_, value)| value.is_zero()) {
            Some((name, _)) => Err(format!("{name} is 0; it must be at least 1ms")),
            None => Ok(()),
        }
    }

    fn check_grace(&self, grace: Duration) -> Result<(), String> {
        let min = self.grace_min();
        if grace > DAY {
            return Err(format!("restart_grace is {grace:?}; it must be at most a day"));
        }
        if grace < min {
            let trusted = if min > self.lease {
                "how long programs that share the empty namespace trust a lock"
            } else {
                "how long a lease is trusted (lease)"
            };
            return Err(format!(
                "restart_grace is {grace:?}; it must be at least {min:?}, {trusted}: a lock that memcached forgot would \
                 be granted again while its holder still trusts it"
            ));
        }
        Ok(())
    }

    fn check_ranges(&self) -> Result<(), String> {
        let (lease, max_hold) = (self.lease, self.max_hold);
        if lease > DAY {
            return Err(format!(
                "lease is {lease:?}; it must be at most a day, because a lost lock is not granted again before"
            ));
        }
        if max_hold < lease {
            return Err(format!(
                "max_hold is {max_hold:?}; it must be at least lease, which is {lease:?}"
            ));
        }
        if let Some(grace) = self.restart_grace {
            self.check_grace(grace)?;
        }
        let timeouts = [
            ("exchange_timeout", self.exchange_timeout),
            ("connect_timeout", self.connect_timeout),
        ];
        if let Some((name, value)) = timeouts.into_iter().find(|(_, value)| *value > SERVER_TIMEOUT_MAX) {
            return Err(format!(
                "{name} is {value:?}; it must be at most {SERVER_TIMEOUT_MAX:?}"
            ));
        }
        if self.backoff_max < self.backoff_min {
            return Err(format!(
                "backoff_max is {:?}; it must be at least backoff_min, which is {:?}",
                self.backoff_max, self.backoff_min
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::url::MemcachedUrl;

    fn one_server() -> LockUrl {
        LockUrl::Memcached(MemcachedUrl::plain(["a:1"]))
    }

    // Shows P7: nothing is granted while a forgotten lease may still be trusted.
    #[test]
    fn a_grace_period_shorter_than_a_lease_is_refused() {
        let mut config = LockConfig::default();
        for grace in [Duration::ZERO, Duration::from_millis(9_999)] {
            config.restart_grace = Some(grace);
            let error = config.check(&one_server()).unwrap_err().to_string();
            assert!(error.contains("at least 10s, how long a lease is trusted"), "{error}");
        }
        for grace in [None, Some(config.lease), Some(DAY)] {
            config.restart_grace = grace;
            config.check(&one_server()).unwrap();
            assert_eq!(config.grace(), grace.unwrap_or(config.lease));
        }
        config.restart_grace = Some(DAY + Duration::from_secs(1));
        config.check(&one_server()).unwrap_err();
    }

    #[test]
    fn the_grace_period_outlasts_a_lock_of_the_python_idiom_where_it_is_shared() {
        let mut config = LockConfig {
            lease: Duration::from_secs(3),
            ..LockConfig::default()
        };
        assert_eq!(config.grace(), Duration::from_secs(3));
        config.shared_with_idiom = true;
        config.check(&one_server()).unwrap();
        assert_eq!(config.grace(), IDIOM_EXPIRY);
        config.restart_grace = Some(Duration::from_secs(5));
        let error = config.check(&one_server()).unwrap_err().to_string();
        assert!(error.contains("at least 10s, how long programs"), "{error}");
        config.lease = Duration::from_secs(20);
        config.restart_grace = None;
        assert_eq!(config.grace(), config.lease);
    }

    // Shows P5: the time to live covers the lease, the coarse clock and a stall.
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
