//! What a caller holds, and what happens when it lets go.
//!
//! A `Claim` exists from *before* the table is asked until the table has said that the claim holds nothing. Whatever happens in
//! between (the future is dropped while the request is on its way, the reply is lost, the lease is dropped without release),
//! its `Drop` hands it to the reaper, which finds out by the owner's token and releases. A [`Lease`] is a claim that was granted.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use namelock_types::FencingToken;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::error::Lost;
use crate::key::LockKey;
use crate::locks::Shared;
use crate::reaper::Errand;
use crate::table::{GrantError, OwnerToken, Release, Trace};
use crate::turnstile::Turn;

/// An attempt at a lock, or a lock: whatever has to be cleaned up.
pub(crate) struct Claim {
    shared: Arc<Shared>,
    key: LockKey,
    token: OwnerToken,
    trace: Trace,
    /// Kept until the lock is given back, so that the next caller of this host does not ask for what is still held.
    turn: Option<Arc<Turn>>,
    /// Whether the table may have something in this claim's name.
    open: bool,
}

impl Claim {
    /// Asks the table once.
    pub(crate) async fn stake(shared: &Arc<Shared>, key: &LockKey, turn: &Arc<Turn>) -> Result<Self, GrantError> {
        let mut claim = Self {
            shared: Arc::clone(shared),
            key: key.clone(),
            token: OwnerToken::random(),
            trace: shared.table.trace(key),
            turn: Some(Arc::clone(turn)),
            open: true,
        };
        let answer = claim.shared.table.grant(key, claim.token).await;
        claim.open = matches!(answer, Ok(_) | Err(GrantError::Unknown(_)));
        if let Err(GrantError::Unknown(_)) = answer {
            // The table does not answer: who comes next on this host should be told so, not kept waiting.
            claim.turn = None;
        }
        claim.trace = Trace::Granted(answer?);
        Ok(claim)
    }

    /// Says when the lock will have expired in the table, if it was set after `asked`.
    fn expect_expiry(&self, asked: Instant) {
        let ttl = Duration::from_secs(self.shared.config.ttl_seconds().into());
        if let Some(turn) = &self.turn {
            turn.expires(asked + ttl);
        }
    }

