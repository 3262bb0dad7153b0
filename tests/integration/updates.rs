//! Changes of registrations: prolonged, handed over, given other attributes; by whom and how not.

use namelock_lock::LockKey;
use namelock_test_artifacts::{ROOMS, guests};
use namelock_test_servers::{Memcached, Postgres};
use reqwest::Method;
use serde_json::{Value, json};

use crate::authentication::new_token;
use crate::fixture::{Answer, Builder, Host, eventually};

/// Every right that a token can have. One that is made without a word about its rights has those of 0.1.0 alone.
const ALL: &str = "register,find,free,update,list";

/// Checks that a registration is another one with these members changed, and its fencing token greater.
#[track_caller]
fn differs(now: &Value, before: &Value, changed: &Value) {
    let mut expect = before.clone();
    for (member, value) in changed.as_object().unwrap() {
        expect[member] = value.clone();
    }
    assert!(
        now["fencing_token"].as_u64() > before["fencing_token"].as_u64(),
        "{now}"
    );
    expect["fencing_token"] = now["fencing_token"].clone();
    assert_eq!(now, &expect);
}

async fn changed(host: &Host, body: &Value) -> Value {
    let answer = host.patch("demo", "room", body).await;
    assert_eq!(answer.status, 200, "{body}: {:?}", answer.body);
    assert_eq!(answer.headers["content-type"], "application/json");
    assert!(!answer.is_replayed());
    assert_eq!(host.get("demo", "room").await.body, answer.body);
    answer.body
}

async fn a_room_is_prolonged_changed_and_handed_over(host: &Host) {
    let body = json!({ "name": "room", "owner": "ann", "lifetime_ms": 600_000, "attributes": { "a": "1", "b": "2" } });
    let created = host.post_json("demo", &body).await.body;

    // From the instant of the change, not from the end that it had.
    let longer = changed(host, &json!({ "owner": "ann", "lifetime_ms": 3_600_000 })).await;
    let (begin, ends) = (
        created["created_ms"].as_u64().unwrap(),
        longer["expires_ms"].as_u64().unwrap(),
    );
    assert!((begin + 3_600_000..begin + 4_200_000).contains(&ends), "{longer}");
    differs(&longer, &created, &json!({ "expires_ms": ends }));

    let endless = changed(host, &json!({ "owner": "ann", "lifetime_ms": null })).await;
    differs(&endless, &longer, &json!({ "expires_ms": null }));

    let renamed = changed(host, &json!({ "owner": "ann", "attributes": { "c": "3" } })).await;
    differs(&renamed, &endless, &json!({ "attributes": { "c": "3" } }));

    let given = changed(host, &json!({ "owner": "ann", "new_owner": "bob" })).await;
    differs(&given, &renamed, &json!({ "owner": "bob" }));

    // She has given it away.
    for body in [
        json!({ "owner": "ann", "new_owner": "ann" }),
        json!({ "owner": "ann", "lifetime_ms": 1 }),
        json!({ "owner": "eve", "attributes": {} }),
    ] {
        host.patch("demo", "room", &body).await.is_problem(403, "forbidden");
    }
    assert_eq!(host.get("demo", "room").await.body, given);

    let all = json!({ "owner": "bob", "new_owner": "cid", "lifetime_ms": 60_000, "attributes": {} });
    let last = changed(host, &all).await;
    let ends = last["expires_ms"].clone();
    assert!(ends.as_u64() > created["created_ms"].as_u64(), "{last}");
    differs(
        &last,
        &given,
        &json!({ "owner": "cid", "expires_ms": ends, "attributes": {} }),
    );
    host.delete("demo", "room", "bob").await.is_problem(403, "forbidden");
    assert_eq!(host.delete("demo", "room", "cid").await.status, 204);
    host.patch("demo", "room", &json!({ "owner": "cid", "lifetime_ms": null }))
        .await
        .is_problem(404, "not_found");
}

#[tokio::test]
async fn its_owner_changes_a_registration_and_nobody_else_does() {
    a_room_is_prolonged_changed_and_handed_over(&Builder::new().demo().start()).await;
}

