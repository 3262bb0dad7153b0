//! An attempt at a lock, which is cleaned up whatever happens to it.
//!
//! A `Claim` exists from *before* the table is asked until the table has said that the claim holds nothing. Whatever
//! happens in between (the future is dropped while the request is on its way, the reply is lost, the lease is dropped
//! without release), its `Drop` hands it to the reaper, which finds out by the owner's token what it holds, and
//! releases that.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::clock::LeaseInstant;
use crate::error::Lost;
use crate::fencing::ServerEpoch;
use crate::grant::{Attempt, Both, Grant, GrantError, HandOver, OwnerToken, ReleaseOutcome};
use crate::key::LockKey;
use crate::local_queue::Turn;
use crate::reaper::PendingRelease;
use crate::shared::Shared;

/// A lock, or an attempt at one: whatever has to be cleaned up.
#[derive(Debug)]
pub(crate) struct Claim {
    shared: Arc<Shared>,
    key: LockKey,
    token: OwnerToken,
    attempt: Attempt,
    /// Kept until the lock is given back, so that the next caller of this host does not ask for what is still held.
    turn: Option<Arc<Turn>>,
    /// Whether the table may have something in this claim's name.
    open: bool,
}

/// A lock that waits for whoever has the turn next.
#[derive(Debug)]
pub(crate) struct Handed {
    pub(crate) claim: Claim,
    pub(crate) grant: Grant,
    /// The instant before it was asked for.
    pub(crate) asked: LeaseInstant,
}

impl Handed {
    /// Gives it back, for a caller that cannot have it.
    pub(crate) async fn give_back(self) {
        // What is not known to be given back is left to the reaper.
        let _ = self.claim.release().await;
    }
}

impl Claim {
    /// Begins an attempt, which the table is not asked for yet.
    fn begin(shared: &Arc<Shared>, key: &LockKey, turn: Option<Arc<Turn>>) -> Self {
        Self {
            shared: Arc::clone(shared),
            key: key.clone(),
            token: OwnerToken::random(),
            attempt: shared.table.begin_attempt(key),
            turn,
            open: true,
        }
    }

    /// Asks the table once.
    pub(crate) async fn try_acquire(
        shared: &Arc<Shared>,
        key: &LockKey,
        turn: &Arc<Turn>,
    ) -> Result<(Self, Grant), GrantError> {
        let mut claim = Self::begin(shared, key, Some(Arc::clone(turn)));
        let answer = claim.shared.table.grant(key, claim.token).await;
        claim.open = matches!(answer, Ok(_) | Err(GrantError::Unknown(_)));
        if let Err(GrantError::Unknown(_)) = answer {
            // The table does not answer: the next caller of this host should be told so, not kept waiting.
            claim.turn = None;
        }
        let grant = answer?;
        claim.attempt = Attempt::Granted(grant);
        Ok((claim, grant))
    }

    /// Hands the lock on to whoever of this host is next, and tells whether it was still held; none where nobody is, or it has
    /// to be released.
    pub(crate) async fn hand_over(&mut self) -> Option<Result<(), Lost>> {
        let (Attempt::Granted(grant), Some(turn)) = (self.attempt, &self.turn) else {
            return None;
        };
        if !turn.may_hand_over() {
            return None;
        }
        let asked = self.shared.clock.now();
        let mut next = Self::begin(&self.shared, &self.key, None);
        let table = &self.shared.table;
        match table.hand_over(&self.key, self.token, &grant, next.token).await {
            HandOver::Done(grant) => {
                self.open = false;
                next.attempt = Attempt::Granted(grant);
                turn.leave(Handed {
                    claim: next,
                    grant,
                    asked,
                });
                Some(Ok(()))
            }
            HandOver::Not => {
                next.open = false;
                None
            }
            HandOver::Gone => {
                (self.open, next.open) = (false, false);
                Some(Err(Lost::Gone))
            }
            HandOver::Unknown => Some(Err(Lost::Unknown)),
        }
    }

    /// Gives a lock that was handed over to the caller that has the turn now.
    pub(crate) fn with_turn(mut self, turn: &Arc<Turn>) -> Self {
        self.turn = Some(Arc::clone(turn));
        self
    }

    /// The key of the lock.
    pub(crate) fn key(&self) -> &LockKey {
        &self.key
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Tells in which epochs the table keeps this lock now, and when that changes; none where it never forgets.
    pub(crate) fn table_epoch(&self) -> Option<Both<watch::Receiver<Option<ServerEpoch>>>> {
        self.shared.table.epoch(&self.key)
    }

    /// Tells this host's queue when the lock will have expired in the table, if it was set after `asked`.
    pub(crate) fn expect_expiry(&self, asked: LeaseInstant) {
        let ttl = Duration::from_secs(self.shared.config.ttl_seconds().into());
        if let Some(turn) = &self.turn {
            turn.set_expiry(asked + ttl);
        }
    }

    /// Makes the lock last its full time in the table again.
    pub(crate) async fn renew(&mut self) -> Result<(), Lost> {
        match &mut self.attempt {
            Attempt::Granted(grant) => self.shared.table.renew(&self.key, self.token, grant).await,
            Attempt::Asked { .. } => Err(Lost::Gone),
        }
    }

    /// Gives the lock back. What is not known to be given back is left to the reaper.
    pub(crate) async fn release(mut self) -> Result<(), Lost> {
        let outcome = self.shared.table.release(&self.key, self.token, self.attempt).await;
        self.open = matches!(outcome, ReleaseOutcome::Unknown | ReleaseOutcome::NotFound);
        match outcome {
            ReleaseOutcome::Released => Ok(()),
            ReleaseOutcome::Gone => Err(Lost::Gone),
            ReleaseOutcome::NotFound | ReleaseOutcome::Unknown => Err(Lost::Unknown),
        }
    }
}

impl Drop for Claim {
    // Keeps P3: return, trap, deadline and a client that hangs up all drop the claim.
    fn drop(&mut self) {
        if !self.open {
            return;
        }
        let release = PendingRelease {
            key: self.key.clone(),
            token: self.token,
            attempt: self.attempt,
            turn: self.turn.take(),
        };
        if let Err(mpsc::error::TrySendError::Full(_)) = self.shared.reaper.try_send(release.into()) {
            tracing::warn!(
                key = self.key.as_str(),
                "a lock is left to expire: the queue of releases is full; raise lock.reaper_queue"
            );
        }
    }
}
