//! Calls that are held in their middle, and the memory that they have then.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{bail, ensure};
use tokio::task::JoinSet;

use crate::forgetful::{Forgetful, Gate};
use crate::fresh::Fresh;
use crate::mapped::{Memory, memory};
use crate::stage::Answer;
use crate::told::Held;

/// The share of the calls that are there when it is looked for the first time: what the first ones need, all of them share.
const FIRST: usize = 4;

/// Holds so many calls of a component where they have the lock and look for the name, and tells what each of them has.
///
/// # Errors
///
/// The component cannot be loaded, or does not look for the name.
pub async fn hold(component: &Path, folder: &Path, count: usize) -> anyhow::Result<Held> {
    ensure!(count >= FIRST, "it takes {FIRST} calls to tell what one has");
    let gate = Arc::new(Gate::new());
    let fresh = Fresh::load_with(component, folder, Answer::Saved, Forgetful::behind(&gate)).await?;
    let mut calls = JoinSet::new();
    let first = count / FIRST;
    spawn(&mut calls, &fresh, 0, first);
    are_held(&mut calls, &gate, first).await?;
    let compiled = folder.canonicalize()?.display().to_string();
    let before = now(&compiled)?;
    spawn(&mut calls, &fresh, first, count);
    are_held(&mut calls, &gate, count).await?;
    let held = each(before, now(&compiled)?, count, count - first);
    gate.open();
    while let Some(done) = calls.join_next().await {
        done??;
    }
    Ok(held)
}

fn spawn(calls: &mut JoinSet<anyhow::Result<()>>, fresh: &Fresh, from: usize, to: usize) {
    for number in from..to {
        let fresh = fresh.clone();
        calls.spawn(async move { fresh.call(format!("Blue Room {number:03}")).await });
    }
}

/// Waits until all are held. None ends before.
async fn are_held(calls: &mut JoinSet<anyhow::Result<()>>, gate: &Gate, count: usize) -> anyhow::Result<()> {
    tokio::select! {
        () = gate.holds(count) => Ok(()),
        Some(ended) = calls.join_next() => {
            ended??;
            bail!("a call has ended without looking for the name")
        }
    }
}

fn now(compiled: &str) -> anyhow::Result<Memory> {
    memory(
        &fs::read_to_string("/proc/self/status")?,
        &fs::read_to_string("/proc/self/smaps")?,
        compiled,
    )
}

/// What one of `more` calls has.
fn each(before: Memory, after: Memory, calls: usize, more: usize) -> Held {
    let each = |kib: fn(&Memory) -> f64| (kib(&after) - kib(&before)) / more as f64;
    let own_kib = each(|memory| memory.guests_kib);
    Held {
        calls,
        own_kib,
        above_kib: each(|memory| memory.all_kib) - own_kib,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_first_calls_have_is_not_told_of_the_others() {
        let [before, after] =
            [(1000.0, 300.0), (2200.0, 1100.0)].map(|(all_kib, guests_kib)| Memory { all_kib, guests_kib });
        let held = each(before, after, 8, 4);
        let expected = Held {
            calls: 8,
            own_kib: 200.0,
            above_kib: 100.0,
        };
        assert_eq!(held, expected);
    }
}
