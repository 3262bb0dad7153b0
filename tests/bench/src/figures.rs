//! Times, and what is told of them.

use std::time::Duration;

/// What one round showed.
pub(crate) struct Figures {
    pub(crate) count: usize,
    pub(crate) per_second: f64,
    pub(crate) median: Duration,
    pub(crate) p99: Duration,
}

impl Figures {
    /// Sums up the times of a round that took `took`.
    pub(crate) fn of(mut times: Vec<Duration>, took: Duration) -> Self {
        times.sort_unstable();
        let at = |share: usize| times.get(times.len() * share / 100).copied().unwrap_or_default();
        Self {
            count: times.len(),
            per_second: times.len() as f64 / took.as_secs_f64(),
            median: at(50),
            p99: at(99),
        }
    }
}

/// The middle one of some rounds, by this measure.
pub(crate) fn median(rounds: &mut [Figures], by: impl Fn(&Figures) -> f64) -> &Figures {
    rounds.sort_by(|a, b| by(a).total_cmp(&by(b)));
    &rounds[rounds.len() / 2]
}

/// Milliseconds, to be printed.
pub(crate) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
