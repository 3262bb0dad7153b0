//! What a names database tells an operator of itself.

use std::time::Duration;

/// What has gone wrong in a names database, and what is late.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Writes that were sent, should have been answered, and were not: nobody knows whether they are done.
    pub writes_overdue: usize,
    /// How many writes were not answered in time until now.
    pub writes_unanswered: u64,
    /// How long ago database time was last compared with what is kept. None: it is kept by whoever writes, and nobody
    /// compares it.
    pub time_age: Option<Duration>,
    /// By how much database time jumped when this process began, because nobody was known to have kept it.
    pub time_jumped: Duration,
    /// Whether the URL names several servers, but the commits of the one that writes wait for no other: a failover may lose
    /// what was answered.
    pub lacks_standby: bool,
    /// Whether rows whose retention is over could not be deleted when that was last tried.
    pub purge_fails: bool,
}