    async fn release(mut self) -> Result<(), Lost> {
        let answer = self.shared.table.release(&self.key, self.token, self.trace).await;
        self.open = matches!(answer, Release::Unknown | Release::NotFound);
        match answer {
            Release::Done => Ok(()),
            Release::Gone => Err(Lost::Gone),
            Release::NotFound | Release::Unknown => Err(Lost::Unknown),
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.open {
            return;
        }
        let errand = Errand {
            key: self.key.clone(),
            token: self.token,
            trace: self.trace,
            turn: self.turn.take(),
        };
        if let Err(mpsc::error::TrySendError::Full(_)) = self.shared.reaper.try_send(errand.into()) {
            tracing::warn!(
                key = self.key.as_str(),
                "a lock is left to expire: more are waiting to be released than lock.reaper_queue"
            );
        }
    }
}

/// The right to one name until a deadline. Dropping it releases it in the background.
pub struct Lease {
    name: String,
    fencing_token: FencingToken,
    since: Instant,
    /// Told to whoever waits for the lease's end.
    deadline: watch::Sender<Instant>,
    life: Option<Life>,
    claim: Claim,
}

/// The life of the table in which a lease was given: when the table forgets its locks, it begins another one.
#[derive(Clone)]
struct Life {
    given: u64,
    now: watch::Receiver<u64>,
}

/// The end of a lease, for whoever must not go on past it.
#[derive(Clone)]
pub struct LeaseEnd {
    deadline: watch::Receiver<Instant>,
    life: Option<Life>,
}

impl LeaseEnd {
    /// Waits until the lease is lost: its deadline has passed, or the table has forgotten it. A lease that is released is not lost,
    /// and is waited for without end.
    pub async fn lost(mut self) {
        let forgotten = async {
            match &mut self.life {
                // An error means that nobody can tell any more: the lock service is closed.
                Some(life) => drop(life.now.wait_for(|now| *now != life.given).await),
                None => std::future::pending().await,
            }
        };
        let released = self.deadline.clone();
        let deadline = &mut self.deadline;
        let over = async {
            loop {
                let at = *deadline.borrow_and_update();
                tokio::select! {
                    () = tokio::time::sleep_until(at) => return,
                    changed = deadline.changed() => if changed.is_err() {
                        std::future::pending::<()>().await;
                    }
                }
            }
        };
        tokio::select! {
            () = forgotten => {}
            () = over => {}
        }
        if released.has_changed().is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Lease {
    /// A granted claim is trusted from `asked`, the instant before the table was asked.
    pub(crate) fn new(name: &str, asked: Instant, claim: Claim) -> Self {
        claim.expect_expiry(asked);
        let (fencing_token, given) = match claim.trace {
            Trace::Granted(grant) => (grant.fencing_token, grant.life),
            Trace::Asked { .. } => (FencingToken::new(0), 0),
        };
        Self {
            name: name.to_owned(),
            fencing_token,
            since: asked,
            deadline: watch::Sender::new(asked + claim.shared.config.lease),
            life: claim.shared.table.life(&claim.key).map(|now| Life { given, now }),
            claim,
        }
    }

    /// The name, exactly as it was acquired.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A number that grows with every grant of this name.
    pub fn fencing_token(&self) -> FencingToken {
        self.fencing_token
    }

    /// The instant until which the lease provably lasts, unless the table forgets it before.
    pub fn deadline(&self) -> Instant {
        *self.deadline.borrow()
    }

    /// For how much longer the lease provably lasts; zero once it is lost.
    pub fn remaining(&self) -> Duration {
        if self.is_forgotten() {
            return Duration::ZERO;
        }
        self.deadline().saturating_duration_since(Instant::now())
    }

    /// Lets somebody else wait until the lease is lost.
    pub fn end(&self) -> LeaseEnd {
        LeaseEnd {
            deadline: self.deadline.subscribe(),
            life: self.life.clone(),
        }
    }

    /// Whether the table was seen to have forgotten its locks since this one was given.
    fn is_forgotten(&self) -> bool {
        self.life.as_ref().is_some_and(|life| *life.now.borrow() != life.given)
    }

    /// Makes the lease last its full time again, counted from before the table was asked, but not beyond
    /// [`max_hold`](crate::LockConfig::max_hold) from its beginning.
    ///
    /// # Errors
    ///
    /// [`Lost::Gone`] when the lease does not last any more; its remaining time is then zero. [`Lost::Unknown`] when the lock
    /// service did not answer; the lease then lasts as long as it did before.
    pub async fn renew(&mut self) -> Result<(), Lost> {
        let asked = Instant::now();
        if self.remaining().is_zero() {
            return Err(Lost::Gone);
        }
        let claim = &mut self.claim;
        let Trace::Granted(grant) = &mut claim.trace else {
            return Err(Lost::Gone);
        };
        match claim.shared.table.renew(&claim.key, claim.token, grant).await {
            Ok(()) => {
                claim.expect_expiry(asked);
                let config = &claim.shared.config;
                let deadline = (asked + config.lease).min(self.since + config.max_hold);
                self.deadline.send_replace(deadline);
                Ok(())
            }
            Err(Lost::Gone) => {
                self.deadline.send_replace(asked);
                Err(Lost::Gone)
            }
            Err(Lost::Unknown) => Err(Lost::Unknown),
        }
    }

    /// Releases the lease, and tells whether it was still held when it ended.
    ///
    /// # Errors
    ///
    /// [`Lost::Gone`] when somebody else may have held the name before this. [`Lost::Unknown`] when the lock service did not
    /// answer; it is then tried again in the background until the lock has expired.
    pub async fn release(self) -> Result<(), Lost> {
        self.claim.shared.hold.record(self.since.elapsed());
        self.claim.release().await
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("name", &self.name)
            .field("fencing_token", &self.fencing_token)
            .field("remaining", &self.remaining())
            .finish_non_exhaustive()
    }
}
