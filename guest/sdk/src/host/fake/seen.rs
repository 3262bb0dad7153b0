//! What a call had read of a name when it decided on a write.

use crate::bindings::namelock::registration::names::Registration;

/// What the tested call has read of a name under the lease that it holds on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// It has not looked, so it writes whatever there is.
    Unread,
    /// That the name has no active registration.
    Free,
    /// The registration with this fencing token.
    Registered(u64),
}

impl Seen {
    /// Returns what is known of a name whose active registration is this one; none: it has none.
    pub(crate) fn of(found: Option<&Registration>) -> Self {
        found.map_or(Self::Free, |found| Self::Registered(found.fencing_token))
    }

    /// Whether a write under the lease `own` must leave a row with the token `found` as it is: a newer lease has
    /// written it, or another one since this was read.
    pub(crate) fn forbids(self, found: u64, own: u64) -> bool {
        let is_as_seen = match self {
            Self::Unread => true,
            Self::Free => false,
            Self::Registered(seen) => found == seen,
        };
        found > own || (found != own && !is_as_seen)
    }
}
