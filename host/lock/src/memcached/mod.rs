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
//! Each name has one server ([`rendezvous`]). One that is down keeps its names: they are refused at once, and the
//! others go on. What is known of a server, and when it may not grant although it answers, is in [`health`]; what shows
//! that it has forgotten locks, in [`sentinel`]; how long a lock provably lives by the server's own clock, in [`clock`].
//! How a grant gets its fencing token is in [`crate::fencing`].

mod clock;
mod codec;
mod connection;
mod greeting;
mod health;
mod lane;
mod learn;
mod mark;
mod rendezvous;
mod sentinel;
mod server;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use self::clock::Dating;
#[cfg(fuzzing)]
pub use self::codec::fuzz_reply;
use self::codec::{Command, Reply};
use self::lane::{Answer, Lane, LaneError};
use self::server::Server;
use crate::config::LockConfig;
use crate::epochs::EpochSource;
use crate::error::Lost;
use crate::fencing::ServerEpoch;
use crate::grant::{
    Attempt, ConnectionId, Grant, GrantError, ItemVersion, MarkChange, OwnerToken, Refusal, ReleaseOutcome, Sight,
};
use crate::key::LockKey;
use namelock_types::{Safety, is_removed};

/// How often release and renewal try again with a new CAS of an item that is still ours.
const RENUMBERED_MAX: usize = 3;

/// Why a grant is not trusted that was dated by a clock that is behind.
const BEHIND: &str = "memcached stood still, and its clock was behind";

/// Locks in memcached servers, each name in one of them.
#[derive(Debug)]
pub(crate) struct Memcached {
    servers: Vec<Server>,
    config: Arc<LockConfig>,
    ttl_seconds: u32,
}

/// Whose item is at a key.
enum Holder {
    Us {
        grant: Grant,
        lives: Lives,
    },
    SomebodyElse {
        remaining: Option<Duration>,
        connection: ConnectionId,
    },
    Nobody {
        connection: ConnectionId,
    },
}

/// How long an item lives.
#[derive(Clone, Copy)]
struct Lives {
    seconds_left: Option<u32>,
    dating: Option<Dating>,
}

impl Lives {
    /// Tells whether the item provably lives until `until`, by this host's clock.
    fn until(self, until: Instant) -> bool {
        let (Some(left), Some(dating)) = (self.seconds_left, self.dating) else {
            return false;
        };
        dating.covers(left, until)
    }
}

impl Memcached {
    pub(crate) fn new(servers: &[String], config: &Arc<LockConfig>, epochs: &Arc<dyn EpochSource>) -> Self {
        let servers = servers.iter().map(|server| Server::new(server, config, epochs));
        Self {
            servers: servers.collect(),
            ttl_seconds: config.ttl_seconds(),
            config: Arc::clone(config),
        }
    }

    pub(crate) async fn grant(&self, key: &LockKey, token: OwnerToken) -> Result<Grant, GrantError> {
        let server = self.server(key);
        if let Some(refusal) = server.health.refusal() {
            return Err(server.unavailable(refusal));
        }
        // The lease is trusted from just before this, so that what covers the time from here on covers the lease.
        let until = Instant::now() + self.config.lease;
        let grant = self.take(server.lane(key), key, token, until).await;
        let grant = grant.map_err(|error| match error {
            GrantError::Unavailable(refusal) => server.unavailable(refusal),
            error => error,
        })?;
        // What was found out meanwhile may make the grant one that nobody may trust; it is then given back.
        match server.health.suspension() {
            Some(refusal) => Err(GrantError::Unknown(refusal)),
            None => Ok(grant),
        }
    }

