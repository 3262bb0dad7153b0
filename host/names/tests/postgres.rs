//! What can go wrong with a server.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use namelock_names::{
    ApplyError, Change, FencingToken, Free, Keep, Names, NamesConfig, OpenError, Quota, QuotaKind, RequestKey, Save,
    SaveError, Seen, Update, Usage, WriteOne, open,
};
use namelock_test_servers::Postgres;
use tokio_postgres::{Client, NoTls, Transaction};

const TIMEOUT: Duration = Duration::from_millis(500);

/// How much later than its deadline an answer may come on a busy machine.
const SLACK: Duration = Duration::from_secs(5);

async fn open_server(url: &str) -> Result<Arc<dyn Names>, OpenError> {
    open_within(url, TIMEOUT).await
}

/// Opens a database whose answers may take so long.
async fn open_within(url: &str, timeout: Duration) -> Result<Arc<dyn Names>, OpenError> {
    let config = NamesConfig {
        timeout,
        connections: 4,
        ..NamesConfig::default()
    };
    open(&url.parse()?, config).await
}

/// Opens a database whose server is there, and waits until it is in use, however busy the machine is.
async fn open_ready(server: &Postgres) -> Arc<dyn Names> {
    let names = open_server(&server.url()).await.unwrap();
    until_ready(&names).await;
    names
}

fn save(name: &str, fencing_token: u64) -> Save {
    Save {
        tenant: "t".to_owned(),
        name: name.to_owned(),
        owner: "ann".to_owned(),
        lifetime: None,
        attributes: Vec::new(),
        fencing_token: FencingToken::new(fencing_token),
        deadline: tokio::time::Instant::now() + Duration::from_secs(60),
        keep: Keep::default(),
        quota: Quota::default(),
        hold: Duration::ZERO,
        request: None,
    }
}

