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
    /// Returns whether a row with the token `found` was written by another lease since this was read under the lease `own`.
    pub(crate) fn is_outdated(self, found: FencingToken, own: FencingToken) -> bool {
        match self {
            Self::Unread => false,
            Self::Free => found != own,
            Self::Registered(seen) => found != seen && found != own,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_lease_has_written_since_is_outdated() {
        let token = FencingToken::new;
        let outdated = |seen: Seen, found| seen.is_outdated(token(found), token(9));
        assert!(!outdated(Seen::Unread, 3));
        assert!(!outdated(Seen::Registered(token(3)), 3));
        assert!(outdated(Seen::Registered(token(3)), 4));
        assert!(outdated(Seen::Free, 4));
        assert!(!outdated(Seen::Registered(token(3)), 9), "it is its own");
        assert!(!outdated(Seen::Free, 9), "it is its own");
    }
}
