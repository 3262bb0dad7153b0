//! Several hosts, or a host and a program with the Python idiom, on one memcached and one database.

use std::time::Duration;

use namelock_lock::LockKey;
use namelock_test_servers::Memcached;

use crate::fixture::Builder;

fn key(namespace: &str, name: &str) -> String {
    LockKey::new(namespace, name).unwrap().as_str().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_at_once_over_two_hosts_exactly_one_gets_the_name() {
    let memcached = Memcached::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("names.db");
    let hosts = [(); 2].map(|()| Builder::new().lock(&memcached).names(&file).demo().start());
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
    assert_eq!(memcached.raw().lock_keys(), Vec::<String>::new());
}

#[tokio::test]
async fn a_host_and_the_python_idiom_exclude_each_other() {
    let memcached = Memcached::start();
    let host = Builder::new()
        .lock(&memcached)
        .tenant("demo", namelock_test_artifacts::ROOMS, "namespace = \"\"\n")
        .tenant(
            "slow",
            namelock_test_artifacts::guests::SLEEP_HOLDING_LEASE,
            "namespace = \"\"\n",
        )
        .start();
    let mut python = memcached.raw();

    // Python holds the name, so the host is refused; not when Python is done.
    assert!(python.add(&key("", "room"), "1", 10));
    let refused = host.post("demo", "room", "ann").await;
    refused.is_problem(423, "name_busy");
    assert!(refused.body["retry_after_ms"].as_u64().is_some_and(|wait| wait > 0));
    assert!(python.delete(&key("", "room")));
    assert_eq!(host.post("demo", "room", "ann").await.status, 201);

    // The host holds the name, so Python's add fails; not when the host is done.
    let body = serde_json::json!({ "name": "kitchen", "owner": "ann", "attributes": { "hold_ms": "400" } });
    let slow = host.post_json("slow", &body);
    let try_add = async {
        let held = crate::fixture::wait_for(Duration::from_secs(10), || !memcached.raw().lock_keys().is_empty()).await;
        assert!(held.is_some(), "the lock was never taken");
        assert!(
            !memcached.raw().add(&key("", "kitchen"), "1", 10),
            "Python got a name that the host holds"
        );
    };
    let (answer, ()) = tokio::join!(slow, try_add);
    assert_eq!(answer.status, 201, "{:?}", answer.body);
    assert!(python.add(&key("", "kitchen"), "1", 10));
}

#[tokio::test]
async fn a_restart_of_memcached_between_acquire_and_release_harms_nobody() {
    let mut memcached = Memcached::start();
    let host = Builder::new()
        .lock(&memcached)
        .tenant("slow", namelock_test_artifacts::guests::SLEEP_HOLDING_LEASE, "")
        .start();
    let body = serde_json::json!({ "name": "room", "owner": "ann", "attributes": { "hold_ms": "1000" } });
    let restart = async {
        let held = crate::fixture::wait_for(Duration::from_secs(10), || !memcached.raw().lock_keys().is_empty()).await;
        assert!(held.is_some(), "the lock was never taken");
        memcached.restart();
        // Another program takes the name on the new server, with the first CAS that it counts.
        assert!(memcached.raw().add(&key("slow", "room"), "another's", 60));
    };
    let (answer, ()) = tokio::join!(host.post_json("slow", &body), restart);
    answer.is_problem(503, "lease_lost");
    assert_eq!(memcached.raw().get(&key("slow", "room")).as_deref(), Some("another's"));
}

#[tokio::test]
async fn what_is_unwise_about_memcached_is_told_and_so_are_evictions() {
    let memcached = Memcached::with_flags(&["-m", "2"]);
    let host = Builder::new()
        .config("[lock]\nwatch_every = \"100ms\"\n")
        .lock(&memcached)
        .demo()
        .start();
    assert_eq!(host.post("demo", "room", "ann").await.status, 201);
    for words in ["start it with -M", "start it with -m 64", "-o no_slab_automove"] {
        assert!(host.log().contains(words), "{words}: {}", host.log());
    }
    let mut others = memcached.raw();
    let mut number = 0;
    let value = "x".repeat(1000);
    let told = crate::fixture::wait_for(Duration::from_secs(20), || {
        for _ in 0..200 {
            number += 1;
            others.add(&format!("other {number}").replace(' ', "-"), &value, 0);
        }
        host.log().contains("memcached has evicted items")
    });
    assert!(told.await.is_some(), "{}", host.log());
}
