//! Callers each of whom does one thing after the other: as much as is done, so much is asked for.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::ensure;
use tokio::task::JoinSet;

use crate::figures::Figures;

/// What was done in a round: how long each operation took, and how long all of them together.
pub(crate) struct Work {
    pub(crate) times: Vec<Duration>,
    pub(crate) took: Duration,
    /// What else was counted, by the title of its column in the report.
    pub(crate) also: BTreeMap<&'static str, f64>,
}

impl Work {
    /// Of which nothing else was counted.
    pub(crate) const fn new(times: Vec<Duration>, took: Duration) -> Self {
        Self {
            times,
            took,
            also: BTreeMap::new(),
        }
    }

    /// Sums it up.
    pub(crate) fn figures(self) -> Figures {
        Figures::of(self.times, self.took)
    }
}

/// Lets every caller work for some time, and gathers how long each piece of work took.
pub(crate) async fn closed_loop<F>(
    callers: usize,
    time: Duration,
    caller: impl Fn(usize, Instant) -> F,
) -> anyhow::Result<Work>
where
    F: Future<Output = anyhow::Result<Vec<Duration>>> + Send + 'static,
{
    let begin = Instant::now();
    let mut callers: JoinSet<_> = (0..callers).map(|number| caller(number, begin + time)).collect();
    let mut times = Vec::new();
    while let Some(done) = callers.join_next().await {
        times.extend(done??);
    }
    let took = begin.elapsed();
    ensure!(!times.is_empty(), "nothing was done");
    Ok(Work::new(times, took))
}
