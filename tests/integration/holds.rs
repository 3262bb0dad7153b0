//! Names that are held for their last owners.

use namelock_test_artifacts::ROOMS;
use namelock_test_servers::{Memcached, Postgres};
use serde_json::{Value, json};

use crate::fixture::{Answer, Builder, Host, eventually};

const AN_HOUR_MS: u64 = 60 * 60 * 1000;

/// Two tenants: names of one are held for an hour, those of the other for a second and a half.
fn tenants(builder: Builder) -> Host {
    builder
        .tenant("hour", ROOMS, "names = { hold_ms = 3600000 }")
        .tenant("moment", ROOMS, "names = { hold_ms = 1500 }")
        .demo()
        .start()
}

/// Checks that a name is held for at most so long.
#[track_caller]
fn is_held(answer: &Answer, most_ms: u64) -> u64 {
    answer.is_problem(409, "name_taken");
    let wait = answer.body["retry_after_ms"].as_u64();
    let wait = wait.unwrap_or_else(|| panic!("{:?}", answer.body));
    assert!((1..=most_ms).contains(&wait), "{wait}");
    wait
}

/// Registers a name once it is held no more, and returns the registration; until then it has to be held.
async fn once_it_is_free(host: &Host, name: &str, owner: &str, hold_ms: u64) -> Value {
    let mut last = Value::Null;
    eventually("the hold is over", async || {
        let answer = host.post("moment", name, owner).await;
        if answer.status != 201 {
            is_held(&answer, hold_ms);
        }
        last = answer.body.clone();
        answer.status == 201
    })
    .await;
    last
}

async fn a_freed_name_is_its_last_owners_for_a_while(host: &Host) {
    assert_eq!(host.post("hour", "room", "ann").await.status, 201);
    // Who has it now is not told how long it is to be held.
    let taken = host.post("hour", "room", "bob").await;
    taken.is_problem(409, "name_taken");
    assert_eq!(taken.body["retry_after_ms"], Value::Null);
    assert_eq!(host.delete("hour", "room", "ann").await.status, 204);
    host.get("hour", "room").await.is_problem(404, "not_found");
    assert_eq!(host.list("hour", "").await.body["names"], json!([]));
    let first = is_held(&host.post("hour", "room", "bob").await, AN_HOUR_MS);
    let second = is_held(
        &host
            .post_keyed("hour", "k", &json!({ "name": "room", "owner": "bob" }))
            .await,
        AN_HOUR_MS,
    );
    assert!(second <= first && first > AN_HOUR_MS / 2, "{first}, then {second}");
    assert_eq!(host.post("hour", "room", "ann").await.status, 201);

    // Its last owner is who it was handed over to.
    let given = host
        .patch("hour", "room", &json!({ "owner": "ann", "new_owner": "bob" }))
        .await;
    assert_eq!(given.status, 200, "{:?}", given.body);
    assert_eq!(host.delete("hour", "room", "bob").await.status, 204);
    is_held(&host.post("hour", "room", "ann").await, AN_HOUR_MS);
    assert_eq!(host.post("hour", "room", "bob").await.status, 201);
    assert_eq!(host.delete("hour", "room", "bob").await.status, 204);

    // Another name, and a tenant that holds none, are as before.
    assert_eq!(host.post("hour", "other", "bob").await.status, 201);
    assert_eq!(host.post("demo", "room", "ann").await.status, 201);
    assert_eq!(host.delete("demo", "room", "ann").await.status, 204);
    assert_eq!(host.post("demo", "room", "bob").await.status, 201);
}

async fn after_the_hold_anybody_gets_the_name(host: &Host) {
    // One is freed, the other one ends by itself.
    let freed = json!({ "name": "freed", "owner": "ann" });
    let ended = json!({ "name": "ended", "owner": "ann", "lifetime_ms": 200 });
    for body in [&freed, &ended] {
        assert_eq!(
            host.post_keyed("moment", &body.to_string().replace('"', ""), body)
                .await
                .status,
            201
        );
    }
    assert_eq!(host.delete("moment", "freed", "ann").await.status, 204);
    eventually("it has ended", async || host.get("moment", "ended").await.status == 404).await;
    for (name, body) in [("freed", &freed), ("ended", &ended)] {
        // The key tells when it ended.
        let last = host
            .post_keyed("moment", &body.to_string().replace('"', ""), body)
            .await;
        assert!(last.is_replayed());
        let free_ms = last.body["expires_ms"].as_u64().unwrap() + 1500;
        let created = once_it_is_free(host, name, "bob", 1500).await;
        assert!(
            created["created_ms"].as_u64().unwrap() >= free_ms,
            "{created} before {free_ms}"
        );
    }
}

// Shows P1: a name that was freed is not anybody's before its hold is over.
#[tokio::test]
async fn a_name_is_held_for_its_last_owner() {
    let host = tenants(Builder::new());
    a_freed_name_is_its_last_owners_for_a_while(&host).await;
    after_the_hold_anybody_gets_the_name(&host).await;
}

#[tokio::test]
async fn a_name_is_held_for_its_last_owner_in_postgresql() {
    let (memcached, postgres) = (Memcached::start(), Postgres::start());
    let host = tenants(Builder::new().lock(&memcached).names_url(&postgres.url()));
    a_freed_name_is_its_last_owners_for_a_while(&host).await;
    after_the_hold_anybody_gets_the_name(&host).await;
}

#[tokio::test]
async fn a_hold_survives_a_crash() {
    let host = tenants(Builder::new());
    assert_eq!(host.post("hour", "room", "ann").await.status, 201);
    assert_eq!(host.delete("hour", "room", "ann").await.status, 204);
    let host = host.crash_and_start();
    is_held(&host.post("hour", "room", "bob").await, AN_HOUR_MS);
    assert_eq!(host.post("hour", "room", "ann").await.status, 201);
}

#[tokio::test]
async fn a_hold_that_is_longer_than_the_host_allows_makes_its_tenant_unavailable() {
    let config = r#"
        [names]
        hold_max = "1m"
    "#;
    let host = Builder::new()
        .config(config)
        .tenant("minute", ROOMS, "names = { hold_ms = 60000 }")
        .tenant("more", ROOMS, "names = { hold_ms = 60001 }")
        .tenant("odd", ROOMS, "names = { hold_ms = -1 }")
        .start();
    assert_eq!(host.post("minute", "room", "ann").await.status, 201);
    for (tenant, words) in [
        ("more", "names.hold_ms: 60001 is above names.hold_max"),
        ("odd", "names.hold_ms"),
    ] {
        host.post(tenant, "room", "ann")
            .await
            .is_problem(503, "tenant_unavailable");
        let status = host.tenant_status(tenant).await;
        assert_eq!(status["state"], "unavailable");
        assert!(
            status["refused"].as_str().is_some_and(|why| why.contains(words)),
            "{status}"
        );
        assert!(host.log().contains(words), "{}", host.log());
    }
}
