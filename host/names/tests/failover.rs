//! PostgreSQL that fails over: a URL that names a primary and its synchronous standby.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use namelock_names::{FencingToken, Keep, Names, NamesConfig, Quota, Registration, RequestKey, Save, SaveError, open};
use namelock_test_servers::{Postgres, PostgresPair};

/// How long something may take that takes no time, on a machine that is slow and busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// Of the sessions of a host, those whose commit waits for the standby.
const WAITING: &str = "FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND application_name = 'namelock'";

async fn open_host(url: &str) -> Arc<dyn Names> {
    let config = NamesConfig {
        timeout: Duration::from_millis(500),
        connect_timeout: Duration::from_millis(500),
        connections: 8,
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

/// Waits until something comes.
async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let came = async {
        loop {
            match ask().await {
                Some(came) => break came,
                None => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    let came = tokio::time::timeout(PATIENCE, came).await;
    came.unwrap_or_else(|_| panic!("never: {what}"))
}

/// Waits until a name can be saved, and returns its registration.
async fn until_saved(names: &Arc<dyn Names>, name: &str) -> Registration {
    until_saved_for(names, name, None).await
}

async fn until_saved_for(names: &Arc<dyn Names>, name: &str, lifetime: Option<Duration>) -> Registration {
    eventually(&format!("{name} is saved"), async || {
        let wish = Save { lifetime, ..save(name) };
        match names.save(wish).await {
            Ok(saved) => Some(saved),
            // By a try before, of which that was not known.
            Err(SaveError::Taken(saved)) => Some(*saved),
            Err(error) => {
                println!("{name}: {error}");
                None
            }
        }
    })
    .await
}

/// Finds a name: a read is answered, if not at once.
async fn find(names: &Arc<dyn Names>, name: &str) -> Option<Registration> {
    eventually(&format!("{name} is looked for"), async || {
        names.find("t", name).await.ok()
    })
    .await
}

/// Saves names, from several callers at once, until it is dropped; it gives those that were answered.
struct Load {
    tasks: Vec<tokio::task::JoinHandle<()>>,
    answered: Arc<std::sync::Mutex<Vec<String>>>,
}

impl Load {
    fn start(names: &Arc<dyn Names>) -> Self {
        let answered = Arc::<std::sync::Mutex<Vec<String>>>::default();
        let tasks = (0..16).map(|caller| {
            let (names, answered) = (Arc::clone(names), Arc::clone(&answered));
            tokio::spawn(async move {
                for number in 0.. {
                    let name = format!("{caller} {number}");
                    match names.save(save(&name)).await {
                        Ok(_) => answered.lock().unwrap().push(name),
                        Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                    }
                }
            })
        });
        Self {
            tasks: tasks.collect(),
            answered,
        }
    }

    /// Waits until more were answered.
    async fn go_on(&self) {
        let before = self.answered.lock().unwrap().len();
        eventually("more is answered", async || {
            (self.answered.lock().unwrap().len() > before + 16).then_some(())
        })
        .await;
    }

    fn stop(self) -> Vec<String> {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
        std::mem::take(&mut self.answered.lock().unwrap())
    }
}

// Shows P2: what was answered is found after each failover, whichever of the servers is the primary.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_that_is_promoted_is_found_by_its_address_and_nothing_is_lost() {
    let mut pair = PostgresPair::start(&[]);
    let url = pair.url();
    let names = open_host(&url).await;
    let load = Load::start(&names);
    load.go_on().await;
    pair.leave_standby_behind();
    // Whoever is told anything from now on is told that it is unknown.
    let answer = names.save(save("left behind")).await;
    assert!(matches!(answer, Err(SaveError::Unavailable { .. })), "{answer:?}");
    pair.fail_over();
    load.go_on().await;
    for name in load.stop() {
        assert!(find(&names, &name).await.is_some(), "{name}");
    }
    assert_eq!(find(&names, "left behind").await, None);
    // Whoever comes now finds it behind the one that is dead.
    until_saved(&open_host(&url).await, "of another host").await;
}

// Shows P2: neither a primary that hangs nor what was sent to it keeps a host from the one that has taken its place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_hangs_is_left_for_the_standby_that_has_taken_its_place() {
    let mut pair = PostgresPair::start(&[]);
    let url = pair.url();
    let names = open_host(&url).await;
    let load = Load::start(&names);
    load.go_on().await;
    pair.primary.signal("STOP");
    pair.promote();
    load.go_on().await;
    for name in load.stop() {
        assert!(find(&names, &name).await.is_some(), "{name}");
    }
    until_saved(&open_host(&url).await, "of another host").await;
    // It is not asked whether it still works on what it was sent.
    eventually("nothing is open", async || {
        (names.figures().writes_overdue == 0).then_some(())
    })
    .await;
}

// Shows P2: an old primary that was not fenced takes no write that it answers. That it answers reads is why it has to be.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_primary_that_goes_on_answers_no_write() {
    let mut pair = PostgresPair::start(&[]);
    let unaware = open_host(&pair.primary.url()).await;
    until_saved(&unaware, "before").await;
    pair.promote();
    let aware = open_host(&pair.standby.url()).await;
    until_saved(&aware, "after").await;
    for name in ["after", "other"] {
        let answer = unaware.save(save(name)).await;
        assert!(matches!(answer, Err(SaveError::Unavailable { .. })), "{answer:?}");
    }
    assert_eq!(find(&unaware, "after").await, None, "it is of before");
    assert_eq!(find(&aware, "other").await, None);
}

#[tokio::test]
async fn an_address_that_answers_nothing_does_not_keep_others_from_being_tried() {
    let server = Postgres::start();
    // The kernel accepts connections to it, and nobody else does.
    let silent = TcpListener::bind("[::1]:0")
        .or_else(|_| TcpListener::bind("127.0.0.1:0"))
        .unwrap();
    let silent = silent.local_addr().unwrap();
    let names = open_host(&format!(
        "postgres://nobody@{silent},localhost:{}/postgres?sslmode=disable",
        server.address().port()
    ))
    .await;
    until_saved(&names, "name").await;
}

#[tokio::test]
async fn where_no_server_can_be_written_each_says_why() {
    let mut pair = PostgresPair::start(&[]);
    let url = pair.url();
    let (primary, standby) = (pair.primary.address(), pair.standby.address());
    pair.primary.kill();
    let names = open_host(&url).await;
    let refused = names.find("t", "name").await.unwrap_err().to_string();
    for part in [
        format!("{primary}: "),
        "refused".to_owned(),
        format!("{standby}: "),
        "does not allow writes".to_owned(),
    ] {
        assert!(refused.contains(&part), "{refused}");
    }
    pair.promote();
    until_saved(&names, "name").await;
}

/// Saves with a key while the standby stands still, and has its wait for the standby cancelled.
async fn save_and_cancel(names: &Arc<dyn Names>, pair: &PostgresPair, wish: Save) -> Result<Registration, SaveError> {
    let saving = tokio::spawn({
        let names = Arc::clone(names);
        async move { names.save(wish).await }
    });
    let cancel = format!("SELECT count(pg_cancel_backend(pid)) {WAITING}");
    eventually("it waits for the standby", async || {
        pair.primary.ask(&cancel).filter(|count| count != "0")
    })
    .await;
    saving.await.unwrap()
}

// Shows P2: a commit that is on the primary alone is answered neither when its wait for the standby was cancelled, nor to who
// asks again, until the standby has it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_wait_for_the_standby_was_cancelled_is_not_answered_until_the_standby_has_it() {
    let pair = PostgresPair::start(&[]);
    let config = NamesConfig {
        timeout: Duration::from_secs(10),
        ..NamesConfig::default()
    };
    let names = open(&pair.url().parse().unwrap(), config).await.unwrap();
    until_saved(&names, "before").await;
    let request = RequestKey::new("t", "key", &[b"body"]);
    let wish = Save {
        request: Some(request),
        ..save("name")
    };
    pair.standby.signal("STOP");
    let answer = save_and_cancel(&names, &pair, wish.clone()).await;
    assert!(matches!(answer, Err(SaveError::Unavailable { .. })), "{answer:?}");
    let there = "SELECT count(*) FROM namelock_registrations WHERE convert_from(name, 'UTF8') = 'name'";
    assert_eq!(
        pair.primary.ask(there).as_deref(),
        Some("1"),
        "PostgreSQL has committed it"
    );
    // A request that is sent again waits for the standby, too.
    let again = save_and_cancel(&names, &pair, wish.clone()).await;
    assert!(matches!(again, Err(SaveError::Unavailable { .. })), "{again:?}");
    pair.standby.signal("CONT");
    eventually("it is answered", async || match names.save(wish.clone()).await {
        Err(SaveError::Replayed(_)) => Some(()),
        other => {
            println!("{other:?}");
            None
        }
    })
    .await;
    assert_eq!(pair.standby.ask(there).as_deref(), Some("1"));
}

