//! Statements that PostgreSQL does not answer, and callers that do not wait for the answer.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use namelock_names::{FencingToken, Keep, Names, NamesConfig, Quota, Registration, Save, SaveError, open};
use namelock_test_servers::{Postgres, PostgresPair};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio_postgres::{Client, NoTls};

const TIMEOUT: Duration = Duration::from_millis(250);
const CONNECTIONS: usize = 16;

/// What is said of a write that is not sent.
const REFUSED: &str = "PostgreSQL does not answer, or its synchronous standby is gone";

/// How long something may take that takes no time, on a machine that is slow and busy.
const PATIENCE: Duration = Duration::from_secs(60);

async fn open_host(url: &str) -> Arc<dyn Names> {
    open_with(url, TIMEOUT).await
}

async fn open_with(url: &str, timeout: Duration) -> Arc<dyn Names> {
    let config = NamesConfig {
        timeout,
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
        keep: Keep::default(),
        quota: Quota::default(),
        hold: Duration::ZERO,
        request: None,
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

/// Finds a name: a read is answered, if not at once on a machine that is busy.
async fn find(names: &Arc<dyn Names>, name: &str) -> Option<Registration> {
    let found = async {
        loop {
            match names.find("t", name).await {
                Ok(found) => break found,
                Err(error) => println!("{name}: {error}"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, found).await.unwrap()
}

/// What became of a write, by its name.
type Answer = (String, Result<(), String>);

/// Many callers that write until they are stopped.
struct Load {
    tasks: JoinSet<Vec<Answer>>,
    stop: Arc<AtomicBool>,
}

impl Load {
    fn start(names: &Arc<dyn Names>, prefix: &str, callers: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for caller in 0..callers {
            let (names, prefix, stop) = (Arc::clone(names), prefix.to_owned(), Arc::clone(&stop));
            tasks.spawn(async move {
                let mut answers = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let name = format!("{prefix} {caller} {}", answers.len());
                    let saved = names.save(save(&name)).await;
                    answers.push((name, saved.map(|_| ()).map_err(|error| error.to_string())));
                    // Otherwise those that are refused at once would do nothing else.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                answers
            });
        }
        Self { tasks, stop }
    }

    async fn stop(self) -> Vec<Answer> {
        self.stop.store(true, Ordering::Relaxed);
        self.tasks.join_all().await.concat()
    }
}

// Shows P6: the server keeps connections for others, and reads go on.
// Shows P7: writes are refused at once, and come back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_synchronous_standby_that_is_gone_costs_no_more_connections_than_are_allowed() {
    let pair = PostgresPair::start(&[]);
    let names = open_host(&pair.primary.url()).await;
    until_saved(&names, "before").await;
    let watcher = client(&pair.primary).await;
    pair.standby.signal("STOP");
    let load = Load::start(&names, "during", 64);
    let end = Instant::now() + Duration::from_secs(10);
    let mut most = 0;
    while Instant::now() < end {
        most = most.max(count(&watcher, "true").await);
        // Others are let in, and whoever reads is answered.
        drop(client(&pair.primary).await);
        assert!(find(&names, "before").await.is_some());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let answers = load.stop().await;
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
        let found = find(&names, name).await;
        match answer {
            Ok(()) => assert!(found.is_some(), "{name} was answered"),
            Err(error) if error.contains(REFUSED) => assert_eq!(found, None, "{name} was not sent"),
            Err(_) => assert_eq!(find(&names, name).await, found, "{name} is one or the other"),
        }
    }
    let idle = async { while count(&watcher, "wait_event = 'SyncRep'").await > 0 {} };
    tokio::time::timeout(PATIENCE, idle).await.unwrap();
}

/// A proxy that leads to another server when it is told so, and keeps the connections to the one before.
async fn proxy(target: Arc<Mutex<SocketAddr>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut host, _)) = listener.accept().await {
            let target = *target.lock().unwrap();
            tokio::spawn(async move {
                let mut server = TcpStream::connect(target).await?;
                tokio::io::copy_bidirectional(&mut host, &mut server).await
            });
        }
    });
    address
}

// Shows P2: what was answered is found after a failover.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_to_a_server_that_hangs_for_ever_are_given_up_once_another_has_its_address() {
    let mut pair = PostgresPair::start(&[]);
    let target = Arc::new(Mutex::new(pair.primary.address()));
    let address = proxy(Arc::clone(&target)).await;
    let names = open_host(&format!("postgres://nobody@{address}/postgres?sslmode=disable")).await;
    until_saved(&names, "before").await;
    let load = Load::start(&names, "during", 64);
    while find(&names, "during 0 0").await.is_none() {}
    pair.primary.signal("STOP");
    tokio::time::sleep(TIMEOUT * 6).await;
    let answers = load.stop().await;
    pair.promote();
    *target.lock().unwrap() = pair.standby.address();
    until_saved(&names, "after").await;
    let answered: Vec<_> = answers.iter().filter(|(_, answer)| answer.is_ok()).collect();
    assert!(
        !answered.is_empty() && answered.len() < answers.len(),
        "nothing was tested"
    );
    for (name, _) in answered {
        assert!(find(&names, name).await.is_some(), "{name}");
    }
}

// Shows P6: a host that is restarted by whoever watches it does not use the server up.
#[test]
fn a_host_that_is_killed_and_started_again_while_the_standby_is_gone_adds_one_connection() {
    const LIVES: usize = 3;
    // A second probe follows after ten of these; no life lasts that long.
    const TIMEOUT: Duration = Duration::from_secs(2);
    let server = Postgres::start();
    let url = server.url();
    let own = Runtime::new().unwrap();
    let other = own.block_on(async {
        until_saved(&open_with(&url, TIMEOUT).await, "before").await;
        let other = client(&server).await;
        lose_standby(&server, &other).await;
        other
    });
    for life in 1..=LIVES {
        let host = Runtime::new().unwrap();
        let names = host.block_on(async {
            let names = open_with(&url, TIMEOUT).await;
            let load = Load::start(&names, &life.to_string(), 32);
            tokio::time::sleep(TIMEOUT * 2).await;
            assert!(load.stop().await.iter().all(|(_, answer)| answer.is_err()));
            assert!(find(&names, "before").await.is_some());
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
        let names = open_with(&url, TIMEOUT).await;
        assert!(names.save(save("unknown")).await.is_err());
        // It waits for what is under way, but not longer than a caller would.
        let closed = tokio::time::timeout(PATIENCE, names.close()).await;
        assert!(closed.is_ok());
        let names = open_with(&url, TIMEOUT).await;
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
    let backends = || async {
        let sql = "SELECT pid FROM pg_stat_activity WHERE application_name = 'namelock' ORDER BY pid";
        let rows = other.query(sql, &[]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect::<Vec<i32>>()
    };
    // So many at once that each connection there can be is there.
    while backends().await.len() < 4 {
        let mut tasks = JoinSet::new();
        for number in 0..64 {
            let names = Arc::clone(&names);
            tasks.spawn(async move {
                drop((
                    names.save(save("warm")).await,
                    names.find("t", &format!("{number}")).await,
                ))
            });
        }
        tasks.join_all().await;
    }
    let before = backends().await;
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
