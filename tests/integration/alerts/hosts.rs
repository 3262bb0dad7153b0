//! Faults of hosts, of the file that they share, and of what all of them need.

use std::process::{Command, Stdio};

use namelock::hex::hex;
use namelock_test_servers::{Memcached, SCRAPER};
use rusqlite::Connection;
use sha2::{Digest, Sha256};

use super::faults::Fault;
use super::{Watch, instance};
use crate::fixture::{Builder, Host};

/// A database that does not answer is found out before a scrape takes too long.
const CONFIG: &str = r#"
    [names]
    busy_timeout = "300ms"
"#;

/// Another lease than the default.
const OTHER_LEASE: &str = r#"
    [lock]
    lease = "11s"
"#;

/// The main sentinel of a memcached, whose value is its epoch.
const EPOCH: &str = "namelock:@epoch";

/// The years from 1970 to 2200, in nanoseconds.
const FAR_FUTURE: &str = "7258118400000000000";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_of_hosts_and_of_what_they_share_raise_alerts() {
    let watch = Watch::start();
    let last = Builder::new().demo().start();
    let hosts = [&last];
    tokio::join!(
        watch.begin(&hosts),
        a_host_stands_still_differs_and_dies(&watch),
        the_lock_service_is_away_or_from_the_future(&watch),
        a_file_cannot_grow(&watch),
        tokens_are_tried(&watch)
    );
    // The others have ended with what was done to them.
    watch.raises(Fault::AllHostsAreGone, &[], || drop(last)).await;
}

async fn a_host_stands_still_differs_and_dies(watch: &Watch) {
    let memcached = Memcached::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("names.db");
    let start = |config: &str| {
        let builder = Builder::new().config(config).lock(&memcached).names(&file);
        builder.demo().start()
    };
    let (one, mut other) = (start(CONFIG), start(CONFIG));
    one.wait_until_ready();
    other.wait_until_ready();
    watch.begin(&[&one, &other]).await;
    let (of_one, of_other) = (instance(&one), instance(&other));
    let (of_one, of_other) = (
        [("instance", &*of_one)],
        [("instance", &*of_other), ("job", "namelock")],
    );

    watch
        .raises(Fault::HostStandsStill, &of_other, || other.process.signal("STOP"))
        .await;
    other.process.signal("CONT");
    watch.is_quiet(Fault::HostStandsStill, &of_other).await;

    let different = start(OTHER_LEASE);
    let of_different = instance(&different);
    watch
        .raises(Fault::SettingsDiffer, &[("instance", &*of_different)], || {
            watch.add(&different);
        })
        .await;
    assert!(
        !watch.fires(Fault::SettingsDiffer, &of_one).await,
        "the others are right"
    );

    let names = [("backend", "names"), of_one[0]];
    let writer = Connection::open(&file).unwrap();
    watch
        .raises(Fault::FileIsHeld, &names, || {
            writer.execute_batch("BEGIN IMMEDIATE").unwrap();
        })
        .await;
    writer.execute_batch("COMMIT").unwrap();
    watch.is_quiet(Fault::FileIsHeld, &names).await;

    watch.raises(Fault::HostDies, &of_other, || other.process.kill()).await;
}

async fn the_lock_service_is_away_or_from_the_future(watch: &Watch) {
    let mut memcached = Memcached::start();
    let wrong = Memcached::start();
    let host = Builder::new().lock(&memcached).demo().start();
    host.wait_until_ready();
    watch.begin(&[&host]).await;
    let of_host = instance(&host);

    // As an older version of namelock leaves it, by a clock that is wrong.
    assert!(wrong.raw().add(EPOCH, FAR_FUTURE, 0));
    let late = Builder::new().lock(&wrong).demo().start();
    let of_late = instance(&late);
    watch
        .raises(Fault::EpochIsFromTheFuture, &[("instance", &*of_late)], || {
            watch.add(&late);
        })
        .await;

    let lock = [("backend", "lock"), ("instance", &*of_host)];
    watch.raises(Fault::LastMemcachedDies, &lock, || memcached.kill()).await;
    let refused = [("code", "lock_unavailable"), ("instance", &*of_host)];
    watch.is_quiet(Fault::NamesAreRefused, &refused).await;
    watch
        .raises_while(Fault::NamesAreRefused, &refused, async || {
            host.post("demo", "room", "ann")
                .await
                .is_problem(503, "lock_unavailable");
        })
        .await;
    memcached.restart();
    watch.is_quiet(Fault::LastMemcachedDies, &lock).await;
}

async fn tokens_are_tried(watch: &Watch) {
    let sha256 = hex(&Sha256::digest(SCRAPER));
    let config = format!("[[admin.tokens]]\nname = 'scraper'\nsha256 = '{sha256}'\nrights = ['read']\n");
    let host = Builder::new().config(&config).demo().start();
    host.wait_until_ready();
    watch.begin(&[&host]).await;
    let of_host = instance(&host);
    let strangers = [("reason", "unknown_token"), ("instance", &*of_host)];
    watch.is_quiet(Fault::TokensAreTried, &strangers).await;
    watch
        .raises_while(Fault::TokensAreTried, &strangers, async || {
            let path = format!("{}/tenants", host.admin);
            let answer = host.send(|client, _| client.get(path).bearer_auth("nlk_guess")).await;
            assert_eq!(answer.status, 401);
        })
        .await;
}

async fn a_file_cannot_grow(watch: &Watch) {
    let host = start_patient(Builder::new().config(CONFIG).demo());
    host.wait_until_ready();
    watch.begin(&[&host]).await;
    let of_host = instance(&host);
    let names = [("backend", "names"), ("instance", &*of_host)];
    watch
        .raises(Fault::FileCannotGrow, &names, || limit_files(&host, "4096"))
        .await;
    limit_files(&host, "unlimited");
    watch.is_quiet(Fault::FileCannotGrow, &names).await;
}

/// Starts a host that outlives a limit on the length of its files: by itself a process that reaches it is killed.
fn start_patient(builder: Builder) -> Host {
    let command = builder.command();
    let mut patient = Command::new("env");
    patient
        .arg("--ignore-signal=XFSZ")
        .arg(command.get_program())
        .args(command.get_args())
        .current_dir(builder.folder())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        // Its log is a file too.
        .stderr(Stdio::null());
    builder.start_command(patient)
}

/// Lets no file of a host become longer than so many bytes. What would is refused, as on a disk that is full; a real one needs
/// root and loop devices, and is part of `make chaos`.
fn limit_files(host: &Host, bytes: &str) {
    let limited = Command::new("prlimit")
        .args(["--pid", &host.process.id().to_string()])
        .arg(format!("--fsize={bytes}:unlimited"))
        .status();
    assert!(limited.unwrap().success(), "the limit is not set");
}
