//! The table of locks in memcached.
//!
//! # Which commands, and why not plain `add` and `delete`
//!
//! - **Take**: `ma <key> N<ttl> J<token> D0 C<2⁶⁴-1> c`. On a miss it creates the item with our token as its value,
//!   atomically, as `add` does. On a hit the compare fails, because no item has that CAS, and nothing is touched (on an
//!   item that is not a number, some other client's lock, it is refused with an error line). Plain `add` returns no
//!   CAS, so release could not check the owner; meta `ms … ME` deletes the *holder's* item when it fails for want of
//!   memory (memcached 1.6.18, `proto_text.c`).
//! - **Release**: `md <key> C<cas>`. It deletes only what we took. Plain `delete` deletes whatever is there, also the
//!   lock of somebody who came after our own had expired.
//! - **Renew**: `ma <key> D0 T<ttl> C<cas> c`. It gives more time only to what is still ours.
//! - **Hand over**: `ms <key> C<cas> T<ttl> c`, with the token of the next owner as its data. It puts that in the place of what
//!   is still ours, under a new CAS, so the fencing token grows as with any grant. Where nothing is ours any more it fails, and
//!   creates nothing.
//! - **Look**: `mg <key> v c t u`. It returns token, CAS and the time left, without counting as a use.
//!
//! An item made by `ma` keeps out `add` of any other client, and an item made by `add` keeps out `ma`. So both sides of
//! an interlock with the Python idiom exclude each other.
//!
//! # What a CAS is worth
//!
//! The server counts its CAS from 1 at every start. A CAS of the server before, sent to the server after, may name
//! somebody else's item. So an [`ItemVersion`] carries the connection that it came over (one connection reaches one
//! server process), and is only ever sent over that very connection. Over another one, the token is looked at first. A
//! compare that fails is no proof either: until 1.6.24 the server's own housekeeping may renumber an item. So the token
//! is looked at then too, and if it is ours, the new CAS is used.
//!
//! Keeps P4: nothing is renewed or deleted but by a CAS that was proved to be ours, and a take that fails touches
//! nothing.
//!
//! # Several servers
//!
//! Each name has one server ([`rendezvous`]); while the list of servers is changed, it may have two ([`fleet`]). One that
//! is down keeps its names: they are refused at once, and the others go on. What is known of a server, and when it may
//! not grant although it answers, is in [`health`]; what shows that it has forgotten locks, in [`sentinel`]; how long a
//! lock provably lives by the server's own clock, in [`clock`]. How it is reached, with TLS and a password, is in [`dial`]. How a grant gets its fencing token is in
//! [`crate::fencing`].

mod agree;
mod clock;
mod codec;
mod connection;
mod dial;
mod error;
mod fleet;
mod greeting;
mod health;
mod lane;
mod learn;
mod mark;
mod membership;
mod punctual;
mod rendezvous;
mod request;
mod said;
mod sentinel;
mod server;
mod single;
mod stream;
mod tls;
mod wire;

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;

#[cfg(fuzzing)]
pub use self::codec::fuzz_reply;
use self::fleet::InForce;
use self::membership::Fleet;
use self::server::Server;
use self::single::Taken;
use crate::clock::LeaseClock;
use crate::config::LockConfig;
use crate::epochs::EpochSource;
use crate::error::{Lost, OpenError};
use crate::fencing::ServerEpoch;
use crate::figures::ServerFigures;
use crate::grant::{
    Attempt, Both, ConnectionId, Grant, GrantError, HandOver, MarkChange, OwnerToken, PartOfAttempt, ReleaseOutcome,
    Sight,
};
use crate::key::LockKey;
use crate::url::MemcachedUrl;

/// For how many times `connect_timeout` a host that starts waits for every server until it is ready without one.
const START: u32 = 10;

/// Locks in memcached servers, each name in one of them.
#[derive(Debug)]
pub(crate) struct Memcached {
    /// Those of both lists.
    servers: Vec<Server>,
    fleet: Arc<Fleet>,
    /// Until when a server that does not answer may just not have been reached yet.
    starts_until: Instant,
}

