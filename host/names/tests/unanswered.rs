//! Statements that PostgreSQL does not answer, and callers that do not wait for the answer.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use namelock_names::{FencingToken, Names, NamesConfig, Quota, Save, SaveError, open};
use namelock_test_servers::{Postgres, PostgresPair};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio_postgres::{Client, NoTls};

const TIMEOUT: Duration = Duration::from_millis(250);
const CONNECTIONS: usize = 16;

/// What is said of a write that is not sent.
const REFUSED: &str = "is a synchronous standby gone?";

/// How long something may take that takes no time, on a machine that is slow and busy.
const PATIENCE: Duration = Duration::from_secs(60);

async fn open_host(url: &str) -> Arc<dyn Names> {
    let config = NamesConfig {
        timeout: TIMEOUT,
        connections: CONNECTIONS,
        ..NamesConfig::default()
    };
    open(&url.parse().unwrap(), config).await.unwrap()
}

fn save(name: &str) -> Save {
    Save {
        tenant: "t".to_owned(),
        name: name.to_owned(),
        owner: "ann".to_owned(),
        lifetime: None,
        attributes: Vec::new(),
        fencing_token: FencingToken::new(1),
        deadline: tokio::time::Instant::now() + PATIENCE,
        quota: Quota::default(),
    }
}

