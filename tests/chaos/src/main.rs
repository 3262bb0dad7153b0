//! `namelock-chaos run HOST SECONDS SEED…`, `namelock-chaos failover HOST SECONDS SEED…`,
//! `namelock-chaos negative HOST SEED [SAFETY…]` and `namelock-chaos upgrade FROM TO`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use namelock_chaos::clients::Load;
use namelock_chaos::database::{Kind, Standby};
use namelock_chaos::disk;
use namelock_chaos::fleet::CONFIG;
use namelock_chaos::negative::{self, SAFETIES};
use namelock_chaos::nemesis::Plan;
use namelock_chaos::report::Report;
use namelock_chaos::upgrade::Upgrade;
use namelock_chaos::{Run, run};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["run", host, seconds, seeds @ ..] if !seeds.is_empty() => {
            for seed in seeds {
                one(Path::new(host), seconds.parse()?, seed.parse()?, Plan::Everything).await?;
            }
            Ok(())
        }
        ["failover", host, seconds, seeds @ ..] if !seeds.is_empty() => {
            for seed in seeds {
                one(Path::new(host), seconds.parse()?, seed.parse()?, Plan::FailOvers).await?;
            }
            Ok(())
        }
        ["negative", host, seed, only @ ..] => {
            for safety in SAFETIES
                .iter()
                .filter(|safety| only.is_empty() || only.contains(&safety.name))
            {
                negative::run(safety, Path::new(host), seed.parse()?).await?;
            }
            Ok(())
        }
        ["upgrade", from, to] => {
            upgrade(from, to, 1, Kind::Postgres { standby: Standby::None }).await?;
            upgrade(from, to, 2, Kind::Sqlite { own_disk: false }).await
        }
        _ => bail!(
            "usage: namelock-chaos run HOST SECONDS SEED… | namelock-chaos failover HOST SECONDS SEED… | namelock-chaos negative HOST SEED [SAFETY…] | namelock-chaos upgrade FROM TO"
        ),
    }
}

/// Upgrades a fleet from one binary to another, and prints what it was.
async fn upgrade(from: &str, to: &str, seed: u64, database: Kind) -> anyhow::Result<()> {
    println!("upgrading three hosts on {database:?}");
    let what = Upgrade {
        from: binary(Path::new(from))?,
        to: binary(Path::new(to))?,
        database,
        seed,
        rows: 200_000,
        registrations: 500,
    };
    let outcome = namelock_chaos::upgrade::run(&what).await?;
    print!("{}", Report::of(seed, &outcome).text());
    ensure!(outcome.violations.is_empty(), "a promise was broken");
    Ok(())
}

fn binary(path: &Path) -> anyhow::Result<PathBuf> {
    path.canonicalize()
        .with_context(|| format!("there is no {}; build it first", path.display()))
}

/// Runs with one seed, prints what it was, and writes the report.
async fn one(host: &Path, seconds: u64, seed: u64, plan: Plan) -> anyhow::Result<()> {
    // Each seed has one database.
    let database = if plan == Plan::Everything && seed.is_multiple_of(2) {
        Kind::Sqlite { own_disk: true }
    } else {
        Kind::Postgres {
            standby: Standby::Synchronous,
        }
    };
    println!("seed {seed}: {seconds} s of faults, {database:?}");
    if database == (Kind::Sqlite { own_disk: true }) {
        disk::prove()?;
    }
    let what = Run {
        host: binary(host)?,
        seed,
        time: Duration::from_secs(seconds),
        faults_min: 1,
        plan,
        load: Load::Mixed,
        database,
        config: CONFIG,
        without: String::new(),
    };
    let outcome = run(&what, |_| false).await?;
    let report = Report::of(seed, &outcome);
    let folder = match plan {
        Plan::FailOvers => format!("target/chaos/failover-{seed}"),
        _ => format!("target/chaos/{seed}"),
    };
    let folder = PathBuf::from(folder);
    report.write(&outcome, &folder)?;
    print!("{}", report.text());
    println!("the report is in {}", folder.join("report.html").display());
    ensure!(outcome.violations.is_empty(), "a promise was broken");
    Ok(())
}
