//! How fencing tokens are made, and why a later grant of a name has the greater one.
//!
//! A token is an *epoch* plus the *number* of the grant within it.
//!
//! | table | an epoch begins | the number |
//! |---|---|---|
//! | memcached | when a host finds no sentinel item, and makes one | the CAS of the granted item |
//! | `memory:` | when this process sets up its table | how many locks this process has granted |
//!
//! The epoch is the nanoseconds since 1970 by the clock of whoever begins it. In memcached it is the value of the
//! sentinel, an item that never expires: a restart or `flush_all` takes it away together with every lock, so the next
//! host to connect begins a new epoch.
//!
//! Keeps P1: the names database refuses a write whose token is smaller than one that it has seen for the name. That is
//! what stops a holder that lost its lease without knowing, so a later grant must have a greater token.
//!
//! # Why tokens grow
//!
//! - *Within an epoch*, the number grows with every grant, of any name: memcached gives each change of any item the
//!   next CAS.
//! - *Over restarts*, the number begins again at 1, but the epoch grows by more than the number ever reached. No server
//!   makes 10⁹ changes in a second, so old epoch + old number stays behind the clock from which the new epoch is read.
//! - *A grant belongs to the epoch of its connection.* The sentinel is read once more at the end of every batch
//!   (`memcached::connection`). If it is still the one from when the connection was made, every grant of the batch
//!   belongs to this epoch. If it is another one or missing (`flush_all`), the grants are not trusted, and the
//!   connection is made anew.
//!
//! # Where they do not
//!
//! - The clock of the host that begins the new epoch is behind by more than the length of the old epoch.
//! - A name moves to a server whose sentinel is older than the one of the server that it came from: the list of servers
//!   was changed, or one of them was replaced by another that had been in use.
//!
//! Grants then carry smaller tokens, and the names database refuses to write with them for as long as it remembers the
//! greater ones: it fails closed. What fixes it is a memcached that is started anew while no host runs, because its
//! epoch is then the newest.

use std::time::{Duration, SystemTime};

use namelock_types::FencingToken;

/// One run of a table of locks, from its start or flush to the next; its locks are gone with it.
///
/// It is known by the nanoseconds since 1970 at which it began. Two epochs are the same or not; nothing depends on
/// their order but the fencing tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ServerEpoch(u64);

impl ServerEpoch {
    /// Begins an epoch now, by this host's clock.
    pub(crate) fn begin() -> Self {
        Self::begin_at(SystemTime::now())
    }

    fn begin_at(time: SystemTime) -> Self {
        let since_1970 = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since_1970.as_nanos()).unwrap_or_default())
    }

    /// Makes the fencing token of the grant with this number within the epoch.
    pub(crate) fn token(self, number: u64) -> FencingToken {
        FencingToken::new(self.0.saturating_add(number))
    }

    /// Tells how long ago the epoch began, if the clock of the host that began it agrees with ours. One from the future
    /// has just begun.
    pub(crate) fn age(self) -> Duration {
        Duration::from_nanos(Self::begin().0.saturating_sub(self.0))
    }

    /// The epoch that a sentinel with this value stands for.
    pub(crate) const fn from_sentinel(value: u64) -> Self {
        Self(value)
    }

    /// The value of the epoch's sentinel.
    pub(crate) const fn sentinel(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    /// Some morning in 2023.
    fn morning() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)
    }

    #[test]
    fn a_later_grant_of_one_epoch_has_the_greater_token() {
        let epoch = ServerEpoch::begin_at(morning());
        let ann = epoch.token(1); // granted, then lost without Ann knowing
        let bob = epoch.token(2); // granted next
        assert!(bob > ann, "Bob's write makes the database refuse Ann's");
    }

    #[test]
    fn every_host_reads_the_same_epoch_from_the_sentinel() {
        let maker = ServerEpoch::begin_at(morning());
        let reader = ServerEpoch::from_sentinel(maker.sentinel());
        assert_eq!(reader, maker);
        assert!(reader.token(2) > maker.token(1), "one host granted after the other");
    }

    // Shows P1: a holder from before a restart is refused after it.
    #[test]
    fn the_first_grant_after_a_restart_is_above_the_last_one_before() {
        let started = morning();
        let before = ServerEpoch::begin_at(started);
        // A day of almost 10⁹ changes a second, far beyond any server.
        let ann = before.token(999_999_999 * DAY.as_secs());

        // It restarts at once, counts from 1 again, and has no sentinel, so the next host begins an epoch.
        let after = ServerEpoch::begin_at(started + DAY);
        let bob = after.token(1);
        assert_ne!(after, before, "hosts see that the locks are gone");
        assert!(bob > ann);
    }

    #[test]
    fn a_restarted_process_with_locks_in_memory_goes_on_above_its_old_tokens() {
        // It counts its grants itself, and no process grants a lock every nanosecond.
        let ann = ServerEpoch::begin_at(morning()).token(999_999_999);
        let bob = ServerEpoch::begin_at(morning() + SECOND).token(1);
        assert!(bob > ann);
    }

    #[test]
    fn a_clock_that_was_set_back_makes_smaller_tokens_which_fail_closed() {
        let before = ServerEpoch::begin_at(morning());
        let ann = before.token(1);
        // The known weakness: the host that begins the next epoch has a clock that is behind.
        let after = ServerEpoch::begin_at(morning() - SECOND);
        let bob = after.token(1);
        assert!(
            bob < ann,
            "the names database refuses Bob's writes, although he holds the lease"
        );
    }

    #[test]
    fn an_epoch_from_the_future_has_just_begun() {
        assert!(ServerEpoch::begin_at(SystemTime::now() - DAY).age() >= DAY);
        assert_eq!(ServerEpoch::begin_at(SystemTime::now() + DAY).age(), Duration::ZERO);
    }

    #[test]
    fn a_token_never_wraps_to_a_small_one() {
        assert_eq!(ServerEpoch::from_sentinel(u64::MAX).token(1).get(), u64::MAX);
    }
}
