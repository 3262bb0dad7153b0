//! The words in which a table of locks is asked and answers.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use namelock_types::FencingToken;

use crate::fencing::ServerEpoch;

/// Tells one attempt to take a lock from every other, on any machine.
///
/// It is random, of 8.4 · 10¹⁸ (63 bits), and drawn anew for each attempt, so finding it in the table proves that this
/// very attempt took the lock, even when the reply was lost. It always has 20 digits, so that the locks of one length of
/// key have one size (`memcached::sentinel`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OwnerToken(u64);

/// Tells one connection of this process from every other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConnectionId(NonZeroU64);

/// A lock that was granted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Grant {
    /// Grows with every grant of a key; see [`crate::fencing`].
    pub(crate) fencing_token: FencingToken,
    /// The epoch of the table in which the lock was granted; when the table forgets its locks, it begins another one.
    pub(crate) epochs: Both<ServerEpoch>,
    /// How the table finds the lock again without looking; none where it has to look.
    pub(crate) versions: Both<Option<ItemVersion>>,
}

/// What is known of a lock on its server, or on both of its servers while the list of servers is changed
/// (`memcached::fleet`).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Both<T> {
    /// On its only server, or on the one in the list from before.
    pub(crate) first: T,
    /// On the one in the new list.
    pub(crate) second: Option<T>,
}

impl<T> Both<T> {
    pub(crate) const fn one(first: T) -> Self {
        Self { first, second: None }
    }

    pub(crate) fn map<U>(self, change: impl Fn(T) -> U) -> Both<U> {
        Both {
            first: change(self.first),
            second: self.second.map(change),
        }
    }
}

/// The version of an item, as the server process behind one connection counts it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ItemVersion {
    /// The connection over which `cas` came. A compare with `cas` means nothing to another server process, which counts
    /// from 1 again, so it is never sent over another connection.
    pub(crate) connection: ConnectionId,
    pub(crate) cas: u64,
}

/// What a look at a lock shows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sight {
    /// The lock that somebody has; none: it is free.
    pub(crate) held: Option<HeldLock>,
    /// The mark of a host that waits for it.
    pub(crate) mark: Option<Mark>,
}

/// A lock that somebody has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeldLock {
    /// Another one with every grant. In memcached it grows.
    pub(crate) cas: u64,
    pub(crate) remaining: Option<Duration>,
}

/// The mark of a host that waits for a lock; see [`crate::fairness`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    pub(crate) place: Place,
    pub(crate) version: ItemVersion,
    /// Whether it will soon be gone.
    pub(crate) fades: bool,
}

/// A host's place among those that wait for a lock: the smaller one is first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place(u64);

/// What to do with the mark of a lock.
#[derive(Debug, Clone, Copy)]
pub(crate) enum MarkChange {
    /// Leaves one, unless there is one.
    Leave(Place),
    /// Makes this one last its full time again.
    Keep(ItemVersion),
    /// Puts this place where another one is.
    Replace(ItemVersion, Place),
    /// Takes this one away.
    Remove(ItemVersion),
}

/// How far an attempt to take a lock got, which decides how it is given back.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Attempt {
    /// The lock was asked for, and no answer is known. When it was asked for, the table was reached over this
    /// connection, if over any.
    Asked { connections: Both<Option<ConnectionId>> },
    /// The lock was granted.
    Granted(Grant),
}

/// How far an attempt got on one server.
#[derive(Debug, Clone, Copy)]
pub(crate) enum PartOfAttempt {
    Asked(Option<ConnectionId>),
    Granted(Option<ItemVersion>),
}

impl Attempt {
    pub(crate) fn parts(&self) -> Both<PartOfAttempt> {
        match self {
            Self::Asked { connections } => connections.map(PartOfAttempt::Asked),
            Self::Granted(grant) => grant.versions.map(PartOfAttempt::Granted),
        }
    }
}

impl MarkChange {
    /// The version of the mark that is changed, if there is one.
    pub(crate) const fn version(&self) -> Option<ItemVersion> {
        match *self {
            Self::Leave(_) => None,
            Self::Keep(version) | Self::Replace(version, _) | Self::Remove(version) => Some(version),
        }
    }
}

/// What became of giving a lock back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReleaseOutcome {
    /// The lock was still ours, and nobody has it now.
    Released,
    /// The lock was not ours any more, and will not be.
    Gone,
    /// The lock was asked for and is not there; but the request may still reach the table.
    NotFound,
    /// The table did not answer.
    Unknown,
}

impl ReleaseOutcome {
    /// What became of giving back a lock that was on two servers.
    pub(crate) fn and(self, other: Self) -> Self {
        let order = [Self::Unknown, Self::NotFound, Self::Gone];
        let worst = order.into_iter().find(|outcome| self == *outcome || other == *outcome);
        worst.unwrap_or(Self::Released)
    }
}

/// What became of handing a lock on to another owner.
#[derive(Debug)]
pub(crate) enum HandOver<G = Grant> {
    /// The other one has it.
    Done(G),
    /// It was not tried, or has changed nothing.
    Not,
    /// The lock was not ours any more, and nothing was changed.
    Gone,
    /// The other one may have it now, or later.
    Unknown,
}

impl<G> HandOver<G> {
    pub(crate) fn map<H>(self, change: impl FnOnce(G) -> H) -> HandOver<H> {
        match self {
            Self::Done(granted) => HandOver::Done(change(granted)),
            Self::Not => HandOver::Not,
            Self::Gone => HandOver::Gone,
            Self::Unknown => HandOver::Unknown,
        }
    }
}

/// Why a lock was not granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum GrantError {
    /// Somebody else has it, for at most this long where that is known.
    Held { remaining: Option<Duration> },
    /// Nothing was granted.
    Unavailable(Refusal),
    /// Nothing was granted: the source of epochs says why.
    NoEpoch(String),
    /// It may have been granted, or may still be: the request was sent and not answered, or the answer cannot be
    /// trusted.
    Unknown(Refusal),
}

/// Why the table does not grant now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) reason: String,
    /// When it may grant again, where that is known.
    pub(crate) retry_after: Option<Duration>,
}

impl OwnerToken {
    pub(crate) fn random() -> Self {
        Self(rand::random_range(10_000_000_000_000_000_000..=u64::MAX))
    }

    /// The token as the value of an item.
    pub(crate) const fn get(self) -> u64 {
        self.0
    }
}

impl Place {
    /// The place of the host with this number that began to wait while the lock had this CAS. memcached counts its CAS
    /// up with every change of any item, so who began earlier has the smaller place, by no host's clock.
    pub(crate) const fn new(cas: u64, host: u16) -> Self {
        Self(cas << 16 | host as u64)
    }

    /// The place that an item with this value stands for.
    pub(crate) const fn from_item(value: u64) -> Self {
        Self(value)
    }

    /// The place as the value of an item.
    pub(crate) const fn get(self) -> u64 {
        self.0
    }
}

impl ConnectionId {
    /// The id of one more connection.
    pub(crate) fn next() -> Self {
        static GIVEN: AtomicU64 = AtomicU64::new(0);
        Self(NonZeroU64::MIN.saturating_add(GIVEN.fetch_add(1, Ordering::Relaxed)))
    }

    /// The id as a number, for a log.
    pub(crate) const fn get(self) -> u64 {
        self.0.get()
    }
}

impl<T: Into<String>> From<T> for Refusal {
    fn from(reason: T) -> Self {
        Self {
            reason: reason.into(),
            retry_after: None,
        }
    }
}
