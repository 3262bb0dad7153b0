//! Faults of PostgreSQL, of its standby, and of its clock.

use namelock_test_servers::{Memcached, Postgres, PostgresPair};
use serde_json::json;

use super::faults::Fault;
use super::{Watch, instance};
use crate::fixture::{Builder, Host};

/// A database that does not answer is found out before a scrape takes too long, and rows are to be deleted soon.
const CONFIG: &str = r#"
    [lock]
    lease = "2s"
    max_hold = "2s"
    [names]
    timeout = "300ms"
    retention = "3s"
"#;

/// How far a clock is set ahead, in seconds.
const AHEAD: i64 = 30;

/// As if the time had been kept an hour ago for the last time.
const AN_HOUR_AGO: &str = "UPDATE namelock_clock SET time_ms = time_ms - 3600000, server_ms = server_ms - 3600000 \
    RETURNING 'done'";

/// Whoever does this keeps others from the row of the clock until its session ends.
const HOLD_CLOCK: &str = "BEGIN; LOCK TABLE namelock_clock IN ACCESS EXCLUSIVE MODE;";

/// As a database does whose operator has taken away a right too many.
const FORBID_DELETE: &str = "CREATE FUNCTION forbid() RETURNS trigger LANGUAGE plpgsql AS \
    'BEGIN RAISE EXCEPTION ''nobody may delete''; END'; \
    CREATE TRIGGER forbid BEFORE DELETE ON namelock_registrations FOR EACH ROW EXECUTE FUNCTION forbid(); SELECT 'done'";

const ALLOW_DELETE: &str = "DROP TRIGGER forbid ON namelock_registrations; SELECT 'done'";

/// A host whose names are in this database.
fn start(memcached: &Memcached, url: &str) -> Host {
    let builder = Builder::new().config(CONFIG).lock(memcached);
    let host = builder.names_url(url).demo().start();
    host.wait_until_ready();
    host
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_of_postgresql_raise_alerts() {
    let watch = Watch::start();
    tokio::join!(
        a_database_does_not_answer_or_has_a_wrong_clock(&watch),
        time_is_not_kept_and_rows_cannot_be_deleted(&watch)
    );
}

async fn a_database_does_not_answer_or_has_a_wrong_clock(watch: &Watch) {
    let memcached = Memcached::start();
    let mut pair = PostgresPair::of(Postgres::with_clock());
    let host = start(&memcached, &pair.url());
    watch.begin(&[&host]).await;
    let instance = instance(&host);
    let (of_host, names) = (
        [("instance", &*instance)],
        [("backend", "names"), ("instance", &*instance)],
    );

    watch.is_quiet(Fault::StandbyIsGone, &of_host).await;
    pair.standby.signal("STOP");
    let mut number = 0;
    watch
        .raises_while(Fault::StandbyIsGone, &of_host, async || {
            number += 1;
            let answer = host.post("demo", &format!("room {number}"), "ann").await;
            answer.is_problem(503, "names_unavailable");
        })
        .await;
    // It can be read.
    watch.is_quiet(Fault::PostgresDies, &names).await;
    pair.standby.signal("CONT");
    watch.is_quiet(Fault::StandbyIsGone, &of_host).await;

    watch
        .raises(Fault::StandbyIsNotWaitedFor, &of_host, || {
            pair.primary.configure("synchronous_standby_names = ''");
        })
        .await;
    pair.primary.configure("synchronous_standby_names = '*'");
    watch.is_quiet(Fault::StandbyIsNotWaitedFor, &of_host).await;

    watch
        .raises(Fault::ClockOfPostgresIsWrong, &of_host, || {
            pair.primary.set_clock(AHEAD)
        })
        .await;
    pair.primary.set_clock(0);
    watch.is_quiet(Fault::ClockOfPostgresIsWrong, &of_host).await;

    watch
        .raises(Fault::PostgresStandsStill, &names, || pair.primary.signal("STOP"))
        .await;
    pair.primary.signal("CONT");
    watch.is_quiet(Fault::PostgresStandsStill, &names).await;
    watch.raises(Fault::PostgresDies, &names, || pair.primary.kill()).await;
}

async fn time_is_not_kept_and_rows_cannot_be_deleted(watch: &Watch) {
    let memcached = Memcached::start();
    let postgres = Postgres::start();
    let host = start(&memcached, &postgres.url());
    watch.begin(&[&host]).await;
    let before = instance(&host);
    let of_host = [("instance", &*before)];

    watch.is_quiet(Fault::RowsCannotBeDeleted, &of_host).await;
    watch.is_quiet(Fault::TimeCannotBeKept, &of_host).await;
    assert_eq!(postgres.ask(FORBID_DELETE).as_deref(), Some("done"));
    let body = json!({ "name": "room", "owner": "ann", "lifetime_ms": 1 });
    assert_eq!(host.post_json("demo", &body).await.status, 201);
    // Both take about ten seconds to show.
    let holder = postgres.session(HOLD_CLOCK);
    watch.raises_while(Fault::TimeCannotBeKept, &of_host, async || {}).await;
    watch
        .raises_while(Fault::RowsCannotBeDeleted, &of_host, async || {})
        .await;
    drop(holder);
    assert_eq!(postgres.ask(ALLOW_DELETE).as_deref(), Some("done"));
    watch.is_quiet(Fault::TimeCannotBeKept, &of_host).await;
    watch.is_quiet(Fault::RowsCannotBeDeleted, &of_host).await;

    let mut host = host;
    host.process.kill();
    assert_eq!(postgres.ask(AN_HOUR_AGO).as_deref(), Some("done"));
    let host = host.crash_and_start();
    let after = instance(&host);
    watch
        .raises(Fault::NobodyKeptTime, &[("instance", &*after)], || watch.add(&host))
        .await;
    // What was believed then is no news later.
    watch.is_quiet(Fault::NobodyKeptTime, &[("instance", &*after)]).await;
}
