//! Requests whose first answer was lost, or did not say what has been done: whatever has failed, the key tells.

use namelock_test_artifacts::guests;
use namelock_test_servers::{Memcached, Postgres, PostgresPair};
use serde_json::json;

use super::{FOREVER_MS, count, held, registered, repeats, room, send, until_created};
use crate::fixture::{Builder, LONG_CALLS, LONG_LEASES, eventually, no_lock_is_left};

/// Leases that end soon, so that the locks of a host that was killed expire while a test waits.
const SHORT_LEASES: &str = r#"
    [lock]
    lease = "3s"
    max_hold = "4s"
    [names]
    busy_timeout = "500ms"
    timeout = "500ms"
    [limits.max]
    cpu_time = "30s"
    wall_time = "5m"
"#;

#[tokio::test]
async fn another_host_knows_the_request_also_after_a_crash() {
    let (memcached, postgres) = (Memcached::start(), Postgres::start());
    let start = || {
        let builder = Builder::new().lock(&memcached).names_url(&postgres.url());
        builder.demo().start()
    };
    let (one, two) = (start(), start());
    let body = room("room", "ann");
    let first = one.post_keyed("demo", "k", &body).await;
    assert_eq!(first.status, 201);
    repeats(&two.post_keyed("demo", "k", &body).await, &first.body);
    two.post_keyed("demo", "k", &room("red", "ann"))
        .await
        .is_problem(422, "idempotency_key_reused");
    let change = json!({ "owner": "ann", "new_owner": "bob" });
    let changed = two.patch_keyed("demo", "room", "l", &change).await;
    assert_eq!(changed.body["owner"], "bob", "{:?}", changed.body);

    let one = one.crash_and_start();
    for host in [&one, &two] {
        let answer = until_created(host, "demo", "k", &body, &["name_busy"]).await;
        repeats(&answer, &changed.body);
        let again = host.patch_keyed("demo", "room", "l", &change).await;
        assert_eq!((again.status.as_u16(), &again.body), (200, &changed.body));
        assert!(again.is_replayed());
    }
}

// Shows P2: what was committed is told, also by another host than the one that was killed before it could answer.
#[tokio::test]
async fn a_request_whose_host_was_killed_after_the_commit_is_answered_by_another() {
    let (memcached, postgres) = (Memcached::start(), Postgres::start());
    let start = || {
        let builder = Builder::new().config(SHORT_LEASES).lock(&memcached);
        let builder = builder.names_url(&postgres.url());
        builder.tenant("slow", guests::SAVE_THEN_SLEEP, LONG_CALLS).start()
    };
    let (mut one, two) = (start(), start());
    let body = held("room", FOREVER_MS);
    let unanswered = send(&one, "slow", "k", &body);
    let saved = registered(&two, "slow", "room").await;
    one.process.kill();
    drop(unanswered);
    // Until the lock of the one that is dead expires, nobody can know that the request does not run.
    let answer = until_created(&two, "slow", "k", &body, &["name_busy"]).await;
    repeats(&answer, &saved);
    two.post_keyed("slow", "k", &held("other", "0"))
        .await
        .is_problem(422, "idempotency_key_reused");
}

#[tokio::test]
async fn a_lost_answer_is_told_again() {
    let memcached = Memcached::start();
    let host = Builder::new()
        .config(LONG_LEASES)
        .lock(&memcached)
        .tenant("slow", guests::SAVE_THEN_SLEEP, LONG_CALLS)
        .start();
    let body = held("room", FOREVER_MS);
    let unread = send(&host, "slow", "k", &body);
    let saved = registered(&host, "slow", "room").await;
    drop(unread);
    let answer = until_created(&host, "slow", "k", &body, &["name_busy"]).await;
    repeats(&answer, &saved);
    no_lock_is_left(&memcached).await;
}

#[tokio::test]
async fn a_handler_that_saves_and_runs_out_of_time_has_saved() {
    let short = r#"
        [limits]
        wall_time = "500ms"
    "#;
    let host = Builder::new().tenant("slow", guests::SAVE_THEN_SLEEP, short).start();
    let body = held("room", FOREVER_MS);
    let mut late = host.post_keyed("slow", "k", &body).await;
    // On a slow machine the time may be over before it has saved anything.
    eventually("the handler has saved", async || {
        late.is_problem(504, "handler_deadline");
        let saved = host.get("slow", "room").await.status == 200;
        if !saved {
            late = host.post_keyed("slow", "k", &body).await;
        }
        saved
    })
    .await;
    let saved = host.get("slow", "room").await;
    repeats(&host.post_keyed("slow", "k", &body).await, &saved.body);
}

