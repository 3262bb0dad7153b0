//! What a user of one host sees.

use serde_json::json;

use crate::fixture::{Builder, Host, eventually, lock_is_taken};

#[tokio::test]
async fn a_name_is_registered_found_freed_and_registered_again() {
    let host = Builder::new().demo().start();
    let created = host.post("demo", "  Blue Room ", "ann").await;
    assert_eq!(created.status, 201, "{:?}", created.body);
    assert_eq!(created.headers["location"], "/v1/demo/names/blue%20room");
    assert_eq!(created.body["name"], "blue room");
    assert_eq!(created.body["owner"], "ann");
    let day = created.body["expires_ms"].as_u64().unwrap() - created.body["created_ms"].as_u64().unwrap();
    assert_eq!(day, 24 * 60 * 60 * 1000);

    host.post("demo", "BLUE room", "bob")
        .await
        .is_problem(409, "name_taken");
    let bad = host.post("demo", "no/slashes!", "bob").await;
    bad.is_problem(422, "name_invalid");
    host.post("nobody", "blue room", "bob")
        .await
        .is_problem(404, "unknown_tenant");

    let found = host.get("demo", "blue%20room").await;
    assert_eq!((found.status.as_u16(), &found.body), (200, &created.body));
    host.get("demo", "red%20room").await.is_problem(404, "not_found");

    host.delete("demo", "blue%20room", "bob")
        .await
        .is_problem(403, "forbidden");
    assert_eq!(host.delete("demo", "blue%20room", "ann").await.status, 204);
    host.get("demo", "blue%20room").await.is_problem(404, "not_found");
    let again = host.post("demo", "blue room", "bob").await;
    assert_eq!(again.status, 201);
    assert!(again.body["fencing_token"].as_u64() > created.body["fencing_token"].as_u64());
}

#[tokio::test]
async fn a_lifetime_and_attributes_are_saved_as_requested() {
    let host = Builder::new().demo().start();
    let body = json!({ "name": "a", "owner": "ann", "lifetime_ms": 60_000, "attributes": { "topic": "tea", "colour": "blå" } });
    let created = host.post_json("demo", &body).await;
    assert_eq!(created.status, 201, "{:?}", created.body);
    assert_eq!(created.body["attributes"], body["attributes"]);
    let expires = created.body["expires_ms"].as_u64().unwrap();
    assert_eq!(expires - created.body["created_ms"].as_u64().unwrap(), 60_000);
}

// Shows P1: nobody gets a name before its registration has ended.
#[tokio::test]
async fn a_registration_ends_with_its_lifetime() {
    let host = Builder::new().demo().start();
    let body = json!({ "name": "a", "owner": "ann", "lifetime_ms": 1000 });
    let first = host.post_json("demo", &body).await;
    assert_eq!(first.status, 201, "{:?}", first.body);
    let mut second = host.post("demo", "a", "bob").await;
    eventually("the name is free again", async || {
        second = host.post("demo", "a", "bob").await;
        if second.status != 201 {
            second.is_problem(409, "name_taken");
        }
        second.status == 201
    })
    .await;
    assert!(second.body["created_ms"].as_u64() >= first.body["expires_ms"].as_u64());
    assert_eq!(host.get("demo", "a").await.body["owner"], "bob");
}

#[tokio::test]
async fn a_tenants_settings_reach_its_handler() {
    let toml = r#"
        [settings]
        default_lifetime_ms = 5000
    "#;
    let host = Builder::new()
        .tenant("demo", namelock_test_artifacts::ROOMS, toml)
        .start();
    let created = host.post("demo", "a", "ann").await;
    let expires = created.body["expires_ms"].as_u64().unwrap();
    assert_eq!(expires - created.body["created_ms"].as_u64().unwrap(), 5000);
}

