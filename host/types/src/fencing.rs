//! The order of fencing tokens.

use std::fmt;

/// A number that grows with every grant of a name.
///
/// Of two leases on one name, the one with the greater token was granted later. Whoever writes under a lease sends its
/// token along, and the names database refuses a write whose token is smaller than one that it has seen. So a holder
/// that has lost its lease without knowing cannot overwrite what came after it.
///
/// How tokens are made, and why they grow over restarts of the table of locks, is in `fencing.rs` of `namelock-lock`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FencingToken(u64);

impl FencingToken {
    /// The token with this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number of the token.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for FencingToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
