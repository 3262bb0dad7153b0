//! The items on a server that show whether it has forgotten locks.
//!
//! The *main sentinel* (`namelock:@epoch`) has the server's epoch as its value. It never expires, so a restart, a
//! `flush_all` or a replacement by another server takes it away together with every lock. Whoever has created it has
//! begun the epoch: it is only ever created by an atomic add, and only deleted by its CAS.
//!
//! # Eviction
//!
//! A full memcached without `-M` evicts, and takes the item that was used least lately *of the slab class* that it needs
//! room in. So one item can tell nothing of locks of another class. Hence a sentinel for each size that a lock can have.
//! They are made before any lock of their epoch and never used (`mg … u` does not count), so each is the first of its
//! class to be evicted, and while it is there, no lock that is trusted was evicted.
//!
//! Slab classes are multiples of 8 bytes, whatever the growth factor. So one sentinel for each multiple of 8 bytes that
//! a lock can take covers every server. A lock takes
//!
//! ```text
//! 48 (header) + 8 (CAS) + key + 1 + value + 2 bytes
//! ```
//!
//! with a key of 42 to 105 characters and a value of 20 digits (`OwnerToken`): 121 to 184 bytes. One of the Python idiom
//! takes from 102 bytes on.
//!
//! They carry the epoch too: one with another value was made by somebody who came late and hides an eviction.
//!
//! Not covered: memcached's slab mover may evict in another order (`-o no_slab_automove` turns it off), and so may
//! another connection that touches the sentinel in the very moment when it is to go, in which case it goes next. The
//! names database decides then.

use std::sync::LazyLock;

use memcache::exp::Error;

use super::codec::{Command, Reply};
use super::error::ConnectError;
use super::wire::{Outcome, Wire};

/// The item whose value is the server's epoch. A lock's key has no `@` there.
pub(super) const MAIN: &str = "namelock:@epoch";

/// What an item takes beyond its key and its value (memcached 1.6.18, `sizeof(item)` with a CAS, and `items.c`).
const ITEM_BYTES: usize = 48 + 8 + 1 + 2;

/// How many digits the value of a lock has.
const TOKEN_DIGITS: usize = 20;

/// The sizes of locks, rounded up to what slab classes are multiples of.
const SIZE_MIN: usize = 104;
const SIZE_MAX: usize = 184;
const STEP: usize = 8;

/// How many sizes there are.
pub(super) const SIZES: usize = (SIZE_MAX - SIZE_MIN) / STEP + 1;

/// The keys of the sentinels by size. An epoch has 19 digits until the year 2286; each size leaves room for 16 to 23.
static BY_SIZE: LazyLock<[String; SIZES]> = LazyLock::new(|| {
    std::array::from_fn(|at| {
        let key_bytes = SIZE_MIN + at * STEP - STEP / 2 - ITEM_BYTES - 19;
        format!("{MAIN}:{:-<width$}", "", width = key_bytes - MAIN.len() - 1)
    })
});

/// The keys of the sentinels by size, the smallest first.
pub(super) fn by_size() -> &'static [String; SIZES] {
    &BY_SIZE
}

/// The index of the sentinel for a lock with this key.
pub(super) fn size_of(key: &str) -> usize {
    let bytes = ITEM_BYTES + key.len() + TOKEN_DIGITS;
    bytes.saturating_sub(SIZE_MIN).div_ceil(STEP).min(SIZES - 1)
}

/// The main sentinel, as it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Main {
    pub(super) epoch: u64,
    pub(super) cas: u64,
    /// For how many seconds of the server's clock nobody has used it, which is since it was made.
    pub(super) age: u32,
}

/// The sentinels of a server, as they were found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sentinels {
    pub(super) main: Option<Main>,
    /// Value and CAS.
    by_size: [Option<(u64, u64)>; SIZES],
}

/// What the sentinels say.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// They are all there: no lock of this epoch was lost.
    Whole(Main),
    /// All but the main one are there: it alone was evicted, and no lock of this epoch was lost.
    OnlyMainIsMissing(u64),
    /// Only the main one is there: it was made by a version of namelock that knows no other.
    OnlyMain(Main),
    /// Some are missing, or belong to another epoch.
    Incomplete(Main),
    /// There is no epoch.
    NoEpoch,
}

impl Sentinels {
    /// Reads all of them; none when they change meanwhile.
    pub(super) async fn read(wire: &mut Wire) -> Result<Option<Self>, ConnectError> {
        let main = (MAIN, Command::LookAtAge);
        let by_size = by_size().iter().map(|key| (key.as_str(), Command::Look));
        let batch: Vec<_> = [main].into_iter().chain(by_size).chain([main]).collect();
        let mut outcomes = Vec::with_capacity(batch.len());
        wire.exchange(&batch, &mut outcomes).await?;
        let (Some(last), Some(first)) = (outcomes.pop(), outcomes.first().cloned()) else {
            return Ok(None);
        };
        let (first, last) = (main_of(first)?, main_of(last)?);
        let same = |main: Option<Main>| main.map(|main| (main.epoch, main.cas));
        if same(first) != same(last) {
            return Ok(None);
        }
        let mut found = outcomes.into_iter().skip(1).map(|outcome| match outcome {
            Ok(Reply::Item {
                value: Some(value),
                cas,
                ..
            }) => Some((value, cas)),
            _ => None,
        });
        Ok(Some(Self {
            main: first,
            by_size: std::array::from_fn(|_| found.next().flatten()),
        }))
    }

