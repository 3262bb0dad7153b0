//! Tenants are added, changed and removed while the host serves, and compiling their components costs only them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use namelock_test_artifacts::{ROOMS, bombs, guests, wants_http};
use namelock_test_servers::Memcached;
use serde_json::json;

use crate::fixture::{Builder, DEADLINE, Host, LONG_CALLS, LONG_LEASES, eventually, lock_is_taken};

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

/// How many components the host has begun to compile.
fn compiled(host: &Host) -> usize {
    let log = host.log();
    log.lines()
        .filter(|line| line.contains("compiling a component"))
        .count()
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
    check("a", "cannot be compiled").await;
    put(&host, "demo", &wants_http());
    check("b", "imports what is not granted: wasi:http/").await;
    put(&host, "demo", &fs::read(guests::NO_EXPORT).unwrap());
    check("c", "does not fit the world").await;
    put(&host, "demo", &vec![0; 33 << 20]);
    check("d", "is longer than 33554432 bytes").await;
    fs::remove_file(host.tenant("demo").join("handler.wasm")).unwrap();
    check("e", "No such file").await;
    put(&host, "demo", &rooms());
    fs::write(host.tenant("demo").join("tenant.toml"), "x = 1").unwrap();
    check("f", "unknown field `x`").await;

    fs::remove_file(host.tenant("demo").join("tenant.toml")).unwrap();
    reload(&host, "demo", "tenant loaded").await;
    assert_eq!(host.tenant_status("demo").await, served);
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
    reload(&host, "demo", "it is served as it was").await;
    host.post("demo", "a", "ann").await.is_problem(401, "unauthorized");
}

/// The compiled components in a directory.
fn entries(cache: &Path) -> Vec<PathBuf> {
    let all = fs::read_dir(cache).unwrap().map(|entry| entry.unwrap().path());
    all.filter(|path| path.extension().is_some_and(|extension| extension == "cwasm"))
        .collect()
}

#[tokio::test]
async fn a_compiled_component_is_used_by_the_next_start_unless_it_was_changed() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("cache");
    let start = |expect: usize| {
        let host = Builder::new().demo().cache(&cache).start();
        assert_eq!(compiled(&host), expect, "{}", host.log());
        host
    };
    assert_eq!(start(1).post("demo", "a", "ann").await.status, 201);
    assert_eq!(fs::metadata(&cache).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(start(0).post("demo", "a", "ann").await.status, 201);

    let entry = entries(&cache).pop().unwrap();
    let mut bytes = fs::read(&entry).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&entry, &bytes).unwrap();
    let host = start(1);
    assert!(host.log().contains("it is cut or forged"), "{}", host.log());
    assert_eq!(host.post("demo", "a", "ann").await.status, 201);
    assert_eq!(entries(&cache), [entry]);
    start(0);
}

#[tokio::test]
async fn a_component_of_many_tenants_is_compiled_once() {
    let cache = tempfile::tempdir().unwrap();
    let host = Builder::new().demo().cache(&cache.path().join("cache")).start();
    let tenants = ["acme", "bolt", "core"];
    for tenant in tenants {
        put(&host, tenant, &fs::read(guests::TRAP_HOLDING_LEASE).unwrap());
    }
    assert_eq!(compiled(&host), 1, "that of demo");
    host.process.signal("HUP");
    for tenant in tenants {
        let served = async || host.post(tenant, "a", "ann").await.status == 500;
        eventually("the new tenant is served", served).await;
    }
    assert_eq!(compiled(&host), 2, "{}", host.log());
}

#[tokio::test]
async fn a_cache_that_others_can_write_stops_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("cache");
    fs::create_dir(&cache).unwrap();
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o770)).unwrap();
    let output = Builder::new()
        .demo()
        .cache(&cache)
        .command()
        .stderr(std::process::Stdio::piped())
        .output()
        .unwrap();
    let line = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{line}");
    let expect = format!(
        "namelock: cannot run handlers on this machine: cannot keep compiled components: {}",
        cache.display()
    );
    let last = line.lines().last().unwrap();
    assert!(last.starts_with(&expect) && last.contains("chmod 700"), "{line}");
}

// Shows P6: a component that is made to break the compiler is refused, and other tenants are served meanwhile.
#[tokio::test]
async fn a_compile_bomb_costs_its_tenant_alone() {
    let limits = r#"
        [compiler]
        memory = "512MiB"
        cpu_time = "2s"
        wall_time = "5m"
        artifact = "8MiB"
    "#;
    // Compiles the component of `demo` without these limits, which a slow machine would run into.
    drop(Builder::new().demo().start());
    let host = Builder::new().demo().config(limits).start();
    let bombs: [(&str, Vec<u8>, &[&str]); 6] = [
        (
            "giant-function",
            bombs::giant_function(),
            &["compiling its component takes more than"],
        ),
        (
            "many-functions",
            bombs::many_functions(),
            &["compiling its component takes more than"],
        ),
        ("deep-blocks", bombs::deep_blocks(), &["compiling", "component"]),
        ("deep-components", bombs::deep_components(), &["its component"]),
        ("huge-type", bombs::huge_type(), &["its component is not valid"]),
        (
            "long",
            vec![0; 100 << 20],
            &["its component is longer than 33554432 bytes"],
        ),
    ];
    for (tenant, component, _) in &bombs {
        put(&host, tenant, component);
    }
    host.process.signal("HUP");
    let mut served = 0;
    let all_refused = async {
        for (tenant, ..) in &bombs {
            while host.tenant_status(tenant).await["refused"]
                .as_str()
                .is_none_or(|why| why.ends_with("being loaded"))
            {
                served += 1;
                assert_eq!(host.post("demo", &format!("room {served}"), "ann").await.status, 201);
            }
        }
    };
    let waited = tokio::time::timeout(10 * DEADLINE, all_refused).await;
    assert!(waited.is_ok(), "{}", host.log());
    assert!(served > 0, "nobody else was served meanwhile");
    for (tenant, _, expect) in &bombs {
        let answer = host.post(tenant, "a", "ann").await;
        answer.is_problem(503, "tenant_unavailable");
        let detail = answer.body["detail"].as_str().unwrap();
        let refused = host.tenant_status(tenant).await["refused"].clone();
        println!("{tenant}: {detail}; {refused}");
        assert!(expect.iter().any(|words| detail.contains(words)), "{tenant}: {detail}");
    }
    let before = compiled(&host);
    reload(&host, "giant-function", "it cannot be served").await;
    assert_eq!(compiled(&host), before, "what was refused is not tried again");
    assert_eq!(host.post("demo", "last", "ann").await.status, 201);
}
