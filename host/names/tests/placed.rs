//! Several databases: tenants that are moved between them while hosts write.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use namelock_names::placed::{MoveError, Mover, Step, placements};
use namelock_names::{FencingToken, Keep, Names, NamesConfig, NamesError, NamesUrl, Quota, Save, SaveError, open};
use namelock_test_servers::Postgres;
use tokio::time::Instant;
use tokio_postgres::{Client, NoTls};

/// Two databases in one server.
struct Two {
    url: NamesUrl,
    urls: [String; 2],
    server: Postgres,
}

async fn two() -> Two {
    let server = Postgres::start();
    client(&server.url())
        .await
        .batch_execute("CREATE DATABASE second")
        .await
        .unwrap();
    let urls = [server.url(), server.url().replace("/postgres", "/second")];
    Two {
        url: urls.join(",").parse().unwrap(),
        urls,
        server,
    }
}

async fn client(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

fn config() -> NamesConfig {
    NamesConfig {
        timeout: Duration::from_secs(20),
        connections: 4,
        ..NamesConfig::default()
    }
}

async fn host(url: &NamesUrl) -> Arc<dyn Names> {
    let names = open(url, config()).await.unwrap();
    let ready = async { while names.ready().await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(60), ready).await.unwrap();
    names
}

fn save(tenant: &str, name: &str, owner: &str, token: u64) -> Save {
    Save {
        tenant: tenant.to_owned(),
        name: name.to_owned(),
        owner: owner.to_owned(),
        lifetime: None,
        attributes: Vec::new(),
        fencing_token: FencingToken::new(token),
        deadline: Instant::now() + Duration::from_secs(60),
        keep: Keep::default(),
        quota: Quota::default(),
        hold: Duration::ZERO,
        request: None,
    }
}

async fn place_of(two: &Two, tenant: &str) -> String {
    let all = placements(&two.url, &config()).await.unwrap();
    let place = all.into_iter().find(|place| place.tenant == tenant).unwrap();
    assert_eq!((place.moving_to, place.moved_from), (None, None));
    place.database
}

/// Moves a tenant, or undoes its move, and returns how many steps that took.
async fn move_to(two: &Two, tenant: &str, to: Option<&str>) -> u32 {
    let mut mover = Mover::open(&two.url, &config(), tenant, to).await.unwrap();
    let mut steps = 0;
    while mover.next().await.unwrap().is_some() {
        steps += 1;
    }
    steps
}

/// Begins to move a tenant, and is killed after so many steps. Returns whether there were so many.
async fn interrupted(two: &Two, tenant: &str, to: Option<&str>, steps: u32) -> bool {
    let mut mover = Mover::open(&two.url, &config(), tenant, to).await.unwrap();
    for _ in 0..steps {
        if mover.next().await.unwrap().is_none() {
            return false;
        }
    }
    true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_tenant_comes_where_the_fewest_are_and_one_that_has_names_stays() {
    let two = two().await;
    let before = host(&two.urls[0].parse().unwrap()).await;
    for tenant in ["a", "b"] {
        before.save(save(tenant, "n", "ann", 1)).await.unwrap();
    }
    let names = host(&two.url).await;
    for tenant in ["a", "b", "c", "d", "e"] {
        names.save(save(tenant, "m", "ann", 1)).await.unwrap();
    }
    let all = placements(&two.url, &config()).await.unwrap();
    let at: Vec<_> = all.iter().map(|place| place.database.ends_with("second")).collect();
    assert_eq!(at, [false, false, true, true, false]);
    assert!(names.find("a", "n").await.unwrap().is_some());
    // The host that knows only the first one can write nothing of the others, and soon tells nobody that there is nothing.
    assert_eq!(before.save(save("c", "x", "bob", 2)).await, Err(SaveError::Moved));
    let told = async { while before.find("c", "m").await != Err(NamesError::Moved) {} };
    tokio::time::timeout(Duration::from_secs(60), told).await.unwrap();
    before.save(save("a", "y", "bob", 2)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn databases_that_do_not_belong_together_are_refused() {
    let two = two().await;
    host(&two.url).await;
    let refused = async |url: &str| match open(&url.parse().unwrap(), config()).await {
        Err(error) => error.to_string(),
        Ok(_) => panic!("{url}"),
    };
    let alone = refused(&two.urls[1]).await;
    assert!(alone.contains("not the first"), "{alone}");
    let turned = refused(&format!("{},{}", two.urls[1], two.urls[0])).await;
    assert!(turned.contains("not the first"), "{turned}");
    client(&two.server.url())
        .await
        .batch_execute("CREATE DATABASE third")
        .await
        .unwrap();
    let third = two.server.url().replace("/postgres", "/third");
    let other = refused(&format!("{third},{}", two.urls[1])).await;
    assert!(other.contains("belongs to the first database"), "{other}");
    host(&third.parse().unwrap())
        .await
        .save(save("t", "a", "ann", 1))
        .await
        .unwrap();
    let used = refused(&format!("{},{third}", two.urls[0])).await;
    assert!(used.contains("names or tenants of its own"), "{used}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mover_that_was_overtaken_writes_nothing() {
    let two = two().await;
    let names = host(&two.url).await;
    names.save(save("t", "a", "ann", 1)).await.unwrap();
    for steps in 1..=4 {
        let mut slow = Mover::open(&two.url, &config(), "t", Some("2")).await.unwrap();
        for _ in 0..steps {
            slow.next().await.unwrap();
        }
        match Mover::open(&two.url, &config(), "t", Some("2")).await {
            Err(MoveError::Refused(why)) => assert!(why.contains("another command"), "{why}"),
            other => panic!("{other:?}"),
        }
        // Its lock is lost, as with its connection, and the next one undoes the move.
        let end =
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND classid = $1::bigint::oid";
        client(&two.urls[0])
            .await
            .query(end, &[&0x6e6c_7403_i64])
            .await
            .unwrap();
        move_to(&two, "t", None).await;
        let name = format!("after {steps}");
        names.save(save("t", &name, "ann", 2)).await.unwrap();
        while slow.next().await.is_ok() {}
        // Nor has it gated the tenant again.
        for name in ["a", &name] {
            assert!(names.find("t", name).await.unwrap().is_some(), "{steps} {name}");
        }
        names.save(save("t", &format!("{name} all"), "ann", 3)).await.unwrap();
        assert!(!place_of(&two, "t").await.ends_with("second"));
    }
    move_to(&two, "t", Some("2")).await;
    assert!(names.find("t", "a").await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_had_ended_stays_so_and_nothing_ends_early_whatever_the_time_is_there() {
    for ahead_seconds in [-86_400_i64, 86_400] {
        let (first, second) = (Postgres::start(), Postgres::with_clock());
        second.set_clock(ahead_seconds);
        let url: NamesUrl = format!("{},{}", first.url(), second.url()).parse().unwrap();
        let names = host(&url).await;
        let mut short = save("t", "short", "ann", 1);
        short.lifetime = Some(Duration::from_millis(1));
        names.save(short).await.unwrap();
        let mut long = save("t", "long", "ann", 1);
        long.lifetime = Some(Duration::from_secs(3600));
        let long = names.save(long).await.unwrap();
        let ended = async { while names.find("t", "short").await.unwrap().is_some() {} };
        tokio::time::timeout(Duration::from_secs(60), ended).await.unwrap();
        let mut mover = Mover::open(&url, &config(), "t", Some("2")).await.unwrap();
        while mover.next().await.unwrap().is_some() {}
        drop(mover);
        assert_eq!(names.find("t", "short").await.unwrap(), None, "{ahead_seconds}");
        let found = names.find("t", "long").await.unwrap().unwrap();
        assert_eq!((found.owner.as_str(), found.created_ms), ("ann", long.created_ms));
        let (then, now) = (long.expires_ms.unwrap(), found.expires_ms.unwrap());
        if ahead_seconds < 0 {
            assert_eq!(now, then);
        } else {
            let later = now - then;
            assert!((86_000_000..87_000_000).contains(&later), "{later}");
        }
    }
}

/// What one task has been told.
type Owners = HashMap<String, (String, u64)>;

/// Saves names of a tenant through a host until it is told to stop, for many of which others try, too. Returns what was
/// acknowledged, and how many requests failed.
async fn writes(
    names: Arc<dyn Names>,
    tenant: &'static str,
    task: u64,
    token: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
) -> (Owners, u64) {
    let (mut owners, mut failed, mut number) = (Owners::new(), 0, 0);
    while !stop.load(Relaxed) {
        let token = token.fetch_add(1, Relaxed);
        let name = match number % 3 {
            0 => format!("own {task} {number}"),
            _ => format!("shared {number}"),
        };
        let owner = format!("{task}");
        match names.save(save(tenant, &name, &owner, token)).await {
            Ok(_) => {
                owners.insert(name, (owner, token));
            }
            Err(SaveError::Taken(taken)) => assert_ne!(taken.owner, owner, "{name}"),
            Err(SaveError::LeaseLost) => {}
            Err(SaveError::Unavailable { .. }) => {
                failed += 1;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Err(error) => panic!("{error}"),
        }
        number += 1;
    }
    (owners, failed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_is_moved_under_load_interrupted_at_each_step_and_nothing_is_lost() {
    let two = two().await;
    let (stop, token) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(1)));
    let mut hosts = Vec::new();
    for _ in 0..3 {
        hosts.push(host(&two.url).await);
    }
    let mut tasks = Vec::new();
    for (task, host) in (0..).zip(hosts.iter().cycle().take(9)) {
        let tenant = ["moved", "first", "second"][task as usize / 3];
        let all = writes(Arc::clone(host), tenant, task, Arc::clone(&token), Arc::clone(&stop));
        tasks.push((tenant, tokio::spawn(all)));
    }
    let placed = async { while hosts[0].find("moved", "x").await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(60), placed).await.unwrap();
    // There and back, each time interrupted a step later, half of them undone first.
    for steps in 0.. {
        let to = if place_of(&two, "moved").await.ends_with("second") {
            "1"
        } else {
            "2"
        };
        let was_interrupted = interrupted(&two, "moved", Some(to), steps).await;
        if steps % 2 == 0 && steps < 5 {
            move_to(&two, "moved", None).await;
        }
        move_to(&two, "moved", Some(to)).await;
        assert_eq!(place_of(&two, "moved").await.ends_with("second"), to == "2");
        if !was_interrupted {
            break;
        }
    }
    stop.store(true, Relaxed);
    let fresh = host(&two.url).await;
    let (mut acknowledged, mut failed) = (0, 0);
    let mut owners: HashMap<(&str, String), (String, u64)> = HashMap::new();
    for (tenant, task) in tasks {
        let (own, failures) = task.await.unwrap();
        acknowledged += own.len();
        if tenant == "moved" {
            failed += failures;
        } else {
            assert_eq!(failures, 0, "{tenant} is not moved");
        }
        for (name, owner) in own {
            let before = owners.insert((tenant, name.clone()), owner);
            assert_eq!(before, None, "two owners of {name}");
        }
    }
    for ((tenant, name), (owner, token)) in &owners {
        for names in [&fresh, &hosts[0]] {
            let found = names.find(tenant, name).await.unwrap().unwrap();
            assert_eq!((&found.owner, found.fencing_token.get()), (owner, *token));
        }
    }
    println!("{acknowledged} acknowledged, {failed} refused while the tenant was moved");
    assert!(failed > 0 && acknowledged > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_steps_of_a_move_are_told() {
    let two = two().await;
    host(&two.url).await.save(save("t", "a", "ann", 1)).await.unwrap();
    let mut mover = Mover::open(&two.url, &config(), "t", Some("2")).await.unwrap();
    let mut steps = Vec::new();
    while let Some(step) = mover.next().await.unwrap() {
        steps.push(step);
    }
    use Step::*;
    assert_eq!(
        steps,
        [
            Recorded,
            Gated,
            Cleared,
            Copied(1),
            Copied(1),
            Compared(1),
            Switched,
            Opened,
            Removed
        ]
    );
    let left = client(&two.urls[0])
        .await
        .query_one("SELECT count(*) FROM namelock_registrations", &[])
        .await
        .unwrap();
    assert_eq!(left.get::<_, i64>(0), 0);
}