/// Connects to the server directly, as an operator does.
async fn client(server: &Postgres) -> Client {
    let (client, connection) = tokio_postgres::connect(&server.url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

fn unavailable_reason<T: std::fmt::Debug>(result: Result<T, SaveError>) -> String {
    match result {
        Err(SaveError::Unavailable { reason }) => reason,
        other => panic!("{other:?}"),
    }
}

/// Waits until the database answers again.
async fn until_ready(names: &Arc<dyn Names>) {
    let ready = async {
        while names.ready().await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), ready).await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_down_is_reported_at_once_and_used_once_it_is_back() {
    let mut server = Postgres::start();
    let url = server.url();
    server.kill();
    let names = open_server(&url).await.unwrap();
    let begin = Instant::now();
    unavailable_reason(names.save(save("a", 1)).await);
    assert!(names.find("t", "a").await.is_err() && names.ready().await.is_err());
    assert!(begin.elapsed() < SLACK, "{:?}", begin.elapsed());
    server.restart();
    until_ready(&names).await;
    names.save(save("a", 1)).await.unwrap();
}

// Shows P2: 200 answered registrations are found after kill -9 of the server.
#[tokio::test]
async fn saved_registrations_are_found_after_the_server_was_killed() {
    let mut server = Postgres::start();
    // A flush to the disk may take long on a busy machine.
    let names = open_within(&server.url(), 20 * TIMEOUT).await.unwrap();
    until_ready(&names).await;
    for number in 0..200 {
        names.save(save(&number.to_string(), 1)).await.unwrap();
    }
    server.restart();
    until_ready(&names).await;
    for number in 0..200 {
        assert!(
            names.find("t", &number.to_string()).await.unwrap().is_some(),
            "{number}"
        );
    }
}

#[tokio::test]
async fn a_hanging_server_is_given_up_and_no_late_answer_is_mistaken_for_another() {
    let server = Postgres::start();
    let names = open_ready(&server).await;
    names.save(save("before", 1)).await.unwrap();
    server.signal("STOP");
    let begin = Instant::now();
    let all = (0..8).map(|number| {
        let names = Arc::clone(&names);
        tokio::spawn(async move { names.save(save(&number.to_string(), 1)).await })
    });
    let all: Vec<_> = all.collect();
    for task in all {
        unavailable_reason(task.await.unwrap());
    }
    assert!(begin.elapsed() < TIMEOUT * 4 + SLACK, "{:?}", begin.elapsed());
    server.signal("CONT");
    until_ready(&names).await;
    // The writes that hung may have been done since; still, each answer must be about the name that was asked for.
    for number in 0..8 {
        let name = number.to_string();
        if let Some(found) = names.find("t", &name).await.unwrap() {
            assert_eq!(found.name, name);
        }
        assert!(names.find("t", &format!("never {number}")).await.unwrap().is_none());
    }
    assert_eq!(names.find("t", "before").await.unwrap().unwrap().name, "before");
}

#[tokio::test]
async fn locked_tables_do_not_prevent_the_start() {
    let server = Postgres::start();
    let mut other = client(&server).await;
    let blocker = block_creation_of_tables(&mut other).await;
    let begin = Instant::now();
    let names = open_server(&server.url()).await.unwrap();
    unavailable_reason(names.save(save("a", 1)).await);
    assert!(begin.elapsed() < TIMEOUT * 4 + SLACK, "{:?}", begin.elapsed());
    blocker.rollback().await.unwrap();
    until_ready(&names).await;
    names.save(save("a", 1)).await.unwrap();
}

#[tokio::test]
async fn a_server_that_hangs_while_its_tables_are_created_does_not_prevent_the_start() {
    let server = Postgres::start();
    let url = server.url();
    let (mut other, watcher) = (client(&server).await, client(&server).await);
    let blocker = block_creation_of_tables(&mut other).await;
    let open = tokio::spawn(async move { open_server(&url).await });
    let waits =
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'namelock' AND wait_event_type = 'Lock'";
    while watcher.query_one(waits, &[]).await.unwrap().get::<_, i64>(0) == 0 {}
    // From here on the server cannot enforce a deadline of its own.
    server.signal("STOP");
    let names = tokio::time::timeout(TIMEOUT * 4 + SLACK, open).await.unwrap();
    let names = names.unwrap().unwrap();
    server.signal("CONT");
    blocker.rollback().await.unwrap();
    until_ready(&names).await;
}

/// Begins a transaction that makes the creation of the tables wait until it ends.
async fn block_creation_of_tables(client: &mut Client) -> Transaction<'_> {
    let transaction = client.transaction().await.unwrap();
    let table = "CREATE TABLE namelock_schema (version bigint NOT NULL)";
    transaction.batch_execute(table).await.unwrap();
    transaction
}

#[tokio::test]
async fn a_row_that_somebody_holds_is_not_waited_for_longer_than_the_deadline() {
    let server = Postgres::start();
    let names = open_ready(&server).await;
    names.save(save("a", 1)).await.unwrap();
    let mut other = client(&server).await;
    let transaction = other.transaction().await.unwrap();
    transaction
        .execute("UPDATE namelock_registrations SET owner = 'x'", &[])
        .await
        .unwrap();
    let begin = Instant::now();
    let reason = unavailable_reason(names.save(save("a", 2)).await);
    assert!(
        reason.contains("timeout") || reason.contains("not answered"),
        "{reason}"
    );
    assert!(
        begin.elapsed() >= TIMEOUT / 2 && begin.elapsed() < TIMEOUT + SLACK,
        "{:?}",
        begin.elapsed()
    );
    // Other names can be written meanwhile.
    names.save(save("b", 1)).await.unwrap();
    assert!(names.find("t", "a").await.unwrap().is_some());
}

#[tokio::test]
async fn a_cancelled_call_leaves_no_answer_for_the_next() {
    let server = Postgres::start();
    let names = open_ready(&server).await;
    for number in 0..200_u64 {
        let name = format!("a {number}");
        let slice = Duration::from_micros(number * 20);
        let _ = tokio::time::timeout(slice, names.save(save(&name, 1))).await;
        if let Some(found) = names.find("t", &name).await.unwrap() {
            assert_eq!(found.name, name);
        }
    }
}

#[tokio::test]
async fn hosts_that_start_together_create_the_tables_once() {
    let server = Postgres::start();
    let url = server.url();
    let all = (0..8).map(|_| {
        let url = url.clone();
        tokio::spawn(async move { until_ready(&open_server(&url).await.unwrap()).await })
    });
    let all: Vec<_> = all.collect();
    for task in all {
        task.await.unwrap();
    }
    let versions = client(&server)
        .await
        .query("SELECT version FROM namelock_schema ORDER BY version", &[])
        .await
        .unwrap();
    let versions: Vec<i64> = versions.iter().map(|row| row.get(0)).collect();
    assert_eq!(versions, [1, 2, 3, 4, 5, 6]);
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused_with_a_hint() {
    let server = Postgres::start();
    drop(open_ready(&server).await);
    client(&server)
        .await
        .execute("INSERT INTO namelock_schema VALUES (99)", &[])
        .await
        .unwrap();
    let error = open_server(&server.url()).await.err().unwrap().to_string();
    assert!(
        error.contains("version 99") && error.contains("use a newer namelock"),
        "{error}"
    );
    assert!(error.contains(&server.address().to_string()), "{error}");
}

#[tokio::test]
async fn an_invalid_url_is_refused_without_showing_its_password() {
    let error = open_server("postgres://ann:s3cret@db/names?colour=red")
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("colour") && !error.contains("s3cret"), "{error}");
}

#[tokio::test]
async fn a_server_without_tls_is_refused_when_the_url_demands_it() {
    let server = Postgres::start();
    let url = server.url().replace("sslmode=disable", "sslmode=require");
    let names = open_server(&url).await.unwrap();
    let reason = unavailable_reason(names.save(save("a", 1)).await);
    assert!(reason.contains("TLS"), "{reason}");
}

#[tokio::test]
async fn a_server_is_trusted_only_with_a_certificate_signed_by_a_root() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let roots = folder.path().join("roots.pem");
    std::fs::write(&roots, made.cert.pem()).unwrap();
    let server = Postgres::with_tls(&made.cert.pem(), &made.signing_key.serialize_pem());
    let url = format!(
        "postgres://nobody@localhost:{}/postgres?sslmode=require",
        server.address().port()
    );
    let config = NamesConfig {
        tls_roots: Some(roots),
        ..NamesConfig::default()
    };
    let names = open(&url.parse().unwrap(), config).await.unwrap();
    names.save(save("a", 1)).await.unwrap();
    let names = open_server(&url).await.unwrap();
    let reason = unavailable_reason(names.save(save("b", 1)).await);
    assert!(reason.contains("certificate"), "{reason}");

    std::fs::write(folder.path().join("empty.pem"), "").unwrap();
    let config = NamesConfig {
        tls_roots: Some(folder.path().join("empty.pem")),
        ..NamesConfig::default()
    };
    let error = open(&url.parse().unwrap(), config).await.err().unwrap().to_string();
    assert!(
        error.contains("there is no certificate in it") && error.contains("names.tls_roots"),
        "{error}"
    );
}