#[tokio::test]
async fn its_owner_changes_a_registration_in_postgresql() {
    let (memcached, postgres) = (Memcached::start(), Postgres::start());
    let builder = Builder::new().lock(&memcached).names_url(&postgres.url());
    a_room_is_prolonged_changed_and_handed_over(&builder.demo().start()).await;
}

// Shows P1: what has ended does not come to life again.
#[tokio::test]
async fn what_has_ended_cannot_be_changed() {
    let host = Builder::new().demo().start();
    let change = json!({ "owner": "ann", "lifetime_ms": null });
    host.patch("demo", "room", &change).await.is_problem(404, "not_found");
    let short = json!({ "name": "room", "owner": "ann", "lifetime_ms": 1 });
    assert_eq!(host.post_json("demo", &short).await.status, 201);
    eventually("it has ended", async || host.get("demo", "room").await.status == 404).await;
    host.patch("demo", "room", &change).await.is_problem(404, "not_found");
    host.get("demo", "room").await.is_problem(404, "not_found");
    assert_eq!(host.post("demo", "room", "bob").await.status, 201);
    host.patch("demo", "room", &change).await.is_problem(403, "forbidden");
}

#[tokio::test]
async fn a_change_that_breaks_a_rule_is_refused_and_nothing_is_written() {
    let host = Builder::new().demo().start();
    let created = host.post("demo", "room", "ann").await;
    let long = "x".repeat(256);
    let patch = async |body: &str| {
        let request = |client: &reqwest::Client, url: &str| client.patch(format!("{url}/v1/demo/names/room"));
        host.send(|client, url| request(client, url).body(body.to_owned()))
            .await
    };
    for body in [
        "",
        "{",
        "[]",
        "null",
        "{}",
        r#"{"new_owner":"bob"}"#,
        r#"{"owner":"ann"}"#,
        r#"{"owner":"ann","new_owner":null,"attributes":null}"#,
        r#"{"owner":"","new_owner":"bob"}"#,
        r#"{"owner":"ann","new_owner":""}"#,
        r#"{"owner":"ann","new_owner":7}"#,
        &format!(r#"{{"owner":"ann","new_owner":"{long}"}}"#),
        r#"{"owner":"ann","lifetime_ms":-1}"#,
        r#"{"owner":"ann","lifetime_ms":"1"}"#,
        r#"{"owner":"ann","lifetime_ms":1,"lifetime_ms":2}"#,
        r#"{"owner":"ann","attributes":{"a":1}}"#,
        r#"{"owner":"ann","attributes":{"a":"1","a":"2"}}"#,
        r#"{"owner":"ann","new_owner":"bob","name":"other"}"#,
        r#"{"owner":"ann","lifetime":1}"#,
    ] {
        let answer = patch(body).await;
        assert_eq!(
            (answer.status.as_u16(), answer.code().as_str()),
            (400, "invalid_request"),
            "{body}"
        );
    }
    let hundred_and_one_years = 101_u64 * 366 * 24 * 60 * 60 * 1000;
    let many: Value = (0..33)
        .map(|number| (number.to_string(), json!("")))
        .collect::<serde_json::Map<_, _>>()
        .into();
    for body in [
        json!({ "owner": "ann", "lifetime_ms": 0 }),
        json!({ "owner": "ann", "lifetime_ms": hundred_and_one_years }),
        json!({ "owner": "ann", "lifetime_ms": u64::MAX }),
        json!({ "owner": "ann", "attributes": many }),
        json!({ "owner": "ann", "attributes": { "a": "x".repeat(5000) } }),
    ] {
        let answer = patch(&body.to_string()).await;
        answer.is_problem(422, "name_invalid");
    }
    let huge = json!({ "owner": "ann", "attributes": { "a": "x".repeat(100_000) } });
    patch(&huge.to_string()).await.is_problem(413, "payload_too_large");
    let change = json!({ "owner": "ann", "new_owner": "bob" });
    host.patch("demo", &long, &change).await.is_problem(422, "name_invalid");
    host.patch("demo", "no%2fslashes", &change)
        .await
        .is_problem(422, "name_invalid");
    host.patch("demo", "%ff", &change)
        .await
        .is_problem(400, "invalid_request");
    host.patch("nobody", "room", &change)
        .await
        .is_problem(404, "unknown_tenant");
    assert_eq!(host.get("demo", "room").await.body, created.body);
}

#[tokio::test]
async fn a_change_needs_the_lock_and_the_database() {
    let (mut memcached, mut postgres) = (Memcached::start(), Postgres::start());
    let builder = Builder::new().lock(&memcached).names_url(&postgres.url());
    let host = builder.demo().start();
    let created = host.post("demo", "room", "ann").await;
    let change = json!({ "owner": "ann", "lifetime_ms": null });
    let key = LockKey::new("demo", "room").unwrap();
    let mut another = memcached.raw();
    eventually("the lock is free", async || another.add(key.as_str(), "another's", 300)).await;
    let busy = host.patch("demo", "room", &change).await;
    busy.is_problem(423, "name_busy");
    assert!(another.delete(key.as_str()));
    postgres.kill();
    host.patch("demo", "room", &change)
        .await
        .is_problem(503, "names_unavailable");
    postgres.restart();
    memcached.kill();
    host.patch("demo", "room", &change)
        .await
        .is_problem(503, "lock_unavailable");
    eventually("the registration is as it was", async || {
        host.get("demo", "room").await.body == created.body
    })
    .await;
}

#[tokio::test]
async fn a_handler_that_allows_no_changes_is_unsupported() {
    let (all, lines) = new_token(&["--rights", ALL]);
    let host = Builder::new()
        .tenant("plain", guests::PLAIN, "")
        .tenant("guarded", guests::PLAIN, &lines)
        .start();
    let created = host.post("plain", "room", "ann").await;
    for body in [json!({ "owner": "ann", "lifetime_ms": null }), json!({})] {
        let answer = host.patch("plain", "room", &body).await;
        answer.is_problem(405, "unsupported");
        assert_eq!(answer.headers["allow"], "GET,HEAD,DELETE");
    }
    assert_eq!(host.get("plain", "room").await.body, created.body);
    // Who may not call the tenant does not learn what its handler can.
    let patch = async |token: &str| ask(&host, Method::PATCH, "guarded", token).await;
    patch("nlk_wrong").await.is_problem(401, "unauthorized");
    patch(&all).await.is_problem(405, "unsupported");
}

/// A change of `room`, or a list, with a token.
async fn ask(host: &Host, method: Method, tenant: &str, token: &str) -> Answer {
    let (path, body) = match method {
        Method::PATCH => ("/room", r#"{"owner":"ann","lifetime_ms":null}"#),
        _ => ("", ""),
    };
    let token = format!("Bearer {token}");
    host.send(|client, url| {
        let request = client.request(method, format!("{url}/v1/{tenant}/names{path}"));
        request.header("authorization", token).body(body)
    })
    .await
}

#[tokio::test]
async fn to_change_and_to_list_are_rights_of_their_own() {
    let (all, all_lines) = new_token(&["--rights", ALL]);
    let (updates, update_lines) = new_token(&["--name", "updates", "--rights", "update"]);
    let (lists, list_lines) = new_token(&["--name", "lists", "--rights", "list"]);
    let (others, other_lines) = new_token(&["--name", "others"]);
    let lines = [all_lines, update_lines, list_lines, other_lines].concat();
    let host = Builder::new().tenant("mine", ROOMS, &lines).start();
    let body = json!({ "name": "room", "owner": "ann" }).to_string();
    let bearer = format!("Bearer {others}");
    let created = host
        .send(|client, url| {
            let request = client.post(format!("{url}/v1/mine/names")).body(body);
            request.header("authorization", bearer)
        })
        .await;
    assert_eq!(created.status, 201, "{:?}", created.body);
    for (method, token, may) in [
        (Method::PATCH, &all, true),
        (Method::PATCH, &updates, true),
        (Method::PATCH, &lists, false),
        (Method::PATCH, &others, false),
        (Method::GET, &all, true),
        (Method::GET, &lists, true),
        (Method::GET, &updates, false),
        (Method::GET, &others, false),
    ] {
        let answer = ask(&host, method.clone(), "mine", token).await;
        if may {
            assert_eq!(answer.status, 200, "{method}: {:?}", answer.body);
        } else {
            answer.is_problem(403, "forbidden");
        }
    }
    for method in [Method::PATCH, Method::GET] {
        ask(&host, method, "mine", "nlk_wrong")
            .await
            .is_problem(401, "unauthorized");
    }
}
