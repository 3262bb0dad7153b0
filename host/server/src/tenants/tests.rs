use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use namelock_account::Counter;
use namelock_sandbox::{CacheConfig, CompilerConfig, SandboxConfig};

use super::directory::scan;
use super::*;
use crate::config::Limits;

#[tokio::test]
async fn a_tenant_that_cannot_be_loaded_keeps_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).join("handler.wasm");
    for name in ["none", "garbage", "long", "link", "folder", "pipe", "toml"] {
        fs::create_dir(dir.path().join(name)).unwrap();
    }
    fs::write(at("garbage"), "no component").unwrap();
    fs::write(at("long"), vec![0; 1025]).unwrap();
    std::os::unix::fs::symlink(at("garbage"), at("link")).unwrap();
    fs::create_dir(at("folder")).unwrap();
    // Read as a file, it would block for ever: nobody writes.
    assert!(Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());
    fs::write(dir.path().join("toml/tenant.toml"), "x = 1").unwrap();

    let limits = Limits {
        component: 1024,
        ..Limits::default()
    };
    let rules = Rules {
        defaults: &limits,
        max: &limits,
        hold_max: std::time::Duration::MAX,
        shared_namespace: &[],
    };
    let elsewhere = tempfile::tempdir().unwrap();
    let config = SandboxConfig {
        instances: 1,
        ..SandboxConfig::default()
    };
    let compiler = CompilerConfig {
        cache: CacheConfig {
            dir: elsewhere.path().join("cache"),
            files: 1,
            bytes: 1,
        },
        // This test is not the program that has the command `compile`.
        program: "/no/such/program".into(),
        ..CompilerConfig::default()
    };
    let tenants = Tenants::new(Sandbox::new(&config, compiler).unwrap());
    let before = tenants.get("other").and_then(Result::err);
    let before = before.expect("nobody is told that there is no such tenant before it is known which there are");
    assert!(
        before.retry_after.is_some() && before.public_reason.contains("not read yet"),
        "{before:?}"
    );
    tenants.load(scan(dir.path(), &rules, Path::new("none")).unwrap()).await;
    let check = |name: &str, expect: &str| match tenants.get(name) {
        Some(Err(refused)) => assert!(refused.reason.contains(expect), "{}", refused.reason),
        Some(Ok(_)) | None => panic!("{name} is not unavailable"),
    };
    check("none", "handler.wasm: No such file");
    check("garbage", "the compiler could not be run: No such file");
    check("long", "is longer than 1024 bytes");
    check("link", "is not a regular file");
    check("folder", "is not a regular file");
    check("pipe", "is not a regular file");
    check("toml", "unknown field `x`");
    assert!(tenants.get("other").is_none());

    tenants.load(Vec::new()).await;
    assert!(
        tenants.get("none").is_none(),
        "a tenant whose directory is gone is unknown"
    );
}

// Shows P6: the time of the compiler is booked to the tenant whose component it compiles, also if nothing comes of it.
#[tokio::test]
async fn compiling_is_booked_to_the_tenant_and_its_account_outlives_reloads() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("tenants/acme")).unwrap();
    fs::write(dir.path().join("tenants/acme/handler.wasm"), "no component").unwrap();
    let program = dir.path().join("program");
    fs::write(&program, "#!/bin/sh\ncat > /dev/null\nprintf rno\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let compiler = CompilerConfig {
        cache: CacheConfig {
            dir: dir.path().join("cache"),
            files: 1,
            bytes: 1,
        },
        program,
        ..CompilerConfig::default()
    };
    let config = SandboxConfig {
        instances: 1,
        ..SandboxConfig::default()
    };
    let tenants = Tenants::new(Sandbox::new(&config, compiler).unwrap());
    let limits = Limits::default();
    let rules = Rules {
        defaults: &limits,
        max: &limits,
        hold_max: std::time::Duration::MAX,
        shared_namespace: &[],
    };
    let load = async || {
        tenants
            .load(scan(&dir.path().join("tenants"), &rules, Path::new("none")).unwrap())
            .await;
        (
            tenants.status("", 10).tenants.pop().unwrap().state,
            tenants.account("acme").unwrap(),
        )
    };
    let (state, first) = load().await;
    let compiled = first.used(Counter::CompileNanos);
    assert!(compiled > 0);
    assert_eq!(state, State::Unavailable);
    fs::write(dir.path().join("tenants/acme/tenant.toml"), "x = 1").unwrap();
    let (_, second) = load().await;
    assert!(Arc::ptr_eq(&first, &second));
    fs::write(dir.path().join("tenants/acme/tenant.toml"), "").unwrap();
    let (_, third) = load().await;
    assert!(Arc::ptr_eq(&first, &third));
    assert_eq!(third.used(Counter::CompileNanos), compiled, "it is not tried again");
}