// Shows P1: two registrations of a name never overlap, even when another one's end lies in the future.
#[tokio::test]
async fn a_registration_begins_no_earlier_than_the_one_before_it_ended() {
    let server = Postgres::start();
    let names = open_ready(&server).await;
    names.save(save("a", 1)).await.unwrap();
    let operator = client(&server).await;
    let ends = "UPDATE namelock_registrations
        SET expires_ms = (SELECT time_ms + 4000 FROM namelock_clock) RETURNING expires_ms";
    let ended: i64 = operator.query_one(ends, &[]).await.unwrap().get(0);
    let mut taken = 0;
    let second = loop {
        match names.save(save("a", 2)).await {
            Ok(saved) => break saved,
            Err(SaveError::Taken(_)) => taken += 1,
            Err(error) => panic!("{error}"),
        }
    };
    assert!(
        taken > 0 && second.created_ms >= ended.cast_unsigned(),
        "{taken} {ended} {second:?}"
    );
    // Freed before its own beginning, it has lasted no time at all, and the name is free at once.
    operator
        .execute(
            "UPDATE namelock_registrations SET created_ms = created_ms + 60000, expires_ms = NULL",
            &[],
        )
        .await
        .unwrap();
    assert!(names.free(free("a", 3)).await.unwrap());
    let third = names.save(save("a", 4)).await.unwrap();
    assert!(
        third.created_ms >= second.created_ms + 60_000,
        "it begins where the one before it ended"
    );
}

fn free(name: &str, fencing_token: u64) -> Free {
    Free {
        tenant: "t".to_owned(),
        name: name.to_owned(),
        fencing_token: FencingToken::new(fencing_token),
        deadline: tokio::time::Instant::now() + Duration::from_secs(60),
        seen: Seen::Unread,
        keep: Keep::default(),
    }
}

/// Opens a database as a host that purges what has ended at once.
async fn open_without_retention(server: &Postgres) -> Arc<dyn Names> {
    let config = NamesConfig {
        retention: Duration::ZERO,
        timeout: Duration::from_secs(30),
        ..NamesConfig::default()
    };
    open(&server.url().parse().unwrap(), config).await.unwrap()
}

/// Waits until some host has purged what there is to purge.
async fn until_purged(operator: &Client) {
    let canary = "INSERT INTO namelock_registrations VALUES ('canary', 'x', 'x', 1, 1, 1, '[]')";
    operator.execute(canary, &[]).await.unwrap();
    let count = "SELECT count(*) FROM namelock_registrations WHERE tenant = 'canary'";
    let purged = async {
        while operator.query_one(count, &[]).await.unwrap().get::<_, i64>(0) > 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), purged).await.unwrap();
}

