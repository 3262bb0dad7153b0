//! What a new connection finds out before it is used: the server's epoch, and whether it is the one that this host knows.
//!
//! One lane of a host does this at a time (`Health::learning`).
//!
//! - *The sentinels are whole.* If this host knows their epoch, no lock was lost. Otherwise the source of epochs is asked
//!   what it is ([`Standing`]), which needs an answer within `connect_timeout`: a server that nobody can judge grants
//!   nothing.
//! - *Only the main sentinel is missing.* It was evicted, by items of a size that no lock has. It is made again.
//! - *There is none.* An epoch begins. A host that is told that its epoch is not the server's first looks once more after
//!   a short pause: at the start of a fleet the host that was told so has then made the sentinel, and nobody waits.
//! - *Some are missing.* For as long as the main one is young, whoever made it may be about to make the others. An older
//!   one has lost them by eviction: the epoch has ended, and is taken away. A main one without any other was made by an
//!   older version of namelock, and gets them.
//!
//! The main sentinel decides: it is made by an atomic add, and the others are made to belong to it. So whatever hosts do
//! at once, they end with one epoch. That locks are gone is recorded as soon as it is seen, before the source of epochs
//! is asked.

use tokio::time::{Instant, sleep};

use super::error::ConnectError;
use super::greeting::{Cause, Figures};
use super::health::{Found, Health};
use super::punctual::{Given, Punctual};
use super::sentinel::{Finding, Main, Sentinels, make_main};
use super::wire::Wire;
use crate::config::{COARSE_CLOCK, LockConfig};
use crate::epochs::{NewEpoch, Standing};

/// What learning needs.
pub(super) struct Learner<'a> {
    pub(super) wire: &'a mut Wire,
    pub(super) server: &'a str,
    pub(super) config: &'a LockConfig,
    pub(super) epochs: &'a Punctual<'a>,
    pub(super) health: &'a Health,
    pub(super) figures: Figures,
}

impl Learner<'_> {
    /// Finds the server's epoch, or begins one. Its caller bounds the time.
    ///
    /// `given` is what the source of epochs gave in this attempt or the one before.
    pub(super) async fn learn(self, given: &mut Given) -> Result<Found, ConnectError> {
        let (mut has_waited, mut is_adopted) = (false, false);
        loop {
            let Some(sentinels) = Sentinels::read(self.wire).await? else {
                continue;
            };
            let finding = sentinels.finding();
            self.record_loss(&finding);
            match finding {
                Finding::Whole(main) => {
                    if let Some(found) = self.judge(main, given.take()).await? {
                        // What an older version has made does not tell whether all of the others were evicted.
                        let age = if is_adopted { 0 } else { found.age };
                        return Ok(Found { age, ..found });
                    }
                    sentinels.remove(self.wire).await?;
                }
                Finding::OnlyMainIsMissing(epoch) => {
                    tracing::warn!(
                        server = self.server,
                        "memcached has lost the item namelock:@epoch and no lock; it is made again"
                    );
                    make_main(self.wire, epoch).await?;
                }
                Finding::NoEpoch => {
                    let new = given.or_begin(self.epochs, self.server).await;
                    let new = new.map_err(ConnectError::Epochs)?;
                    if new.is_first || has_waited {
                        make_main(self.wire, new.epoch).await?;
                    } else {
                        has_waited = true;
                        sleep(self.config.connect_timeout.mul_f64(rand::random_range(0.1..0.3))).await;
                    }
                }
                Finding::OnlyMain(main) | Finding::Incomplete(main)
                    if given.get().is_some_and(|given| given.epoch == main.epoch) =>
                {
                    sentinels.complete(self.wire, main.epoch).await?;
                }
                // This host has known them whole.
                Finding::OnlyMain(main) | Finding::Incomplete(main) if self.health.known() == Some(main.epoch) => {
                    sentinels.remove(self.wire).await?;
                }
                Finding::OnlyMain(main) | Finding::Incomplete(main) if self.is_young(main) => {
                    sleep(self.config.backoff_min).await;
                }
                Finding::OnlyMain(main) => {
                    is_adopted = true;
                    sentinels.complete(self.wire, main.epoch).await?;
                }
                Finding::Incomplete(_) => sentinels.remove(self.wire).await?,
            }
        }
    }

    /// Records it if the epoch that this host knows is over.
    fn record_loss(&self, finding: &Finding) {
        let over = match (self.health.known(), finding) {
            (None, _) => None,
            (Some(known), Finding::Whole(main)) if main.epoch == known => None,
            (Some(known), Finding::OnlyMainIsMissing(epoch)) if *epoch == known => None,
            (Some(known), Finding::Incomplete(main) | Finding::OnlyMain(main)) if main.epoch == known => {
                Some(Cause::Eviction)
            }
            (Some(_), _) => Some(Cause::Unknown),
        };
        if let Some(cause) = over {
            self.health.record_loss(cause, self.figures);
        }
    }

    /// Asks what the epoch of the sentinels is; none if it is to be taken away.
    async fn judge(&self, main: Main, given: Option<NewEpoch>) -> Result<Option<Found>, ConnectError> {
        let found = |is_first| {
            Ok(Some(Found {
                epoch: main.epoch,
                cas: main.cas,
                age: main.age,
                is_first,
                at: Instant::now(),
                figures: self.figures,
            }))
        };
        if self.health.known() == Some(main.epoch) {
            return found(false);
        }
        if let Some(given) = given.filter(|given| given.epoch == main.epoch) {
            return found(given.is_first);
        }
        let standing = self.epochs.check(self.server, main.epoch).await;
        match standing.map_err(ConnectError::Epochs)? {
            Standing::Known { is_first } => found(is_first),
            Standing::Stale => {
                tracing::warn!(
                    server = self.server,
                    epoch = main.epoch,
                    "a host has begun an epoch of memcached that is older than one before; it is taken away"
                );
                Ok(None)
            }
            Standing::Future { ahead } => {
                self.health.record_future(main.epoch, ahead);
                Err(ConnectError::Future {
                    epoch: main.epoch,
                    ahead,
                })
            }
        }
    }

    /// Whether whoever made the main sentinel may still be about to make the others.
    fn is_young(&self, main: Main) -> bool {
        u64::from(main.age) <= (self.config.connect_timeout + COARSE_CLOCK).as_secs() + 1
    }
}
