//! One connection to one memcached server: it learns the server's epoch, then exchanges batches.
//!
//! Every batch begins and ends with a look at the main sentinel, and looks at the sentinels of the sizes of its locks
//! and at the fleet's item before that end. So what it is told of locks is only believed in the epoch that the
//! connection knows ([`crate::fencing`]), while no lock of theirs was evicted ([`super::sentinel`]), while all hosts agree
//! which server has which name ([`super::fleet`]), and as the server's own clock dates it ([`super::clock`]).

use std::sync::Arc;

use tokio::time::{Instant, timeout, timeout_at};

use super::agree::Agreement;
use super::clock::{Dating, Reading};
use super::codec::{Command, Reply};
use super::error::ConnectError;
use super::fleet::{FLEET, Phase};
use super::greeting::{Figures, greet};
use super::health::Health;
use super::learn::Learner;
use super::membership::Fleet;
use super::punctual::Punctual;
use super::sentinel::{MAIN, SIZES, by_size, size_of};
use super::wire::{CommandError, Outcome, Wire};
use crate::config::{COARSE_CLOCK, LockConfig};
use crate::epochs::EpochSource;
use crate::fencing::ServerEpoch;
use crate::grant::ConnectionId;
use namelock_types::{Safety, is_removed};

/// A connection over which the server was greeted and its epoch learned.
pub(super) struct Connection {
    pub(super) id: ConnectionId,
    /// The server's epoch when the connection was made.
    pub(super) epoch: ServerEpoch,
    /// The CAS of the main sentinel then.
    cas: u64,
    /// What holds for the fleet, and the CAS of the item that says so.
    pub(super) phase: Phase,
    fleet_cas: u64,
    wire: Wire,
}

/// Why a connection must not be used again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Ended {
    #[error("{0}")]
    Broken(String),
    /// Nothing is wrong with it, but what holds for the fleet must be learned anew.
    #[error("what holds for the fleet has changed meanwhile")]
    FleetChanged,
}

/// Which sentinels a batch looks at besides the main one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Watch {
    /// Those of the sizes of its locks.
    Own,
    /// All of them.
    All,
}

/// What became of a batch.
pub(super) struct Exchanged {
    /// One for each command.
    pub(super) outcomes: Vec<Outcome>,
    /// How locks are dated that were taken or found; none where nothing was answered.
    pub(super) dating: Option<Dating>,
    /// After an error, which says why, the connection must not be used again.
    pub(super) end: Result<(), Ended>,
}

impl Connection {
    /// Connects to `server`, greets it, learns its epoch and records that in `health`, within `connect_timeout`.
    ///
    /// A host that knows nothing of the server then waits until its clock was seen to tick, for about a second.
    pub(super) async fn open(
        server: &str,
        config: &LockConfig,
        epochs: &Arc<dyn EpochSource>,
        health: &Health,
        fleet: &Fleet,
    ) -> Result<Self, ConnectError> {
        let is_fresh = health.known().is_none();
        let epochs = &Punctual::new(epochs, config);
        let deadline = Instant::now() + config.connect_timeout;
        let wire = fleet.dialer.dial(server, deadline).await?;
        let learned = timeout_at(deadline, Self::learn(wire, server, config, epochs, health, fleet)).await;
        let mut connection = learned.unwrap_or(Err(ConnectError::Timeout))?;
        if is_fresh {
            let patience = COARSE_CLOCK + config.exchange_timeout;
            timeout(patience, connection.watch_clock(config, health))
                .await
                .unwrap_or(Err(ConnectError::Clock))?;
        }
        Ok(connection)
    }

