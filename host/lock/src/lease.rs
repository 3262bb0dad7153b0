//! What a caller holds, and how it ends.
//!
//! Keeps P5: a lease ends at a deadline that counts from before the table was asked, and as soon as the table is seen
//! to have forgotten it. `LeaseEnd` tells whoever must not run on past that. Both count by a clock that goes on while the
//! machine is suspended (`clock`).

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use namelock_types::FencingToken;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::claim::Claim;
use crate::clock::{LeaseClock, LeaseInstant};
use crate::error::Lost;
use crate::fencing::ServerEpoch;
use crate::grant::{Both, Grant};
use crate::held::{Held, Holder};
use crate::shared::Shared;

/// The right to one name until a deadline. Dropping it releases it in the background, once nobody keeps it any longer.
pub struct Lease {
    name: Arc<str>,
    fencing_token: FencingToken,
    since: LeaseInstant,
    /// Shared with everybody who waits for the lease's end, and with whoever may end it before its time.
    deadline: watch::Sender<LeaseInstant>,
    /// Until when it was granted. What was begun in its name has ended by then, also where an operator has ended it before.
    granted_until: LeaseInstant,
    epoch: Option<Both<EpochWatch>>,
    shared: Arc<Shared>,
    /// None once it is released.
    claim: Option<Claim>,
    /// Those who keep it; none: nobody ever did.
    keepers: OnceLock<watch::Sender<()>>,
    /// Whether it is among the holds that were observed.
    is_counted: bool,
    _held: Held,
}

