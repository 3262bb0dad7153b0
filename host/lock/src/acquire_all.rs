//! Acquires several leases, all or none.
//!
//! # The order
//!
//! All hosts take locks in one order: by the bytes of their keys, which come from namespace and name alone. Neither the
//! order in which a caller gives the names, nor the list of servers, nor the host makes a difference. The order is part
//! of the contract between hosts, and a test pins it.
//!
//! # The steps
//!
//! 1. The caller waits for its turn at each name among the callers of this host, in that order. It has no lock yet.
//! 2. It asks for all locks at once: each lane sends its part in one batch. Where nobody else wants one of the names,
//!    that is all, and takes as long as a single lock.
//! 3. If somebody else has one, it gives back what it was granted, at once, and takes one lock after the other, in order.
//!    It keeps what it has while it waits for the next one. So it does from the beginning where a name is contested
//!    between hosts: a lock that is taken and given back would spoil the order in which hosts wait.
//!
//! # No deadlock
//!
//! There are two kinds of things to wait for: the turn at a name on one host, and its lock. Who waits for a turn has no
//! lock, and has turns only at smaller keys. Who waits for a lock has all of its turns, and locks only of smaller keys;
//! the locks of step 2 are never kept while anybody is waited for. So whoever waits for a lock waits for somebody who has
//! a greater one than all of its own, and waits, if at all, for a greater one yet; and whoever waits for a turn waits for
//! somebody who waits for a lock, or for a turn at a greater key. There are finitely many keys, so each of these chains
//! ends, at a caller that waits for nothing.
//!
//! While the list of servers is changed, some names are locked on two servers (`memcached::fleet`), by every host first on
//! the one of the old list. The second one is not waited for: if it is held, the first one is given back. So a lock is
//! still one thing to wait for, and its place in the order is the same on hosts with one of the lists and with both.
//!
//! Two things can still wait for each other: callers that hold a lease already while they acquire others, and programs
//! that wait for locks in an order of their own. What ends that is `wait`.
//!
//! # No starvation
//!
//! Turns are given in order of arrival. For each lock, hosts take turns as they do for a single one ([`crate::fairness`]):
//! from step 3 on nothing distinguishes this caller from one that wants the next name alone. Whoever has the greatest key
//! of all that are wanted keeps it for as long as its caller works; whoever has the one before, for as long as that and
//! the wait for the greatest; and so on. So each wait is bounded, though the bound grows with the number of names that
//! overlapping callers want. Neither try in step 2 depends on the outcome of another one, and there is only one for each
//! call, so callers that take from each other there do not go on with that.
//!
//! # The age of leases
//!
//! A lease is trusted from before it was asked for, so the first one is old when the last one is granted. While a caller
//! waits, what it has is renewed as soon as half of its time is over. At the end, whatever has less than three quarters
//! of [`lease`](crate::LockConfig::lease) left is renewed. So **every lease that is returned lasts for at least three
//! quarters of its time, less one exchange.** Its end by [`max_hold`](crate::LockConfig::max_hold) counts from when
//! it was granted, for the memory of fencing tokens is as long as that. So a caller that has locks waits for others for at
//! most `max_hold` less three quarters of a lease, and is then told that they are busy.
//!
//! A lease that is lost meanwhile, or that cannot be renewed, ends the call: all or none.
//!
//! Keeps P3: what is granted is a [`Lease`] or a claim at any time, so whatever ends the call releases it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep_until};

use crate::error::AcquireError;
use crate::grant::GrantError;
use crate::key::LockKey;
use crate::lease::Lease;
use crate::local_queue::Turn;
use crate::locks::Locks;

/// A lock that is wanted, and the turn at it.
struct Wanted<'a> {
    name: &'a str,
    key: LockKey,
    turn: Arc<Turn>,
}

impl Locks {
    /// Acquires the leases on all of `names` in `namespace`, or none, trying for at most `wait`; zero tries once. They
    /// come in the order of the names.
    ///
    /// How many names there are is for the caller to limit. One that it holds already is waited for like any other.
    ///
    /// Dropping the future is safe at any point: what it may have taken is released in the background.
    ///
    /// # Errors
    ///
    /// See [`AcquireError`]. Nothing is held then.
    pub async fn acquire_all<N: AsRef<str> + Sync>(
        &self,
        namespace: &str,
        names: &[N],
        wait: Duration,
    ) -> Result<Vec<Lease>, AcquireError> {
        let began = Instant::now();
        let answer = self.acquire_all_once(namespace, names, wait).await;
        self.shared.counts.asked(began.elapsed(), answer)
    }

    async fn acquire_all_once<N: AsRef<str> + Sync>(
        &self,
        namespace: &str,
        names: &[N],
        wait: Duration,
    ) -> Result<Vec<Lease>, AcquireError> {
        let until = Instant::now() + wait.min(self.shared.config.max_wait);
        let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
        let order = in_order(namespace, &names)?;
        let mut wanted = Vec::with_capacity(order.len());
        for (key, at) in &order {
            let (turn, handed) = self.wait_turn(key, until).await?;
            if let Some(handed) = handed {
                handed.give_back().await;
            }
            let key = key.clone();
            wanted.push(Wanted {
                name: names[*at],
                key,
                turn,
            });
        }
        let leases = match self.take_at_once(&wanted, until).await? {
            Some(leases) => leases,
            None => self.take_in_order(&wanted, until).await?,
        };
        let mut leases: Vec<_> = order.into_iter().map(|(_, at)| at).zip(leases).collect();
        leases.sort_by_key(|(at, _)| *at);
        Ok(leases.into_iter().map(|(_, lease)| lease).collect())
    }

