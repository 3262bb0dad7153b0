//! How fencing tokens are made, and why a later grant of a name has the greater one.
//!
//! A token is an *epoch* plus the *number* of the grant within it.
//!
//! | table | an epoch begins | the number |
//! |---|---|---|
//! | memcached | when a host finds no sentinel item, and makes one | the CAS of the granted item |
//! | `memory:` | when this process grants its first lock | how many locks this process has granted |
//!
//! Epochs come from an [`EpochSource`](crate::epochs::EpochSource). In memcached the epoch is the value of the sentinel,
//! an item that never expires: a restart or `flush_all` takes it away together with every lock, so the next host to
//! connect begins a new epoch.
//!
//! Keeps P1: the names database refuses a write whose token is smaller than one that it has seen for the name. That is
//! what stops a holder that lost its lease without knowing, so a later grant must have a greater token.
//!
//! # Why tokens grow
//!
//! - *Within an epoch*, the number grows with every grant, of any name: memcached gives each change of any item the
//!   next CAS.
//! - *Over restarts*, the number begins again at 1, but the source gives an epoch that is greater than every one before,
//!   on any server, by more than the number ever reached. That does not depend on the clock of whoever asks for it.
//! - *A grant belongs to the epoch of its connection.* The sentinel is read first and last in every batch
//!   (`memcached::connection`). If it is still the one from when the connection was made, every grant of the batch
//!   belongs to this epoch. If it is another one or missing (`flush_all`), the grants are not trusted, and the
//!   connection is made anew.
//! - *An epoch that is found is judged first.* One that is older than what was on the server before is deleted: its
//!   maker had asked for it long ago, and came too late. One that nobody gave and that is far ahead of the clock is
//!   refused, and with it the server, because after it every right epoch would be smaller.
//! - *When the list of servers is changed*, a name may move to a server whose epoch began before that of the one that it
//!   came from. So the new list comes with an epoch of its own, from which the tokens of its servers are numbered on
//!   ([`Numbering`], `memcached::fleet`).
//!
//! # Where they do not
//!
//! - The source has lost its memory (the names database was restored from an old copy), and the clock is behind too.
//! - Hosts have a source each ([`OwnEpochs`](crate::epochs::OwnEpochs)), and their clocks disagree by up to a minute.
//!
//! Grants then carry smaller tokens, and the names database refuses to write with them for as long as it remembers the
//! greater ones: it fails closed. A memcached that is restarted gets an epoch above all others.

use namelock_types::FencingToken;

/// One run of a table of locks, from its start or flush to the next; its locks are gone with it.
///
/// Two epochs are the same or not; nothing depends on their order but the fencing tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ServerEpoch {
    sentinel: u64,
    /// How often this host has stopped to believe in the locks of this epoch.
    distrusted: u32,
}

impl ServerEpoch {
    /// Makes the fencing token of the grant with this number within the epoch.
    pub(crate) fn token(self, number: u64) -> FencingToken {
        FencingToken::new(self.sentinel.saturating_add(number))
    }

    /// The epoch that a sentinel with this value stands for.
    pub(crate) const fn from_sentinel(value: u64) -> Self {
        Self {
            sentinel: value,
            distrusted: 0,
        }
    }

    /// The value of the epoch's sentinel.
    pub(crate) const fn sentinel(self) -> u64 {
        self.sentinel
    }

    /// The same epoch for what is granted from now on: no lock from before is in it.
    pub(crate) const fn without_its_locks(self) -> Self {
        Self {
            distrusted: self.distrusted.wrapping_add(1),
            ..self
        }
    }
}

/// From where on the tokens of a server are numbered since the list of servers was changed (`memcached::fleet`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Numbering {
    /// An epoch that was given then, for the tokens alone; 0: the list was not changed.
    pub(crate) base: u64,
    /// What the server had counted by then.
    pub(crate) counted: u64,
}

impl Numbering {
    /// Makes the fencing token of the grant with this number within `epoch`. Where the epoch is the later one, it counts.
    pub(crate) fn token(self, epoch: ServerEpoch, number: u64) -> FencingToken {
        if self.base <= epoch.sentinel {
            return epoch.token(number);
        }
        FencingToken::new(self.base.saturating_add(number.saturating_sub(self.counted)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Some morning in 2023.
    const EPOCH: ServerEpoch = ServerEpoch::from_sentinel(1_700_000_000_000_000_000);

    #[test]
    fn a_later_grant_of_one_epoch_has_the_greater_token() {
        let ann = EPOCH.token(1); // granted, then lost without Ann knowing
        let bob = EPOCH.token(2); // granted next
        assert!(bob > ann, "Bob's write makes the database refuse Ann's");
    }

    #[test]
    fn every_host_reads_the_same_epoch_from_the_sentinel() {
        let reader = ServerEpoch::from_sentinel(EPOCH.sentinel());
        assert_eq!(reader, EPOCH);
        assert!(reader.token(2) > EPOCH.token(1), "one host granted after the other");
    }

    #[test]
    fn an_epoch_whose_locks_are_distrusted_is_another_one_with_the_same_tokens() {
        let after = EPOCH.without_its_locks();
        assert_ne!(after, EPOCH);
        assert!(after.token(2) > EPOCH.token(1));
        assert_eq!(after.sentinel(), EPOCH.sentinel());
    }

    #[test]
    fn tokens_are_numbered_from_the_later_of_base_and_epoch() {
        let token = |base, number| Numbering { base, counted: 1000 }.token(EPOCH, number).get();
        let epoch = EPOCH.sentinel();
        assert_eq!(token(0, 1001), epoch + 1001);
        assert_eq!(
            token(epoch - 1, 1),
            epoch + 1,
            "the server was restarted after the change"
        );
        assert_eq!(token(epoch + 5000, 1001), epoch + 5001);
        assert_eq!(token(u64::MAX, 2000), u64::MAX);
    }

    #[test]
    fn a_token_never_wraps_to_a_small_one() {
        assert_eq!(ServerEpoch::from_sentinel(u64::MAX).token(1).get(), u64::MAX);
    }
}