impl Memcached {
    pub(crate) fn open(
        url: &MemcachedUrl,
        config: &Arc<LockConfig>,
        clock: &Arc<LeaseClock>,
        epochs: &Arc<dyn EpochSource>,
    ) -> Result<Self, OpenError> {
        let fleet = Arc::new(Fleet::open(url, config)?);
        let all = fleet.lists.all();
        let servers = all
            .servers()
            .map(|server| Server::new(server, config, clock, epochs, &fleet));
        Ok(Self {
            servers: servers.collect(),
            fleet,
            starts_until: Instant::now() + config.connect_timeout * START,
        })
    }

    pub(crate) async fn grant(&self, key: &LockKey, token: OwnerToken) -> Result<Grant, GrantError> {
        self.fleet.asked().await;
        let servers = self.servers(key);
        let current = match servers.second {
            None => return servers.first.grant(key, token).await.map(|taken| granted(taken, None)),
            Some(current) => current,
        };
        let previous = servers.first.grant(key, token).await?;
        match current.grant(key, token).await {
            Ok(taken) => Ok(granted(previous, Some(taken))),
            Err(GrantError::Held { remaining }) => {
                let part = PartOfAttempt::Granted(Some(previous.version));
                match servers.first.release(key, token, part).await {
                    ReleaseOutcome::Released | ReleaseOutcome::Gone => Err(GrantError::Held { remaining }),
                    _ => Err(GrantError::Unknown("a lock was not given back".into())),
                }
            }
            // The other one is given back like whatever is in doubt.
            Err(GrantError::Unavailable(refusal) | GrantError::Unknown(refusal)) => Err(GrantError::Unknown(refusal)),
            Err(GrantError::NoEpoch(reason)) => Err(GrantError::Unknown(reason.into())),
        }
    }

    pub(crate) async fn renew(&self, key: &LockKey, token: OwnerToken, grant: &mut Grant) -> Result<(), Lost> {
        let servers = self.servers(key);
        let first = servers.first.renew(key, token, &mut grant.versions.first);
        let Some(current) = servers.second else {
            return first.await;
        };
        let mut version = grant.versions.second.flatten();
        let (first, second) = tokio::join!(first, current.renew(key, token, &mut version));
        grant.versions.second = Some(version);
        match (first, second) {
            (Err(Lost::Gone), _) | (_, Err(Lost::Gone)) => Err(Lost::Gone),
            (first, second) => first.and(second),
        }
    }

    pub(crate) async fn release(&self, key: &LockKey, token: OwnerToken, attempt: Attempt) -> ReleaseOutcome {
        let servers = self.servers(key);
        let parts = attempt.parts();
        let first = servers.first.release(key, token, parts.first);
        match (servers.second, parts.second) {
            (Some(current), Some(part)) => {
                let (first, second) = tokio::join!(first, current.release(key, token, part));
                first.and(second)
            }
            _ => first.await,
        }
    }

    /// Hands a lock on, where it is on one server and its item is known.
    pub(crate) async fn hand_over(&self, key: &LockKey, grant: &Grant, next: OwnerToken) -> HandOver {
        let servers = self.servers(key);
        match (servers.second, grant.versions.second, grant.versions.first) {
            (None, None, Some(version)) => {
                let handed_over = servers.first.hand_over(key, version, next).await;
                handed_over.map(|taken| granted(taken, None))
            }
            _ => HandOver::Not,
        }
    }

    /// Looks who has a lock, and which host waits for it; none when the server does not tell, or may not grant anyway.
    pub(crate) async fn sight(&self, key: &LockKey) -> Option<Sight> {
        let sight = async |server: &Server| match server.health.refusal() {
            Some(_) => None,
            None => mark::sight(server.lane(key), key).await,
        };
        let servers = self.servers(key);
        let Some(current) = servers.second else {
            return sight(servers.first).await;
        };
        let (first, second) = tokio::join!(sight(servers.first), sight(current));
        let (first, second) = (first?, second?);
        Some(Sight {
            held: first.held.or(second.held),
            mark: first.mark.or(second.mark),
        })
    }

