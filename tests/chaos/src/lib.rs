//! A fleet under faults: real hosts, real memcached, a real PostgreSQL, clients that record their answers, a nemesis
//! that injects faults, and a checker that reads it all.
//!
//! In reading order:
//!
//! - [`fleet`]: three hosts, three memcached and one PostgreSQL on loopback, each server behind a [`proxy`];
//! - [`clients`]: register, find, free, and record every call with its begin and end;
//! - [`nemesis`]: faults, alone and together, from a seed;
//! - [`history`]: what is known afterwards: calls, the database's own record of every write, critical sections;
//! - [`checker`]: what must hold of a history;
//! - [`report`]: JSON, and a page with a timeline;
//! - [`negative`]: the same against hosts with a safety taken out, which must be caught.
//!
//! What makes the checker sharp is that it does not ask the system for its own opinion: a trigger in PostgreSQL writes down each
//! version of each row in the transaction that makes it, and handlers write into the log for how long they trusted their lease.

#![expect(missing_docs, reason = "the fields of a record say what they are by their names")]

pub mod checker;
pub mod clients;
pub mod fleet;
pub mod history;
pub mod negative;
pub mod nemesis;
pub mod proxy;
pub mod report;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;

use crate::checker::Violation;
use crate::clients::{Load, Stop};
use crate::fleet::Fleet;
use crate::history::History;
use crate::nemesis::{Nemesis, Plan, Record};

/// What one run shall be.
#[derive(Debug, Clone)]
pub struct Run {
    /// The binary of the host.
    pub host: PathBuf,
    /// Decides every fault and every call.
    pub seed: u64,
    /// For how long faults come at least.
    pub time: Duration,
    /// How many faults come at least, however long that takes on a slow machine.
    pub faults_min: usize,
    /// Which faults come.
    pub plan: Plan,
    /// What clients do.
    pub load: Load,
}

/// What one run was.
#[derive(Debug)]
pub struct Outcome {
    /// All that happened.
    pub history: History,
    /// What should not have happened.
    pub violations: Vec<Violation>,
}

/// Runs a fleet under faults for as long as `run` says, or until `enough` says of a history so far that it has seen enough.
///
/// # Errors
///
/// What keeps the fleet from being started or read; a fleet that breaks its promises is no error.
pub async fn run(run: &Run, enough: impl Fn(&[Violation]) -> bool) -> anyhow::Result<Outcome> {
    let fleet = Arc::new(Fleet::start(&run.host).await.context("the fleet does not start")?);
    let stop = Stop::default();
    let clients = clients::start(&fleet, run.seed, run.load, &stop);
    let mut nemesis = Nemesis::new(Arc::clone(&fleet), run.seed, run.plan);
    let end = tokio::time::Instant::now() + run.time;
    let mut seen = Vec::new();
    while tokio::time::Instant::now() < end || nemesis.faults().len() < run.faults_min {
        nemesis.strike(&clients).await?;
        if run.plan.looks_between() {
            seen = checker::check(&fleet.history(clients.calls(), nemesis.faults()).await?);
            if enough(&seen) {
                break;
            }
        }
    }
    nemesis.heal_everything();
    stop.stop();
    let calls = clients.join().await?;
    fleet.settle().await?;
    let history = fleet.history(calls, nemesis.faults()).await?;
    let mut violations = checker::check(&history);
    violations.extend(checker::locks_left(&fleet).await);
    if violations.is_empty() {
        violations = seen;
    }
    Ok(Outcome { history, violations })
}

/// The faults of an outcome by kind, with how often each came.
pub fn by_kind(faults: &[Record]) -> std::collections::BTreeMap<&'static str, usize> {
    let mut kinds = std::collections::BTreeMap::new();
    for fault in faults {
        *kinds.entry(fault.kind).or_default() += 1;
    }
    kinds
}
