//! A minute of a fleet under faults; `make chaos` runs for longer.

use std::path::{Path, PathBuf};
use std::time::Duration;

use namelock_chaos::clients::Load;
use namelock_chaos::nemesis::Plan;
use namelock_chaos::report::Report;
use namelock_chaos::{Run, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_keeps_its_promises_for_a_minute() {
    let seed = std::env::var("NAMELOCK_CHAOS_SEED")
        .map_or_else(|_| u64::from(std::process::id()), |text| text.parse().unwrap());
    println!("NAMELOCK_CHAOS_SEED={seed}");
    let minute = Run {
        host: PathBuf::from(env!("CARGO_BIN_EXE_namelock")),
        seed,
        time: Duration::from_secs(60),
        plan: Plan::Everything,
        load: Load::Mixed,
    };
    let outcome = run(&minute, |_| false).await.unwrap();
    let report = Report::of(seed, &outcome);
    print!("{}", report.text());
    report
        .write(&outcome, &Path::new(env!("CARGO_TARGET_TMPDIR")).join("chaos"))
        .unwrap();
    assert_eq!(outcome.violations, []);
    // A minute in which nothing happened would show nothing.
    assert!(
        outcome.history.faults.len() >= 5 && report.registered > 100,
        "{}",
        report.text()
    );
}