// Shows P1: a server's clock that is set, or a standby with another one, ends no registration, deletes none, and brings
// none back.
#[tokio::test]
async fn a_step_of_the_servers_clock_ends_no_registration_and_brings_none_back() {
    const HOUR: u64 = 3_600_000;
    let server = Postgres::with_clock();
    let names = open_without_retention(&server).await;
    let operator = client(&server).await;
    let mut wish = save("live", 1);
    wish.lifetime = Some(Duration::from_millis(HOUR));
    let live = names.save(wish).await.unwrap();
    for hours in [3, -3, 0] {
        server.set_clock(hours * 3600);
        // A host that is there, and one that comes.
        let fresh = open_without_retention(&server).await;
        until_purged(&operator).await;
        for names in [&names, &fresh] {
            assert_eq!(
                names.find("t", "live").await.unwrap().as_ref(),
                Some(&live),
                "{hours} h"
            );
            assert!(matches!(names.save(save("live", 9)).await, Err(SaveError::Taken(_))));
        }
        let name = format!("freed {hours}");
        let saved = fresh.save(save(&name, 1)).await.unwrap();
        assert!(
            saved.created_ms.abs_diff(live.created_ms) < HOUR / 2,
            "{hours} h: {saved:?}"
        );
        assert!(names.free(free(&name, 2)).await.unwrap());
        for names in [&names, &fresh] {
            assert_eq!(names.find("t", &name).await.unwrap(), None);
        }
        let off = || names.clock_off_ms().unsigned_abs() > HOUR;
        let seen = async {
            while off() != (hours != 0) {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), seen).await.unwrap();
        fresh.close().await;
    }
    for hours in [3, -3, 0] {
        let name = format!("freed {hours}");
        assert_eq!(names.find("t", &name).await.unwrap(), None, "{hours} h");
        names.save(save(&name, 3)).await.unwrap();
    }
}

/// As if everything had been so much earlier, and nobody had been there since.
async fn make_older(operator: &Client, ms: i64) {
    for statement in [
        "UPDATE namelock_registrations SET created_ms = created_ms - $1, expires_ms = expires_ms - $1",
        "UPDATE namelock_clock SET time_ms = time_ms - $1, server_ms = server_ms - $1, steady_since_ms = 0, jumped_ms = 0",
    ] {
        operator.execute(statement, &[&ms]).await.unwrap();
    }
}

#[tokio::test]
async fn when_nobody_was_there_the_servers_clock_is_believed_only_ahead_and_what_it_ended_is_kept() {
    let server = Postgres::with_clock();
    let names = open_ready(&server).await;
    let operator = client(&server).await;
    let mut wish = save("a", 1);
    wish.lifetime = Some(Duration::from_secs(3600));
    let saved = names.save(wish).await.unwrap();
    names.close().await;
    make_older(&operator, 3 * 3_600_000).await;
    let names = open_ready(&server).await;
    assert_eq!(names.find("t", "a").await.unwrap(), None, "its time has come");
    let jumped: i64 = operator
        .query_one("SELECT jumped_ms FROM namelock_clock", &[])
        .await
        .unwrap()
        .get(0);
    assert!(jumped > 10_000_000, "its retention has not passed: {jumped}");
    names.close().await;
    server.set_clock(-3 * 3600);
    let names = open_ready(&server).await;
    let back = names.save(save("b", 1)).await.unwrap();
    assert!(back.created_ms > saved.created_ms, "it goes on from what was kept");
}

// Shows P1: hosts that have just ended, stand still or do not reach the server are not there to tell.
#[tokio::test]
async fn a_servers_clock_that_is_ahead_alone_ends_nothing_also_when_nobody_was_there() {
    let server = Postgres::with_clock();
    let names = open_ready(&server).await;
    let saved = names.save(save("a", 1)).await.unwrap();
    names.close().await;
    for hours in [3, 1] {
        server.set_clock(hours * 3600);
        let names = open_ready(&server).await;
        assert_eq!(names.find("t", "a").await.unwrap().as_ref(), Some(&saved), "{hours} h");
        let next = names.save(save(&format!("b {hours}"), 1)).await.unwrap();
        assert!(
            next.created_ms - saved.created_ms < 3_600_000 / 2,
            "{hours} h: {next:?}"
        );
        names.close().await;
    }
}

