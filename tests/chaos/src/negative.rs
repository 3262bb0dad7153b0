//! The same against hosts with a safety taken out. A checker that does not notice is worthless.
//!
//! All of them are one host, built with the feature `removable-safeties`: it reads from `NAMELOCK_WITHOUT` what it runs
//! without. One safety is not the host's: the synchronous standby of PostgreSQL. What brings an absence to light is a schedule of its own, of one kind of fault and of calls that suit it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::Run;
use crate::checker::Violation;
use crate::clients::Load;
use crate::database::{Kind, Standby};
use crate::fleet::CONFIG;
use crate::nemesis::Plan;

/// For how long a missing safety is looked for.
const TIME: Duration = Duration::from_secs(300);

/// For how long the same faults are tried at least on a host that has the safety.
const CONTROL_MIN: Duration = Duration::from_secs(20);

/// What else grants nothing for a while after a server has lost everything: its clock has to be seen to tick, and what holds
/// for the fleet has to be told to it again.
const AFTER_A_LOSS: &str = "server-clock,list-fingerprint";

const SQLITE: Kind = Kind::Sqlite { own_disk: false };

/// A safety that can be taken out.
#[derive(Debug)]
pub struct Safety {
    /// Its name in `NAMELOCK_WITHOUT`, where the host has it.
    pub name: &'static str,
    /// What the missing safety would have done.
    pub what: &'static str,
    plan: Plan,
    load: Load,
    database: Kind,
    /// The database that lacks it, where it is not the host that does.
    lacking: Option<Kind>,
    /// Which checks may be the one that notices.
    checks: &'static [&'static str],
    /// What is taken out too, and with which alone nothing must be found.
    beside: &'static str,
}

impl Safety {
    const fn new(
        name: &'static str,
        what: &'static str,
        (plan, load): (Plan, Load),
        checks: &'static [&'static str],
    ) -> Self {
        Self {
            name,
            what,
            plan,
            load,
            database: Kind::Postgres { standby: Standby::None },
            lacking: None,
            checks,
            beside: "",
        }
    }

    /// A safety of the database.
    const fn of_standby(self) -> Self {
        Self {
            database: Kind::Postgres {
                standby: Standby::Synchronous,
            },
            lacking: Some(Kind::Postgres {
                standby: Standby::Asynchronous,
            }),
            ..self
        }
    }

    const fn beside(self, beside: &'static str) -> Self {
        Self { beside, ..self }
    }

    const fn with_sqlite(self) -> Self {
        Self {
            database: SQLITE,
            ..self
        }
    }
}

