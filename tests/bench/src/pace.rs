//! How long is measured.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How many rounds there are of each measurement, and how long one takes. One more round before them is not counted: it
/// fills caches, and writes what is written once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pace {
    pub(crate) rounds: usize,
    pub(crate) round: Duration,
}

impl Pace {
    /// For figures that repeat: a noisy neighbour of this machine spoils a round or two, and not the median.
    pub(crate) const FULL: Self = Self {
        rounds: 7,
        round: Duration::from_secs(1),
    };

    /// To see that everything runs, and about where it stands.
    pub(crate) const QUICK: Self = Self {
        rounds: 3,
        round: Duration::from_millis(500),
    };
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rounds of {:?}", self.rounds, self.round)
    }
}