#[tokio::test]
async fn what_was_freed_stays_free_and_a_host_of_version_2_sees_it_and_may_save_it() {
    let server = Postgres::start();
    let names = open_ready(&server).await;
    let saved = names.save(save("a", 1)).await.unwrap();
    assert!(names.free(free("a", 1)).await.unwrap());
    let operator = client(&server).await;
    let ended: i64 = operator
        .query_one("SELECT expires_ms FROM namelock_registrations", &[])
        .await
        .unwrap()
        .get(0);
    assert!(
        ended.cast_unsigned() < saved.created_ms + 60_000,
        "version 2 sees it ended"
    );
    // As if the clock had been 50 minutes ahead when it was freed.
    let ahead = "UPDATE namelock_registrations SET expires_ms = expires_ms + 3000000";
    operator.execute(ahead, &[]).await.unwrap();
    assert_eq!(names.find("t", "a").await.unwrap(), None);
    assert!(!names.free(free("a", 1)).await.unwrap());
    // As version 2 saves: it does not know what was freed.
    let old = "UPDATE namelock_registrations SET owner = 'bob', expires_ms = NULL, fencing_token = 2";
    operator.execute(old, &[]).await.unwrap();
    assert_eq!(names.find("t", "a").await.unwrap().unwrap().owner, "bob");
    assert!(names.free(free("a", 2)).await.unwrap());
    assert_eq!(
        names.save(save("a", 2)).await.unwrap().owner,
        "ann",
        "one lease may both free and save"
    );
}

/// Asks for a write of the name `a` under a lease of a few seconds, which another transaction keeps waiting until the lease
/// has ended.
async fn check_late_write<T: std::fmt::Debug + PartialEq + Send + 'static>(
    prepare: &str,
    hold: &str,
    write: impl FnOnce(Arc<dyn Names>, tokio::time::Instant) -> tokio::task::JoinHandle<Result<T, SaveError>>,
) {
    let server = Postgres::start();
    let config = NamesConfig {
        timeout: Duration::from_secs(60),
        ..NamesConfig::default()
    };
    let names = open(&server.url().parse().unwrap(), config).await.unwrap();
    until_ready(&names).await;
    let (mut other, watcher) = (client(&server).await, client(&server).await);
    other.batch_execute(prepare).await.unwrap();
    let transaction = other.transaction().await.unwrap();
    transaction.batch_execute(hold).await.unwrap();
    let ends = tokio::time::Instant::now() + Duration::from_secs(5);
    let written = write(names, ends);
    let waits = "SELECT count(*) FROM pg_stat_activity
        WHERE application_name = 'namelock' AND wait_event_type = 'Lock'";
    while watcher.query_one(waits, &[]).await.unwrap().get::<_, i64>(0) == 0 {
        assert!(!written.is_finished());
    }
    tokio::time::sleep_until(ends + Duration::from_millis(50)).await;
    let rows = "SELECT coalesce(array_agg(r::text), '{}') FROM namelock_registrations AS r";
    let before: Vec<String> = watcher.query_one(rows, &[]).await.unwrap().get(0);
    transaction.rollback().await.unwrap();
    assert_eq!(written.await.unwrap(), Err(SaveError::LeaseLost));
    let after: Vec<String> = watcher.query_one(rows, &[]).await.unwrap().get(0);
    assert_eq!(before, after);
}

fn late_save_with_request(
    names: Arc<dyn Names>,
    ends: tokio::time::Instant,
) -> tokio::task::JoinHandle<Result<(), SaveError>> {
    let mut wish = save("a", 7);
    wish.deadline = ends;
    wish.request = Some(RequestKey::new("t", "k", &[]));
    tokio::spawn(async move { names.save(wish).await.map(|_| ()) })
}

fn late_save(names: Arc<dyn Names>, ends: tokio::time::Instant) -> tokio::task::JoinHandle<Result<(), SaveError>> {
    let mut wish = save("a", 7);
    wish.deadline = ends;
    tokio::spawn(async move { names.save(wish).await.map(|_| ()) })
}

// Shows P5: a lease that ends while its write waits in the server writes nothing.
#[tokio::test]
async fn a_save_that_waits_for_a_row_beyond_the_end_of_its_lease_writes_nothing() {
    let ended = "INSERT INTO namelock_registrations VALUES ('t', 'a', 'bob', 1, 2, 1, '[]')";
    let hold = "UPDATE namelock_registrations SET owner = 'x'";
    check_late_write(ended, hold, late_save).await;
    check_late_write(ended, hold, late_save_with_request).await;
}

#[tokio::test]
async fn a_save_that_waits_for_an_insertion_beyond_the_end_of_its_lease_writes_nothing() {
    let inserting = "INSERT INTO namelock_registrations VALUES ('t', 'a', 'bob', 1, NULL, 1, '[]')";
    check_late_write("", inserting, late_save).await;
}