    /// Asks for all locks at once; none when they are to be taken one after the other.
    async fn take_at_once(&self, wanted: &[Wanted<'_>], until: Instant) -> Result<Option<Vec<Lease>>, AcquireError> {
        let now = Instant::now();
        let is_contested = |wanted: &Wanted<'_>| self.shared.fairness.must_look(&wanted.key, now);
        if wanted.iter().any(is_contested) {
            return Ok(None);
        }
        let takes = wanted
            .iter()
            .map(|wanted| self.take(wanted.name, &wanted.key, &wanted.turn, None));
        let answers = join_all(takes).await;
        if answers.iter().all(Result::is_ok) {
            return Ok(Some(answers.into_iter().flatten().collect()));
        }
        let (mut taken, mut turns, mut refusal) = (Vec::new(), Vec::new(), None);
        for (answer, wanted) in answers.into_iter().zip(wanted) {
            match answer {
                Ok(lease) => {
                    taken.push(lease);
                    turns.push(&wanted.turn);
                }
                Err(error) => {
                    refusal = Some(match refusal {
                        Some(other) => graver(other, error),
                        None => error,
                    });
                }
            }
        }
        give_back(taken).await;
        for turn in turns {
            turn.given_back();
        }
        match refusal {
            Some(GrantError::Held { .. }) if Instant::now() < until => Ok(None),
            Some(error) => Err(self.refused(error)),
            None => Ok(None),
        }
    }

    /// Takes one lock after the other, and keeps those that it has while it waits for the next one.
    async fn take_in_order(&self, wanted: &[Wanted<'_>], until: Instant) -> Result<Vec<Lease>, AcquireError> {
        let mut leases = Vec::with_capacity(wanted.len());
        match self.take_each(wanted, until, &mut leases).await {
            Ok(()) => Ok(leases),
            Err(error) => {
                give_back(leases).await;
                Err(error)
            }
        }
    }

    async fn take_each(
        &self,
        wanted: &[Wanted<'_>],
        mut until: Instant,
        leases: &mut Vec<Lease>,
    ) -> Result<(), AcquireError> {
        let config = &self.shared.config;
        let enough = config.lease * 3 / 4;
        for (number, wanted) in wanted.iter().enumerate() {
            let mut next = std::pin::pin!(self.acquire_in_turn(wanted.name, &wanted.key, &wanted.turn, until));
            let lease = loop {
                let oldest = leases.iter().map(Lease::deadline).min();
                let half_over = async {
                    match oldest {
                        Some(deadline) => sleep_until(deadline - config.lease / 2).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    lease = &mut next => break lease?,
                    () = half_over => renew_older(leases, enough).await?,
                }
            };
            if number == 0 {
                until = until.min(lease.deadline() + (config.max_hold - config.lease) - enough);
            }
            leases.push(lease);
        }
        renew_older(leases, enough).await
    }
}

/// The keys of the names in the order in which all hosts take them, each with the place of its name.
fn in_order(namespace: &str, names: &[&str]) -> Result<Vec<(LockKey, usize)>, AcquireError> {
    let key = |(at, name): (usize, &&str)| Ok((LockKey::new(namespace, name)?, at));
    let mut keys = names
        .iter()
        .enumerate()
        .map(key)
        .collect::<Result<Vec<_>, AcquireError>>()?;
    // By the name's place too, so that of two equal ones it is the second that is told of.
    keys.sort_unstable_by(|(a, at), (b, other)| a.as_str().cmp(b.as_str()).then(at.cmp(other)));
    let doubled = keys
        .windows(2)
        .filter(|pair| pair[0].0 == pair[1].0)
        .map(|pair| pair[1].1)
        .min();
    match doubled {
        Some(at) => Err(AcquireError::Doubled {
            name: names[at].to_owned(),
        }),
        None => Ok(keys),
    }
}

/// Which of two refusals the caller is told: one that waiting does not help against, or the longer wait.
fn graver(one: GrantError, other: GrantError) -> GrantError {
    match (&one, &other) {
        (GrantError::Held { remaining: a }, GrantError::Held { remaining: b }) if a < b => other,
        (GrantError::Held { .. }, GrantError::Held { .. }) => one,
        (GrantError::Held { .. }, _) => other,
        _ => one,
    }
}

/// Makes those last their full time again that have less than `enough` left.
async fn renew_older(leases: &mut [Lease], enough: Duration) -> Result<(), AcquireError> {
    let older = leases.iter_mut().filter(|lease| lease.remaining() < enough);
    let renewals = older.map(|lease| async move {
        let renewed = lease.renew().await;
        renewed.map_err(|lost| AcquireError::Unavailable {
            reason: format!(
                "while other names were waited for, the lease on {:?} was not kept: {lost}",
                lease.name()
            ),
            retry_after: None,
        })
    });
    join_all(renewals).await.into_iter().collect()
}

async fn give_back(leases: Vec<Lease>) {
    join_all(leases.into_iter().map(Lease::give_back)).await;
}

#[cfg(test)]
mod tests;
