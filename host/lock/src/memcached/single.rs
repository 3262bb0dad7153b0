//! A lock on one server: taken, renewed, given back.

use std::time::Duration;

use tokio::time::Instant;

use super::clock::Dating;
use super::codec::{Command, Reply};
use super::fleet::Phase;
use super::lane::Lane;
use super::request::{Answer, LaneError};
use super::server::Server;
use crate::clock::LeaseInstant;
use crate::error::Lost;
use crate::fencing::ServerEpoch;
use crate::grant::{
    ConnectionId, GrantError, HandOver, ItemVersion, OwnerToken, PartOfAttempt, Refusal, ReleaseOutcome,
};
use crate::key::LockKey;
use namelock_types::{FencingToken, Safety, is_removed};

/// How often release and renewal try again with a new CAS of an item that is still ours.
const RENUMBERED_MAX: usize = 3;

/// Why a grant is not trusted that was dated by a clock that is behind.
const BEHIND: &str = "memcached stood still, and its clock was behind";

/// A lock that was taken on one server.
#[derive(Debug, Clone, Copy)]
pub(super) struct Taken {
    pub(super) fencing_token: FencingToken,
    pub(super) epoch: ServerEpoch,
    pub(super) version: ItemVersion,
    /// What holds for the fleet, by this server.
    pub(super) phase: Phase,
}

impl Taken {
    fn of(answer: Answer, cas: u64) -> Self {
        Self {
            fencing_token: answer.phase.numbering.token(answer.epoch, cas),
            epoch: answer.epoch,
            version: ItemVersion {
                connection: answer.connection,
                cas,
            },
            phase: answer.phase,
        }
    }
}

/// Whose item is at a key.
enum Holder {
    Us {
        taken: Taken,
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
    fn until(self, until: LeaseInstant) -> bool {
        let Some(left) = self.seconds_left else {
            return false;
        };
        match self.dating {
            Some(dating) => dating.covers(left, until),
            None => is_removed(Safety::ServerClock),
        }
    }
}

impl Server {
    pub(super) async fn grant(&self, key: &LockKey, token: OwnerToken) -> Result<Taken, GrantError> {
        let not_yet = || self.fleet.refusal().or_else(|| self.fleet.wait(self.name(), key));
        if let Some(refusal) = self.health.refusal().or_else(not_yet) {
            return Err(self.unavailable(refusal));
        }
        // The lease is trusted from just before this, so that what covers the time from here on covers the lease.
        let until = self.health.now() + self.config.lease;
        let taken = self.take(self.lane(key), key, token, until).await;
        let taken = taken.map_err(|error| match error {
            GrantError::Unavailable(refusal) => self.unavailable(refusal),
            error => error,
        })?;
        // What was found out meanwhile may make the grant one that nobody may trust; it is then given back.
        match self.health.suspension().or_else(not_yet) {
            Some(refusal) => Err(GrantError::Unknown(refusal)),
            None => Ok(taken),
        }
    }