#[tokio::test]
async fn a_handler_that_saves_and_loses_its_lease_has_saved() {
    let memcached = Memcached::start();
    let host = Builder::new()
        .config(SHORT_LEASES)
        .lock(&memcached)
        .tenant("slow", guests::SAVE_THEN_SLEEP, LONG_CALLS)
        .start();
    let body = held("room", FOREVER_MS);
    let lost = host.post_keyed("slow", "k", &body).await;
    lost.is_problem(503, "lease_lost");
    let saved = host.get("slow", "room").await;
    assert_eq!(saved.status, 200);
    repeats(&host.post_keyed("slow", "k", &body).await, &saved.body);
}

#[tokio::test]
async fn without_the_lock_service_a_request_is_refused_and_can_be_repeated() {
    let mut memcached = Memcached::start();
    let host = Builder::new().config(SHORT_LEASES).lock(&memcached).demo().start();
    host.wait_until_ready();
    let first = host.post_keyed("demo", "k", &room("first", "ann")).await;
    assert_eq!(first.status, 201);
    memcached.kill();
    let body = room("room", "ann");
    host.post_keyed("demo", "l", &body)
        .await
        .is_problem(503, "lock_unavailable");
    host.get("demo", "room").await.is_problem(404, "not_found");
    memcached.restart();
    let created = until_created(&host, "demo", "l", &body, &["lock_unavailable", "name_busy"]).await;
    assert!(!created.is_replayed(), "it was refused before it had begun");
    repeats(&host.post_keyed("demo", "l", &body).await, &created.body);
    repeats(&host.post_keyed("demo", "k", &room("first", "ann")).await, &first.body);
}

#[tokio::test]
async fn without_the_names_database_a_request_is_refused_and_can_be_repeated() {
    let (memcached, mut postgres) = (Memcached::start(), Postgres::start());
    let builder = Builder::new().lock(&memcached).names_url(&postgres.url());
    let host = builder.demo().start();
    host.wait_until_ready();
    let first = host.post_keyed("demo", "k", &room("first", "ann")).await;
    assert_eq!(first.status, 201);
    postgres.kill();
    let body = room("room", "ann");
    for (key, body) in [("k", &room("first", "ann")), ("l", &body)] {
        let refused = host.post_keyed("demo", key, body).await;
        refused.is_problem(503, "names_unavailable");
    }
    postgres.restart();
    let created = until_created(&host, "demo", "l", &body, &["names_unavailable", "lock_unavailable"]).await;
    assert!(!created.is_replayed(), "it was refused before it had begun");
    repeats(&host.post_keyed("demo", "k", &room("first", "ann")).await, &first.body);
}

// Shows P1: a write whose end nobody knew is found by its key, and is not done again.
#[tokio::test]
async fn a_commit_that_was_not_answered_is_found_by_its_key() {
    let (memcached, pair) = (Memcached::start(), PostgresPair::start(&[]));
    let config = SHORT_LEASES
        .replace("lease = \"3s\"", "lease = \"10s\"")
        .replace("\"4s\"", "\"20s\"");
    let builder = Builder::new().config(&config).lock(&memcached);
    let builder = builder.names_url(&pair.primary.url());
    let host = builder.tenant("codes", guests::MAKE_UP_NAMES, "").start();
    host.wait_until_ready();
    pair.standby.signal("STOP");
    let body = room("code", "ann");
    let unknown = host.post_keyed("codes", "k", &body).await;
    unknown.is_problem(503, "names_unavailable");
    pair.standby.signal("CONT");
    let codes = ["names_unavailable", "lock_unavailable", "lease_lost", "name_busy"];
    let answer = until_created(&host, "codes", "k", &body, &codes).await;
    assert!(answer.is_replayed(), "the first write was done: {:?}", answer.body);
    assert_eq!(count(&host, "codes").await, 1);
}