#[tokio::test]
async fn tenants_have_names_of_their_own() {
    let rooms = namelock_test_artifacts::ROOMS;
    let host = Builder::new().tenant("a", rooms, "").tenant("b", rooms, "").start();
    assert_eq!(host.post("a", "room", "ann").await.status, 201);
    host.get("b", "room").await.is_problem(404, "not_found");
    assert_eq!(host.post("b", "room", "bob").await.status, 201);
    assert_eq!(host.get("a", "room").await.body["owner"], "ann");
}

/// Registers `count` names, ten at a time, and returns those that were answered 201.
async fn register_many(host: &Host, count: usize) -> Vec<String> {
    let mut created = Vec::new();
    for first in (0..count).step_by(10) {
        let names: Vec<_> = (first..(first + 10).min(count))
            .map(|number| format!("room {number}"))
            .collect();
        let answers = futures_util::future::join_all(names.iter().map(|name| host.post("demo", name, "ann"))).await;
        created.extend(
            names
                .into_iter()
                .zip(answers)
                .filter(|(_, answer)| answer.status == 201)
                .map(|(name, _)| name),
        );
    }
    created
}

// Shows P2: no registration that was answered 201 is lost when the host is killed.
#[tokio::test]
async fn what_was_answered_201_is_found_after_a_crash() {
    let host = Builder::new().demo().start();
    let created = register_many(&host, 500).await;
    assert_eq!(created.len(), 500);
    let host = host.crash_and_start();
    for name in created {
        let found = host.get("demo", &name.replace(' ', "%20")).await;
        assert_eq!(found.status, 200, "{name} was lost");
    }
}

// Shows P3: a host that stops lets its calls end, and leaves no lock behind.
#[tokio::test]
async fn a_stopped_host_finishes_what_runs_and_exits_with_0() {
    let guest = namelock_test_artifacts::guests::SLEEP_HOLDING_LEASE;
    let memcached = namelock_test_servers::Memcached::start();
    let mut host = Builder::new().lock(&memcached).tenant("slow", guest, "").start();
    let (url, client) = (format!("{}/v1/slow/names", host.url), reqwest::Client::new());
    let body = json!({ "name": "a", "owner": "ann", "attributes": { "hold_ms": "500" } }).to_string();
    let request = tokio::spawn(client.post(url).body(body).send());
    lock_is_taken(&memcached).await;
    let code = tokio::task::spawn_blocking(move || (host.stop(), host)).await.unwrap();
    assert_eq!(request.await.unwrap().unwrap().status(), 201);
    assert_eq!(code.0, Some(0));
    assert_eq!(memcached.raw().lock_keys(), Vec::<String>::new());
}

#[tokio::test]
async fn the_admin_listener_says_whether_the_host_can_serve() {
    let mut memcached = namelock_test_servers::Memcached::start();
    let config = r#"
        [lock]
        lease = "2500ms"
    "#;
    let host = Builder::new().config(config).lock(&memcached).demo().start();
    assert_eq!(host.admin("/healthz").await.status, 200);
    let ready = async || host.admin("/readyz").await.status == 200;
    eventually("the host is ready", ready).await;
    assert_eq!(host.post("demo", "a", "ann").await.status, 201);
    let metrics = host.admin("/metrics").await;
    assert!(
        metrics.body.as_str().unwrap().contains("namelock_requests_total"),
        "{:?}",
        metrics.body
    );

    memcached.kill();
    let refused = host.post("demo", "b", "ann").await;
    refused.is_problem(503, "lock_unavailable");
    assert_eq!(host.admin("/readyz").await.status, 503);
    assert_eq!(host.admin("/healthz").await.status, 200);
    memcached.restart();
    let registered = async || host.post("demo", "b", "ann").await.status == 201;
    eventually("memcached is used again", registered).await;
}

#[tokio::test]
async fn a_client_that_closes_its_half_of_the_connection_is_answered() {
    use std::io::{Read, Write};
    let host = Builder::new().demo().start();
    let mut stream = host.connect();
    let body = json!({ "name": "a", "owner": "ann" }).to_string();
    let head = format!(
        "POST /v1/demo/names HTTP/1.1\r\nhost: t\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("HTTP/1.1 201 "), "{answer}");
}