/// Connects to the server directly, as another program does.
async fn client(server: &Postgres) -> Client {
    let (client, connection) = tokio_postgres::connect(&server.url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn count(client: &Client, condition: &str) -> usize {
    let sql = format!("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'namelock' AND {condition}");
    let count: i64 = client.query_one(&sql, &[]).await.unwrap().get(0);
    usize::try_from(count).unwrap()
}

/// Waits until a name can be saved.
async fn until_saved(names: &Arc<dyn Names>, name: &str) {
    let saved = async {
        while !matches!(names.save(save(name)).await, Ok(_) | Err(SaveError::Taken(_))) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, saved).await.unwrap();
}

/// Makes every commit of the server wait for a standby that does not exist.
async fn lose_standby(server: &Postgres, other: &Client) {
    other.batch_execute("CREATE TABLE commits (number int)").await.unwrap();
    server.configure("synchronous_standby_names = 'nobody'");
    // A commit of another program waits: the server has taken the setting over.
    let waits = async {
        let program = client(server).await;
        let committing =
            tokio::spawn(async move { while program.execute("INSERT INTO commits VALUES (1)", &[]).await.is_ok() {} });
        let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
        while other.query_one(waits, &[]).await.unwrap().get::<_, i64>(0) == 0 {}
        committing.abort();
    };
    tokio::time::timeout(PATIENCE, waits).await.unwrap();
}

/// Writes from many callers for some time, and returns what was answered: the names, and the errors.
async fn load(
    names: &Arc<dyn Names>,
    prefix: &str,
    callers: usize,
    duration: Duration,
) -> Vec<(String, Result<(), String>)> {
    let end = Instant::now() + duration;
    let mut tasks = JoinSet::new();
    for caller in 0..callers {
        let (names, prefix) = (Arc::clone(names), prefix.to_owned());
        tasks.spawn(async move {
            let mut answers = Vec::new();
            while Instant::now() < end {
                let name = format!("{prefix} {caller} {}", answers.len());
                let saved = names.save(save(&name)).await;
                answers.push((name, saved.map(|_| ()).map_err(|error| error.to_string())));
                // Otherwise those that are refused at once would do nothing else.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            answers
        });
    }
    tasks.join_all().await.concat()
}

// Shows P2, P6 and P7: the server keeps connections for others, reads go on, writes are refused at once and come back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_synchronous_standby_that_is_gone_costs_no_more_connections_than_are_allowed() {
    let pair = PostgresPair::start(&[]);
    let names = open_host(&pair.primary.url()).await;
    until_saved(&names, "before").await;
    let watcher = client(&pair.primary).await;
    pair.standby.signal("STOP");
    let loading = tokio::spawn({
        let names = Arc::clone(&names);
        async move { load(&names, "during", 64, Duration::from_secs(10)).await }
    });
    let mut most = 0;
    while !loading.is_finished() {
        most = most.max(count(&watcher, "true").await);
        // Others are let in, and whoever reads is answered.
        drop(client(&pair.primary).await);
        assert!(names.find("t", "before").await.unwrap().is_some());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let answers = loading.await.unwrap();
    println!("connections of the host at most: {most}; writes: {}", answers.len());
    assert!(most <= CONNECTIONS, "{most}");
    assert!(
        count(&watcher, "wait_event = 'SyncRep'").await > 0,
        "nothing was tested"
    );
    let refused =
        |(_, answer): &&(String, Result<(), String>)| answer.as_ref().is_err_and(|error| error.contains(REFUSED));
    assert!(
        answers.iter().filter(refused).count() > answers.len() / 2,
        "{answers:?}"
    );

    pair.standby.signal("CONT");
    until_saved(&names, "after").await;
    for (name, answer) in &answers {
        let found = names.find("t", name).await.unwrap();
        match answer {
            Ok(()) => assert!(found.is_some(), "{name} was answered"),
            Err(error) if error.contains(REFUSED) => assert_eq!(found, None, "{name} was not sent"),
            Err(_) => assert_eq!(
                names.find("t", name).await.unwrap(),
                found,
                "{name} is one or the other"
            ),
        }
    }
    let idle = async { while count(&watcher, "wait_event = 'SyncRep'").await > 0 {} };
    tokio::time::timeout(PATIENCE, idle).await.unwrap();
}

// Shows P6: a host that is restarted by whoever watches it does not use the server up.
#[test]
fn a_host_that_is_killed_and_started_again_while_the_standby_is_gone_adds_one_connection() {
    const LIVES: usize = 5;
    let server = Postgres::start();
    let url = server.url();
    let own = Runtime::new().unwrap();
    let other = own.block_on(async {
        until_saved(&open_host(&url).await, "before").await;
        let other = client(&server).await;
        lose_standby(&server, &other).await;
        other
    });
    for life in 1..=LIVES {
        let host = Runtime::new().unwrap();
        let names = host.block_on(async {
            let names = open_host(&url).await;
            let answers = load(&names, &life.to_string(), 32, TIMEOUT * 4).await;
            assert!(answers.iter().all(|(_, answer)| answer.is_err()));
            assert!(names.find("t", "before").await.unwrap().is_some());
            names
        });
        // As when it is killed: nothing is waited for.
        host.shutdown_background();
        drop(names);
        own.block_on(async {
            let left = async { while count(&other, "true").await != life {} };
            let left = tokio::time::timeout(PATIENCE, left).await;
            assert!(left.is_ok(), "life {life}: {} connections", count(&other, "true").await);
        });
    }
    own.block_on(async {
        let names = open_host(&url).await;
        assert!(names.save(save("unknown")).await.is_err());
        // It waits for what is under way, but not longer than a caller would.
        let closed = tokio::time::timeout(PATIENCE, names.close()).await;
        assert!(closed.is_ok());
        let names = open_host(&url).await;
        server.configure("synchronous_standby_names = ''");
        until_saved(&names, "after").await;
    });
}

// Shows P6: whoever hangs up is in nobody's way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_hang_up_cost_no_connection() {
    let server = Postgres::start();
    let url = server.url();
    let config = NamesConfig {
        connections: 4,
        timeout: PATIENCE,
        ..NamesConfig::default()
    };
    let names = open(&url.parse().unwrap(), config).await.unwrap();
    let other = client(&server).await;
    let mut tasks = JoinSet::new();
    // More than the callers that hang up find in use, so that each connection there can be is there.
    for caller in 0..32 {
        let names = Arc::clone(&names);
        tasks.spawn(async move {
            for number in 0..20 {
                names.save(save(&format!("warm {caller} {number}"))).await.unwrap();
                names.find("t", "none").await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    let backends = || async {
        let sql = "SELECT pid FROM pg_stat_activity WHERE application_name = 'namelock' ORDER BY pid";
        let rows = other.query(sql, &[]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect::<Vec<i32>>()
    };
    let before = backends().await;
    assert_eq!(before.len(), 4);
    let mut hasty = JoinSet::new();
    for caller in 0..16 {
        let names = Arc::clone(&names);
        hasty.spawn(async move {
            for number in 0..200_u64 {
                let name = format!("hasty {caller} {number}");
                let moment = Duration::from_micros(number * 53 % 3000);
                let _ = tokio::time::timeout(moment, names.save(save(&name))).await;
                let _ = tokio::time::timeout(moment, names.find("t", &name)).await;
            }
        });
    }
    let mut saved = 0;
    while hasty.try_join_next().is_some() || !hasty.is_empty() {
        let mut wish = save(&format!("name {saved}"));
        wish.tenant = "neighbour".to_owned();
        names.save(wish).await.unwrap();
        saved += 1;
    }
    println!("the neighbour saved {saved}");
    assert_eq!(backends().await, before);
}

#[tokio::test]
async fn a_connection_whose_caller_hung_up_counts_until_the_server_has_answered() {
    let server = Postgres::start();
    let config = NamesConfig {
        connections: 2,
        timeout: PATIENCE,
        ..NamesConfig::default()
    };
    let names = open(&server.url().parse().unwrap(), config).await.unwrap();
    names.save(save("held")).await.unwrap();
    let mut other = client(&server).await;
    let watcher = client(&server).await;
    let holds = other.transaction().await.unwrap();
    holds
        .execute("UPDATE namelock_registrations SET owner = 'x'", &[])
        .await
        .unwrap();
    for _ in 0..20 {
        let _ = tokio::time::timeout(Duration::from_millis(20), names.save(save("held"))).await;
    }
    assert!(count(&watcher, "true").await <= 2);
    // A read has the other one.
    assert!(names.find("t", "none").await.unwrap().is_none());
    holds.rollback().await.unwrap();
    names.save(save("next")).await.unwrap();
}
