//! What an operator may ask of a host, and how he steers it.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use namelock_test_artifacts::{ROOMS, bombs, guests};
use namelock_test_servers::{Memcached, Process};
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::fixture::{Answer, Builder, DEADLINE, Host, LONG_CALLS, LONG_LEASES, eventually, lock_is_taken};

/// Runs `namelock admin` for these hosts, with this token; tells its exit code, and what it printed on both outputs.
pub(crate) fn admin_of(hosts: &[&str], token: Option<&str>, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_namelock"));
    command.args(["admin", "--admin", &hosts.join(",")]).args(arguments);
    if let Some(token) = token {
        command.env("NAMELOCK_ADMIN_TOKEN", token);
    }
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    (output.status.code(), said.concat())
}

pub(crate) fn address(host: &Host) -> &str {
    host.admin.strip_prefix("http://").unwrap()
}

/// Runs `namelock admin` for this host, which asks for no token.
pub(crate) fn namelock_admin(host: &Host, arguments: &[&str]) -> (Option<i32>, String) {
    admin_of(&[address(host)], None, arguments)
}

/// Any request to the admin listener, with this `Authorization` if there is one.
pub(crate) async fn operate(host: &Host, method: &str, path: &str, authorization: Option<&str>) -> Answer {
    host.send(|client, _| {
        let request = client.request(method.parse().unwrap(), format!("{}{path}", host.admin));
        match authorization {
            Some(value) => request.header("authorization", value),
            None => request,
        }
    })
    .await
}

