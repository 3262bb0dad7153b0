//! The same against hosts with a safety taken out. A checker that does not notice is worthless.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::Run;
use crate::clients::Load;
use crate::nemesis::Plan;

/// For how long a missing safety is looked for.
const TIME: Duration = Duration::from_secs(300);

/// For how long the same faults are tried at least on a host that has the safety.
const CONTROL_MIN: Duration = Duration::from_secs(20);

/// A safety that can be taken out.
#[derive(Debug)]
pub struct Safety {
    /// The feature of the host's crate without it.
    pub feature: &'static str,
    /// What the missing safety would have done.
    pub what: &'static str,
    plan: Plan,
    load: Load,
    /// Which checks may be the one that notices.
    checks: &'static [&'static str],
    /// A host with this safety that is otherwise the same, and in which nothing must be found.
    control: &'static str,
}

/// Every safety that can be taken out, with what brings its absence to light.
pub const SAFETIES: [Safety; 5] = [
    Safety {
        feature: "without-arbitration",
        what: "the database refuses a name that is taken",
        plan: Plan::Flushes,
        load: Load::Blind,
        checks: &["overlap"],
        control: "host",
    },
    Safety {
        feature: "without-owner-check",
        what: "a release deletes only what is its own",
        plan: Plan::LongStops,
        load: Load::LongHolds,
        checks: &["section"],
        control: "host",
    },
    Safety {
        feature: "without-restart-grace",
        what: "nothing is granted while somebody may trust a forgotten lock",
        plan: Plan::Flushes,
        load: Load::LongHolds,
        checks: &["section"],
        control: "host",
    },
    Safety {
        feature: "without-fencing",
        what: "the database refuses an older fencing token",
        plan: Plan::LateWrites,
        load: Load::Blind,
        checks: &["token"],
        control: "host",
    },
    Safety {
        feature: "without-early-deadline",
        what: "a lease is trusted from before its request was sent",
        plan: Plan::LongStops,
        load: Load::LongHolds,
        checks: &["section"],
        control: "slow-grant",
    },
];

/// Runs against a host without this safety until a check notices, and tells which and after how long.
///
/// # Errors
///
/// When none does.
pub async fn run(safety: &Safety, hosts: &Path, seed: u64) -> anyhow::Result<()> {
    let host = |name: &str| {
        let host = hosts.join(name).canonicalize();
        host.with_context(|| format!("there is no host {name} in {}; build it first", hosts.display()))
    };
    let mut run = Run {
        host: host(safety.feature)?,
        seed,
        time: TIME,
        faults_min: 1,
        plan: safety.plan,
        load: safety.load,
    };
    let begin = Instant::now();
    let caught = |violations: &[crate::checker::Violation]| {
        violations
            .iter()
            .any(|violation| safety.checks.contains(&violation.check))
    };
    let outcome = crate::run(&run, caught).await?;
    let first = outcome
        .violations
        .iter()
        .find(|violation| safety.checks.contains(&violation.check));
    let first = first.with_context(|| format!("{} was not noticed in {TIME:?}", safety.feature))?;
    println!(
        "{:<24} caught by the check `{}` after {:.0} s ({})",
        safety.feature,
        first.check,
        begin.elapsed().as_secs_f64(),
        safety.what
    );
    println!("  {}", first.what.chars().take(400).collect::<String>());
    // With the safety the same plan breaks nothing, or it would not be the safety that was missed.
    run.host = host(safety.control)?;
    run.time = begin.elapsed().max(CONTROL_MIN);
    let control = crate::run(&run, |violations| !violations.is_empty()).await?;
    let first = control.violations.first();
    ensure!(
        first.is_none(),
        "with it, the same faults break a promise as well: {first:?}"
    );
    println!(
        "  with it, nothing in {:.0} s of the same faults",
        run.time.as_secs_f64()
    );
    Ok(())
}
