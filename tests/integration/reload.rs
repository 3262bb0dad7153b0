//! Tenants are added, changed and removed while the host serves, and compiling their components costs only them.

mod components;

use std::collections::HashSet;
use std::fs;
use std::process::Command;

use namelock_test_artifacts::{ROOMS, bombs, guests, wants_http};
use namelock_test_servers::Memcached;
use serde_json::json;

use crate::fixture::{Builder, Host, LONG_CALLS, LONG_LEASES, eventually, lock_is_taken};

/// Puts this component into a tenant's directory, as a deployment does: whole or not at all.
fn put(host: &Host, tenant: &str, component: &[u8]) {
    let dir = host.tenant(tenant);
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("new"), component).unwrap();
    fs::rename(dir.join("new"), dir.join("handler.wasm")).unwrap();
}

/// Sends SIGHUP, and waits until the host's log has one line more with these words about this tenant.
async fn reload(host: &Host, tenant: &str, words: &str) {
    let field = format!("tenant={tenant}");
    let says = |line: &&str| line.contains(words) && line.split(' ').any(|part| part == field);
    let count = |log: &str| log.lines().filter(says).count();
    let before = count(&host.log());
    host.process.signal("HUP");
    let what = format!("the log says {words:?} about {tenant}");
    eventually(&what, async || count(&host.log()) > before).await;
}

fn rooms() -> Vec<u8> {
    fs::read(ROOMS).unwrap()
}

/// How many components the host has begun to compile. One that a slow machine has not compiled in the short time of a first try
/// is tried once more.
fn compiled(host: &Host) -> usize {
    let log = host.log();
    let lines = log.lines().filter(|line| line.contains("compiling a component"));
    let components = lines.filter_map(|line| line.split(' ').find(|word| word.starts_with("component=")));
    components.collect::<HashSet<_>>().len()
}

#[tokio::test]
async fn a_new_tenant_is_served_and_a_removed_one_is_unknown() {
    let host = Builder::new().demo().start();
    host.post("acme", "a", "ann").await.is_problem(404, "unknown_tenant");
    put(&host, "acme", &rooms());
    reload(&host, "acme", "tenant loaded").await;
    assert_eq!(host.post("acme", "a", "ann").await.status, 201);

    fs::remove_dir_all(host.tenant("acme")).unwrap();
    reload(&host, "acme", "tenant removed").await;
    host.post("acme", "b", "ann").await.is_problem(404, "unknown_tenant");
    assert_eq!(host.post("demo", "a", "ann").await.status, 201);
}

#[tokio::test]
async fn changed_settings_and_a_changed_component_take_effect() {
    let host = Builder::new().demo().start();
    let lifetime = async |name: &str| {
        let saved = host.post("demo", name, "ann").await.body;
        saved["expires_ms"].as_u64().unwrap() - saved["created_ms"].as_u64().unwrap()
    };
    assert_eq!(lifetime("a").await, 86_400_000);
    fs::write(
        host.tenant("demo").join("tenant.toml"),
        "[settings]\ndefault_lifetime_ms = 5000",
    )
    .unwrap();
    reload(&host, "demo", "tenant loaded").await;
    assert_eq!(lifetime("b").await, 5000);

    put(&host, "demo", &fs::read(guests::TRAP_HOLDING_LEASE).unwrap());
    reload(&host, "demo", "tenant loaded").await;
    host.post("demo", "c", "ann").await.is_problem(500, "handler_trapped");
}

#[tokio::test]
async fn a_running_call_ends_on_the_component_that_it_began_with() {
    // The call has to last until the tenants were read again, which takes a while on a slow machine.
    for hold_ms in [3_000, 12_000, 48_000] {
        if reload_during_a_call(hold_ms).await {
            return;
        }
    }
    panic!("a call that lasts for 48 s has ended before the tenants were read again");
}