#[tokio::test]
async fn a_command_finds_its_hosts_in_a_variable_that_no_host_reads() {
    let host = Builder::new().demo().start();
    host.wait_until_ready();
    let mut command = Command::new(env!("CARGO_BIN_EXE_namelock"));
    // The other one has where a host of this machine is to listen.
    command
        .args(["admin", "ready"])
        .env("NAMELOCK_ADMIN", "0.0.0.0:0")
        .env("NAMELOCK_HOSTS", address(&host));
    let output = command.output().unwrap();
    assert_eq!(
        (output.status.code(), output.stdout.as_slice()),
        (Some(0), &b"ready\n"[..]),
        "{output:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disabled_tenant_is_refused_while_what_runs_goes_on() {
    let memcached = Memcached::start();
    let host = Builder::new()
        .config(&format!("names.busy_timeout = '1m'\n{LONG_LEASES}"))
        .lock(&memcached)
        .demo()
        .tenant("slow", ROOMS, LONG_CALLS)
        .start();
    host.wait_until_ready();
    // Until it lets go, nobody else writes: a call that runs waits with its lock for as long as this test likes.
    let writer = Connection::open(host.folder().join("names.db")).unwrap();
    writer.busy_timeout(DEADLINE).unwrap();
    writer.execute_batch("BEGIN IMMEDIATE").unwrap();
    let state = async |tenant: &str| host.tenant_status(tenant).await["state"].clone();
    let steer = async {
        lock_is_taken(&memcached).await;
        let (code, said) = namelock_admin(&host, &["disable", "slow"]);
        assert_eq!((code, said.as_str()), (Some(0), "slow is disabled\n"));
        let refused = host.post("slow", "other", "ann").await;
        refused.is_problem(503, "tenant_unavailable");
        let detail = refused.body["detail"].as_str().unwrap();
        assert!(detail.contains("disabled by the operator"), "{detail}");
        assert!(!refused.headers.contains_key("retry-after"));
        writer.execute_batch("COMMIT").unwrap();
    };
    let (ended, ()) = tokio::join!(host.post("slow", "room", "ann"), steer);
    assert_eq!(
        ended.status, 201,
        "what ran has ended as it would have: {:?}",
        ended.body
    );

    let load = async || host.post("demo", &format!("room {}", rand_name()), "ann").await.code();
    assert_eq!(load().await, "201", "other tenants go on");
    assert_eq!(operate(&host, "POST", "/tenants/demo/disable", None).await.status, 200);
    let answers = futures(8, &load).await;
    assert!(answers.iter().all(|code| code == "tenant_unavailable"), "{answers:?}");
    let metrics = host.admin("/metrics").await.body;
    let line = "namelock_tenants{state=\"disabled\"} 2";
    assert!(metrics.as_str().unwrap().contains(line), "{metrics}");

    // Its directory says nothing of it.
    fs::write(host.tenant("demo").join("tenant.toml"), "[settings]\ncolour = 'red'\n").unwrap();
    host.process.signal("HUP");
    let loaded = |line: &&str| line.contains("tenant loaded") && line.contains("tenant=demo ");
    eventually("its directory was read again", async || {
        host.log().lines().filter(loaded).count() == 2
    })
    .await;
    assert_eq!(
        (state("demo").await, load().await),
        (json!("disabled"), "tenant_unavailable".to_owned())
    );
    let (code, said) = namelock_admin(&host, &["enable", "demo"]);
    assert_eq!((code, said.as_str()), (Some(0), "demo is serving\n"));
    assert_eq!(load().await, "201");
    let (code, said) = namelock_admin(&host, &["disable", "no/body"]);
    assert!(
        code == Some(1) && said.contains("no tenant of this host has the id \"no/body\""),
        "{said}"
    );
}

/// A name that no other call of this process has.
fn rand_name() -> usize {
    static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

/// What this many calls at once answer.
async fn futures(calls: usize, call: &impl AsyncFn() -> String) -> Vec<String> {
    futures_util::future::join_all((0..calls).map(|_| call())).await
}

#[tokio::test]
async fn a_host_that_is_drained_serves_until_balancers_have_seen_it_and_then_ends() {
    let mut host = Builder::new().config("http.lame_duck = '10m'\n").demo().start();
    assert_eq!(host.admin("/drain").await.body["draining"], false);
    for _ in 0..2 {
        // Asked again it does not end sooner: whoever has lost the answer may repeat the question.
        let (code, said) = namelock_admin(&host, &["drain"]);
        assert_eq!(
            (code, said.as_str()),
            (Some(0), "stopping: 0 calls run, 0 wait, 0 locks are held\n")
        );
        let ready = host.admin("/readyz").await;
        assert_eq!(ready.status, 503);
        assert_eq!(ready.body["reasons"], json!([{ "part": "host", "reason": "stopping" }]));
        assert_eq!(
            host.post("demo", &format!("room {}", rand_name()), "ann").await.status,
            201
        );
    }
    let (code, said) = namelock_admin(&host, &["ready"]);
    assert!(code == Some(1) && said.contains("not ready; host: stopping"), "{said}");
    assert!(host.log().contains("the host was told to stop by the operator"));
    host.process.signal("TERM");
    let status = host.process.wait(DEADLINE).expect("the signal skips the rest");
    assert_eq!(status.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_is_drained_ends_by_itself_once_balancers_had_their_time() {
    let mut host = Builder::new().config("http.lame_duck = '300ms'\n").demo().start();
    let begun = Instant::now();
    let (code, said) = namelock_admin(&host, &["drain"]);
    assert_eq!(code, Some(0), "{said}");
    let status = tokio::task::block_in_place(|| host.process.wait(DEADLINE));
    assert_eq!(status.expect("nobody tells it again").code(), Some(0));
    assert!(begun.elapsed() >= Duration::from_millis(300));
    let log = host.log();
    assert!(
        log.contains("serving until balancers have seen it") && log.contains("stopped"),
        "{log}"
    );
    assert!(!log.contains("told again"), "{log}");
}

#[tokio::test]
async fn what_is_logged_changes_for_a_while_and_what_operators_do_is_logged_always() {
    let host = Builder::new().log("off").demo().start();
    let logs = async |name: &str| {
        assert_eq!(host.post("demo", name, "ann").await.status, 201);
        host.log().matches("request ended").count()
    };
    assert_eq!(logs("a").await, 0);
    let (code, said) = namelock_admin(&host, &["log", "off,namelock=debug", "--for", "1h"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.starts_with("off,namelock=debug, for another 3") && said.ends_with(" s, then off\n"),
        "{said}"
    );
    assert_eq!(logs("b").await, 1);
    let (code, said) = namelock_admin(&host, &["log", "namelock=debug", "--for", "1ms"]);
    assert_eq!(code, Some(0), "{said}");
    eventually("the filter is as it was", async || {
        host.admin("/log").await.body == json!({ "filter": "off", "at_start": "off" })
    })
    .await;
    assert_eq!(logs("c").await, 1);
    let log = host.log();
    for line in [
        "the filter of the log was set by the operator",
        "the filter of the log is as it was before",
    ] {
        assert!(log.contains(line), "{line}: {log}");
    }
    let (code, said) = namelock_admin(&host, &["log", "namelock=loud"]);
    assert!(code == Some(1) && said.contains("write a level"), "{said}");
    let (code, said) = namelock_admin(&host, &["log", "info", "--for", "soon"]);
    assert!(code == Some(2) && said.contains("is not a time"), "{said}");
    assert_eq!(namelock_admin(&host, &["log"]), (Some(0), "off\n".to_owned()));
}

/// What is being loaded, as tenants with stages.
async fn stages(host: &Host) -> Vec<(String, String)> {
    let all = host.admin("/compiling").await.body;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let all = all.as_array().unwrap().iter();
    all.map(|loading| (text(&loading["tenant"]), text(&loading["stage"])))
        .collect()
}

#[tokio::test]
async fn who_compiles_and_who_waits_is_seen() {
    let cache = tempfile::tempdir().unwrap();
    let host = Builder::new()
        .config("compiler.processes = 1\n")
        .cache(&cache.path().join("cache"))
        .demo()
        .start();
    assert_eq!(stages(&host).await, []);
    for tenant in ["bomb-a", "bomb-b"] {
        fs::create_dir(host.tenant(tenant)).unwrap();
        fs::write(host.tenant(tenant).join("handler.wasm"), bombs::giant_function()).unwrap();
    }
    host.process.signal("HUP");
    eventually("one compiles and one waits", async || {
        let stages = stages(&host).await;
        let stages: Vec<_> = stages.iter().map(|(_, stage)| stage.as_str()).collect();
        stages == ["compiling", "waits_for_compiler"]
    })
    .await;
    let (code, said) = namelock_admin(&host, &["compiling"]);
    assert_eq!(code, Some(0));
    let compiles = |line: &str| line.starts_with("bomb-") && line.contains("compiling");
    assert!(said.lines().any(compiles), "{said}");
    assert_eq!(host.admin("/compiling?limit=1").await.body.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_host_whose_tenants_are_being_loaded_lives_and_is_not_ready() {
    let cache = tempfile::tempdir().unwrap();
    let builder = Builder::new()
        .cache(&cache.path().join("cache"))
        .tenant_bytes("bomb", &bombs::giant_function(), "");
    let process = Process::spawn(&mut builder.command());
    let mut admin = None;
    eventually("the host says where its operators are listened to", async || {
        let log = fs::read_to_string(builder.folder().join("log")).unwrap_or_default();
        let mut words = log.split_whitespace();
        admin = words.find_map(|word| word.strip_prefix("admin=http://").map(str::to_owned));
        admin.is_some()
    })
    .await;
    let ask = async |path: &str| {
        let answer = reqwest::get(format!("http://{}{path}", admin.as_deref().unwrap()))
            .await
            .unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    assert_eq!(ask("/healthz").await, (200, "ok\n".to_owned()));
    let (status, reasons) = ask("/readyz").await;
    assert_eq!(status, 503);
    assert!(
        reasons.contains(r#"{"part":"host","reason":"loading its tenants"}"#),
        "{reasons}"
    );
    // A command stops it, too.
    let host = admin.as_deref().unwrap();
    let (code, said) = admin_of(&[host], None, &["drain"]);
    assert_eq!(code, Some(0), "{said}");
    let mut process = process;
    let status = process
        .wait(DEADLINE)
        .expect("a host that is told to stop while it starts ends");
    assert_eq!(status.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_locks_of_several_hosts_are_shown_together() {
    let memcached = Memcached::start();
    let folder = tempfile::tempdir().unwrap();
    let start = || {
        let host = Builder::new()
            .config(LONG_LEASES)
            .lock(&memcached)
            .names(&folder.path().join("names.db"))
            .tenant("slow", guests::SLEEP_HOLDING_LEASE, LONG_CALLS)
            .start();
        host.wait_until_ready();
        host
    };
    let (one, other) = (start(), start());
    let body = |name: &str| json!({ "name": name, "owner": "ann", "attributes": { "hold_ms": "200000" } });
    let (red, blue) = (body("red\u{1b}[2J"), body("blue"));
    let both = [address(&one), address(&other)];
    let looked = async {
        eventually("both hosts hold a lock", async || {
            let (code, said) = admin_of(&both, None, &["locks"]);
            code == Some(0) && said.lines().count() == 3
        })
        .await;
        let (_, said) = admin_of(&both, None, &["locks", "--names"]);
        let rows: Vec<_> = said.lines().collect();
        assert!(rows[0].starts_with("host ") && rows[0].ends_with("name"), "{said}");
        for (row, host, name) in [(rows[1], both[0], r#""red\u{1b}[2J""#), (rows[2], both[1], r#""blue""#)] {
            assert!(
                row.starts_with(host) && row.ends_with(name) && row.contains(" slow "),
                "{said}"
            );
        }
        let lock = &one.admin("/locks").await.body[0];
        assert!(lock["tenant"] == "slow" && lock["request_id"].is_string(), "{lock}");
        assert!(lock["deadline_ms"].as_u64() > Some(1_700_000_000_000), "{lock}");
        assert_eq!(lock.get("name"), None, "it was not asked for");
        let (code, said) = admin_of(&both, None, &["locks", "--json"]);
        let all: Value = serde_json::from_str(&said).unwrap();
        assert_eq!((code, all[both[1]][0]["tenant"].as_str()), (Some(0), Some("slow")));

        // One that is away keeps nobody from seeing the others.
        let (code, said) = admin_of(&["127.0.0.1:1", both[1]], None, &["locks"]);
        assert_eq!(code, Some(1));
        assert!(
            said.contains(&format!("\n{}  ", both[1])) && said.contains("no host answers at 127.0.0.1:1"),
            "{said}"
        );
        let (code, said) = admin_of(&both, None, &["end-lease", "1"]);
        assert!(code == Some(2) && said.contains("is that of one host"), "{said}");
    };
    tokio::select! {
        answer = one.post_json("slow", &red) => panic!("the call has ended: {answer:?}"),
        answer = other.post_json("slow", &blue) => panic!("the call has ended: {answer:?}"),
        () = looked => {}
    }
}