    async fn take(&self, lane: &Lane, key: &LockKey, token: OwnerToken, until: Instant) -> Result<Grant, GrantError> {
        let take = Command::Add {
            ttl_seconds: self.ttl_seconds,
            value: token.get(),
        };
        let reason = match lane.call(key, take, None).await {
            Ok(answer) => match answer.reply {
                Reply::Done { cas } => {
                    let lives = Lives {
                        seconds_left: Some(self.ttl_seconds),
                        dating: answer.dating,
                    };
                    if lives.until(until) {
                        return Ok(grant_of(answer, cas));
                    }
                    BEHIND.to_owned()
                }
                // Somebody has it. It is not an earlier attempt of ours whose reply was lost: each attempt has its own
                // token.
                Reply::Mismatch => {
                    return Err(match look(lane, key, token).await {
                        Ok(Holder::SomebodyElse { remaining, .. }) => GrantError::Held { remaining },
                        Ok(Holder::Nobody { .. }) => GrantError::Held {
                            remaining: Some(Duration::ZERO),
                        },
                        Ok(Holder::Us { .. }) | Err(_) => GrantError::Held { remaining: None },
                    });
                }
                reply => {
                    return Err(GrantError::Unknown(
                        format!("memcached answered {reply:?} to a take").into(),
                    ));
                }
            },
            Err(LaneError::OutOfMemory) => {
                return Err(GrantError::Unavailable(
                    "memcached has no memory left for a lock; give it more (-m)".into(),
                ));
            }
            Err(LaneError::NotSent(reason)) => return Err(GrantError::Unavailable(reason.into())),
            Err(LaneError::OtherConnection) => return Err(GrantError::Unavailable("the connection changed".into())),
            Err(LaneError::Unanswered(reason)) => reason,
        };
        if is_removed(Safety::ResolveByToken) {
            return Err(GrantError::Unavailable(reason.into()));
        }
        self.resolve(lane, key, token, until, reason).await
    }

    /// Finds out by its token what became of a take whose reply is lost, or not to be trusted.
    ///
    /// It may have to wait for the lane to connect again, for at most as long as an exchange may take. A lock that does
    /// not outlive the trust in it does not count.
    async fn resolve(
        &self,
        lane: &Lane,
        key: &LockKey,
        token: OwnerToken,
        until: Instant,
        reason: String,
    ) -> Result<Grant, GrantError> {
        let give_up = Instant::now() + self.config.exchange_timeout;
        loop {
            match look(lane, key, token).await {
                Ok(Holder::Us { grant, lives }) if lives.until(until) => return Ok(grant),
                Err(LaneError::NotSent(_)) if Instant::now() < give_up => {
                    tokio::time::sleep(self.config.backoff_min).await
                }
                // Not finding it is no proof either: the request may still reach the server.
                _ => return Err(GrantError::Unknown(Refusal::from(reason))),
            }
        }
    }

    pub(crate) async fn renew(&self, key: &LockKey, token: OwnerToken, grant: &mut Grant) -> Result<(), Lost> {
        let lane = self.server(key).lane(key);
        let until = Instant::now() + self.config.lease;
        for _ in 0..RENUMBERED_MAX {
            if let Some(version) = grant.version.take() {
                let renew = Command::Renew {
                    ttl_seconds: self.ttl_seconds,
                    cas: version.cas,
                };
                match lane
                    .call(key, renew, Some(version.connection))
                    .await
                    .map(|answer| answer.reply)
                {
                    Ok(Reply::Missing) => return Err(Lost::Gone),
                    Ok(_) | Err(LaneError::OtherConnection | LaneError::Unanswered(_)) => {}
                    Err(LaneError::NotSent(_) | LaneError::OutOfMemory) => {
                        grant.version = Some(version);
                        return Err(Lost::Unknown);
                    }
                }
            }
            // After success too: a renewal may land on a copy of the item that is not linked any more, when another
            // reader holds it at that moment. Only what a look finds is believed.
            match look(lane, key, token).await {
                Ok(Holder::Us { grant: found, lives }) => {
                    grant.version = found.version;
                    if lives.until(until) {
                        return match self.server(key).health.suspension() {
                            Some(_) => Err(Lost::Unknown),
                            None => Ok(()),
                        };
                    }
                }
                Ok(Holder::SomebodyElse { .. } | Holder::Nobody { .. }) => return Err(Lost::Gone),
                Err(_) => return Err(Lost::Unknown),
            }
        }
        Err(Lost::Unknown)
    }