#[tokio::test]
async fn a_free_that_waits_beyond_the_end_of_its_lease_ends_nothing() {
    let active = "INSERT INTO namelock_registrations VALUES ('t', 'a', 'bob', 1, NULL, 1, '[]')";
    check_late_write(
        active,
        "UPDATE namelock_registrations SET owner = 'x'",
        |names, ends| {
            let mut wish = free("a", 7);
            wish.deadline = ends;
            tokio::spawn(async move { names.free(wish).await })
        },
    )
    .await;
}

#[tokio::test]
async fn an_update_that_waits_beyond_the_end_of_its_lease_changes_nothing() {
    let active = "INSERT INTO namelock_registrations VALUES ('t', 'a', 'bob', 1, NULL, 1, '[]')";
    check_late_write(
        active,
        "UPDATE namelock_registrations SET owner = 'x'",
        |names, ends| {
            let wish = Update {
                tenant: "t".to_owned(),
                name: "a".to_owned(),
                change: Change::default(),
                fencing_token: FencingToken::new(7),
                deadline: ends,
                seen: Seen::Unread,
                keep: Keep::default(),
                quota: Quota::default(),
                request: None,
            };
            tokio::spawn(async move { names.update(wish).await })
        },
    )
    .await;
}

// Shows P5: the lease that ends first is that of another name than the one that is waited for.
#[tokio::test]
async fn several_writes_that_wait_beyond_the_end_of_one_of_their_leases_write_nothing() {
    let rows = "INSERT INTO namelock_registrations VALUES
        ('t', 'b', 'bob', 1, 2, 1, '[]'), ('t', 'c', 'bob', 1, NULL, 1, '[]')";
    let hold = "UPDATE namelock_registrations SET owner = 'x' WHERE name = 'b'";
    check_late_write(rows, hold, |names, ends| {
        let mut first = save("a", 7);
        first.deadline = ends;
        let writes = [
            WriteOne::Free(free("c", 7)),
            WriteOne::Save(save("b", 7)),
            WriteOne::Save(first),
        ];
        tokio::spawn(async move {
            match names.apply("t", writes.to_vec()).await {
                Err(ApplyError::Write { index: 2, error }) => Err::<(), _>(error),
                other => panic!("{other:?}"),
            }
        })
    })
    .await;
}

// Shows P5: also a lease that ends before its write comes to the server.
#[tokio::test]
async fn a_write_that_arrives_after_the_end_of_its_lease_writes_nothing() {
    let server = Postgres::start();
    let config = NamesConfig {
        timeout: Duration::from_secs(60),
        ..NamesConfig::default()
    };
    let names = open(&server.url().parse().unwrap(), config).await.unwrap();
    until_ready(&names).await;
    // Both statements are prepared, so that one message is all that they take.
    names.save(save("b", 1)).await.unwrap();
    names.free(free("b", 1)).await.unwrap();
    names.save(save("b", 2)).await.unwrap();
    server.signal("STOP");
    let ends = tokio::time::Instant::now() + Duration::from_secs(1);
    let (mut wish, mut end) = (save("a", 7), free("b", 7));
    (wish.deadline, end.deadline) = (ends, ends);
    let late = async { tokio::join!(names.save(wish), names.free(end)) };
    let arrive = async {
        tokio::time::sleep_until(ends + Duration::from_secs(1)).await;
        server.signal("CONT");
    };
    let ((saved, freed), ()) = tokio::join!(late, arrive);
    assert_eq!((saved, freed), (Err(SaveError::LeaseLost), Err(SaveError::LeaseLost)));
    assert_eq!(names.find("t", "a").await.unwrap(), None);
    assert!(names.find("t", "b").await.unwrap().is_some());
}

#[tokio::test]
async fn time_is_kept_while_a_synchronous_standby_is_away() {
    let server = Postgres::start();
    let _names = open_ready(&server).await;
    let operator = client(&server).await;
    for sql in [
        "ALTER SYSTEM SET synchronous_standby_names = 'gone'",
        "SELECT pg_reload_conf()",
    ] {
        operator.batch_execute(sql).await.unwrap();
    }
    let standby = "SELECT current_setting('synchronous_standby_names') = 'gone'";
    let kept = "SELECT time_ms FROM namelock_clock";
    let passes = async {
        while !operator.query_one(standby, &[]).await.unwrap().get::<_, bool>(0) {}
        let begin: i64 = operator.query_one(kept, &[]).await.unwrap().get(0);
        while operator.query_one(kept, &[]).await.unwrap().get::<_, i64>(0) < begin + 3000 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), passes).await.unwrap();
}

