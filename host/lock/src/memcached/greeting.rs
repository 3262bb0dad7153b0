//! What is asked when a connection is made: the server's version and settings.
//!
//! A server that cannot hold a lock is refused; settings that put locks at risk give warnings.

use memcache::exp::Error;

use super::dial::asks_for_login;
use super::error::ConnectError;
use super::wire::Wire;

use crate::mishaps::Loss;

/// The oldest server whose `md … C` compares with the CAS that was sent; before, it compared with 0 (its release
/// notes).
const VERSION_MIN: [u32; 3] = [1, 6, 13];

/// The first server whose slab mover leaves the CAS of an item alone (its release notes).
const VERSION_KEEPS_CAS: [u32; 3] = [1, 6, 24];

/// Less memory than this, memcached's own default, is a sign that nobody has thought about it.
const MEMORY_BYTES_MIN: u64 = 64 << 20;

/// The most that a server may answer when it is asked for statistics.
const STATISTICS_BYTES_MAX: usize = 64 * 1024;

/// What a server says of itself, from which it shows why locks are gone.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Figures {
    pid: u64,
    uptime: u64,
    flushes: u64,
    pub(super) evictions: u64,
}

/// Why a server has forgotten locks, and what to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Cause {
    #[error("it was restarted or replaced")]
    Restart,
    #[error("it was flushed: let nobody send flush_all to it")]
    Flush,
    #[error(
        "it has evicted a sentinel, and with it perhaps locks: start it with -M, give it more memory (-m), and let \
         nothing else use it"
    )]
    Eviction,
    #[error("its sentinel was deleted")]
    Unknown,
}

impl Cause {
    /// The reason under which it is counted.
    pub(super) fn loss(self) -> Loss {
        match self {
            Self::Restart => Loss::Restarted,
            Self::Flush => Loss::Flushed,
            Self::Eviction => Loss::Evicted,
            Self::Unknown => Loss::Deleted,
        }
    }
}

/// What the settings of a server have to say about locks.
#[derive(Debug, Default)]
struct Settings {
    version: Option<[u32; 3]>,
    refusal: Option<ConnectError>,
    warnings: Vec<&'static str>,
}

impl Figures {
    /// Reads them from the server.
    pub(super) async fn read(wire: &mut Wire) -> Result<Self, ConnectError> {
        let mut figures = Self::default();
        statistics(wire, "stats\r\n", |key, value| {
            let figure = match key {
                "pid" => &mut figures.pid,
                "uptime" => &mut figures.uptime,
                "cmd_flush" => &mut figures.flushes,
                "evictions" => &mut figures.evictions,
                _ => return,
            };
            *figure = value.parse().unwrap_or_default();
        })
        .await?;
        Ok(figures)
    }

    /// Why locks are gone, if these are the server's figures now and `before` those of a while ago.
    pub(super) fn cause(self, before: Self) -> Cause {
        if self.pid != before.pid || self.uptime < before.uptime {
            Cause::Restart
        } else if self.flushes > before.flushes {
            Cause::Flush
        } else if self.evictions > before.evictions {
            Cause::Eviction
        } else {
            Cause::Unknown
        }
    }
}

/// Asks the server for its version and settings, refuses one that cannot hold a lock, and returns the warnings about
/// it.
pub(super) async fn greet(wire: &mut Wire) -> Result<Vec<&'static str>, ConnectError> {
    let mut settings = Settings::default();
    statistics(wire, "version\r\nstats settings\r\n", |key, value| {
        settings.take(key, value)
    })
    .await?;
    match settings.refusal {
        Some(refusal) => Err(refusal),
        None => Ok(settings.warnings),
    }
}

impl Settings {
    fn take(&mut self, key: &str, value: &str) {
        match (key, value) {
            ("version", text) => {
                self.version = parse_version(text);
                if self.version.is_none_or(|version| version < VERSION_MIN) {
                    self.refusal = Some(ConnectError::Version(text.to_owned()));
                }
            }
            ("cas_enabled", "no") => self.refusal = Some(ConnectError::NoCas),
            ("evictions", "on") => self.warnings.push("it evicts locks when it is full; start it with -M"),
            ("maxbytes", bytes) if bytes.parse().is_ok_and(|bytes: u64| bytes < MEMORY_BYTES_MIN) => {
                self.warnings
                    .push("it has less than 64 MiB; start it with -m 64 or more");
            }
            ("slab_automove", level)
                if level != "0" && self.version.is_some_and(|version| version < VERSION_KEEPS_CAS) =>
            {
                self.warnings.push(
                    "its slab mover may renumber locks, which costs a look each; start it with -o no_slab_automove",
                );
            }
            _ => {}
        }
    }
}

