//! What can be the matter with a server.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use namelock_names::{FencingToken, Names, NamesConfig, OpenError, Save, SaveError, open};
use namelock_test_servers::Postgres;
use tokio_postgres::{Client, NoTls, Transaction};

const TIMEOUT: Duration = Duration::from_millis(500);

/// How much later than its deadline an answer may come on a machine that is busy.
const SLACK: Duration = Duration::from_secs(5);

async fn open_server(url: &str) -> Result<Arc<dyn Names>, OpenError> {
    let config = NamesConfig {
        timeout: TIMEOUT,
        connections: 4,
        ..NamesConfig::default()
    };
    open(&url.parse()?, config).await
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
    }
}

/// A connection past the names database, as an operator has one.
async fn client(server: &Postgres) -> Client {
    let (client, connection) = tokio_postgres::connect(&server.url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

fn is_unavailable<T: std::fmt::Debug>(result: Result<T, SaveError>) -> String {
    match result {
        Err(SaveError::Unavailable { reason }) => reason,
        other => panic!("{other:?}"),
    }
}

/// Asks until the server serves again.
async fn until_served(names: &Arc<dyn Names>) {
    let served = async { while names.ready().await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(30), served).await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_down_is_told_at_once_and_used_when_it_is_back() {
    let mut server = Postgres::start();
    let url = server.url();
    server.kill();
    let names = open_server(&url).await.unwrap();
    let begin = Instant::now();
    is_unavailable(names.save(save("a", 1)).await);
    assert!(names.find("t", "a").await.is_err() && names.ready().await.is_err());
    assert!(begin.elapsed() < SLACK, "{:?}", begin.elapsed());
    server.restart();
    until_served(&names).await;
    names.save(save("a", 1)).await.unwrap();
}

#[tokio::test]
async fn what_was_saved_is_found_after_the_server_was_killed() {
    let mut server = Postgres::start();
    let names = open_server(&server.url()).await.unwrap();
    for number in 0..200 {
        names.save(save(&number.to_string(), 1)).await.unwrap();
    }
    server.restart();
    until_served(&names).await;
    for number in 0..200 {
        assert!(
            names.find("t", &number.to_string()).await.unwrap().is_some(),
            "{number}"
        );
    }
}

#[tokio::test]
async fn a_server_that_stands_still_is_given_up_and_no_answer_is_taken_for_another() {
    let server = Postgres::start();
    let names = open_server(&server.url()).await.unwrap();
    names.save(save("before", 1)).await.unwrap();
    server.signal("STOP");
    let begin = Instant::now();
    let all = (0..8).map(|number| {
        let names = Arc::clone(&names);
        tokio::spawn(async move { names.save(save(&number.to_string(), 1)).await })
    });
    let all: Vec<_> = all.collect();
    for task in all {
        is_unavailable(task.await.unwrap());
    }
    assert!(begin.elapsed() < TIMEOUT * 4 + SLACK, "{:?}", begin.elapsed());
    server.signal("CONT");
    until_served(&names).await;
    // What stood still may have been written since; each answer is about the name that was asked for all the same.
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
async fn tables_that_somebody_locks_are_no_reason_not_to_start() {
    let server = Postgres::start();
    let mut other = client(&server).await;
    let making = hold_the_making_of_tables(&mut other).await;
    let begin = Instant::now();
    let names = open_server(&server.url()).await.unwrap();
    is_unavailable(names.save(save("a", 1)).await);
    assert!(begin.elapsed() < TIMEOUT * 4 + SLACK, "{:?}", begin.elapsed());
    making.rollback().await.unwrap();
    until_served(&names).await;
    names.save(save("a", 1)).await.unwrap();
}

#[tokio::test]
async fn a_server_that_stands_still_while_its_tables_are_made_is_no_reason_not_to_start() {
    let server = Postgres::start();
    let url = server.url();
    let (mut other, watcher) = (client(&server).await, client(&server).await);
    let making = hold_the_making_of_tables(&mut other).await;
    let open = tokio::spawn(async move { open_server(&url).await });
    let waits =
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'namelock' AND wait_event_type = 'Lock'";
    while watcher.query_one(waits, &[]).await.unwrap().get::<_, i64>(0) == 0 {}
    // From here on no deadline of the server's own ends anything.
    server.signal("STOP");
    let names = tokio::time::timeout(TIMEOUT * 4 + SLACK, open).await.unwrap();
    let names = names.unwrap().unwrap();
    server.signal("CONT");
    making.rollback().await.unwrap();
    until_served(&names).await;
}

/// Begins what makes the tables wait until the transaction ends.
async fn hold_the_making_of_tables(client: &mut Client) -> Transaction<'_> {
    let transaction = client.transaction().await.unwrap();
    let table = "CREATE TABLE namelock_schema (version bigint NOT NULL)";
    transaction.batch_execute(table).await.unwrap();
    transaction
}

#[tokio::test]
async fn a_row_that_somebody_holds_is_not_waited_for_longer_than_the_deadline() {
    let server = Postgres::start();
    let names = open_server(&server.url()).await.unwrap();
    names.save(save("a", 1)).await.unwrap();
    let mut other = client(&server).await;
    let transaction = other.transaction().await.unwrap();
    transaction
        .execute("UPDATE namelock_registrations SET owner = 'x'", &[])
        .await
        .unwrap();
    let begin = Instant::now();
    let reason = is_unavailable(names.save(save("a", 2)).await);
    assert!(
        reason.contains("timeout") || reason.contains("not answered"),
        "{reason}"
    );
    assert!(
        begin.elapsed() >= TIMEOUT / 2 && begin.elapsed() < TIMEOUT + SLACK,
        "{:?}",
        begin.elapsed()
    );
    // Others go on meanwhile.
    names.save(save("b", 1)).await.unwrap();
    assert!(names.find("t", "a").await.unwrap().is_some());
}

#[tokio::test]
async fn a_caller_that_hangs_up_leaves_no_answer_for_the_next() {
    let server = Postgres::start();
    let names = open_server(&server.url()).await.unwrap();
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
async fn two_hosts_that_come_first_make_the_tables_once() {
    let server = Postgres::start();
    let url = server.url();
    let all = (0..8).map(|_| {
        let url = url.clone();
        tokio::spawn(async move { open_server(&url).await.unwrap().ready().await })
    });
    let all: Vec<_> = all.collect();
    for task in all {
        task.await.unwrap().unwrap();
    }
    let versions = client(&server)
        .await
        .query("SELECT version FROM namelock_schema", &[])
        .await
        .unwrap();
    assert_eq!(versions.len(), 1);
}

#[tokio::test]
async fn a_newer_database_is_refused_in_words() {
    let server = Postgres::start();
    drop(open_server(&server.url()).await.unwrap());
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
async fn an_address_that_cannot_be_read_is_refused_without_its_password() {
    let error = open_server("postgres://ann:s3cret@db/names?colour=red")
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("colour") && !error.contains("s3cret"), "{error}");
}

#[tokio::test]
async fn tls_that_the_address_demands_is_not_done_without() {
    let server = Postgres::start();
    let url = server.url().replace("sslmode=disable", "sslmode=require");
    let names = open_server(&url).await.unwrap();
    let reason = is_unavailable(names.save(save("a", 1)).await);
    assert!(reason.contains("TLS"), "{reason}");
}

#[tokio::test]
async fn a_server_is_believed_only_with_a_certificate_that_somebody_vouches_for() {
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
    let reason = is_unavailable(names.save(save("b", 1)).await);
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

/// The row of a name as it stands, and what a host makes of it that comes a moment later.
#[tokio::test]
async fn a_registration_begins_no_earlier_than_the_one_before_it_ended() {
    let server = Postgres::start();
    let names = open_server(&server.url()).await.unwrap();
    names.save(save("a", 1)).await.unwrap();
    let operator = client(&server).await;
    // It ended in the future of the server's clock, as after the clock was set back: it is active until then.
    let ends = "UPDATE namelock_registrations SET expires_ms = created_ms + 300";
    operator.execute(ends, &[]).await.unwrap();
    let ended = names.find("t", "a").await.unwrap().and_then(|found| found.expires_ms);
    let second = loop {
        match names.save(save("a", 2)).await {
            Ok(saved) => break saved,
            Err(SaveError::Taken(_)) => {}
            Err(error) => panic!("{error}"),
        }
    };
    assert!(ended.is_none_or(|ended| second.created_ms >= ended));
    // Freed before its own beginning, it lasted for no time, and the name is free at once.
    operator
        .execute(
            "UPDATE namelock_registrations SET created_ms = created_ms + 60000, expires_ms = NULL",
            &[],
        )
        .await
        .unwrap();
    let free = namelock_names::Free {
        tenant: "t".to_owned(),
        name: "a".to_owned(),
        fencing_token: FencingToken::new(3),
        deadline: tokio::time::Instant::now() + Duration::from_secs(60),
    };
    assert!(names.free(free).await.unwrap());
    let third = names.save(save("a", 4)).await.unwrap();
    assert!(
        third.created_ms >= second.created_ms + 60_000,
        "it begins where the one before it ended"
    );
}