    async fn learn(
        mut wire: Wire,
        server: &str,
        config: &LockConfig,
        epochs: &Punctual<'_>,
        health: &Health,
        fleet: &Fleet,
    ) -> Result<Self, ConnectError> {
        let warnings = greet(&mut wire).await?;
        let figures = Figures::read(&mut wire).await?;
        // One lane at a time, so that a host is given one epoch and not one for each lane.
        let mut learning = health.learning.lock().await;
        let known = health.known();
        let learner = Learner {
            wire: &mut wire,
            server,
            config,
            epochs,
            health,
            figures,
        };
        // What was given stays there if this is cut off.
        let found = learner.learn(&mut learning).await?;
        let agreement = Agreement {
            wire: &mut wire,
            server,
            config,
            epochs,
            fleet,
            found,
        };
        let agreed = agreement.reach().await?;
        fleet.record_asked(server);
        let epoch = health.record_connection(found);
        if known != Some(found.epoch) {
            for warning in warnings {
                tracing::warn!(server, "memcached is not set up for locks: {warning}");
            }
        }
        Ok(Self {
            id: ConnectionId::next(),
            epoch,
            cas: found.cas,
            phase: agreed.value.phase(&fleet.lists),
            fleet_cas: agreed.cas,
            wire,
        })
    }

    /// Looks at the sentinel until the server's clock was seen to tick.
    async fn watch_clock(&mut self, config: &LockConfig, health: &Health) -> Result<(), ConnectError> {
        while !health.has_clock() {
            let begin = Instant::now();
            let exchanged = self.exchange(&[], begin + config.exchange_timeout, Watch::Own, health);
            if let Err(ended) = exchanged.await.end {
                return Err(ConnectError::Io(std::io::Error::other(ended)));
            }
            tokio::time::sleep(config.heartbeat().min(config.backoff_min * 2)).await;
        }
        Ok(())
    }

    /// Sends the commands as one batch and reads their replies, within `deadline`.
    ///
    /// Unless the sentinels are still those of this connection, whatever claims to hold a lock counts as unanswered.
    pub(super) async fn exchange(
        &mut self,
        commands: &[(&str, Command)],
        deadline: Instant,
        watch: Watch,
        health: &Health,
    ) -> Exchanged {
        let main = (MAIN, Command::LookAtAge);
        let watched = watched(commands, watch);
        let by_size = watched.iter().map(|key| (*key, Command::Look));
        let batch: Vec<_> = [main]
            .into_iter()
            .chain(commands.iter().copied())
            .chain(by_size)
            .chain([(FLEET, Command::LookAtCas), main])
            .collect();
        let mut outcomes = Vec::with_capacity(batch.len());
        let sent = health.now();
        let answered = match timeout_at(deadline, self.wire.exchange(&batch, &mut outcomes)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Ended::Broken(error.to_string())),
            Err(_) => Err(Ended::Broken("no answer in time".to_owned())),
        };
        if let Err(reason) = &answered {
            outcomes.resize_with(batch.len(), || Err(CommandError::Unanswered(reason.to_string())));
        }
        let received = health.now();
        let behind = outcomes.split_off(1 + commands.len());
        let first = outcomes.remove(0);
        let mut end = answered.and_then(|()| self.check_sentinels(&first, &behind));
        if is_removed(Safety::SentinelInBatch) && !commands.is_empty() {
            end = Ok(());
        }
        let mut dating = None;
        if let Ok(Reply::Item { age: Some(age), .. }) = first
            && end.is_ok()
        {
            let reading = Reading { age, sent, received };
            match health.record_reading(self.epoch, self.cas, reading) {
                Ok(known) => dating = Some(known),
                Err(jumped) => end = Err(Ended::Broken(jumped.to_string())),
            }
        }
        if let Err(reason) = &end {
            for ((_, command), outcome) in commands.iter().zip(&mut outcomes) {
                if claims_to_hold(*command, outcome) {
                    *outcome = Err(CommandError::Unanswered(reason.to_string()));
                }
            }
        }
        Exchanged { outcomes, dating, end }
    }

    /// Tells whether the looks at the sentinels, and at the fleet's item, found what this connection knows.
    fn check_sentinels(&self, first: &Outcome, behind: &[Outcome]) -> Result<(), Ended> {
        let value_of = |outcome: &Outcome| match outcome {
            Ok(Reply::Item { value, cas, .. }) => Some((*value, *cas)),
            _ => None,
        };
        let epoch = Some(self.epoch.sentinel());
        let main = Some((epoch, self.cas));
        let broken = |reason: &str| Err(Ended::Broken(reason.to_owned()));
        let [by_size @ .., fleet, last] = behind else {
            return broken("memcached was not asked for its sentinels");
        };
        if value_of(first) != main || value_of(last) != main {
            return broken("memcached was flushed or replaced meanwhile, or has evicted its sentinel");
        }
        let is_ours = |outcome: &Outcome| value_of(outcome).is_some_and(|(value, _)| value == epoch);
        if !by_size.iter().all(is_ours) {
            return broken("memcached has evicted a sentinel, and perhaps locks");
        }
        match fleet {
            Ok(Reply::Done { cas }) if *cas == self.fleet_cas => Ok(()),
            _ => Err(Ended::FleetChanged),
        }
    }

    /// Waits until the server closes the connection, or says something that nobody asked for.
    pub(super) async fn broken(&mut self) {
        self.wire.broken().await;
    }

    /// Tells, without waiting, whether the connection is [`broken`](Self::broken). Only between exchanges.
    pub(super) fn is_broken(&mut self) -> bool {
        self.wire.is_broken()
    }
}