    /// Changes the mark of the hosts that wait for a lock. One that was seen is on the server that it was seen on; a new
    /// one is left on each.
    pub(crate) async fn change_mark(&self, key: &LockKey, change: MarkChange) {
        let servers = self.servers(key);
        let Some(current) = servers.second else {
            return mark::change(servers.first.lane(key), key, change).await;
        };
        let (first, second) = (servers.first.lane(key), current.lane(key));
        match change.version() {
            Some(version) if second.connection() == Some(version.connection) => mark::change(second, key, change).await,
            Some(_) => mark::change(first, key, change).await,
            None => drop(tokio::join!(
                mark::change(first, key, change),
                mark::change(second, key, change)
            )),
        }
    }

    /// The connections over which `key` would be asked for now.
    pub(crate) fn connection(&self, key: &LockKey) -> Both<Option<ConnectionId>> {
        self.servers(key).map(|server| server.lane(key).connection())
    }

    /// Tells in which epoch its servers keep `key` now, and when that changes.
    pub(crate) fn epoch(&self, key: &LockKey) -> Both<watch::Receiver<Option<ServerEpoch>>> {
        self.servers(key).map(|server| server.health.epoch())
    }

    /// What was counted of each server.
    pub(crate) fn figures(&self) -> Vec<ServerFigures> {
        self.servers.iter().map(Server::figures).collect()
    }

    /// Tells whether any server answers. One that does not costs only its own names, which is no reason to send callers
    /// elsewhere. But a host that differs from its fleet grants nothing at all. And one that starts may not have reached all of
    /// them yet: for a while it is not ready without one, so that a host can be replaced by another and no request fails.
    pub(crate) async fn ready(&self) -> Result<(), String> {
        if let Some(refusal) = self.fleet.refusal() {
            return Err(refusal.reason);
        }
        let starts = Instant::now() < self.starts_until;
        let (mut reasons, mut is_missing) = (Vec::new(), false);
        for server in &self.servers {
            if let Err(reason) = server.ready() {
                is_missing |= starts && !server.was_reached();
                reasons.push(reason);
            }
        }
        if is_missing || reasons.len() == self.servers.len() {
            return Err(reasons.join("; "));
        }
        Ok(())
    }

    /// The server of a name; while the list is changed, the one in the list from before and the one in the new list.
    fn servers(&self, key: &LockKey) -> Both<&Server> {
        let lists = &self.fleet.lists;
        let find = |name: &str| &self.servers[self.index(name)];
        let current = lists.current.choose(key);
        match lists.previous.as_ref().map(|previous| previous.choose(key)) {
            Some(previous) if previous != current => Both {
                first: find(previous),
                second: Some(find(current)),
            },
            _ => Both::one(find(current)),
        }
    }

    fn index(&self, name: &str) -> usize {
        // They are in order, and all servers of both lists are among them.
        self.servers.partition_point(|server| server.name() < name)
    }
}

/// The grant of a lock that was taken on the server of the list from before, or the only one, and on that of the new one.
fn granted(taken: Taken, current: Option<Taken>) -> Grant {
    let Some(current) = current else {
        return Grant {
            fencing_token: taken.fencing_token,
            epochs: Both::one(taken.epoch),
            versions: Both::one(Some(taken.version)),
        };
    };
    let previous = taken;
    let previous_says = previous.phase.in_force == InForce::Previous;
    let current_says = current.phase.in_force == InForce::Current;
    let (of_previous, of_current) = (previous.fencing_token, current.fencing_token);
    // Why that is so is argued in `fleet`.
    let fencing_token = match (previous_says, current_says) {
        (true, false) => of_previous,
        (false, true) => of_current,
        (true, true) if previous.phase.numbering.base > current.phase.numbering.base => of_previous,
        (true, true) => of_current,
        (false, false) => of_previous.max(of_current),
    };
    Grant {
        fencing_token,
        epochs: Both {
            first: previous.epoch,
            second: Some(current.epoch),
        },
        versions: Both {
            first: Some(previous.version),
            second: Some(Some(current.version)),
        },
    }
}
