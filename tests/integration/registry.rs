//! Components come from a registry: only those that have the digest, once, and without it as soon as they are here.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use namelock_test_servers::{Guard, Registry};
use serde_json::Value;

use crate::deploy::{component_of, rooms, sha256};
use crate::fixture::{Builder, Host, eventually};

/// A registry may take as long as a slow machine does.
const PATIENT: &str = "[oci]\nread_timeout = '1m'\n";

/// Writes the `tenant.toml` of a tenant that has this component, and more.
fn put(tenants: &Path, tenant: &str, registry: &Registry, digest: &str, more: &str) {
    let dir = tenants.join(tenant);
    fs::create_dir_all(&dir).unwrap();
    let component = format!("oci://{}/acme/rooms@{digest}", registry.address());
    fs::write(dir.join("new"), format!("component = \"{component}\"\n{more}")).unwrap();
    fs::rename(dir.join("new"), dir.join("tenant.toml")).unwrap();
}

/// The component that answers the calls of a tenant; none: it has none.
async fn served(host: &Host, tenant: &str) -> Option<String> {
    let answer = host.post(tenant, &format!("n{}", rand::random::<u64>()), "ann").await;
    component_of(&answer)
}

async fn is_served(host: &Host, tenant: &str, component: &[u8]) {
    let sha256 = sha256(component);
    eventually(&format!("{sha256} is served to {tenant}"), async || {
        served(host, tenant).await.as_ref() == Some(&sha256)
    })
    .await;
}

