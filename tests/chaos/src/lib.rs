//! A fleet under faults: real hosts, real memcached, a real PostgreSQL, clients that record their answers, a nemesis
//! that injects faults, and a checker that reads it all.
//!
//! In reading order:
//!
//! - [`fleet`]: three [`host`]s and room for a fourth, three memcached and one [`database`] on this machine, with a
//!   [`proxy`] for each of them in front of each server, a [`clock`] for each program that reads one, and a small [`disk`];
//! - [`clients`]: register, find, free, and record every call with its begin and end;
//! - [`nemesis`]: [`fault`]s, alone and together, from a seed; after each of them [`probes`] wait for every name;
//! - [`numbers`]: makes a memcached that restarts give its numbers again;
//! - [`sampler`]: which locks are in memcached, and when;
//! - [`history`]: what is known afterwards: calls, the database's own record of every write, critical sections;
//! - [`checker`]: what must hold of a history;
//! - [`report`]: JSON, and a page with a timeline;
//! - [`negative`]: the same against hosts with a safety taken out, which must be caught;
//! - [`upgrade`]: no faults, but a fleet that is upgraded host by host.
//!
//! `namelock-chaos run` runs each seed with one kind of database: an odd one with PostgreSQL, an even one with SQLite.
//!
//! What makes the checker sharp is that it does not ask the system for its own opinion: a trigger in PostgreSQL writes
//! down each version of each row in the transaction that makes it, and handlers write into the log for how long they
//! trusted their lease.

#![expect(missing_docs, reason = "the fields of a record say what they are by their names")]

pub mod checker;
pub mod clients;
pub mod clock;
pub mod database;
pub mod disk;
pub mod fault;
pub mod fleet;
pub mod history;
pub mod host;
pub mod negative;
pub mod nemesis;
pub mod numbers;
pub mod probes;
pub mod proxy;
pub mod report;
pub mod sampler;
pub mod upgrade;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;

use crate::checker::Violation;
use crate::clients::{Load, Stop};
use crate::database::Kind;
use crate::fleet::Fleet;
use crate::history::History;
use crate::nemesis::{Nemesis, Plan, Record};
use crate::sampler::Sampler;

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
    /// Which database the fleet has.
    pub database: Kind,
    /// The configuration of its hosts.
    pub config: &'static str,
    /// The safeties that its hosts run without, as `NAMELOCK_WITHOUT` wants them.
    pub without: String,
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
    let fleet = Arc::new(Fleet::start(run).await.context("the fleet does not start")?);
    let stop = Stop::default();
    let clients = clients::start(&fleet, run.seed, run.load, &stop);
    let mut nemesis = Nemesis::new(Arc::clone(&fleet), run.seed, run.plan);
    let end = tokio::time::Instant::now() + run.time;
    let sampler = Sampler::start(&fleet);
    let mut seen = Vec::new();
    while tokio::time::Instant::now() < end || nemesis.faults().len() < run.faults_min {
        if !nemesis.strike(&clients).await? {
            // What does not come back now will not come back.
            break;
        }
        if run.plan.looks_between() {
            seen = nemesis.violations();
            seen.extend(checker::check(&fleet.history(clients.calls(), nemesis.faults()).await?));
            if enough(&seen) {
                break;
            }
        }
    }
    fleet.pass_everything();
    if run.plan.ends_in_a_lull() {
        // Whatever is left of the last fault goes, and what is seen then is nobody's fault.
        tokio::time::sleep(nemesis::LULL).await;
    }
    stop.stop();
    let calls = clients.join().await?;
    fleet.database().settle().await?;
    let left = checker::locks_left(&fleet).await;
    let mut history = fleet.history(calls, nemesis.faults()).await?;
    history.sightings = sampler.stop();
    let mut violations = nemesis.violations();
    violations.extend(checker::check(&history));
    violations.extend(left);
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
