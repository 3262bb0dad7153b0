//! Components that were built for 0.1.0 of the contract, which are in `tests/compat` as they were built, run unchanged.

use serde_json::json;

use crate::ends;
use crate::fixture::{Builder, Host};

/// The path of a component that was built for 0.1.0.
macro_rules! old {
    ($name:literal) => {
        concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/compat/", $name, "-0.1.0.wasm")
    };
}

fn host() -> Host {
    Builder::new()
        .tenant(
            "rooms",
            old!("rooms"),
            "settings = { default_lifetime_ms = 5000 }\nnames = { hold_ms = 3600000 }",
        )
        .tenant("keep-lease", old!("keep_lease"), "")
        .tenant("read-settings", old!("read_settings"), "settings = { colour = 'blue' }")
        .demo()
        .start()
}

#[tokio::test]
async fn an_old_handler_registers_and_frees_as_it_did() {
    let host = host();
    let created = host.post("rooms", " Blue Room", "ann").await;
    assert_eq!(created.status, 201, "{:?}", created.body);
    assert_eq!(created.headers["location"], "/v1/rooms/names/blue%20room");
    let lasts = created.body["expires_ms"].as_u64().unwrap() - created.body["created_ms"].as_u64().unwrap();
    assert_eq!(lasts, 5000);
    assert_eq!(host.get("rooms", "blue%20room").await.body, created.body);
    host.post("rooms", "no/slashes!", "ann")
        .await
        .is_problem(422, "name_invalid");
    let long = json!({ "name": "red", "owner": "ann", "lifetime_ms": 3_600_000, "attributes": { "a": "1" } });
    let red = host.post_json("rooms", &long).await;
    assert_eq!(
        (red.status.as_u16(), &red.body["attributes"]),
        (201, &long["attributes"])
    );
    host.post("rooms", "red", "bob").await.is_problem(409, "name_taken");
    host.delete("rooms", "red", "bob").await.is_problem(403, "forbidden");
    assert_eq!(host.delete("rooms", "red", "ann").await.status, 204);
    host.get("rooms", "red").await.is_problem(404, "not_found");
}

#[tokio::test]
async fn an_old_handler_gains_what_the_host_does_and_no_more() {
    let host = host();
    let body = json!({ "name": "room", "owner": "ann", "lifetime_ms": 3_600_000 });
    let first = host.post_keyed("rooms", "k", &body).await;
    assert_eq!(first.status, 201, "{:?}", first.body);
    let again = host.post_keyed("rooms", "k", &body).await;
    assert!(again.is_replayed() && again.body == first.body, "{:?}", again.body);
    assert_eq!(
        host.list("rooms", "prefix=room").await.body["names"],
        json!([first.body])
    );
    let change = json!({ "owner": "ann", "lifetime_ms": null });
    let refused = host.patch("rooms", "room", &change).await;
    refused.is_problem(405, "unsupported");
    assert_eq!(refused.headers["allow"], "GET,HEAD,DELETE");
    assert_eq!(host.get("rooms", "room").await.body, first.body);
    assert_eq!(host.delete("rooms", "room", "ann").await.status, 204);
    let held = host.post("rooms", "room", "bob").await;
    held.is_problem(409, "name_taken");
    assert!(held.body["retry_after_ms"].is_u64(), "{:?}", held.body);
}

#[tokio::test]
async fn old_guests_end_as_new_ones_do() {
    let host = host();
    let (status, code) = ends::keep_lease::ENDS;
    host.post("keep-lease", "room", "ann").await.is_problem(status, code);
    let (status, code) = ends::read_settings::ENDS;
    let answer = host.post("read-settings", "room", "ann").await;
    answer.is_problem(status, code);
    assert_eq!(answer.body["detail"], r#"[("colour", "blue")]"#);
}
