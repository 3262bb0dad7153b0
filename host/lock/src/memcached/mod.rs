//! The table of locks in memcached.
//!
//! # Which commands, and why not plain `add` and `delete`
//!
//! | to | is sent | why |
//! |---|---|---|
//! | take | `ma <key> N<ttl> J<token> D0 C<2⁶⁴-1> c` | On a miss it creates the item with our token as its value, atomically, as `add` does. On a hit the compare fails, because no item has that CAS, and nothing is touched (on an item that is no number, some other client's lock, it is refused in words). Plain `add` tells no CAS, so release could not be owner-checked; meta `ms … ME` deletes the *holder's* item when it fails for want of memory (memcached 1.6.18, `proto_text.c`). |
//! | give back | `md <key> C<cas>` | Deletes only what we took. Plain `delete` deletes whatever is there, also the lock of somebody who came after our own had expired. |
//! | renew | `ma <key> D0 T<ttl> C<cas> c` | Only what is still ours gets more time. |
//! | look | `mg <key> v c t u` | Tells token, CAS and the time left, without counting as a use. |
//!
//! An item made by `ma` keeps out `add` of any other client, and an item made by `add` keeps out `ma`: so both sides of an
//! interlock with the Python idiom exclude each other.
//!
//! # What a CAS is worth
//!
//! The server counts its CAS from 1 at every start. A CAS of the server before, sent to the server after, may name somebody
//! else's item. So a [`Handle`] carries the connection it came over (one connection reaches one server process), and is only ever
//! sent over that very connection. Over another one, the token is looked at first. A compare that fails is no proof either:
//! until 1.6.24 the server's own housekeeping may number an item anew. So it is looked at as well, and if the token is ours, the
//! new CAS is used.
//!
//! # Several servers
//!
//! Each name has one server ([`rendezvous`]). One that is down keeps its names: they are refused at once, and the others go on. What is
//! known of a server, and when it may not grant although it answers, is in [`health`].
//!
//! # Fencing tokens
//!
//! A fencing token is the server's *epoch* plus the CAS of the grant. The epoch is the value of a sentinel item that never
//! expires, made by whoever finds it missing, from the nanoseconds since 1970 of that host's clock. Within one life of the
//! server, the CAS grows with every grant, of any key. Over restarts the epoch grows, because a server makes fewer than 10⁹
//! changes in a second, so the old epoch plus the old CAS stays behind the clock.
//!
//! It would not hold where the clock of the host that makes the new sentinel is behind by more than the old server's life, and where
//! a name moves to a server whose sentinel is older than the one that it came from: because the list of servers was changed, or one of
//! them was replaced by another that had been in use. Grants then carry smaller tokens, and the names database refuses to write with
//! them, for as long as it remembers the greater ones: it fails closed. A memcached that is started anew, while no host runs, makes its
//! epoch the newest.
//!
//! The sentinel is read once more at the end of every batch that takes locks, after them: when it is then the one of the
//! connection's beginning, every grant of the batch belongs to this epoch. When it is another or missing (`flush_all`), the
//! grants are not trusted, and the connection is made anew.

mod codec;
mod connection;
mod health;
mod lane;
mod rendezvous;
mod server;

use std::sync::Arc;
use std::time::Duration;

use namelock_types::FencingToken;
use tokio::sync::watch;
use tokio::time::Instant;

#[cfg(fuzzing)]
pub use self::codec::fuzz_reply;
use self::codec::{Command, Reply};
use self::lane::{Answer, Lane, LaneError};
use self::server::Server;
use crate::config::{COARSE_CLOCK, LockConfig};
use crate::error::Lost;
use crate::key::LockKey;
use crate::table::{Grant, GrantError, Handle, OwnerToken, Refusal, Release, Trace};

/// How often release and renewal go on with a new CAS of an item that is still ours.
const RENUMBERED_MAX: usize = 3;

/// Locks in memcached servers, each name in one of them.
#[derive(Debug)]
pub(crate) struct Memcached {
    servers: Vec<Server>,
    config: Arc<LockConfig>,
    ttl_seconds: u32,
}

/// What looking at a key found.
enum Found {
    Ours {
        grant: Grant,
        seconds_left: Option<u32>,
    },
    Other {
        remaining: Option<Duration>,
        connection: u64,
    },
    Nothing {
        connection: u64,
    },
}

