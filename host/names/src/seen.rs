//! What a caller had read of a name when it decided on a write.
//!
//! Fencing keeps an older write from following a newer one. It does not keep an older write from coming in between: a host that
//! hangs, or a statement that waits in the server, may still write a name under a lease that is over, after the next holder has
//! read the row and before it writes. So the next holder says what it has read, and writes only if the row still is that. Each
//! write leaves the token of its lease in the row, so one comparison tells.

use namelock_types::FencingToken;

/// What a caller has read of a name under the lease that it writes with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Seen {
    /// It has not looked, so it writes whatever there is.
    #[default]
    Unread,
    /// That the name has no active registration.
    Free,
    /// The registration with this fencing token.
    Registered(FencingToken),
}

impl Seen {
    /// Returns whether a write under the lease `own` must leave a row with the token `found` as it is: a newer lease has written
    /// it, or another one since this was read.
    pub(crate) fn forbids(self, found: FencingToken, own: FencingToken) -> bool {
        let is_as_seen = match self {
            Self::Unread => true,
            Self::Free => false,
            Self::Registered(seen) => found == seen,
        };
        found > own || (found != own && !is_as_seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_newer_lease_or_another_one_since_has_written_is_left_as_it_is() {
        let token = FencingToken::new;
        let forbids = |seen: Seen, found| seen.forbids(token(found), token(9));
        assert!(!forbids(Seen::Unread, 3));
        assert!(forbids(Seen::Unread, 10) && forbids(Seen::Registered(token(10)), 10));
        assert!(!forbids(Seen::Registered(token(3)), 3));
        assert!(forbids(Seen::Registered(token(3)), 4));
        assert!(forbids(Seen::Free, 4));
        assert!(!forbids(Seen::Registered(token(3)), 9), "it is its own");
        assert!(!forbids(Seen::Free, 9), "it is its own");
    }
}
