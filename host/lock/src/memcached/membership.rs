//! What this host knows of its fleet ([`super::fleet`]), and whether it may serve.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::dial::Dialer;
use super::fleet::{List, Lists, Times, Value, Verdict};
use crate::config::LockConfig;
use crate::error::OpenError;
use crate::grant::Refusal;
use crate::key::LockKey;
use crate::url::{LockUrl, MemcachedUrl};
use namelock_types::{Safety, is_removed};

/// The fleet, as this host is configured and as its servers say.
#[derive(Debug)]
pub(super) struct Fleet {
    pub(super) lists: Lists,
    pub(super) times: Times,
    pub(super) grace: Duration,
    /// How its servers are reached.
    pub(super) dialer: Arc<Dialer>,
    servers: Mutex<BTreeMap<Box<str>, Known>>,
    /// Whether a server ever had this host's own lists.
    has_served: AtomicBool,
    /// How many servers were not asked yet.
    unasked: watch::Sender<usize>,
}

/// What is known of one server's item.
#[derive(Debug, Default)]
struct Known {
    asked: bool,
    value: Option<Value>,
    refusal: Option<String>,
    /// Until when it grants nothing, or nothing that has moved.
    waits_until: Option<Instant>,
}

impl Fleet {
    pub(super) fn open(url: &MemcachedUrl, config: &LockConfig) -> Result<Self, OpenError> {
        let previous = match &config.previous {
            Some(LockUrl::Memcached(previous)) => Some(List::new(&previous.servers)),
            _ => None,
        };
        let current = List::new(&url.servers);
        let lists = Lists {
            previous: previous.filter(|previous| *previous != current),
            current,
        };
        let servers: BTreeMap<Box<str>, Known> = lists
            .all()
            .servers()
            .map(|server| (server.into(), Known::default()))
            .collect();
        Ok(Self {
            lists,
            times: Times::new(config),
            grace: config.grace(),
            dialer: Arc::new(Dialer::open(url, config)?),
            unasked: watch::Sender::new(servers.len()),
            servers: Mutex::new(servers),
            has_served: AtomicBool::new(false),
        })
    }

    /// The value with which this host begins.
    pub(super) fn first_value(&self) -> Value {
        Value {
            lists: self.lists.clone(),
            from: None,
            times: self.times,
            base: 0,
            counted: 0,
            waits: false,
        }
    }

    /// What was last known of this server's value.
    pub(super) fn known(&self, server: &str) -> Option<Value> {
        self.servers.lock().get(server)?.value.clone()
    }

    /// The value with the greatest base that any server had. What `server` had does not count if it was refused.
    pub(super) fn newest(&self, server: &str) -> Option<Value> {
        let servers = self.servers.lock();
        let others = servers
            .iter()
            .filter(|(name, known)| ***name != *server || known.refusal.is_none());
        let values = others.filter_map(|(_, known)| known.value.as_ref());
        values.max_by_key(|value| value.base).cloned()
    }

    /// Whether a server that this host has used has a value of somebody who differs, and who did not change the one that
    /// was there.
    pub(super) fn is_usurped(&self, server: &str, found: &Value) -> bool {
        let servers = self.servers.lock();
        let known = servers.get(server).filter(|known| known.refusal.is_none());
        let before = known.and_then(|known| known.value.as_ref());
        before.is_some_and(|before| found.base <= before.base && self.differs(found).is_some())
    }

    /// Records the value with which this host can use a server, and how long it is until that is as old as the grace
    /// period.
    pub(super) fn record(&self, server: &str, value: &Value, young_for: Duration) {
        let mut servers = self.servers.lock();
        let Some(known) = servers.get_mut(server) else {
            return;
        };
        if known.refusal.take().is_some() {
            tracing::info!(server, "this memcached agrees with this host's settings again");
        }
        // Where this host locks on both servers, what has moved need not wait.
        let waits = value.waits || (value.from.is_some() && self.lists.previous.is_none());
        known.waits_until = (waits && !young_for.is_zero()).then(|| Instant::now() + young_for);
        known.value = Some(value.clone());
        if value.lists == self.lists {
            self.has_served.store(true, Ordering::Relaxed);
        }
    }

    /// Records that this host cannot serve, and tells an operator, once for each reason.
    pub(super) fn record_refusal(&self, server: &str, value: Option<Value>, reason: &str) {
        let mut servers = self.servers.lock();
        if servers.values().all(|known| known.refusal.as_deref() != Some(reason)) {
            tracing::error!(server, "this host grants nothing: {reason}");
        }
        if let Some(known) = servers.get_mut(server) {
            known.refusal = Some(reason.to_owned());
            known.value = value;
        }
    }

    /// Why this server must not grant `key` yet.
    pub(super) fn wait(&self, server: &str, key: &LockKey) -> Option<Refusal> {
        if is_removed(Safety::ListFingerprint) {
            return None;
        }
        let servers = self.servers.lock();
        let known = servers.get(server)?;
        let left = known.waits_until?.checked_duration_since(Instant::now())?;
        let value = known.value.as_ref()?;
        let moved = |from: &List| from.choose(key) != self.lists.current.choose(key);
        (value.waits || value.from.as_ref().is_some_and(moved)).then(|| Refusal {
            reason: format!("a host with another list of servers may still trust its lease (server {server})"),
            retry_after: Some(left),
        })
    }

    /// Records that a server was asked, or cannot be.
    pub(super) fn record_asked(&self, server: &str) {
        if let Some(known) = self.servers.lock().get_mut(server)
            && !std::mem::replace(&mut known.asked, true)
        {
            self.unasked.send_modify(|unasked| *unasked = unasked.saturating_sub(1));
        }
    }

    /// Waits until each server was asked, or cannot be: any of them may say that this host differs.
    pub(super) async fn asked(&self) {
        // The sender is this fleet, so it is there.
        let _ = self.unasked.subscribe().wait_for(|unasked| *unasked == 0).await;
    }

    /// Why this host must not grant or renew anything.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        let servers = self.servers.lock();
        let reason = servers.values().find_map(|known| known.refusal.as_deref())?;
        Some(reason.into())
    }

    /// Whether this server's value, as far as it is known, agrees with this host's settings.
    pub(super) fn agrees(&self, server: &str) -> bool {
        let servers = self.servers.lock();
        servers.get(server).is_none_or(|known| known.refusal.is_none())
    }

    /// Why this host cannot serve where this is the value, if it cannot.
    pub(super) fn differs(&self, found: &Value) -> Option<String> {
        if is_removed(Safety::ListFingerprint) {
            return None;
        }
        if !found.times.agree(&self.times) {
            return Some(format!(
                "the fleet has {}, this host {}; all hosts must have the same lock.lease, lock.restart_grace, \
                 lock.exchange_timeout and lock.max_hold, and share the empty namespace or not. To change them, stop all hosts and \
                 restart every memcached",
                found.times, self.times
            ));
        }
        let differs = match self.lists.judge(&found.lists) {
            Verdict::Refuse => true,
            // Two changes at once would be announced in turn for ever.
            Verdict::Announce => found.lists.previous.is_some() && self.has_served.load(Ordering::Relaxed),
            Verdict::Use | Verdict::Finish => false,
        };
        differs.then(|| {
            format!(
                "the fleet's memcached servers are {}, this host's {}; all hosts must have the same lock URL, written \
                 the same way. To change it while they run, see \"Change the list of servers\" in docs/operations.md",
                found.lists, self.lists
            )
        })
    }
}

#[cfg(test)]
mod tests;