async fn state(host: &Host, tenant: &str) -> String {
    host.tenant_status(tenant).await["state"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

/// Waits until a tenant is in this state, and returns why its component is refused.
async fn is_refused(host: &Host, tenant: &str, expect: &str, why: &str) -> String {
    let mut refused = String::new();
    eventually(&format!("{tenant} is {expect}, because {why}"), async || {
        let status = host.tenant_status(tenant).await;
        refused = status["refused"].as_str().unwrap_or_default().to_owned();
        status["state"] == expect && refused.contains(why)
    })
    .await;
    refused
}

/// How many pulls have ended like this.
async fn pulls(host: &Host, result: &str) -> u64 {
    let Value::String(text) = host.admin("/metrics").await.body else {
        panic!("metrics are text")
    };
    let series = format!("namelock_component_pulls_total{{result=\"{result}\"}} ");
    let value = text.lines().find_map(|line| line.strip_prefix(&series));
    value
        .unwrap_or_else(|| panic!("no {series} in {text}"))
        .parse()
        .unwrap()
}

#[tokio::test]
async fn the_right_digest_runs_and_is_pulled_once_for_all_tenants() {
    let (registry, builder) = (Registry::start(), Builder::new().config(PATIENT));
    let component = rooms(1);
    let digest = registry.push("acme/rooms", &component);
    for tenant in ["a", "b", "c"] {
        put(&builder.tenants, tenant, &registry, &digest, "");
    }
    let host = builder.start();
    for tenant in ["a", "b", "c"] {
        is_served(&host, tenant, &component).await;
        let status = host.tenant_status(tenant).await;
        assert_eq!(
            (&status["state"], &status["refused"]),
            (&"serving".into(), &Value::Null)
        );
        assert_eq!(status["component"], sha256(&component));
    }
    assert_eq!(pulls(&host, "pulled").await, 1);
    let log = host.log();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("component pulled")).collect();
    let [line] = lines.as_slice() else { panic!("{log}") };
    for part in [&digest, &format!("bytes={}", component.len()), "took="] {
        assert!(line.contains(part), "{line}");
    }
}

// Shows P7: what is not what the digest says is not served, and callers hear nothing of the host.
#[tokio::test]
async fn a_wrong_digest_is_refused_and_the_operator_hears_why() {
    let (registry, builder) = (Registry::start(), Builder::new().config(PATIENT).demo());
    let digest = registry.push("acme/rooms", &rooms(1));
    put(
        &builder.tenants,
        "none",
        &registry,
        &format!("sha256:{}", "0".repeat(64)),
        "",
    );
    put(&builder.tenants, "lie", &registry, &digest, "");
    let other = fs::read(namelock_test_artifacts::ROOMS).unwrap();
    registry.tamper(
        &format!("sha256:{}", sha256(&rooms(1))),
        &other[..rooms(1).len().min(other.len())],
    );
    let host = builder.start();
    let why = is_refused(&host, "none", "unavailable", "has no such manifest").await;
    assert!(why.contains("correct `component`"), "{why}");
    is_refused(&host, "lie", "unavailable", "it is not used").await;
    for tenant in ["none", "lie"] {
        let answer = host.post(tenant, "a", "ann").await;
        answer.is_problem(503, "tenant_unavailable");
        let said = answer.body.to_string();
        assert!(said.contains("cannot be pulled now"), "{said}");
        assert!(!said.contains("127.0.0.1") && !said.contains("sha256"), "{said}");
    }
    assert_eq!(host.post("demo", "a", "ann").await.status, 201);
    assert!(pulls(&host, "refused").await >= 1 && pulls(&host, "denied").await >= 1);
    assert!(host.log().contains("component not pulled"));
    assert!(!fs::exists(host.folder().join("namelock-components")).unwrap());
}

#[tokio::test]
async fn without_its_registry_a_component_that_is_here_is_served() {
    let (mut registry, builder) = (Registry::start(), Builder::new().config(PATIENT));
    let component = rooms(2);
    let digest = registry.push("acme/rooms", &component);
    put(&builder.tenants, "a", &registry, &digest, "");
    let host = builder.start();
    is_served(&host, "a", &component).await;
    registry.stop();
    // Not even the versions that were served are needed.
    fs::remove_dir_all(host.folder().join("namelock-versions")).unwrap();
    let host = host.crash_and_start();
    is_served(&host, "a", &component).await;
    put(&host.folder().join("tenants"), "b", &registry, &digest, "");
    is_served(&host, "b", &component).await;
    assert_eq!(
        pulls(&host, "pulled").await + pulls(&host, "unreachable").await,
        0,
        "nobody is asked"
    );
    // What has been damaged is not served, and the last good version is.
    let files = host.folder().join("namelock-components");
    for file in fs::read_dir(files).unwrap() {
        fs::write(file.unwrap().path(), "damaged").unwrap();
    }
    let host = host.crash_and_start();
    is_refused(&host, "a", "serving_previous", "cannot reach 127.0.0.1").await;
    is_served(&host, "a", &component).await;
}

#[tokio::test]
async fn a_registry_that_comes_back_is_asked_again_by_itself() {
    let (mut registry, builder) = (Registry::start(), Builder::new().config(PATIENT).demo());
    let component = rooms(3);
    let digest = registry.push("acme/rooms", &component);
    put(&builder.tenants, "a", &registry, &digest, "");
    registry.stop();
    let host = builder.start();
    is_refused(&host, "a", "unavailable", "cannot reach 127.0.0.1").await;
    assert_eq!(host.post("demo", "a", "ann").await.status, 201);
    registry.start_again(&Guard::default());
    is_served(&host, "a", &component).await;
    assert_eq!(state(&host, "a").await, "serving");
}

#[tokio::test]
async fn a_change_of_the_reference_is_served_and_a_bad_one_never_is() {
    let (registry, builder) = (Registry::start(), Builder::new().config(PATIENT));
    let (first, second, third) = (rooms(4), rooms(5), rooms(6));
    let [one, two, three] = [&first, &second, &third].map(|component| registry.push("acme/rooms", component));
    put(&builder.tenants, "a", &registry, &one, "");
    let host = builder.start();
    let tenants = host.folder().join("tenants");
    is_served(&host, "a", &first).await;
    put(&tenants, "a", &registry, &two, "");
    is_served(&host, "a", &second).await;

    let layer = format!("sha256:{}", sha256(&third));
    registry.tamper(&layer, &first);
    put(&tenants, "a", &registry, &three, "");
    is_refused(&host, "a", "serving_previous", "it is not used").await;
    assert_eq!(served(&host, "a").await, Some(sha256(&second)));
    registry.tamper(&layer, &third);
    is_served(&host, "a", &third).await;

    // What is no component replaces nothing either, although it has its digest.
    let text = registry.push("acme/rooms", b"no component");
    put(&tenants, "a", &registry, &text, "");
    is_refused(&host, "a", "serving_previous", "cannot load oci://").await;
    let more = format!("sha256 = \"{}\"", sha256(&third));
    put(&tenants, "a", &registry, &two, &more);
    is_refused(&host, "a", "serving_previous", "`sha256` in its tenant.toml").await;
    assert_eq!(served(&host, "a").await, Some(sha256(&third)));
    put(&tenants, "a", &registry, &three, &more);
    eventually("the pinned component is served", async || {
        state(&host, "a").await == "serving"
    })
    .await;
}

// Shows P6: who has a slow registry waits alone.
#[tokio::test]
async fn a_registry_that_hangs_delays_nobody_else() {
    let (slow, other) = (Registry::start(), Registry::start());
    let builder = Builder::new()
        .config("[oci]\nread_timeout = '10m'\ntimeout = '1h'\npulls = 2\n")
        .demo();
    let component = rooms(7);
    for n in 0..4u8 {
        let digest = slow.push("acme/rooms", &[&component[..], &[0, 2, 1, b'a' + n]].concat());
        put(&builder.tenants, &format!("slow{n}"), &slow, &digest, "");
    }
    let digest = other.push("acme/rooms", &component);
    put(&builder.tenants, "other", &other, &digest, "");
    slow.pause();
    let host = builder.start();
    assert_eq!(host.post("demo", "a", "ann").await.status, 201);
    is_served(&host, "other", &component).await;
    assert_eq!(state(&host, "slow0").await, "loading");
    let answer = host.post("slow0", "a", "ann").await;
    answer.is_problem(503, "tenant_unavailable");
    assert!(answer.headers.contains_key("retry-after"));
    let stages = async || -> Vec<String> {
        let loading = host.admin("/compiling").await.body;
        let all = loading.as_array().unwrap().iter();
        all.map(|loading| loading["stage"].as_str().unwrap().to_owned())
            .collect()
    };
    let expect = [
        "pulling",
        "waits_for_registry",
        "waits_for_registry",
        "waits_for_registry",
    ];
    eventually("one is pulled and the others wait", async || stages().await == expect).await;
    // Read again meanwhile, nothing is pulled twice.
    host.process.signal("HUP");
    eventually("it is read again", async || host.log().contains("reading the tenants")).await;
    eventually("what is pulled is still pulled", async || stages().await == expect).await;
    slow.resume();
    for n in 0..4 {
        eventually("it is served", async || {
            served(&host, &format!("slow{n}")).await.is_some()
        })
        .await;
    }
    assert_eq!(pulls(&host, "pulled").await, 5);
}

#[tokio::test]
async fn credentials_are_found_and_never_shown() {
    let (mut registry, builder) = (Registry::start(), Builder::new().config(PATIENT).log("debug"));
    let component = rooms(8);
    let digest = registry.push("acme/rooms", &component);
    registry.start_again(&Guard {
        password: true,
        ..Guard::default()
    });
    put(&builder.tenants, "a", &registry, &digest, "");
    let bin = builder.folder().join("bin");
    fs::create_dir(&bin).unwrap();
    fs::write(builder.folder().join("config.json"), r#"{"credsStore":"test"}"#).unwrap();
    let helper = bin.join("docker-credential-test");
    let write = |text: &str| {
        fs::write(bin.join("new"), format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(bin.join("new"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(bin.join("new"), &helper).unwrap();
    };
    write("echo 'it has a secret'; exit 1");
    let mut command = builder.command();
    let path = std::env::var("PATH").unwrap();
    command
        .env("PATH", format!("{}:{path}", bin.display()))
        .env("DOCKER_CONFIG", builder.folder());
    let host = builder.start_command(command);
    is_refused(
        &host,
        "a",
        "unavailable",
        "its credential helper \"docker-credential-test\" fails",
    )
    .await;
    write("echo '{\"Username\":\"ann\",\"Secret\":\"wrong\"}'");
    // Who is read again does not wait for as long.
    host.process.signal("HUP");
    is_refused(&host, "a", "unavailable", "does not let these credentials pull").await;
    write(
        "read host; echo \"{\\\"ServerURL\\\":\\\"$host\\\",\\\"Username\\\":\\\"ann\\\",\\\"Secret\\\":\\\"secret\\\"}\"",
    );
    host.process.signal("HUP");
    is_served(&host, "a", &component).await;
    let log = host.log();
    for secret in ["it has a secret", "wrong", "YW5uO"] {
        assert!(!log.contains(secret), "{secret} is in {log}");
    }
}

#[test]
fn what_is_wrong_with_a_reference_is_said_without_a_network() {
    let builder = Builder::new();
    let dir = builder.tenants.join("a");
    fs::create_dir(&dir).unwrap();
    let config = builder.folder().join("check.toml");
    fs::write(&config, format!("tenants.dir = {:?}\n", builder.tenants)).unwrap();
    let run = |arguments: &[&Path]| {
        let output = Command::new(env!("CARGO_BIN_EXE_namelock"))
            .args(arguments)
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(text).unwrap())
    };
    for (component, expect) in [
        (
            "oci://registry.example/acme/rooms:1.0",
            "a tag alone may become another component",
        ),
        ("registry.example/acme/rooms", "write oci://registry/repository@sha256:"),
        ("handler.wasm", "write oci://registry/repository@sha256:"),
    ] {
        fs::write(dir.join("tenant.toml"), format!("component = {component:?}")).unwrap();
        for (command, path) in [("check-config", &config), ("check", &dir)] {
            let (fits, said) = run(&[Path::new(command), path]);
            assert!(
                !fits && said.contains(expect) && said.contains("component"),
                "{command} {component}: {said}"
            );
        }
    }
    let reference = format!("oci://registry.example/acme/rooms@sha256:{}", "0".repeat(64));
    fs::write(dir.join("tenant.toml"), format!("component = {reference:?}")).unwrap();
    let (fits, said) = run(&[Path::new("check-config"), &config]);
    assert!(fits, "{said}");
    let (fits, said) = run(&[Path::new("check"), &dir]);
    assert!(
        !fits && said.contains(&reference) && said.contains("wkg oci pull"),
        "{said}"
    );
    // A component that was pulled by hand is checked with the settings beside it.
    fs::copy(namelock_test_artifacts::ROOMS, dir.join("pulled.wasm")).unwrap();
    let (fits, said) = run(&[Path::new("check"), Path::new("--no-compile"), &dir.join("pulled.wasm")]);
    assert!(fits, "{said}");
    let roots = builder.folder().join("none.pem");
    fs::write(
        &config,
        format!("tenants.dir = {:?}\noci.roots = {roots:?}\n", builder.tenants),
    )
    .unwrap();
    let (fits, said) = run(&[Path::new("check-config"), &config]);
    assert!(!fits && said.contains("oci.roots"), "{said}");
}
