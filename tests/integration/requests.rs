//! Requests with an `Idempotency-Key`: sent again, they are answered like the first.

mod lost;

use std::io::Write;
use std::net::TcpStream;

use namelock_test_artifacts::{ROOMS, guests};
use namelock_test_servers::{Memcached, Postgres};
use serde_json::{Value, json};

use crate::fixture::{Answer, Builder, Host, LONG_CALLS, LONG_LEASES, eventually, no_lock_is_left};

/// Far longer than anything in here takes.
const FOREVER_MS: &str = "200000";

/// Calls that do not run out of time, of callers that ask as fast as they can.
const MANY_CALLERS: &str = r#"
    [limits]
    rate = 1000000
    burst = 1000000
    cpu_time = "30s"
    wall_time = "5m"
"#;

/// A host that allows them.
fn many_callers() -> String {
    // It ends with the section of the greatest limits.
    format!("{LONG_LEASES}rate = 1000000\nburst = 1000000\n")
}

fn room(name: &str, owner: &str) -> Value {
    json!({ "name": name, "owner": owner })
}

fn held(name: &str, hold_ms: &str) -> Value {
    json!({ "name": name, "owner": "ann", "attributes": { "hold_ms": hold_ms } })
}

/// Checks that an answer is that of the first request again.
#[track_caller]
fn repeats(answer: &Answer, first: &Value) {
    assert_eq!(
        (answer.status.as_u16(), &answer.body),
        (201, first),
        "{:?}",
        answer.headers
    );
    assert!(answer.is_replayed(), "{:?}", answer.headers);
}

/// Sends a request until it has succeeded, and returns that answer. Until then it may be refused with these codes alone.
async fn until_created(host: &Host, tenant: &str, key: &str, body: &Value, codes: &[&str]) -> Answer {
    let mut last = None;
    eventually("the request succeeds", async || {
        let answer = host.post_keyed(tenant, key, body).await;
        let is_created = answer.status == 201;
        assert!(
            is_created || codes.contains(&answer.code().as_str()),
            "{:?}",
            answer.body
        );
        last = Some(answer);
        is_created
    })
    .await;
    last.unwrap()
}