    async fn take(
        &self,
        lane: &Lane,
        key: &LockKey,
        token: OwnerToken,
        until: LeaseInstant,
    ) -> Result<Taken, GrantError> {
        let take = Command::Add {
            ttl_seconds: self.config.ttl_seconds(),
            value: token.get(),
        };
        let reason = match lane.call(key, take, None).await {
            Ok(answer) => match answer.reply {
                Reply::Done { cas } => {
                    let lives = Lives {
                        seconds_left: Some(self.config.ttl_seconds()),
                        dating: answer.dating,
                    };
                    if lives.until(until) {
                        return Ok(Taken::of(answer, cas));
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
        until: LeaseInstant,
        reason: String,
    ) -> Result<Taken, GrantError> {
        let give_up = Instant::now() + self.config.exchange_timeout;
        loop {
            match look(lane, key, token).await {
                Ok(Holder::Us { taken, lives }) if lives.until(until) => return Ok(taken),
                Err(LaneError::NotSent(_) | LaneError::Unanswered(_)) if Instant::now() < give_up => {
                    tokio::time::sleep(self.config.backoff_min).await
                }
                // Not finding it is no proof either: the request may still reach the server.
                _ => return Err(GrantError::Unknown(Refusal::from(reason))),
            }
        }
    }

    pub(super) async fn renew(
        &self,
        key: &LockKey,
        token: OwnerToken,
        version: &mut Option<ItemVersion>,
    ) -> Result<(), Lost> {
        let lane = self.lane(key);
        let until = self.health.now() + self.config.lease;
        for _ in 0..RENUMBERED_MAX {
            if let Some(known) = version.take() {
                let renew = Command::Renew {
                    ttl_seconds: self.config.ttl_seconds(),
                    cas: known.cas,
                };
                match lane
                    .call(key, renew, Some(known.connection))
                    .await
                    .map(|answer| answer.reply)
                {
                    Ok(Reply::Missing) => return Err(Lost::Gone),
                    Ok(_) | Err(LaneError::OtherConnection | LaneError::Unanswered(_)) => {}
                    Err(LaneError::NotSent(_) | LaneError::OutOfMemory) => {
                        *version = Some(known);
                        return Err(Lost::Unknown);
                    }
                }
            }
            // After success too: a renewal may land on a copy of the item that is not linked any more, when another
            // reader holds it at that moment. Only what a look finds is believed.
            match look(lane, key, token).await {
                Ok(Holder::Us { taken, lives }) => {
                    *version = Some(taken.version);
                    if lives.until(until) {
                        return match self.health.suspension().or_else(|| self.fleet.refusal()) {
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

    /// Hands a lock on to `next`, over the connection that its item is known by.
    pub(super) async fn hand_over(&self, key: &LockKey, version: ItemVersion, next: OwnerToken) -> HandOver<Taken> {
        let not_yet = || self.fleet.refusal().or_else(|| self.fleet.wait(self.name(), key));
        if self.health.refusal().or_else(not_yet).is_some() {
            return HandOver::Not;
        }
        let until = self.health.now() + self.config.lease;
        let ttl_seconds = self.config.ttl_seconds();
        let hand_over = Command::HandOver {
            ttl_seconds,
            value: next.get(),
            cas: version.cas,
        };
        match self.lane(key).call(key, hand_over, Some(version.connection)).await {
            Ok(answer) => match answer.reply {
                // A fencing token must grow, whatever a server of another version answers.
                Reply::Done { cas } if cas <= version.cas => HandOver::Unknown,
                Reply::Done { cas } => {
                    let lives = Lives {
                        seconds_left: Some(ttl_seconds),
                        dating: answer.dating,
                    };
                    // As for any grant: what was found out meanwhile may make it one that nobody may trust.
                    if lives.until(until) && self.health.suspension().or_else(not_yet).is_none() {
                        HandOver::Done(Taken::of(answer, cas))
                    } else {
                        HandOver::Unknown
                    }
                }
                Reply::Missing => HandOver::Gone,
                // Somebody else's, or ours under another number, which who releases it finds out.
                _ => HandOver::Not,
            },
            Err(LaneError::Unanswered(_)) => HandOver::Unknown,
            // For want of memory the server deletes the item; whoever releases it finds that out too.
            Err(LaneError::OtherConnection | LaneError::NotSent(_) | LaneError::OutOfMemory) => HandOver::Not,
        }
    }

    pub(super) async fn release(&self, key: &LockKey, token: OwnerToken, part: PartOfAttempt) -> ReleaseOutcome {
        let lane = self.lane(key);
        if is_removed(Safety::OwnerCheck) {
            let deleted = lane.call(key, Command::DeleteUnchecked, None).await;
            return deleted.map_or(ReleaseOutcome::Unknown, |_| ReleaseOutcome::Released);
        }
        let mut version = match part {
            PartOfAttempt::Granted(version) => version,
            PartOfAttempt::Asked(_) => None,
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
                Ok(Holder::Us { taken, .. }) => version = Some(taken.version),
                Ok(Holder::SomebodyElse { connection, .. } | Holder::Nobody { connection }) => {
                    // What was asked for over this very connection has been executed by now.
                    let is_proof = match part {
                        PartOfAttempt::Granted(_) => true,
                        PartOfAttempt::Asked(asked_over) => asked_over == Some(connection),
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
            taken: Taken::of(answer, cas),
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
