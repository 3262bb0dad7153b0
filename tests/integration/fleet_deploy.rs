//! Tenants in the database of a fleet: what is put once is served by every host.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use namelock_test_artifacts::{guests, wants_http};
use namelock_test_servers::{Memcached, Postgres};
use serde_json::json;

use crate::authentication::new_token;
use crate::deploy::{component_of, rooms, sha256};
use crate::fixture::{Answer, Builder, Host, eventually};

/// A fleet of hosts that have their tenants in one database.
struct Fleet {
    memcached: Memcached,
    postgres: Postgres,
    files: tempfile::TempDir,
}

impl Fleet {
    fn new() -> Self {
        Self {
            memcached: Memcached::start(),
            postgres: Postgres::start(),
            files: tempfile::tempdir().unwrap(),
        }
    }

    fn host(&self) -> Host {
        let mut builder = Builder::new().lock(&self.memcached).names_url(&self.postgres.url());
        builder.tenants = "postgres:".into();
        builder.start()
    }

    fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.files.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    fn component(&self, hosts: &[&Host], component: &[u8]) -> (Option<i32>, String) {
        let path = self.file("handler.wasm", component);
        deploy(hosts, &["demo", text(&path)])
    }

    fn settings(&self, hosts: &[&Host], toml: &str) -> (Option<i32>, String) {
        let path = self.file("tenant.toml", toml.as_bytes());
        deploy(hosts, &["demo", "--settings", text(&path)])
    }
}