/// Replaces a tenant's component during a call that lasts this long, and returns whether there was time enough for that.
async fn reload_during_a_call(hold_ms: u32) -> bool {
    let memcached = Memcached::start();
    let host = Builder::new()
        .config(LONG_LEASES)
        .lock(&memcached)
        .tenant("t", guests::SLEEP_HOLDING_LEASE, LONG_CALLS)
        .start();
    let slow = json!({ "name": "a", "owner": "ann", "attributes": { "hold_ms": hold_ms.to_string() } });
    let (answer, in_time) = tokio::join!(host.post_json("t", &slow), async {
        lock_is_taken(&memcached).await;
        put(&host, "t", &rooms());
        reload(&host, "t", "tenant loaded").await;
        // The new component is in place, and the lock of the old one's call still holds.
        assert_eq!(host.post("t", "b", "ann").await.status, 201);
        host.post("t", "a", "bob").await.status == 423
    });
    if in_time {
        assert_eq!(answer.status, 201, "{:?}", answer.body);
        assert_eq!(host.get("t", "a").await.body["owner"], "ann");
    }
    in_time
}

#[tokio::test]
async fn a_bad_version_leaves_the_good_one_in_place() {
    let host = Builder::new().demo().start();
    let served = host.tenant_status("demo").await;
    let check = async |name: &str, reason: &str| {
        reload(&host, "demo", "it is served as it was").await;
        assert_eq!(host.post("demo", name, "ann").await.status, 201);
        let status = host.tenant_status("demo").await;
        assert_eq!(status["component"], served["component"]);
        let refused = status["refused"].as_str().unwrap();
        assert!(refused.contains(reason), "{refused}");
        assert!(host.log().contains(refused), "the log says it too");
    };
    put(&host, "demo", b"no component");
    check("a", "is no WebAssembly binary").await;
    put(&host, "demo", &wants_http());
    check("b", "imports what is not granted: wasi:http/").await;
    put(&host, "demo", &fs::read(guests::NO_EXPORT).unwrap());
    check("c", "does not fit the world").await;
    put(&host, "demo", &vec![0; 33 << 20]);
    check("d", "is longer than 33554432 bytes").await;
    fs::remove_file(host.tenant("demo").join("handler.wasm")).unwrap();
    check("e", "No such file").await;
    put(&host, "demo", &rooms());
    reload(&host, "demo", "tenant loaded").await;
    is_served_as(&host, &served).await;
}

/// Checks that the tenant `demo` is in the state that it had before; what it has used may be more.
async fn is_served_as(host: &Host, before: &serde_json::Value) {
    let now = host.tenant_status("demo").await;
    for field in ["state", "component", "refused"] {
        assert_eq!(now[field], before[field], "{field}");
    }
}

#[tokio::test]
async fn a_directory_that_cannot_be_read_changes_nothing() {
    let host = Builder::new().demo().start();
    let tenants = host.tenant("demo").parent().unwrap().to_owned();
    fs::rename(&tenants, tenants.with_file_name("gone")).unwrap();
    host.process.signal("HUP");
    let unchanged = async || host.log().contains("they are served as they were");
    eventually("the log says that nothing changes", unchanged).await;
    assert_eq!(host.post("demo", "a", "ann").await.status, 201);
}

#[tokio::test]
async fn a_tenant_without_tokens_is_refused_where_others_could_call_it() {
    let token = format!(
        r#"
            [[tokens]]
            name = "t"
            sha256 = "{}"
            rights = ["find"]
        "#,
        "0".repeat(64)
    );
    let builder = Builder::new().tenant("demo", ROOMS, &token).listen("0.0.0.0:0");
    let host = builder.start();
    put(&host, "acme", &rooms());
    reload(&host, "acme", "it cannot be served").await;
    host.post("acme", "a", "ann")
        .await
        .is_problem(503, "tenant_unavailable");
    fs::remove_file(host.tenant("demo").join("tenant.toml")).unwrap();
    reload(&host, "demo", "it cannot be served").await;
    host.post("demo", "a", "ann")
        .await
        .is_problem(503, "tenant_unavailable");
}

/// A `tenant.toml` with a token whose secret is this.
fn token(secret: &str) -> String {
    use sha2::{Digest, Sha256};
    let sha256: String = Sha256::digest(secret)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("[[tokens]]\nname = 't'\nsha256 = '{sha256}'\nrights = ['register']\n")
}