/// Every safety that can be taken out, with what brings its absence to light.
pub const SAFETIES: [Safety; 15] = [
    Safety::new(
        "arbitration",
        "the database refuses a name that is taken",
        (Plan::Flushes, Load::Blind { brief: false }),
        &["overlap"],
    ),
    Safety::new(
        "owner-check",
        "a release deletes only what is its own",
        (Plan::LongStops, Load::LongHolds),
        &["section"],
    ),
    Safety::new(
        "restart-grace",
        "nothing is granted while somebody may trust a forgotten lock",
        (Plan::FlushesBehind, Load::WholeLeases),
        &["section"],
    )
    .beside(AFTER_A_LOSS),
    // Most late writes are refused by the time that their lease had left; what only looks as if it came in time, by the token.
    Safety::new(
        "fencing",
        "the database refuses an older fencing token",
        (Plan::LateWrites, Load::Blind { brief: true }),
        &["token"],
    )
    .beside("write-deadline"),
    Safety::new(
        "early-deadline",
        "a lease is trusted from before its request was sent",
        (Plan::LongStops, Load::LongHolds),
        &["section"],
    )
    .beside("prompt-grant"),
    // A batch under way when the server is flushed is trusted, and what was forgotten is not seen while locks are wanted.
    Safety::new(
        "sentinel-in-batch",
        "a grant counts only in the life of the server that its connection knows",
        (Plan::FlushesBehind, Load::WholeLeases),
        &["section"],
    )
    .beside(AFTER_A_LOSS),
    // The holder of a lock of before the restart releases it afterwards, by a number that is another's by then.
    Safety::new(
        "cas-at-home",
        "a CAS is never sent to another run of the server",
        (Plan::Restarts, Load::LongHolds),
        &["section"],
    )
    .beside(AFTER_A_LOSS),
    // What is granted while the server's clock stands still expires early, and its holder trusts it.
    Safety::new(
        "server-clock",
        "a server whose clock stands still grants nothing",
        (Plan::Stalls, Load::LongHolds),
        &["section"],
    ),
    // A write arrives when its lease is over. Nobody else has written the name meanwhile, or the token would refuse it.
    Safety::new(
        "write-deadline",
        "a write begins only while its lease outlasts it",
        (Plan::LateWrites, Load::ShortHolds),
        &["late"],
    ),
    // What was granted and not answered stays until it expires, though nobody uses it.
    Safety::new(
        "resolve-by-token",
        "a request that was not answered is looked for, and taken back",
        (Plan::LostReplies, Load::ShortHolds),
        &["lock", "busy"],
    ),
    // A purge by a clock that is hours ahead deletes what has not ended.
    Safety::new(
        "purge-guard",
        "a purge does not follow a clock that has jumped",
        (Plan::Clocks, Load::Mixed),
        &["overlap", "found"],
    )
    .with_sqlite(),
    // A host that has never seen the server grants while those that are cut off trust.
    Safety::new(
        "fresh-host-grace",
        "a host that knows no earlier life of a server waits until none can matter",
        (Plan::FreshHosts, Load::WholeLeases),
        &["section"],
    )
    .beside(AFTER_A_LOSS),
    // Clients that hang up send their requests again.
    Safety::new(
        "idempotency",
        "a request that is sent again with its key is answered like the first one",
        (Plan::LostReplies, Load::ShortHolds),
        &["retry", "twice"],
    ),
    // Two hosts ask two servers for one name.
    Safety::new(
        "list-fingerprint",
        "a host with another list of servers does not serve",
        (Plan::OtherLists, Load::LongHolds),
        &["section", "misfit"],
    ),
    // The host is whole; what the primary has answered alone dies with it.
    Safety::new(
        "synchronous-standby",
        "a commit is answered once the standby of PostgreSQL has it",
        (Plan::FailOvers, Load::Mixed),
        &["lost"],
    )
    .of_standby(),
];

/// Runs against a host without this safety until a check notices, and tells which and after how long.
///
/// # Errors
///
/// When none does.
pub async fn run(safety: &'static Safety, host: &Path, seed: u64) -> anyhow::Result<()> {
    let without = match (safety.lacking, safety.beside) {
        (Some(_), beside) => beside.to_owned(),
        (None, "") => safety.name.to_owned(),
        (None, beside) => format!("{beside},{}", safety.name),
    };
    let mut run = Run {
        host: host
            .canonicalize()
            .with_context(|| format!("there is no {}; build it first", host.display()))?,
        seed,
        time: TIME,
        faults_min: 1,
        plan: safety.plan,
        load: safety.load,
        database: safety.lacking.unwrap_or(safety.database),
        config: CONFIG,
        without,
    };
    ensure!(
        reads_what_to_remove(&run.host),
        "{} was not built with the feature removable-safeties",
        host.display()
    );
    let begin = Instant::now();
    let is_its = |violation: &&Violation| safety.checks.contains(&violation.check);
    let outcome = crate::run(&run, |violations| violations.iter().any(|one| is_its(&one))).await?;
    let first = outcome.violations.iter().find(is_its);
    let first = first.with_context(|| format!("without {}: not noticed in {TIME:?}", safety.name))?;
    println!(
        "without {:<20} caught by the check `{}` after {:.0} s ({})",
        safety.name,
        first.check,
        begin.elapsed().as_secs_f64(),
        safety.what
    );
    println!("  {}", first.what.chars().take(400).collect::<String>());
    // With the safety the same plan breaks nothing, or it would not be the safety that was missed.
    safety.beside.clone_into(&mut run.without);
    run.database = safety.database;
    run.time = begin.elapsed().max(CONTROL_MIN);
    // What is taken out in the control too may break a promise of its own.
    let counts = |violation: &&Violation| safety.beside.is_empty() || is_its(violation);
    let control = crate::run(&run, |violations| violations.iter().any(|one| counts(&one))).await?;
    let first = control.violations.iter().find(counts);
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

/// Whether this host knows how to run without a safety: it panics at one that does not exist, before it reads its
/// configuration.
fn reads_what_to_remove(host: &Path) -> bool {
    let serve = Command::new(host)
        .args(["serve", "--config=/there/is/none"])
        .env("NAMELOCK_WITHOUT", "nothing-of-that-name")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    serve.is_ok_and(|status| status.code() == Some(101))
}