// Shows P1: the clock of the server that takes over moves no registration, nor does it matter whether it has the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn database_time_goes_on_after_a_failover_to_a_server_with_another_clock() {
    let primary = Postgres::with_clock();
    // Its standby has the clock of the machine.
    primary.set_clock(2 * 3600);
    let mut pair = PostgresPair::of(primary);
    let names = open_host(&pair.url()).await;
    let brief = until_saved_for(&names, "brief", Some(Duration::from_millis(1))).await;
    let hour = until_saved_for(&names, "hour", Some(Duration::from_secs(3600))).await;
    eventually("brief ends", async || {
        find(&names, "brief").await.is_none().then_some(())
    })
    .await;
    pair.fail_over();
    assert!(until_saved(&names, "after").await.created_ms >= hour.created_ms);
    assert_eq!(find(&names, "hour").await, Some(hour.clone()), "it has not ended");
    assert_eq!(find(&names, "brief").await, None, "it has not come back");
    let next = until_saved(&names, "brief").await;
    assert!(next.created_ms >= brief.expires_ms.unwrap());
    // One that comes goes on from what the others keep.
    assert_eq!(find(&open_host(&pair.url()).await, "hour").await, Some(hour.clone()));
    // As after a failover to a standby that had not got it.
    pair.primary.ask("DELETE FROM namelock_clock").unwrap();
    let kept = "SELECT time_ms FROM namelock_clock";
    let kept = eventually("a host keeps the time anew", async || {
        pair.primary.ask(kept)?.parse::<u64>().ok()
    })
    .await;
    assert!(kept >= next.created_ms, "{kept} {next:?}");
    assert!(until_saved(&names, "last").await.created_ms >= next.created_ms);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_is_made_read_only_is_left() {
    let mut pair = PostgresPair::start(&[]);
    let names = open_host(&pair.url()).await;
    until_saved(&names, "before").await;
    pair.primary.configure("default_transaction_read_only = on");
    eventually("it refuses to write", async || {
        let refused = names.save(save("refused")).await.err()?.to_string();
        refused.contains("read-only").then_some(())
    })
    .await;
    pair.promote();
    until_saved(&names, "after").await;
    let there = "SELECT count(*) FROM namelock_registrations WHERE convert_from(name, 'UTF8') = 'after'";
    assert_eq!(pair.primary.ask(there).as_deref(), Some("0"));
    assert!(find(&names, "before").await.is_some());
}

#[tokio::test]
async fn servers_of_which_none_is_waited_for_are_told_of() {
    let pair = PostgresPair::start(&[]);
    let names = open_host(&pair.url()).await;
    let alone = open_host(&pair.primary.url()).await;
    assert!(!names.figures().lacks_standby);
    pair.primary.configure("synchronous_standby_names = ''");
    eventually("it is told", async || names.figures().lacks_standby.then_some(())).await;
    assert!(!alone.figures().lacks_standby, "there is no other");
    pair.primary.configure("synchronous_standby_names = '*'");
    eventually("it is over", async || (!names.figures().lacks_standby).then_some(())).await;
}
