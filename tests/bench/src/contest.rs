//! Several ways to do the same thing, each measured in turn, round by round.
//!
//! Machines are shared, and what one does changes by the minute. Whoever is compared is therefore measured within seconds of
//! each other, in every round anew, and only ratios of the medians are claims.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use async_trait::async_trait;

use crate::closed_loop::Work;
use crate::cpu;
use crate::pace::Pace;
use crate::report::{Measurement, Round};

/// How long everything rests before a round, to see what others do: some ticks of the clock that counts CPU time.
const REST: Duration = Duration::from_millis(100);

/// One way to do it.
#[async_trait]
pub(crate) trait Contestant: Send {
    /// Works for some time with all its callers.
    async fn work(&mut self, time: Duration) -> anyhow::Result<Work>;
}

/// A contestant, and what the report calls it.
pub(crate) struct Entry {
    pub(crate) peer: &'static str,
    /// How many callers it has, or of what else the row counts.
    pub(crate) size: usize,
    /// The processes that work for it, with all that they have started; those of one name are added up. All others are
    /// children of this process, which is here by itself.
    pub(crate) processes: Vec<(&'static str, u32)>,
    pub(crate) contestant: Box<dyn Contestant>,
}

/// Lets all of them work in turn, and tells what each did. Every other round goes backwards, so that nobody always follows
/// the same one.
pub(crate) async fn alternate(pace: Pace, mut entries: Vec<Entry>) -> anyhow::Result<Vec<Measurement>> {
    let mut rounds: Vec<Vec<Round>> = entries.iter().map(|_| Vec::new()).collect();
    for number in 0..=pace.rounds {
        println!("round {number} of {}", pace.rounds);
        let mut order: Vec<_> = entries.iter_mut().zip(&mut rounds).collect();
        if number % 2 == 1 {
            order.reverse();
        }
        for (entry, rounds) in order {
            let round = measure(entry, pace.round).await?;
            if number > 0 {
                rounds.push(round);
            }
        }
    }
    let measurement = |(entry, rounds): (Entry, _)| Measurement {
        peer: entry.peer.to_owned(),
        size: entry.size,
        rounds,
    };
    Ok(entries.into_iter().zip(rounds).map(measurement).collect())
}

async fn measure(entry: &mut Entry, time: Duration) -> anyhow::Result<Round> {
    let others = others().await?;
    let before = used(&entry.processes)?;
    let work = entry.contestant.work(time).await?;
    let mut used = used(&entry.processes)?;
    for (name, time) in &mut used {
        *time = time.saturating_sub(before.get(name).copied().unwrap_or_default());
    }
    Round::of(&work, &used, others)
}

/// The share of the processors that other programs have, while everything that is measured rests.
async fn others() -> anyhow::Result<f64> {
    let (begin, before) = (Instant::now(), cpu::used_by_all()?);
    tokio::time::sleep(REST).await;
    let used = cpu::used_by_all()?.saturating_sub(before);
    let available = begin.elapsed() * u32::try_from(thread::available_parallelism()?.get())?;
    Ok(used.div_duration_f64(available))
}

fn used(processes: &[(&'static str, u32)]) -> anyhow::Result<BTreeMap<&'static str, Duration>> {
    let mut all = BTreeMap::new();
    for (name, process) in processes {
        *all.entry(*name).or_default() += if *process == std::process::id() {
            cpu::used(*process)?
        } else {
            cpu::used_with_children(*process)?
        };
    }
    Ok(all)
}