impl Memcached {
    pub(crate) fn new(servers: &[String], config: &Arc<LockConfig>) -> Self {
        Self {
            servers: servers.iter().map(|server| Server::new(server, config)).collect(),
            ttl_seconds: config.ttl_seconds(),
            config: Arc::clone(config),
        }
    }

    pub(crate) async fn grant(&self, key: &LockKey, token: OwnerToken) -> Result<Grant, GrantError> {
        let server = self.server(key);
        if let Some(refusal) = server.health.refusal() {
            return Err(GrantError::Unavailable(refusal));
        }
        let grant = self.take(server.lane(key), key, token).await?;
        // What was found out meanwhile makes the grant one that nobody may trust; it is given back.
        match server.health.refusal() {
            Some(refusal) => Err(GrantError::Unknown(refusal)),
            None => Ok(grant),
        }
    }

    async fn take(&self, lane: &Lane, key: &LockKey, token: OwnerToken) -> Result<Grant, GrantError> {
        let take = Command::Take {
            ttl_seconds: self.ttl_seconds,
            token,
        };
        match lane.call(key, take, None).await {
            Ok(answer) => match answer.reply {
                Reply::Done { cas } => Ok(grant_of(answer, cas)),
                // Somebody has it, unless the reply of an earlier attempt of ours was lost: but each attempt has its own token.
                Reply::Mismatch => match look(lane, key, token).await {
                    Ok(Found::Other { remaining, .. }) => Err(GrantError::Held { remaining }),
                    Ok(Found::Nothing { .. }) => Err(GrantError::Held {
                        remaining: Some(Duration::ZERO),
                    }),
                    Ok(Found::Ours { .. }) | Err(_) => Err(GrantError::Held { remaining: None }),
                },
                reply => Err(GrantError::Unknown(
                    format!("memcached answered {reply:?} to a take").into(),
                )),
            },
            Err(LaneError::OutOfMemory) => Err(GrantError::Unavailable(
                "memcached has no memory left for a lock; give it more (-m)".into(),
            )),
            Err(LaneError::NotSent(reason)) => Err(GrantError::Unavailable(reason.into())),
            Err(LaneError::OtherConnection) => Err(GrantError::Unavailable("the connection changed".into())),
            Err(LaneError::Unanswered(reason)) => self.resolve(lane, key, token, reason).await,
        }
    }

    /// Finds out by its token what became of a take whose reply is lost, or not to be trusted. It may have to wait for the lane
    /// to connect again, for at most as long as an exchange may take. A lock that does not outlive the trust in it is none.
    async fn resolve(
        &self,
        lane: &Lane,
        key: &LockKey,
        token: OwnerToken,
        reason: String,
    ) -> Result<Grant, GrantError> {
        let until = Instant::now() + self.config.exchange_timeout;
        let enough = (self.config.lease + COARSE_CLOCK).as_secs();
        loop {
            match look(lane, key, token).await {
                Ok(Found::Ours { grant, seconds_left })
                    if seconds_left.is_some_and(|left| u64::from(left) >= enough) =>
                {
                    return Ok(grant);
                }
                Err(LaneError::NotSent(_)) if Instant::now() < until => {
                    tokio::time::sleep(self.config.backoff_min).await
                }
                // Not found is no proof either: the server may still have the request before it.
                _ => return Err(GrantError::Unknown(Refusal::from(reason))),
            }
        }
    }