#[tokio::test]
async fn fewer_ended_rows_than_one_purge_deletes_are_purged_among_many_that_live() {
    let server = Postgres::start();
    drop(open_ready(&server).await);
    let operator = client(&server).await;
    let fill = "INSERT INTO namelock_registrations
        SELECT 't', n::text::bytea, 'ann', 1, CASE WHEN n <= 10 THEN 2 ELSE 9000000000000 END, 1, '[]'
        FROM generate_series(1, 300000) AS n";
    operator.execute(fill, &[]).await.unwrap();
    // A purge that reads every row takes longer than it may.
    let config = NamesConfig {
        retention: Duration::ZERO,
        timeout: Duration::from_millis(50),
        ..NamesConfig::default()
    };
    let _purging = open(&server.url().parse().unwrap(), config).await.unwrap();
    let ended = "SELECT count(*) FROM namelock_registrations WHERE expires_ms = 2";
    let purged = async {
        while operator.query_one(ended, &[]).await.unwrap().get::<_, i64>(0) > 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), purged).await.unwrap();
}

/// The tables as version 1 left them.
const VERSION_1: &str = "
    CREATE TABLE namelock_schema (version bigint NOT NULL);
    INSERT INTO namelock_schema VALUES (1);
    CREATE TABLE namelock_registrations (
        tenant text NOT NULL COLLATE \"C\", name bytea NOT NULL, owner bytea NOT NULL, created_ms bigint NOT NULL,
        expires_ms bigint, fencing_token bigint NOT NULL, attributes text NOT NULL, PRIMARY KEY (tenant, name)
    ) WITH (fillfactor = 70);
    CREATE INDEX namelock_registrations_by_end ON namelock_registrations (expires_ms) WHERE expires_ms IS NOT NULL;
";

#[tokio::test]
async fn tables_of_version_1_are_counted_and_a_host_that_still_writes_them_is_counted_too() {
    let server = Postgres::start();
    let old = client(&server).await;
    old.batch_execute(VERSION_1).await.unwrap();
    // As version 1 saves.
    let insert = "INSERT INTO namelock_registrations VALUES ('t', $1, 'ann', 1, NULL, 1, '[]')
        ON CONFLICT (tenant, name) DO UPDATE SET owner = 'anna'";
    let insert = old.prepare(insert).await.unwrap();
    for name in ["a", "b"] {
        old.execute(&insert, &[&name.as_bytes()]).await.unwrap();
    }
    let usage = |registrations, bytes| Usage { registrations, bytes };
    let row = 128 + 1 + 1 + 3 + 2;
    let names = open_ready(&server).await;
    until_ready(&names).await;
    assert_eq!(names.usage("t").await.unwrap(), usage(2, 2 * row));
    for name in ["b", "c"] {
        old.execute(&insert, &[&name.as_bytes()]).await.unwrap();
    }
    assert_eq!(names.usage("t").await.unwrap(), usage(3, 3 * row + 1));
    let delete = "DELETE FROM namelock_registrations WHERE name IN ('a', 'b')";
    old.execute(delete, &[]).await.unwrap();
    assert_eq!(names.usage("t").await.unwrap(), usage(1, row));
    names.save(save("d", 1)).await.unwrap();
    assert_eq!(names.usage("t").await.unwrap(), usage(2, 2 * row));
    old.execute("TRUNCATE namelock_registrations", &[]).await.unwrap();
    assert_eq!(names.usage("t").await.unwrap(), Usage::default());
}

#[tokio::test]
async fn a_migration_may_take_longer_than_a_read_or_write() {
    const ROWS: u64 = 200_000;
    let server = Postgres::start();
    let operator = client(&server).await;
    operator.batch_execute(VERSION_1).await.unwrap();
    operator
        .batch_execute(&format!(
            "INSERT INTO namelock_registrations
             SELECT 't', n::text::bytea, 'ann', 1, NULL, 1, '[]' FROM generate_series(1, {ROWS}) AS n"
        ))
        .await
        .unwrap();
    let config = NamesConfig {
        timeout: Duration::from_millis(5),
        ..NamesConfig::default()
    };
    let hasty = open(&server.url().parse().unwrap(), config).await.unwrap();
    let migrated = async {
        let version = "SELECT max(version) FROM namelock_schema";
        while operator.query_one(version, &[]).await.unwrap().get::<_, i64>(0) < 5 {
            let _ = hasty.ready().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), migrated).await.unwrap();
    let names = open_ready(&server).await;
    until_ready(&names).await;
    assert_eq!(names.usage("t").await.unwrap().registrations, ROWS);
}