/// Runs `namelock deploy` for these hosts; tells its exit code, and what it printed on both outputs.
fn deploy(hosts: &[&Host], arguments: &[&str]) -> (Option<i32>, String) {
    let hosts: Vec<_> = hosts
        .iter()
        .map(|host| host.admin.strip_prefix("http://").unwrap())
        .collect();
    let mut command = Command::new(env!("CARGO_BIN_EXE_namelock"));
    command.args(["deploy", "--admin", &hosts.join(",")]).args(arguments);
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    (output.status.code(), said.concat())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

async fn post(host: &Host, token: Option<&str>) -> Answer {
    let name = format!("n{}", rand::random::<u64>());
    let body = json!({ "name": name, "owner": "ann" }).to_string();
    host.send(|client, url| {
        let request = client.post(format!("{url}/v1/demo/names")).body(body);
        match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    })
    .await
}

async fn runs(host: &Host) -> Option<String> {
    component_of(&post(host, None).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deployed_once_is_served_by_every_host_also_by_one_that_was_down() {
    let fleet = Fleet::new();
    let hosts = [fleet.host(), fleet.host(), fleet.host()];
    let all: Vec<_> = hosts.iter().collect();
    for host in &all {
        host.post("demo", "a", "ann").await.is_problem(404, "unknown_tenant");
    }
    for number in [1, 2] {
        let (code, said) = fleet.component(&all, &rooms(number));
        println!("{said}");
        assert_eq!(code, Some(0), "{said}");
        assert_eq!(said.matches("serves it after").count(), 3, "{said}");
        for host in &all {
            assert_eq!(runs(host).await, Some(sha256(&rooms(number))));
        }
    }
    // One that starts now has it, and so has one that missed it.
    let [mut one, ..] = hosts;
    one.restart(async || true).await;
    let late = fleet.host();
    for host in [&one, &late] {
        assert_eq!(runs(host).await, Some(sha256(&rooms(2))));
    }
    let (code, said) = deploy(&[&late], &["demo", "--remove"]);
    assert_eq!(code, Some(0), "{said}");
    eventually("the tenant is gone everywhere", async || {
        one.post("demo", "a", "ann").await.status == 404 && late.post("demo", "a", "ann").await.status == 404
    })
    .await;
}

// Shows P7: who may no longer call is refused by every host.
#[tokio::test]
async fn a_token_that_is_revoked_is_refused_by_every_host() {
    let fleet = Fleet::new();
    let hosts = [fleet.host(), fleet.host(), fleet.host()];
    let all: Vec<_> = hosts.iter().collect();
    let [old, new] = ["old", "new"].map(|name| new_token(&["--name", name, "--rights", "register"]));
    let component = fleet.file("handler.wasm", &rooms(1));
    let both = fleet.file("both.toml", format!("{}\n{}", old.1, new.1).as_bytes());
    let (code, said) = deploy(&all, &["demo", text(&component), "--settings", text(&both)]);
    assert_eq!(code, Some(0), "{said}");
    for host in &all {
        assert_eq!(post(host, Some(&old.0)).await.status, 201);
    }
    let began = Instant::now();
    let (code, said) = fleet.settings(&all, &new.1);
    assert_eq!(code, Some(0), "{said}");
    for host in &all {
        let refused = async || post(host, Some(&old.0)).await.status == 401;
        eventually("the token is refused", refused).await;
        assert_eq!(post(host, Some(&new.0)).await.status, 201);
    }
    println!("three hosts refuse it {:?} after the command began", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_comes_after_a_rollback_serves_what_the_fleet_returned_to() {
    let fleet = Fleet::new();
    let hosts = [fleet.host(), fleet.host()];
    let all: Vec<_> = hosts.iter().collect();
    for number in [1, 2] {
        let (code, said) = fleet.component(&all, &rooms(number));
        assert_eq!(code, Some(0), "{said}");
    }
    let both = hosts
        .each_ref()
        .map(|host| host.admin.strip_prefix("http://").unwrap())
        .join(",");
    let output = Command::new(env!("CARGO_BIN_EXE_namelock"))
        .args(["admin", "--admin", &both, "rollback", "demo"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let fresh = fleet.host();
    for host in hosts.iter().chain([&fresh]) {
        assert_eq!(runs(host).await, Some(sha256(&rooms(1))));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_comes_after_a_canary_was_taken_back_never_serves_it() {
    let fleet = Fleet::new();
    let host = fleet.host();
    assert_eq!(fleet.component(&[&host], &rooms(1)).0, Some(0));
    let (code, said) = fleet.settings(&[&host], "canary = {share = '50%', for_ms = 3600000}");
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = fleet.component(&[&host], &fs::read(guests::TRAP_HOLDING_LEASE).unwrap());
    assert_eq!(code, Some(0), "{said}");
    eventually("the canary is taken back", async || {
        post(&host, None).await;
        host.tenant_status("demo").await["tried"].is_null()
    })
    .await;
    // The database has the version before again, and whoever reads it serves that.
    eventually("the host serves what the fleet has", async || {
        host.tenant_status("demo").await["refused"].is_null()
    })
    .await;
    let fresh = fleet.host();
    for _ in 0..20 {
        assert_eq!(runs(&fresh).await, Some(sha256(&rooms(1))));
    }
}

#[tokio::test]
async fn a_host_that_is_silent_hides_nothing_of_the_others() {
    let fleet = Fleet::new();
    let host = fleet.host();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent
        .local_addr()
        .map(|address| (silent, address.to_string()))
        .unwrap();
    let path = fleet.file("handler.wasm", &rooms(1));
    let both = format!("{},{}", host.admin.strip_prefix("http://").unwrap(), silent.1);
    let output = Command::new(env!("CARGO_BIN_EXE_namelock"))
        .args(["deploy", "--admin", &both, "--wait", "5s", "demo", text(&path)])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("serves it after"), "{said}");
    let missing = String::from_utf8(output.stderr).unwrap();
    assert!(
        missing.contains(&silent.1) && !missing.contains("does not serve it yet"),
        "{missing}"
    );
}

#[tokio::test]
async fn what_a_host_would_refuse_is_not_deployed() {
    let fleet = Fleet::new();
    let host = fleet.host();
    let (web, traps, cut) = (wants_http(), fs::read(guests::TRAP_IN_START).unwrap(), rooms(1));
    let bad: [(&[u8], &str); 4] = [
        (b"no component", "is no WebAssembly binary"),
        (&web, "wasi:http"),
        (&cut[..cut.len() / 2], "nothing was deployed"),
        (&traps, "does not start"),
    ];
    let refused = |(code, said): (Option<i32>, String), why: &str| {
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(why), "{why}: {said}");
    };
    for (component, why) in bad {
        refused(fleet.component(&[&host], component), why);
    }
    refused(fleet.settings(&[&host], ""), "it needs a component");
    host.post("demo", "a", "ann").await.is_problem(404, "unknown_tenant");

    assert_eq!(fleet.component(&[&host], &rooms(1)).0, Some(0));
    for (component, why) in bad {
        refused(fleet.component(&[&host], component), why);
    }
    refused(fleet.settings(&[&host], "x = 1"), "unknown field `x`");
    let pinned = format!("sha256 = '{}'", sha256(&rooms(2)));
    refused(fleet.settings(&[&host], &pinned), "SHA-256");
    assert_eq!(runs(&host).await, Some(sha256(&rooms(1))));
    // A host that has its tenants in a directory has nowhere to put them.
    let other = Builder::new().demo().start();
    refused(fleet.component(&[&other], &rooms(1)), "has its tenants in a directory");
}

#[tokio::test]
async fn two_deployments_at_once_are_both_whole() {
    let fleet = Fleet::new();
    let hosts = [fleet.host(), fleet.host()];
    assert_eq!(fleet.component(&[&hosts[0]], &rooms(0)).0, Some(0));
    let put = |host: &Host, number: u32| {
        let path = fleet.file(&format!("{number}.wasm"), &rooms(number));
        let admin = host.admin.strip_prefix("http://").unwrap().to_owned();
        tokio::task::spawn_blocking(move || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_namelock"));
            command.args(["deploy", "--admin", &admin, "--wait", "0s", "demo", text(&path)]);
            String::from_utf8(command.output().unwrap().stdout).unwrap()
        })
    };
    let (one, two) = tokio::join!(put(&hosts[0], 1), put(&hosts[1], 2));
    for said in [one.unwrap(), two.unwrap()] {
        assert!(said.contains("has component"), "{said}");
    }
    let put = [1, 2].map(|number| Some(sha256(&rooms(number))));
    eventually("both hosts serve the same one of the two", async || {
        let (one, two) = tokio::join!(runs(&hosts[0]), runs(&hosts[1]));
        one == two && put.contains(&one)
    })
    .await;
}

#[tokio::test]
async fn hosts_serve_what_they_have_while_the_database_is_down() {
    let mut fleet = Fleet::new();
    let host = fleet.host();
    assert_eq!(fleet.component(&[&host], &rooms(1)).0, Some(0));
    fleet.postgres.kill();
    // The tenant is there, and its names are not.
    let answer = post(&host, None).await;
    answer.is_problem(503, "names_unavailable");
    assert_eq!(component_of(&answer), Some(sha256(&rooms(1))));
    let (code, said) = fleet.component(&[&host], &rooms(2));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("cannot use the catalog of tenants"), "{said}");
    fleet.postgres.restart();
    let served = async || post(&host, None).await.status == 201;
    eventually("the tenant is served", served).await;
    assert_eq!(fleet.component(&[&host], &rooms(2)).0, Some(0));
}