    pub(crate) async fn renew(&self, key: &LockKey, token: OwnerToken, grant: &mut Grant) -> Result<(), Lost> {
        let lane = self.server(key).lane(key);
        for _ in 0..RENUMBERED_MAX {
            if let Some(handle) = grant.handle.take() {
                let renew = Command::Renew {
                    ttl_seconds: self.ttl_seconds,
                    cas: handle.cas,
                };
                match lane
                    .call(key, renew, Some(handle.connection))
                    .await
                    .map(|answer| answer.reply)
                {
                    Ok(Reply::Missing) => return Err(Lost::Gone),
                    Ok(_) | Err(LaneError::OtherConnection | LaneError::Unanswered(_)) => {}
                    Err(LaneError::NotSent(_) | LaneError::OutOfMemory) => {
                        grant.handle = Some(handle);
                        return Err(Lost::Unknown);
                    }
                }
            }
            // Also after success: a renewal may land on a copy of the item that is not linked any more, when another reader
            // holds it at that moment. Only what a look finds is believed.
            match look(lane, key, token).await {
                Ok(Found::Ours {
                    grant: found,
                    seconds_left,
                }) => {
                    grant.handle = found.handle;
                    if seconds_left.is_some_and(|left| left + 1 >= self.ttl_seconds) {
                        // A server whose clock may be behind promises too much to whoever renews, too.
                        return match self.server(key).health.refusal() {
                            Some(_) => Err(Lost::Unknown),
                            None => Ok(()),
                        };
                    }
                }
                Ok(Found::Other { .. } | Found::Nothing { .. }) => return Err(Lost::Gone),
                Err(_) => return Err(Lost::Unknown),
            }
        }
        Err(Lost::Unknown)
    }

    #[cfg(feature = "without-owner-check")]
    pub(crate) async fn release(&self, key: &LockKey, _token: OwnerToken, _trace: Trace) -> Release {
        match self
            .server(key)
            .lane(key)
            .call(key, Command::DeleteWhatever, None)
            .await
        {
            Ok(_) => Release::Done,
            Err(_) => Release::Unknown,
        }
    }

    #[cfg(not(feature = "without-owner-check"))]
    pub(crate) async fn release(&self, key: &LockKey, token: OwnerToken, trace: Trace) -> Release {
        let lane = self.server(key).lane(key);
        let (mut handle, asked_over) = match trace {
            Trace::Granted(grant) => (grant.handle, None),
            Trace::Asked { connection } => (None, Some(connection)),
        };
        for _ in 0..RENUMBERED_MAX {
            if let Some(handle) = handle.take() {
                let delete = Command::Delete { cas: handle.cas };
                match lane
                    .call(key, delete, Some(handle.connection))
                    .await
                    .map(|answer| answer.reply)
                {
                    Ok(Reply::Done { .. }) => return Release::Done,
                    Ok(Reply::Missing) => return Release::Gone,
                    Ok(_) | Err(LaneError::OtherConnection) => {}
                    Err(_) => return Release::Unknown,
                }
            }
            match look(lane, key, token).await {
                Ok(Found::Ours { grant, .. }) => handle = grant.handle,
                Ok(Found::Other { connection, .. } | Found::Nothing { connection }) => {
                    let in_order = asked_over.is_none_or(|asked_over| asked_over == connection);
                    return if in_order { Release::Gone } else { Release::NotFound };
                }
                Err(_) => return Release::Unknown,
            }
        }
        Release::Unknown
    }

    /// The connection over which `key` would be asked for now; 0: none.
    pub(crate) fn connection(&self, key: &LockKey) -> u64 {
        self.server(key).lane(key).connection()
    }

    /// Tells which life of its server keeps `key` now, and when that changes.
    pub(crate) fn life(&self, key: &LockKey) -> watch::Receiver<u64> {
        self.server(key).health.life()
    }

    /// Tells whether a server answers. One that does not takes only its own names along: no reason to send callers elsewhere.
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

/// Finds out whose item is at `key`.
async fn look(lane: &Lane, key: &LockKey, token: OwnerToken) -> Result<Found, LaneError> {
    let answer = lane.call(key, Command::Look, None).await?;
    Ok(match answer.reply {
        Reply::Item {
            token: Some(found),
            cas,
            seconds_left,
        } if found == token => Found::Ours {
            grant: grant_of(answer, cas),
            seconds_left,
        },
        Reply::Item { seconds_left, .. } => Found::Other {
            remaining: seconds_left.map(|left| Duration::from_secs(left.into())),
            connection: answer.connection,
        },
        _ => Found::Nothing {
            connection: answer.connection,
        },
    })
}

fn grant_of(answer: Answer, cas: u64) -> Grant {
    Grant {
        fencing_token: FencingToken::new(answer.epoch.saturating_add(cas)),
        handle: Some(Handle {
            connection: answer.connection,
            cas,
        }),
        life: answer.epoch,
    }
}