/// Keeps a lease from being released before it expires, while something may still happen in its name: see [`Lease::keep`].
#[derive(Debug, Clone)]
pub struct LeaseKeeper(#[expect(dead_code, reason = "is seen by the sender when it is dropped")] watch::Receiver<()>);

/// The end of a lease, for whoever must not run on past it.
#[derive(Clone)]
pub struct LeaseEnd {
    deadline: watch::Receiver<LeaseInstant>,
    epoch: Option<Both<EpochWatch>>,
    clock: Arc<LeaseClock>,
}

/// The epoch of the table in which a lease was granted, and the one that the table is in now.
#[derive(Clone)]
struct EpochWatch {
    granted: ServerEpoch,
    current: watch::Receiver<Option<ServerEpoch>>,
}

impl Lease {
    /// Makes a lease of a claim that was granted, on this name and for this holder. It is trusted from `asked`, the instant before the table was asked.
    pub(crate) fn new(
        (name, holder): (&str, Option<&Holder>),
        asked: LeaseInstant,
        claim: Claim,
        grant: Grant,
    ) -> Self {
        claim.expect_expiry(asked);
        let shared = Arc::clone(claim.shared());
        let watch = |granted, current| EpochWatch { granted, current };
        let watches = |current: Both<_>| Both {
            first: watch(grant.epochs.first, current.first),
            second: grant
                .epochs
                .second
                .zip(current.second)
                .map(|(granted, current)| watch(granted, current)),
        };
        let granted_until = asked + shared.config.lease;
        let deadline = watch::Sender::new(granted_until);
        let name = Arc::from(name);
        let held = shared
            .held
            .add(claim.key(), (&name, holder), grant.fencing_token, asked, &deadline);
        Self {
            _held: held,
            name,
            fencing_token: grant.fencing_token,
            since: asked,
            deadline,
            granted_until,
            epoch: claim.table_epoch().map(watches),
            shared,
            claim: Some(claim),
            keepers: OnceLock::new(),
            is_counted: false,
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

    /// The instant until which the lease provably lasts, unless the table forgets it or the machine is suspended before.
    pub fn deadline(&self) -> Instant {
        let deadline = *self.deadline.borrow();
        self.clock().monotonic(deadline)
    }

    /// For how much longer the lease provably lasts; zero once it is lost.
    pub fn remaining(&self) -> Duration {
        let is_over =
            |epoch: &Both<EpochWatch>| epoch.first.is_over() || epoch.second.as_ref().is_some_and(EpochWatch::is_over);
        if self.epoch.as_ref().is_some_and(is_over) {
            return Duration::ZERO;
        }
        let deadline = *self.deadline.borrow();
        deadline.saturating_duration_since(self.clock().now())
    }

    fn clock(&self) -> &Arc<LeaseClock> {
        &self.shared.clock
    }

    /// Keeps the lock in the table after this lease was released or dropped, until the last keeper is dropped or the lease is
    /// over, whichever comes first.
    ///
    /// A write that was sent and not answered may still be done. Whoever has the name next would then decide on what is about
    /// to be overwritten; so there is no next one before that is known.
    pub fn keep(&self) -> LeaseKeeper {
        LeaseKeeper(self.keepers.get_or_init(|| watch::Sender::new(())).subscribe())
    }

    /// The end of this lease, for another task to wait for.
    pub fn end(&self) -> LeaseEnd {
        LeaseEnd {
            deadline: self.deadline.subscribe(),
            epoch: self.epoch.clone(),
            clock: Arc::clone(self.clock()),
        }
    }

    /// Makes the lease last its full time again, counted from before the table was asked, but not beyond
    /// [`max_hold`](crate::LockConfig::max_hold) from its beginning.
    ///
    /// # Errors
    ///
    /// [`Lost::Gone`] when the lease does not last any more; its remaining time is then zero. [`Lost::Unknown`] when
    /// the lock service did not answer; the lease then lasts as long as it did before.
    pub async fn renew(&mut self) -> Result<(), Lost> {
        let asked = self.clock().now();
        if self.remaining().is_zero() {
            return Err(Lost::Gone);
        }
        let Some(claim) = &mut self.claim else {
            return Err(Lost::Gone);
        };
        match claim.renew().await {
            Ok(()) => {
                claim.expect_expiry(asked);
                let config = &self.shared.config;
                let deadline = (asked + config.lease).min(self.since + config.max_hold);
                self.granted_until = deadline;
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
    /// [`Lost::Gone`] when somebody else may have held the name before this. [`Lost::Unknown`] when the lock service
    /// did not answer; the release is then tried again in the background until the lock has expired.
    pub async fn release(mut self) -> Result<(), Lost> {
        let held = self.clock().now().saturating_duration_since(self.since);
        self.shared.hold_time.record(held);
        self.count(held);
        if self.is_kept() {
            return if self.remaining().is_zero() {
                Err(Lost::Gone)
            } else {
                Ok(())
            };
        }
        let Some(mut claim) = self.claim.take() else {
            return Err(Lost::Gone);
        };
        match claim.hand_over().await {
            Some(handed_over) => handed_over,
            None => claim.release().await,
        }
    }

    /// Releases a lease that no caller had: how long leases are held does not follow from it. What is not known to be
    /// released is left to the background.
    pub(crate) async fn give_back(mut self) {
        self.is_counted = true;
        if let Some(claim) = self.claim.take() {
            let _ = claim.release().await;
        }
    }

    fn count(&mut self, held: Duration) {
        if !std::mem::replace(&mut self.is_counted, true) {
            self.shared.counts.holds.observe(held);
        }
    }

    fn is_kept(&self) -> bool {
        self.keepers.get().is_some_and(|keepers| !keepers.is_closed())
    }
}

impl Drop for Lease {
    // Keeps P3: what is kept is released once it is not, and a lock that is kept to its end has expired by then.
    fn drop(&mut self) {
        self.count(self.clock().now().saturating_duration_since(self.since));
        let Some(claim) = self.claim.take() else {
            return;
        };
        let (keepers, runtime) = (self.keepers.take(), Handle::try_current());
        if let (Some(keepers), Ok(runtime)) = (keepers, runtime)
            && !keepers.is_closed()
        {
            let (clock, granted_until) = (Arc::clone(self.clock()), self.granted_until);
            runtime.spawn(async move {
                tokio::select! {
                    () = keepers.closed() => {}
                    () = clock.sleep_until(granted_until) => {}
                }
                drop(claim);
            });
        }
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

impl LeaseEnd {
    /// Waits until the lease is lost: its deadline has passed, or the table has forgotten it. A lease that is released
    /// is not lost, and this then waits without end.
    pub async fn lost(mut self) {
        let released = self.deadline.clone();
        tokio::select! {
            () = forgotten(self.epoch) => {}
            () = expired(&self.clock, &mut self.deadline) => {}
        }
        if released.has_changed().is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Waits until the table has begun another epoch.
async fn forgotten(epoch: Option<Both<EpochWatch>>) {
    let over = async |epoch: Option<EpochWatch>| match epoch {
        // An error means that nobody can tell any more: the lock service is closed.
        Some(EpochWatch { granted, mut current }) => drop(current.wait_for(|now| *now != Some(granted)).await),
        None => std::future::pending().await,
    };
    let (first, second) = epoch.map_or((None, None), |epoch| (Some(epoch.first), epoch.second));
    tokio::select! {
        () = over(first) => {}
        () = over(second) => {}
    }
}

/// Waits until the deadline has passed, wherever renewals move it to.
async fn expired(clock: &LeaseClock, deadline: &mut watch::Receiver<LeaseInstant>) {
    loop {
        let at = *deadline.borrow_and_update();
        tokio::select! {
            () = clock.sleep_until(at) => return,
            changed = deadline.changed() => if changed.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

impl EpochWatch {
    /// Whether the table was seen to have forgotten its locks since the lease was granted.
    fn is_over(&self) -> bool {
        *self.current.borrow() != Some(self.granted)
    }
}

#[cfg(test)]
mod tests;
