//! Several hosts, or a host and a program with the Python idiom, on one memcached and one database.

use namelock_lock::LockKey;
use namelock_test_artifacts::{ROOMS, guests};
use namelock_test_servers::Memcached;
use serde_json::json;

use crate::fixture::{Builder, LONG_CALLS, LONG_LEASES, eventually, lock_is_taken, no_lock_is_left};

/// The tenant file of one that uses the keys of the Python idiom.
const EMPTY_NAMESPACE: &str = r#"
    namespace = ""
"#;

fn key(namespace: &str, name: &str) -> String {
    LockKey::new(namespace, name).unwrap().as_str().to_owned()
}

// Shows P1: of forty requests for one name over two hosts, one is answered 201.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_many_requests_over_two_hosts_gets_the_name() {
    let memcached = Memcached::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("names.db");
    let start = || {
        Builder::new()
            .config(LONG_LEASES)
            .lock(&memcached)
            .names(&file)
            .demo()
            .start()
    };
    let hosts = [start(), start()];
    let mut refusals = std::collections::BTreeMap::<String, usize>::new();
    for round in 0..50 {
        let name = format!("room {round}");
        let owners: Vec<_> = (0..40).map(|number| format!("owner {number}")).collect();
        let posts = owners
            .iter()
            .enumerate()
            .map(|(number, owner)| hosts[number % 2].post("demo", &name, owner));
        let answers = futures_util::future::join_all(posts).await;
        let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 201);
        assert_eq!(won.len(), 1, "round {round}");
        for answer in lost {
            assert!(
                ["name_taken", "name_busy"].contains(&answer.code().as_str()),
                "{:?}",
                answer.body
            );
            *refusals.entry(answer.code()).or_default() += 1;
        }
        for host in &hosts {
            assert_eq!(host.get("demo", &name.replace(' ', "%20")).await.body, won[0].body);
        }
    }
    println!("50 rounds of 40 requests over two hosts: one 201 in each, refused with {refusals:?}");
    no_lock_is_left(&memcached).await;
}

// Shows P4: neither side takes or releases a lock that the other one holds.
#[tokio::test]
async fn a_host_and_the_python_idiom_exclude_each_other() {
    let memcached = Memcached::start();
    let slow = format!("{EMPTY_NAMESPACE}{LONG_CALLS}");
    let shared = LONG_LEASES.replace("[lock]", "[lock]\nshared_namespace = ['demo', 'slow']");
    let host = Builder::new()
        .config(&shared)
        .lock(&memcached)
        .tenant("demo", ROOMS, EMPTY_NAMESPACE)
        .tenant("slow", guests::SLEEP_HOLDING_LEASE, &slow)
        .start();
    let mut python = memcached.raw();

    // Python holds the name, so the host is refused until Python is done.
    assert!(python.add(&key("", "room"), "1", 300));
    let refused = host.post("demo", "room", "ann").await;
    refused.is_problem(423, "name_busy");
    assert!(refused.body["retry_after_ms"].as_u64().is_some_and(|wait| wait > 0));
    assert!(python.delete(&key("", "room")));
    assert_eq!(host.post("demo", "room", "ann").await.status, 201);
    eventually("the host has released the name", async || {
        python.add(&key("", "room"), "1", 1)
    })
    .await;

    // The host holds the name, so Python's add fails until the host is done: here, because its client hangs up.
    let body = json!({ "name": "kitchen", "owner": "ann", "attributes": { "hold_ms": "200000" } });
    let slow = host.post_json("slow", &body);
    let try_add = async {
        eventually("the host has taken the name", async || {
            memcached.raw().get(&key("", "kitchen")).is_some()
        })
        .await;
        assert!(
            !python.add(&key("", "kitchen"), "1", 300),
            "Python got a name that the host holds"
        );
    };
    tokio::select! {
        answer = slow => panic!("the call has ended: {answer:?}"),
        () = try_add => {}
    }
    eventually("the host has released the name", async || {
        python.add(&key("", "kitchen"), "1", 300)
    })
    .await;
}

// Shows P4: a release or a renewal after the lock was lost does not touch the one of somebody else.
#[tokio::test]
async fn a_restart_of_memcached_between_acquire_and_release_harms_nobody() {
    let mut memcached = Memcached::start();
    let host = Builder::new()
        .config(LONG_LEASES)
        .lock(&memcached)
        .tenant("slow", guests::SLEEP_HOLDING_LEASE, LONG_CALLS)
        .start();
    let body = json!({ "name": "room", "owner": "ann", "attributes": { "hold_ms": "200000" } });
    let restart = async {
        lock_is_taken(&memcached).await;
        memcached.restart();
        // Another program takes the name on the new server, with the first CAS that it counts.
        assert!(memcached.raw().add(&key("slow", "room"), "another's", 300));
    };
    let (answer, ()) = tokio::join!(host.post_json("slow", &body), restart);
    answer.is_problem(503, "lease_lost");
    assert_eq!(memcached.raw().get(&key("slow", "room")).as_deref(), Some("another's"));
}

#[tokio::test]
async fn unsafe_settings_and_evictions_are_logged() {
    let memcached = Memcached::with_flags(&["-m", "2"]);
    let config = r#"
        [lock]
        watch_every = "100ms"
    "#;
    let host = Builder::new().config(config).lock(&memcached).demo().start();
    assert_eq!(host.post("demo", "room", "ann").await.status, 201);
    for words in ["start it with -M", "start it with -m 64", "-o no_slab_automove"] {
        assert!(host.log().contains(words), "{words}: {}", host.log());
    }
    let mut others = memcached.raw();
    let mut number = 0;
    let value = "x".repeat(1000);
    eventually("the log speaks of evictions", async || {
        for _ in 0..200 {
            number += 1;
            others.add(&format!("other-{number}"), &value, 0);
        }
        host.log().contains("memcached has evicted items")
    })
    .await;
}