/// Sends a request, and leaves its answer unread.
fn send(host: &Host, tenant: &str, key: &str, body: &Value) -> TcpStream {
    let body = body.to_string();
    let head = format!(
        "POST /v1/{tenant}/names HTTP/1.1\r\nhost: t\r\nidempotency-key: {key}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = host.connect();
    stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
    stream
}

/// Waits until a name is registered, and returns its registration.
async fn registered(host: &Host, tenant: &str, name: &str) -> Value {
    let mut body = Value::Null;
    eventually("the name is registered", async || {
        let answer = host.get(tenant, name).await;
        body = answer.body;
        answer.status == 200
    })
    .await;
    body
}

/// How many names a tenant has.
async fn count(host: &Host, tenant: &str) -> usize {
    let page = host.list(tenant, "limit=1000").await;
    assert_eq!((page.status.as_u16(), &page.body["next"]), (200, &Value::Null));
    page.body["names"].as_array().unwrap().len()
}

#[tokio::test]
async fn a_repeated_request_is_answered_like_the_first_and_another_one_is_refused() {
    let host = Builder::new().demo().start();
    let body = json!({ "name": "Blue Room", "owner": "ann", "lifetime_ms": 60_000, "attributes": { "a": "1" } });
    let first = host.post_keyed("demo", "k-1", &body).await;
    assert_eq!((first.status.as_u16(), first.is_replayed()), (201, false));
    // In quotes it is the same key.
    for key in ["k-1", "\"k-1\""] {
        let again = host.post_keyed("demo", key, &body).await;
        repeats(&again, &first.body);
        assert_eq!(again.headers["location"], first.headers["location"]);
    }
    // Without the key, or with another one, it is another request.
    host.post_json("demo", &body).await.is_problem(409, "name_taken");
    host.post_keyed("demo", "k-2", &body)
        .await
        .is_problem(409, "name_taken");

    let others = [
        json!({ "name": "blue room", "owner": "ann", "lifetime_ms": 60_000, "attributes": { "a": "1" } }),
        json!({ "name": "Blue Room", "owner": "bob", "lifetime_ms": 60_000, "attributes": { "a": "1" } }),
        json!({ "name": "Blue Room", "owner": "ann", "lifetime_ms": 60_001, "attributes": { "a": "1" } }),
        json!({ "name": "Blue Room", "owner": "ann", "attributes": { "a": "1" } }),
        json!({ "name": "Blue Room", "owner": "ann", "lifetime_ms": 60_000, "attributes": { "a": "2" } }),
        json!({ "name": "red room", "owner": "ann" }),
    ];
    for other in &others {
        host.post_keyed("demo", "k-1", other)
            .await
            .is_problem(422, "idempotency_key_reused");
    }
    let change = json!({ "owner": "ann", "lifetime_ms": 1 });
    host.patch_keyed("demo", "blue%20room", "k-1", &change)
        .await
        .is_problem(422, "idempotency_key_reused");
    // A key whose request has failed is free, also for another one.
    let red = host.post_keyed("demo", "k-2", &room("red room", "bob")).await;
    assert_eq!((red.status.as_u16(), red.is_replayed()), (201, false));
    assert_eq!(host.get("demo", "blue%20room").await.body, first.body);
    assert_eq!(count(&host, "demo").await, 2);
}

#[tokio::test]
async fn a_repeated_change_is_made_once() {
    let host = Builder::new().demo().start();
    let created = host.post("demo", "room", "ann").await;
    let change = json!({ "owner": "ann", "new_owner": "bob" });
    let first = host.patch_keyed("demo", "room", "k", &change).await;
    assert_eq!(
        (first.status.as_u16(), first.is_replayed()),
        (200, false),
        "{:?}",
        first.body
    );
    assert_eq!(first.body["owner"], "bob");
    // The handler would say 403 now: the room is bob's.
    host.patch("demo", "room", &change).await.is_problem(403, "forbidden");
    let again = host.patch_keyed("demo", "room", "k", &change).await;
    assert_eq!((again.status.as_u16(), &again.body), (200, &first.body));
    assert!(again.is_replayed());
    let others = [
        ("room", json!({ "owner": "bob", "new_owner": "ann" })),
        (
            "room",
            json!({ "owner": "ann", "new_owner": "bob", "lifetime_ms": null }),
        ),
        ("other", change),
    ];
    for (name, other) in others {
        host.patch_keyed("demo", name, "k", &other)
            .await
            .is_problem(422, "idempotency_key_reused");
    }
    host.post_keyed("demo", "k", &room("red", "bob"))
        .await
        .is_problem(422, "idempotency_key_reused");
    assert_eq!(host.get("demo", "room").await.body, first.body);
    assert_eq!(first.body["created_ms"], created.body["created_ms"]);
}

#[tokio::test]
async fn a_repetition_tells_of_the_registration_as_it_is_now() {
    let host = Builder::new().demo().start();
    let body = room("room", "ann");
    let first = host.post_keyed("demo", "k", &body).await;
    let changed = host
        .patch("demo", "room", &json!({ "owner": "ann", "new_owner": "bob" }))
        .await;
    assert_eq!(changed.status, 200, "{:?}", changed.body);
    repeats(&host.post_keyed("demo", "k", &body).await, &changed.body);

    assert_eq!(host.delete("demo", "room", "bob").await.status, 204);
    let freed = host.post_keyed("demo", "k", &body).await;
    assert_eq!((freed.status.as_u16(), freed.is_replayed()), (201, true));
    assert_eq!(freed.body["created_ms"], first.body["created_ms"]);
    assert!(
        freed.body["expires_ms"].as_u64() < first.body["expires_ms"].as_u64(),
        "it has ended"
    );
    host.get("demo", "room").await.is_problem(404, "not_found");

    // The row is the memory: with the next registration the key is forgotten.
    assert_eq!(host.post("demo", "room", "eve").await.status, 201);
    host.post_keyed("demo", "k", &body).await.is_problem(409, "name_taken");
}

#[tokio::test]
async fn a_key_of_one_tenant_is_nothing_to_another() {
    let host = Builder::new().demo().tenant("other", ROOMS, "").start();
    for (tenant, owner) in [("demo", "ann"), ("other", "bob")] {
        let body = room("room", owner);
        let first = host.post_keyed(tenant, "k", &body).await;
        assert_eq!((first.status.as_u16(), first.is_replayed()), (201, false));
        repeats(&host.post_keyed(tenant, "k", &body).await, &first.body);
    }
}

#[tokio::test]
async fn a_bad_key_is_refused_and_nothing_is_written() {
    let host = Builder::new().demo().start();
    let (longest, too_long) = ("k".repeat(255), "k".repeat(256));
    let kept = host.post_keyed("demo", &longest, &room("kept", "ann")).await;
    assert_eq!(kept.status, 201);
    let bad: [&[u8]; 8] = [
        b"",
        b"\"\"",
        b"\"k",
        b"k\"",
        b"\"k\\n\"",
        b"k\tk",
        b"k\xc3\xa9",
        too_long.as_bytes(),
    ];
    let mut keys: Vec<Vec<&[u8]>> = bad.into_iter().map(|key| vec![key]).collect();
    keys.push(vec![b"k", b"k"]);
    for keys in keys {
        let with_keys = |request: reqwest::RequestBuilder| {
            let value = |key: &[u8]| reqwest::header::HeaderValue::from_bytes(key).unwrap();
            let add = |request: reqwest::RequestBuilder, key: &&[u8]| request.header("idempotency-key", value(key));
            keys.iter().fold(request, add)
        };
        let body = room("room", "ann").to_string();
        let posted = host.send(|client, url| with_keys(client.post(format!("{url}/v1/demo/names")).body(body)));
        posted.await.is_problem(400, "invalid_request");
        let change = json!({ "owner": "ann", "new_owner": "eve" }).to_string();
        let changed =
            host.send(|client, url| with_keys(client.patch(format!("{url}/v1/demo/names/kept")).body(change)));
        changed.await.is_problem(400, "invalid_request");
    }
    host.get("demo", "room").await.is_problem(404, "not_found");
    assert_eq!(host.get("demo", "kept").await.body, kept.body);
}

#[tokio::test]
async fn while_the_first_runs_a_repetition_is_busy() {
    let memcached = Memcached::start();
    let host = Builder::new()
        .config(LONG_LEASES)
        .lock(&memcached)
        .tenant("slow", guests::SLEEP_HOLDING_LEASE, LONG_CALLS)
        .start();
    let body = held("room", FOREVER_MS);
    let first = send(&host, "slow", "k", &body);
    eventually("the handler holds its name", async || {
        memcached.raw().lock_keys().len() == 2
    })
    .await;
    for other in [&body, &held("other", "0")] {
        let busy = host.post_keyed("slow", "k", other).await;
        busy.is_problem(423, "name_busy");
        assert!(
            busy.body["retry_after_ms"].as_u64().is_some_and(|wait| wait > 0),
            "{:?}",
            busy.body
        );
    }
    let another = host.post_keyed("slow", "l", &held("other", "0")).await;
    assert_eq!(another.status, 201);
    // Its caller hangs up: it has done nothing, and keeps nobody from anything.
    drop(first);
    no_lock_is_left(&memcached).await;
    let again = host.post_keyed("slow", "k", &held("room", "0")).await;
    assert_eq!((again.status.as_u16(), again.is_replayed()), (201, false));
    no_lock_is_left(&memcached).await;
}

/// Sends one request with one key from many callers to two hosts until each is told that it has succeeded.
async fn send_from_many(hosts: [&Host; 2], key: &str) -> Vec<Answer> {
    let (body, codes) = (room("code", "ann"), ["name_busy"]);
    let callers = (0..32).map(|number| until_created(hosts[number % 2], "codes", key, &body, &codes));
    futures_util::future::join_all(callers).await
}

/// Checks that of these answers one tells of a registration, and all others repeat it.
fn one_is_first(answers: &[Answer]) {
    let first = answers.iter().filter(|answer| !answer.is_replayed()).count();
    assert_eq!(first, 1, "{answers:?}");
    for answer in answers {
        assert_eq!(
            (&answer.body, &answer.headers["location"]),
            (&answers[0].body, &answers[0].headers["location"])
        );
    }
}

// Shows P1: one key has one registration, also where the handler makes up another name in each call.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_callers_with_one_key_make_one_registration() {
    let (memcached, postgres) = (Memcached::start(), Postgres::start());
    let start = || {
        let builder = Builder::new().config(&many_callers()).lock(&memcached);
        let builder = builder.names_url(&postgres.url());
        builder.tenant("codes", guests::MAKE_UP_NAMES, MANY_CALLERS).start()
    };
    let (one, two) = (start(), start());
    for round in 1..=10 {
        let answers = send_from_many([&one, &two], &format!("k-{round}")).await;
        one_is_first(&answers);
        assert_eq!(count(&one, "codes").await, round);
    }
    // Without a key each request makes one.
    for _ in 0..2 {
        assert_eq!(one.post_json("codes", &room("code", "ann")).await.status, 201);
    }
    assert_eq!(count(&two, "codes").await, 12);
}

// Shows P1: the lock on a key only spares handlers a second run; the database lets one of them write.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_that_do_not_share_a_lock_make_one_registration_of_a_key() {
    let postgres = Postgres::start();
    let start = || {
        let builder = Builder::new().names_url(&postgres.url());
        builder
            .tenant("codes", guests::MAKE_UP_NAMES, MANY_CALLERS)
            .config(&many_callers())
            .start()
    };
    let (one, two) = (start(), start());
    for round in 1..=20 {
        let answers = send_from_many([&one, &two], &format!("k-{round}")).await;
        one_is_first(&answers);
        assert_eq!(count(&two, "codes").await, round);
    }
}