/// The code with which a secret is answered.
async fn code_for(host: &Host, secret: &str) -> String {
    let body = json!({ "name": "a", "owner": "ann" }).to_string();
    let send = |client: &reqwest::Client, url: &str| {
        client
            .post(format!("{url}/v1/demo/names"))
            .bearer_auth(secret)
            .body(body)
    };
    host.send(send).await.code()
}

// Shows P7: a secret that was revoked is refused, whatever else is wrong with its tenant.
#[tokio::test]
async fn a_revoked_token_is_refused_although_the_component_is_broken() {
    let host = Builder::new().tenant("demo", ROOMS, &token("old")).start();
    assert_eq!(code_for(&host, "old").await, "201");
    put(&host, "demo", b"no component");
    fs::write(host.tenant("demo").join("tenant.toml"), token("new")).unwrap();
    reload(&host, "demo", "it is served as it was").await;
    assert_eq!(code_for(&host, "old").await, "unauthorized");
    assert_eq!(code_for(&host, "new").await, "name_taken");
}

// Shows P7: where nobody knows who may call a tenant, nobody may.
#[tokio::test]
async fn a_tenant_whose_file_cannot_be_read_is_refused_although_it_was_served() {
    let host = Builder::new().tenant("demo", ROOMS, &token("old")).start();
    let served = host.tenant_status("demo").await;
    let file = host.tenant("demo").join("tenant.toml");
    let check = async |reason: &str, public: &str| {
        reload(&host, "demo", "it cannot be served").await;
        let answer = host.post("demo", "a", "ann").await;
        answer.is_problem(503, "tenant_unavailable");
        let detail = answer.body["detail"].as_str().unwrap();
        assert!(detail.ends_with(public), "{detail}");
        let status = host.tenant_status("demo").await;
        assert_eq!(status["state"], "unavailable");
        assert!(status["refused"].as_str().unwrap().contains(reason), "{status}");
    };
    fs::write(&file, token("old").replace("sha256", "sha")).unwrap();
    check("unknown field `sha`", "its tenant.toml is not valid").await;
    fs::write(&file, [0xff]).unwrap();
    check("is not UTF-8", "its tenant.toml is not valid").await;
    fs::remove_file(&file).unwrap();
    assert!(Command::new("mkfifo").arg(&file).status().unwrap().success());
    check("is not a regular file", "its tenant.toml cannot be read").await;
    fs::remove_file(&file).unwrap();
    fs::write(&file, token("new")).unwrap();
    reload(&host, "demo", "tenant loaded").await;
    is_served_as(&host, &served).await;
    assert_eq!(code_for(&host, "old").await, "unauthorized");
    assert_eq!(code_for(&host, "new").await, "201");
}

// Shows P6: neither a pipe nor a compiler that takes long keeps others from being read again.
#[tokio::test]
async fn what_is_in_files_applies_while_a_component_is_compiled() {
    let config = r#"
        [compiler]
        cpu_time = "1h"
        wall_time = "1h"
    "#;
    drop(Builder::new().demo().start());
    let host = Builder::new()
        .config(config)
        .tenant("demo", ROOMS, &token("old"))
        .start();
    assert_eq!(code_for(&host, "old").await, "201");
    let before = compiled(&host);
    put(&host, "bomb", &bombs::giant_function());
    fs::create_dir(host.tenant("pipe")).unwrap();
    let pipe = host.tenant("pipe").join("handler.wasm");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    host.process.signal("HUP");
    eventually("the bomb is being compiled", async || compiled(&host) > before).await;

    fs::write(host.tenant("demo").join("tenant.toml"), token("new")).unwrap();
    put(&host, "acme", &rooms());
    host.process.signal("HUP");
    let revoked = async || code_for(&host, "old").await == "unauthorized";
    eventually("the token is revoked", revoked).await;
    // Compiled before, so it need not wait for the compiler.
    let served = async || host.post("acme", "a", "ann").await.status == 201;
    eventually("a new tenant is served", served).await;
    // Compiling the bomb takes as long as hundreds of these answers.
    assert_eq!(host.tenant_status("bomb").await["state"], "loading");
}
