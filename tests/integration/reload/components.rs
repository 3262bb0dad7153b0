//! What becomes of a component: it is checked, compiled, kept, mapped, or refused.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use namelock_test_artifacts::{ROOMS, bombs, guests};

use super::{compiled, put, reload};
use crate::fixture::{Builder, DEADLINE, eventually};

// Shows P6: what no handler may be is refused before it costs a compiler its time.
#[tokio::test]
async fn a_component_that_is_no_handler_is_not_compiled() {
    let host = Builder::new().demo().start();
    put(&host, "bomb", &bombs::giant_function_without_handler());
    reload(&host, "bomb", "it cannot be served").await;
    let refused = host.tenant_status("bomb").await["refused"].clone();
    let refused = refused.as_str().unwrap();
    assert!(
        refused.contains("it exports no namelock:registration/handler@0.1"),
        "{refused}"
    );
}

// Shows P6: a component is not compiled to much more than it brings, and what is refused is not kept.
#[tokio::test]
async fn sparse_data_makes_no_dense_image_and_what_is_refused_is_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("cache");
    let host = Builder::new()
        .cache(&cache)
        .tenant_bytes("sparse", &bombs::sparse_data(), "")
        .start();
    let status = host.tenant_status("sparse").await;
    // Its handler exports nothing, which is seen only once it was compiled.
    assert!(
        status["refused"].as_str().unwrap().contains("does not fit the world"),
        "{status}"
    );
    let log = host.log();
    let line = log.lines().find(|line| line.contains("component compiled")).unwrap();
    let bytes = line
        .split("bytes=")
        .nth(1)
        .and_then(|rest| rest.split(' ').next())
        .unwrap();
    assert!(bytes.parse::<usize>().unwrap() < 1 << 20, "{line}");
    assert_eq!(entries(&cache), Vec::<PathBuf>::new());
    let left = fs::read_dir(&cache).unwrap().count();
    assert_eq!(left, 1, "the key, and no draft");
}

#[tokio::test]
async fn an_artifact_that_is_too_long_for_its_tenant_is_refused() {
    let small = "[limits]\nartifact = '64KiB'\n";
    let host = Builder::new().demo().tenant("small", ROOMS, small).start();
    let answer = host.post("small", "a", "ann").await;
    answer.is_problem(503, "tenant_unavailable");
    let detail = answer.body["detail"].as_str().unwrap();
    assert!(detail.contains("takes more than 65536 bytes (artifact)"), "{detail}");
    let status = host.tenant_status("demo").await;
    assert!(status["artifact_bytes"].as_u64().unwrap() > 65_536, "{status}");

    // It is looked at again once its limit has changed, although the component has not.
    fs::write(host.tenant("small").join("tenant.toml"), "").unwrap();
    reload(&host, "small", "tenant loaded").await;
    assert_eq!(host.post("small", "a", "ann").await.status, 201);
}

#[tokio::test]
async fn an_artifact_is_mapped_from_its_file() {
    let host = Builder::new().demo().start();
    assert_eq!(host.post("demo", "a", "ann").await.status, 201);
    let maps = fs::read_to_string(format!("/proc/{}/maps", host.process.id())).unwrap();
    let mapped = maps.lines().filter(|line| line.ends_with(".cwasm")).count();
    assert!(mapped > 0, "{maps}");
}

#[tokio::test]
async fn more_components_than_the_cache_holds_are_not_compiled_at_every_start() {
    let dir = tempfile::tempdir().unwrap();
    let start = || {
        Builder::new()
            .config("compiler.cache_files = 1")
            .cache(&dir.path().join("cache"))
            .demo()
            .tenant("trap", guests::TRAP_HOLDING_LEASE, "")
            .tenant("plain", guests::PLAIN, "")
            .start()
    };
    assert_eq!(compiled(&start()), 3);
    assert_eq!(compiled(&start()), 0);
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
    let (mut served, mut told_to_wait) = (0, 0);
    let all_refused = async {
        for (tenant, ..) in &bombs {
            while host.tenant_status(tenant).await["refused"]
                .as_str()
                .is_none_or(|why| why.ends_with("being loaded"))
            {
                served += 1;
                assert_eq!(host.post("demo", &format!("room {served}"), "ann").await.status, 201);
                let answer = host.post(tenant, "a", "ann").await;
                let detail = answer.body["detail"].as_str().unwrap_or_default();
                if detail.contains("is being loaded") {
                    assert!(answer.body["retry_after_ms"].as_u64() > Some(0), "{}", answer.body);
                    told_to_wait += 1;
                }
            }
        }
    };
    let waited = tokio::time::timeout(10 * DEADLINE, all_refused).await;
    assert!(waited.is_ok(), "{}", host.log());
    assert!(served > 0, "nobody else was served meanwhile");
    assert!(told_to_wait > 0, "nobody was told to wait for what is being loaded");
    for (tenant, _, expect) in &bombs {
        let answer = host.post(tenant, "a", "ann").await;
        answer.is_problem(503, "tenant_unavailable");
        assert!(
            answer.body["retry_after_ms"].is_null(),
            "waiting does not help: {}",
            answer.body
        );
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