    pub(super) fn finding(&self) -> Finding {
        let values = self.by_size.map(|found| found.map(|(value, _)| value));
        match (self.main, values[0]) {
            (Some(main), _) if values.iter().all(|value| *value == Some(main.epoch)) => Finding::Whole(main),
            (Some(main), _) if values.iter().all(Option::is_none) => Finding::OnlyMain(main),
            (Some(main), _) => Finding::Incomplete(main),
            (None, Some(epoch)) if values.iter().all(|value| *value == Some(epoch)) => {
                Finding::OnlyMainIsMissing(epoch)
            }
            (None, _) => Finding::NoEpoch,
        }
    }

    /// Deletes them as they were found. The main one goes last, so that nobody takes it for the one that was evicted.
    pub(super) async fn remove(&self, wire: &mut Wire) -> Result<(), ConnectError> {
        let by_size = by_size().iter().zip(self.by_size);
        let mut batch: Vec<_> = by_size
            .filter_map(|(key, found)| Some((key.as_str(), Command::Delete { cas: found?.1 })))
            .collect();
        batch.extend(self.main.map(|main| (MAIN, Command::Delete { cas: main.cas })));
        Ok(wire.exchange(&batch, &mut Vec::new()).await?)
    }

    /// Makes those of each size belong to the epoch of the main one.
    pub(super) async fn complete(&self, wire: &mut Wire, epoch: u64) -> Result<(), ConnectError> {
        let mut batch = Vec::new();
        for (key, found) in by_size().iter().zip(self.by_size) {
            match found {
                Some((value, _)) if value == epoch => continue,
                Some((_, cas)) => batch.push((key.as_str(), Command::Delete { cas })),
                None => {}
            }
            batch.push((key.as_str(), add(epoch)));
        }
        let mut outcomes = Vec::new();
        wire.exchange(&batch, &mut outcomes).await?;
        refuse_full(&outcomes)
    }
}

/// Creates the main sentinel if there is none.
pub(super) async fn make_main(wire: &mut Wire, epoch: u64) -> Result<(), ConnectError> {
    let mut outcomes = Vec::new();
    wire.exchange(&[(MAIN, add(epoch))], &mut outcomes).await?;
    refuse_full(&outcomes)
}

fn add(epoch: u64) -> Command {
    Command::Add {
        ttl_seconds: 0,
        value: epoch,
    }
}

fn refuse_full(outcomes: &[Outcome]) -> Result<(), ConnectError> {
    match outcomes.iter().any(Result::is_err) {
        true => Err(ConnectError::NoRoom),
        false => Ok(()),
    }
}

fn main_of(outcome: Outcome) -> Result<Option<Main>, ConnectError> {
    match outcome {
        Ok(Reply::Missing) => Ok(None),
        Ok(Reply::Item { cas: 0, .. }) => Err(ConnectError::NoCas),
        Ok(Reply::Item {
            value: Some(epoch),
            cas,
            age: Some(age),
            ..
        }) => Ok(Some(Main { epoch, cas, age })),
        other => Err(ConnectError::Protocol(Error::Protocol(format!(
            "the item {MAIN} is not a number ({other:?}); delete it if it is not namelock's"
        )))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::LockKey;

    const MAIN_OF_7: Main = Main {
        epoch: 7,
        cas: 1,
        age: 0,
    };

    fn found(main: Option<Main>, by_size: impl Fn(usize) -> Option<u64>) -> Finding {
        let sentinels = Sentinels {
            main,
            by_size: std::array::from_fn(|at| by_size(at).map(|value| (value, 9))),
        };
        sentinels.finding()
    }

    #[test]
    fn every_lock_has_a_sentinel_of_its_size() {
        for length in 0..=63 {
            let key = LockKey::new(&"n".repeat(length), "room").unwrap();
            let lock = ITEM_BYTES + key.as_str().len() + TOKEN_DIGITS;
            for digits in 16..=TOKEN_DIGITS {
                let sentinel = ITEM_BYTES + by_size()[size_of(key.as_str())].len() + digits;
                assert_eq!(lock.div_ceil(STEP), sentinel.div_ceil(STEP), "{key:?}");
            }
        }
    }

    #[test]
    fn the_sentinels_say_what_was_lost() {
        let main = Some(MAIN_OF_7);
        assert_eq!(found(main, |_| Some(7)), Finding::Whole(MAIN_OF_7));
        assert_eq!(found(None, |_| Some(7)), Finding::OnlyMainIsMissing(7));
        assert_eq!(found(main, |_| None), Finding::OnlyMain(MAIN_OF_7));
        assert_eq!(found(main, |at| (at != 3).then_some(7)), Finding::Incomplete(MAIN_OF_7));
        assert_eq!(
            found(main, |at| Some(if at == 3 { 6 } else { 7 })),
            Finding::Incomplete(MAIN_OF_7),
            "one that belongs to another epoch hides an eviction"
        );
        assert_eq!(found(None, |at| (at != 3).then_some(7)), Finding::NoEpoch);
        assert_eq!(found(None, |_| None), Finding::NoEpoch);
    }
}
