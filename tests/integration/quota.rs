//! What a tenant may keep in the names database.

use namelock_test_artifacts as artifacts;
use serde_json::json;

use crate::fixture::Builder;

// Shows P6: what a tenant keeps is bounded, and nobody else is at its limit.
#[tokio::test]
async fn a_tenant_at_its_registrations_is_answered_tenant_limit() {
    let host = Builder::new()
        .tenant("few", artifacts::ROOMS, "[limits]\nregistrations = 2")
        .tenant("short", artifacts::ROOMS, "[limits]\nregistration_bytes = '1KiB'")
        .demo()
        .start();
    for name in ["a", "b"] {
        assert_eq!(host.post("few", name, "ann").await.status, 201, "{name}");
    }
    host.post("few", "c", "ann").await.is_problem(429, "tenant_limit");
    host.get("few", "c").await.is_problem(404, "not_found");
    // What it has can be freed, and registered again; another name has to wait for the room.
    host.post("few", "a", "bob").await.is_problem(409, "name_taken");
    assert_eq!(host.delete("few", "a", "ann").await.status, 204);
    host.post("few", "c", "ann").await.is_problem(429, "tenant_limit");
    assert_eq!(host.post("few", "a", "bob").await.status, 201);

    let long = |name: &str| json!({ "name": name, "owner": "ann", "attributes": { "topic": "x".repeat(500) } });
    assert_eq!(host.post_json("short", &long("a")).await.status, 201);
    host.post_json("short", &long("b"))
        .await
        .is_problem(429, "tenant_limit");
    assert_eq!(host.post("short", "b", "ann").await.status, 201);

    assert_eq!(host.post("demo", "c", "ann").await.status, 201);
}