/// The keys of the sentinels that a batch looks at, besides the main one.
fn watched(commands: &[(&str, Command)], watch: Watch) -> Vec<&'static str> {
    let mut of_size = [watch == Watch::All; SIZES];
    for (key, _) in commands {
        of_size[size_of(key)] = true;
    }
    let keys = by_size().iter().zip(of_size);
    keys.filter_map(|(key, is_watched)| is_watched.then_some(key.as_str()))
        .collect()
}

/// Whether the outcome says that a lock is held, by whomever. What is not there is not there in any epoch.
fn claims_to_hold(command: Command, outcome: &Outcome) -> bool {
    match outcome {
        Ok(Reply::Done { .. }) => match command {
            Command::Add { .. } | Command::Renew { .. } | Command::HandOver { .. } => true,
            Command::Delete { .. } | Command::DeleteUnchecked => false,
            Command::Look | Command::LookAtAge | Command::LookAtCas => false,
        },
        Ok(Reply::Item { .. }) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_looks_at_the_sentinel_of_each_size_of_its_locks() {
        let key = |namespace: usize| format!("namelock:{}:{:032}", "n".repeat(namespace), 0);
        let (short, long) = (key(0), key(63));
        let batch = [
            (short.as_str(), Command::Look),
            (short.as_str(), Command::Look),
            (long.as_str(), Command::Look),
        ];
        let keys = watched(&batch, Watch::Own);
        assert_eq!(
            keys,
            [by_size()[size_of(&short)].as_str(), by_size()[size_of(&long)].as_str()]
        );
        assert_eq!(watched(&[], Watch::Own), Vec::<&str>::new());
        assert_eq!(watched(&batch, Watch::All).len(), SIZES);
    }

    #[test]
    fn what_claims_to_hold_is_not_believed_in_another_epoch() {
        let item = Ok(Reply::Item {
            value: Some(7),
            cas: 1,
            seconds_left: Some(13),
            age: None,
        });
        let add = Command::Add {
            ttl_seconds: 13,
            value: 7,
        };
        let renew = Command::Renew {
            ttl_seconds: 13,
            cas: 1,
        };
        let hand_over = Command::HandOver {
            ttl_seconds: 13,
            value: 8,
            cas: 1,
        };
        let done = Ok(Reply::Done { cas: 2 });
        assert!(claims_to_hold(hand_over, &done));
        assert!(claims_to_hold(add, &done) && claims_to_hold(renew, &done));
        assert!(claims_to_hold(Command::Look, &item));
        assert!(!claims_to_hold(Command::Delete { cas: 1 }, &done));
        assert!(!claims_to_hold(Command::Look, &Ok(Reply::Missing)));
    }
}