    pub(crate) async fn release(&self, key: &LockKey, token: OwnerToken, attempt: Attempt) -> ReleaseOutcome {
        let lane = self.server(key).lane(key);
        if is_removed(Safety::OwnerCheck) {
            let deleted = lane.call(key, Command::DeleteUnchecked, None).await;
            return deleted.map_or(ReleaseOutcome::Unknown, |_| ReleaseOutcome::Released);
        }
        let mut version = match attempt {
            Attempt::Granted(grant) => grant.version,
            Attempt::Asked { .. } => None,
        };
        for _ in 0..RENUMBERED_MAX {
            if let Some(version) = version.take() {
                let delete = Command::Delete { cas: version.cas };
                match lane
                    .call(key, delete, Some(version.connection))
                    .await
                    .map(|answer| answer.reply)
                {
                    Ok(Reply::Done { .. }) => return ReleaseOutcome::Released,
                    Ok(Reply::Missing) => return ReleaseOutcome::Gone,
                    Ok(_) | Err(LaneError::OtherConnection) => {}
                    Err(_) => return ReleaseOutcome::Unknown,
                }
            }
            match look(lane, key, token).await {
                Ok(Holder::Us { grant, .. }) => version = grant.version,
                Ok(Holder::SomebodyElse { connection, .. } | Holder::Nobody { connection }) => {
                    // What was asked for over this very connection has been executed by now.
                    let is_proof = match attempt {
                        Attempt::Granted(_) => true,
                        Attempt::Asked { connection: asked_over } => asked_over == Some(connection),
                    };
                    return if is_proof {
                        ReleaseOutcome::Gone
                    } else {
                        ReleaseOutcome::NotFound
                    };
                }
                Err(_) => return ReleaseOutcome::Unknown,
            }
        }
        ReleaseOutcome::Unknown
    }

    /// Looks who has a lock, and which host waits for it; none when the server does not tell, or may not grant anyway.
    pub(crate) async fn sight(&self, key: &LockKey) -> Option<Sight> {
        let server = self.server(key);
        match server.health.refusal() {
            Some(_) => None,
            None => mark::sight(server.lane(key), key).await,
        }
    }

    /// Changes the mark of the hosts that wait for a lock.
    pub(crate) async fn change_mark(&self, key: &LockKey, change: MarkChange) {
        mark::change(self.server(key).lane(key), key, change).await;
    }

    /// The connection over which `key` would be asked for now.
    pub(crate) fn connection(&self, key: &LockKey) -> Option<ConnectionId> {
        self.server(key).lane(key).connection()
    }

    /// Tells in which epoch its server keeps `key` now, and when that changes.
    pub(crate) fn epoch(&self, key: &LockKey) -> watch::Receiver<Option<ServerEpoch>> {
        self.server(key).health.epoch()
    }

    /// Tells whether any server answers. One that does not costs only its own names, which is no reason to send callers
    /// elsewhere.
    pub(crate) async fn ready(&self) -> Result<(), String> {
        let mut reasons = Vec::new();
        for server in &self.servers {
            match server.ready() {
                Ok(()) => return Ok(()),
                Err(reason) => reasons.push(reason),
            }
        }
        Err(reasons.join("; "))
    }

    fn server(&self, key: &LockKey) -> &Server {
        &self.servers[rendezvous::choose(self.servers.iter().map(Server::name), key.as_str())]
    }
}

/// Looks whose item is at `key`.
async fn look(lane: &Lane, key: &LockKey, token: OwnerToken) -> Result<Holder, LaneError> {
    let answer = lane.call(key, Command::Look, None).await?;
    Ok(match answer.reply {
        Reply::Item {
            value: Some(value),
            cas,
            seconds_left,
            ..
        } if value == token.get() => Holder::Us {
            grant: grant_of(answer, cas),
            lives: Lives {
                seconds_left,
                dating: answer.dating,
            },
        },
        Reply::Item { seconds_left, .. } => Holder::SomebodyElse {
            remaining: seconds_left.map(|left| Duration::from_secs(left.into())),
            connection: answer.connection,
        },
        _ => Holder::Nobody {
            connection: answer.connection,
        },
    })
}

fn grant_of(answer: Answer, cas: u64) -> Grant {
    Grant {
        fencing_token: answer.epoch.token(cas),
        epoch: answer.epoch,
        version: Some(ItemVersion {
            connection: answer.connection,
            cas,
        }),
    }
}