// Shows P6: what is written beyond the quota is bounded by what is under way at once.
#[tokio::test]
async fn concurrent_saves_go_beyond_the_quota_by_no_more_than_there_are_connections() {
    const QUOTA: u64 = 20;
    let server = Postgres::start();
    let config = || NamesConfig {
        connections: 4,
        timeout: Duration::from_secs(60),
        ..NamesConfig::default()
    };
    let url = server.url().parse().unwrap();
    let hosts = [open(&url, config()).await.unwrap(), open(&url, config()).await.unwrap()];
    let mut saves = tokio::task::JoinSet::new();
    for number in 0..200 {
        let names = Arc::clone(&hosts[number % 2]);
        let mut wish = save(&number.to_string(), 1);
        wish.quota.registrations = QUOTA;
        saves.spawn(async move { names.save(wish).await });
    }
    let mut saved = 0;
    for result in saves.join_all().await {
        match result {
            Ok(_) => saved += 1,
            Err(error) => assert_eq!(error, SaveError::Quota(QuotaKind::Registrations)),
        }
    }
    assert!((QUOTA..QUOTA + 8).contains(&saved), "{saved}");
    assert_eq!(hosts[0].usage("t").await.unwrap().registrations, saved);
    let mut wish = save("late", 1);
    wish.quota.registrations = QUOTA;
    assert_eq!(
        hosts[1].save(wish).await,
        Err(SaveError::Quota(QuotaKind::Registrations))
    );
}

#[tokio::test]
async fn a_host_looks_again_within_a_second_whether_a_tenant_is_still_far_from_its_quota() {
    let server = Postgres::start();
    let names = open_ready(&server).await;
    let mut wish = save("first", 1);
    wish.quota.registrations = 70_000;
    names.save(wish.clone()).await.unwrap();
    // Another host fills the quota.
    let fill = "INSERT INTO namelock_registrations
        SELECT 't', n::text::bytea, 'ann', 1, NULL, 1, '[]' FROM generate_series(1, 70000) AS n";
    client(&server).await.execute(fill, &[]).await.unwrap();
    let mut number = 0;
    let refused = async {
        loop {
            number += 1;
            wish.name = format!("next {number}");
            match names.save(wish.clone()).await {
                Ok(_) => {}
                Err(SaveError::Quota(QuotaKind::Registrations)) => break,
                Err(error) => panic!("{error}"),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), refused).await.unwrap();
}

// Shows P6: a tenant that floods is in nobody's way.
#[tokio::test]
async fn the_next_free_connection_is_for_a_tenant_that_has_waited_and_not_for_the_longest_queue() {
    let server = Postgres::start();
    let config = NamesConfig {
        connections: 1,
        timeout: Duration::from_secs(60),
        ..NamesConfig::default()
    };
    let names = open(&server.url().parse().unwrap(), config).await.unwrap();
    names.save(save("held", 1)).await.unwrap();
    let mut other = client(&server).await;
    // The order in which rows are written.
    other
        .batch_execute(
            "CREATE TABLE written (number bigserial, tenant text);
             CREATE FUNCTION written() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN INSERT INTO written (tenant) VALUES (NEW.tenant); RETURN NULL; END $$;
             CREATE TRIGGER written AFTER INSERT ON namelock_registrations
                 FOR EACH ROW EXECUTE FUNCTION written();",
        )
        .await
        .unwrap();
    let transaction = other.transaction().await.unwrap();
    let hold = "UPDATE namelock_registrations SET owner = 'x'";
    transaction.execute(hold, &[]).await.unwrap();
    let mut saves = tokio::task::JoinSet::new();
    // The first one waits for the row on the only connection, the others for the connection.
    saves.spawn({
        let names = Arc::clone(&names);
        async move { names.save(save("held", 2)).await.is_ok() }
    });
    for number in 0..100 {
        let names = Arc::clone(&names);
        // With a hold, so that each is a statement of its own.
        let held = Save {
            hold: Duration::from_millis(1),
            ..save(&number.to_string(), 1)
        };
        saves.spawn(async move { names.save(held).await.is_ok() });
    }
    tokio::task::yield_now().await;
    let mut wish = save("a", 1);
    wish.tenant = "neighbour".to_owned();
    saves.spawn({
        let names = Arc::clone(&names);
        async move { names.save(wish).await.is_ok() }
    });
    tokio::task::yield_now().await;
    transaction.rollback().await.unwrap();
    let saved = saves.join_all().await.into_iter().filter(|saved| *saved).count();
    assert_eq!(saved, 101, "all but the name that is taken");
    let place = "SELECT count(*) FROM written
        WHERE number <= (SELECT number FROM written WHERE tenant = 'neighbour')";
    let place: i64 = client(&server).await.query_one(place, &[]).await.unwrap().get(0);
    // One of the flood is before it in turn; it may have read why the first save failed in one more turn.
    assert!(place <= 3, "{place}");
}