/// Asks for statistics, and passes each on with its value; the version counts as one of the name `version`.
async fn statistics(wire: &mut Wire, request: &str, mut take: impl FnMut(&str, &str)) -> Result<(), ConnectError> {
    let is_tls = wire.is_tls();
    let greeting = |error| ConnectError::of_greeting(error, is_tls);
    wire.send(request).await.map_err(greeting)?;
    let mut bytes = 0;
    while bytes < STATISTICS_BYTES_MAX {
        let line = wire.line().await.map_err(greeting)?;
        bytes += line.len();
        let mut words = line.split_ascii_whitespace();
        match (words.next(), words.next(), words.next()) {
            (Some("VERSION"), Some(version), _) => take("version", version),
            (Some("STAT"), Some(key), Some(value)) => take(key, value),
            (Some("END"), ..) => return Ok(()),
            _ if asks_for_login(&line) => {
                return Err(ConnectError::Login(
                    "it asks for a user and a password (-Y); write them in lock.url, before the first server".into(),
                ));
            }
            (Some("ERROR" | "CLIENT_ERROR" | "SERVER_ERROR"), ..) => {
                return Err(Error::Protocol(format!("it answered {line:?}; is it a memcached?")).into());
            }
            _ => {}
        }
    }
    Err(Error::Protocol("its statistics do not end; is it a memcached?".into()).into())
}

/// Reads `1.6.18`, and `1.6.18_4_gdeadbee`, which is how a build between versions is named.
fn parse_version(text: &str) -> Option<[u32; 3]> {
    let mut parts = text.split(['.', '_', '-']).map(str::parse);
    Some([parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(lines: &[(&str, &str)]) -> Settings {
        let mut settings = Settings::default();
        for (key, value) in lines {
            settings.take(key, value);
        }
        settings
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(parse_version("1.6.18"), Some([1, 6, 18]));
        assert_eq!(parse_version("1.6.9_3_gabc"), Some([1, 6, 9]));
        assert!(parse_version("1.6.9").unwrap() < VERSION_MIN && parse_version("1.10.0").unwrap() > VERSION_MIN);
        assert_eq!(parse_version("unknown"), None);
    }

    #[test]
    fn a_server_that_cannot_check_owners_is_refused() {
        let refusal = |lines: &[_]| settings(lines).refusal.map(|refusal| refusal.to_string());
        assert_eq!(refusal(&[("version", "1.6.18"), ("cas_enabled", "yes")]), None);
        assert!(refusal(&[("version", "1.6.12")]).unwrap().contains("1.6.13 or newer"));
        assert!(refusal(&[("cas_enabled", "no")]).unwrap().contains("without -C"));
    }

    #[test]
    fn the_figures_tell_why_locks_are_gone() {
        let before = Figures {
            pid: 7,
            uptime: 100,
            flushes: 1,
            evictions: 5,
        };
        let now = |change: fn(&mut Figures)| {
            let mut now = Figures { uptime: 130, ..before };
            change(&mut now);
            now.cause(before)
        };
        assert_eq!(now(|_| {}), Cause::Unknown);
        assert_eq!(now(|now| now.evictions = 6), Cause::Eviction);
        assert_eq!(now(|now| (now.flushes, now.evictions) = (2, 6)), Cause::Flush);
        assert_eq!(now(|now| now.pid = 8), Cause::Restart);
        assert_eq!(now(|now| (now.uptime, now.flushes) = (3, 0)), Cause::Restart);
    }

    #[test]
    fn unsafe_settings_give_warnings() {
        let warnings = |lines: &[_]| settings(lines).warnings.len();
        assert_eq!(warnings(&[("evictions", "off"), ("maxbytes", "67108864")]), 0);
        assert_eq!(warnings(&[("evictions", "on"), ("maxbytes", "67108863")]), 2);
        assert_eq!(warnings(&[("version", "1.6.24"), ("slab_automove", "1")]), 0);
        assert_eq!(warnings(&[("version", "1.6.23"), ("slab_automove", "1")]), 1);
        assert_eq!(warnings(&[("version", "1.6.23"), ("slab_automove", "0")]), 0);
    }
}
