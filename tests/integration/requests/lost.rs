//! Requests whose first answer was lost, or did not say what has been done: whatever has failed, the key tells.

use std::io::Write;
use std::net::TcpStream;

use namelock_test_artifacts::guests;
use namelock_test_servers::{Memcached, Postgres, PostgresPair};
use serde_json::{Value, json};

use super::{FOREVER_MS, count, held, registered, repeats, room, send, until_created};
use crate::fixture::{Answer, Builder, Host, LONG_CALLS, LONG_LEASES, eventually, no_lock_is_left};

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
    let (unanswered, saved) = unanswered(&one, &two, &body).await;
    one.process.kill();
    drop(unanswered);
    // Until the lock of the one that is dead expires, nobody can know that the request does not run.
    let answer = until_created(&two, "slow", "k", &body, &["name_busy"]).await;
    repeats(&answer, &saved);
    two.post_keyed("slow", "k", &held("other", "0"))
        .await
        .is_problem(422, "idempotency_key_reused");
}

/// Sends a request to `one` until it is registered, as `other` sees, and not answered. Times are short, and where one is over the
/// request is refused, and sent again.
async fn unanswered(one: &Host, other: &Host, body: &Value) -> (TcpStream, Value) {
    let mut stream = send(one, "slow", "k", body);
    let mut saved = Value::Null;
    eventually("the name is registered", async || {
        stream.set_nonblocking(true).unwrap();
        if stream.peek(&mut [0]).is_ok() {
            stream = send(one, "slow", "k", body);
        }
        let found = other.get("slow", "room").await;
        saved = found.body;
        found.status == 200
    })
    .await;
    (stream, saved)
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

/// Hands the room `room` of ann to somebody over, and tells what was answered.
async fn hand_over(host: &Host, key: &str, to: &str) -> Answer {
    let change = json!({ "owner": "ann", "new_owner": to });
    host.patch_keyed("demo", "room", key, &change).await
}

/// Waits until bob has the room, to whom it was given first, and neither the one who was given it later nor ann.
async fn until_bob_has_it(hosts: [&Host; 2]) {
    eventually("the first change is done", async || {
        let first = hand_over(hosts[0], "first", "bob").await;
        first.status == 200 && first.body["owner"] == "bob" && first.is_replayed()
    })
    .await;
    eventually("the second one is refused", async || {
        let second = hand_over(hosts[1], "second", "carl").await;
        assert_ne!(second.status, 200, "{:?}", second.body);
        second.code() == "forbidden"
    })
    .await;
    assert_eq!(hosts[1].get("demo", "room").await.body["owner"], "bob");
}

// Shows P1: a change that was decided on what an earlier write is about to overwrite is refused, also where the lock of the
// earlier one has expired meanwhile.
#[tokio::test]
async fn what_is_written_late_is_not_overwritten_by_who_did_not_know_of_it() {
    let (memcached, pair) = (Memcached::start(), PostgresPair::start(&[]));
    let start = || {
        let builder = Builder::new().config(SHORT_LEASES).lock(&memcached);
        builder.names_url(&pair.primary.url()).demo().start()
    };
    let (one, two) = (start(), start());
    // Its times are short, and may be over on a slow machine.
    let codes = ["names_unavailable", "lock_unavailable", "lease_lost", "name_busy"];
    until_created(&one, "demo", "a", &room("room", "ann"), &codes).await;
    until_created(&two, "demo", "b", &room("other", "ann"), &codes).await;
    pair.standby.signal("STOP");
    hand_over(&one, "first", "bob")
        .await
        .is_problem(503, "names_unavailable");
    // Nobody else has the name while it is open whether that is done, but for no longer than the lease lasts. Then another
    // change, too, is sent on what there is to be read, and waits for the row.
    let mut codes = Vec::new();
    eventually("another one is sent", async || {
        codes.push(hand_over(&two, "second", "carl").await.code());
        codes.last().unwrap() == "names_unavailable"
    })
    .await;
    assert!(
        codes[..codes.len() - 1].iter().all(|code| code == "name_busy"),
        "{codes:?}"
    );
    pair.standby.signal("CONT");
    until_bob_has_it([&one, &two]).await;
}

// Shows P1: the lock of a caller that hangs up lasts until it is known whether its write is done.
#[tokio::test]
async fn a_caller_that_hangs_up_keeps_the_name_until_its_write_is_decided() {
    let (memcached, pair) = (Memcached::start(), PostgresPair::start(&[]));
    let config = format!("{LONG_LEASES}[names]\ntimeout = \"10s\"\n");
    let start = || {
        let builder = Builder::new().config(&config).lock(&memcached);
        builder.names_url(&pair.primary.url()).demo().start()
    };
    let (one, two) = (start(), start());
    assert_eq!(one.post_json("demo", &room("room", "ann")).await.status, 201);
    pair.standby.signal("STOP");
    let body = json!({ "owner": "ann", "new_owner": "bob" }).to_string();
    let head = "PATCH /v1/demo/names/room HTTP/1.1\r\nhost: t\r\nidempotency-key: first\r\n";
    let mut caller = one.connect();
    let request = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
    caller.write_all(request.as_bytes()).unwrap();
    let waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND application_name = 'namelock'";
    eventually("its write waits for the standby", async || {
        pair.primary.ask(waiting).as_deref() == Some("1")
    })
    .await;
    drop(caller);
    eventually("the host knows that it has gone", async || {
        let metrics = one.admin("/metrics").await.body;
        let gone = |line: &str| line.contains("client_gone") && line.ends_with(" 1");
        metrics.as_str().unwrap().lines().any(gone)
    })
    .await;
    hand_over(&two, "second", "carl").await.is_problem(423, "name_busy");
    hand_over(&two, "first", "bob").await.is_problem(423, "name_busy");
    pair.standby.signal("CONT");
    until_bob_has_it([&one, &two]).await;
    no_lock_is_left(&memcached).await;
}
