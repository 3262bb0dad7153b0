//! A minute of a fleet under faults, with PostgreSQL or SQLite as the seed decides; `make chaos` runs for longer, and
//! with more kinds of faults.

use std::path::{Path, PathBuf};
use std::time::Duration;

use namelock_chaos::clients::Load;
use namelock_chaos::database::{Kind, Standby};
use namelock_chaos::fleet::{CONFIG, HOSTS};
use namelock_chaos::nemesis::Plan;
use namelock_chaos::report::Report;
use namelock_chaos::upgrade::{self, Upgrade};
use namelock_chaos::{Run, run};

/// A run with fewer faults would show nothing.
const FAULTS_MIN: usize = 5;

// Shows P1: no name has two active registrations, whatever breaks.
// Shows P2: every registration that was answered 201 is in the database's own record.
// Shows P5: no two handlers trust their leases of one name at the same time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_keeps_its_promises_for_a_minute() {
    let seed = std::env::var("NAMELOCK_CHAOS_SEED")
        .map_or_else(|_| u64::from(std::process::id()), |text| text.parse().unwrap());
    println!("NAMELOCK_CHAOS_SEED={seed}");
    let minute = Run {
        host: PathBuf::from(env!("CARGO_BIN_EXE_namelock")),
        seed,
        time: Duration::from_secs(40),
        faults_min: FAULTS_MIN,
        plan: Plan::Everything,
        load: Load::Mixed,
        // No disk of its own and no standby: these are for `make chaos`.
        database: if seed.is_multiple_of(2) {
            Kind::Sqlite { own_disk: false }
        } else {
            Kind::Postgres { standby: Standby::None }
        },
        config: CONFIG,
        without: String::new(),
    };
    let outcome = run(&minute, |_| false).await.unwrap();
    let report = Report::of(seed, &outcome);
    print!("{}", report.text());
    report
        .write(&outcome, &Path::new(env!("CARGO_TARGET_TMPDIR")).join("chaos"))
        .unwrap();
    assert_eq!(outcome.violations, []);
    // After each fault every host has registered names again.
    assert!(report.registered >= FAULTS_MIN * HOSTS, "{}", report.text());
}

// Shows P3: hosts are stopped and started one after the other, and no request fails. `make test-upgrade` does the same from
// the version before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_are_replaced_one_by_one_and_no_request_fails() {
    for (seed, database) in [
        (1, Kind::Postgres { standby: Standby::None }),
        (2, Kind::Sqlite { own_disk: false }),
    ] {
        let host = PathBuf::from(env!("CARGO_BIN_EXE_namelock"));
        let upgrade = Upgrade {
            from: host.clone(),
            to: host,
            database,
            seed,
            rows: 1000,
            registrations: 20,
        };
        let outcome = upgrade::run(&upgrade).await.unwrap();
        let report = Report::of(seed, &outcome);
        print!("{}", report.text());
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("upgrade");
        report.write(&outcome, &folder).unwrap();
        assert_eq!(outcome.violations, []);
    }
}
