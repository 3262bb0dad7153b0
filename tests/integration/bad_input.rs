//! Whatever is wrong is answered as the contract says: no panic, no hang, nothing lost.

use std::io::{Read, Write};
use std::process::Stdio;

use namelock_test_artifacts::{ROOMS, guests, wants_http};
use namelock_test_servers::Process;
use reqwest::Method;
use serde_json::{Value, json};

use crate::fixture::{Answer, Builder, DEADLINE, Host, eventually};

#[tokio::test]
async fn bad_requests_are_refused_with_a_reason() {
    let host = Builder::new().demo().start();
    let invalid: [&[u8]; 9] = [
        b"",
        b"{",
        b"[]",
        b"{\"name\":\"a\"}",
        b"{\"owner\":\"ann\"}",
        b"{\"name\":\"a\",\"owner\":\"ann\",\"colour\":\"red\"}",
        b"{\"name\":\"a\",\"owner\":\"ann\",\"lifetime_ms\":-1}",
        b"{\"name\":\"a\",\"owner\":\"\"}",
        b"{\"name\":\"\xff\xfe\",\"owner\":\"ann\"}",
    ];
    for body in invalid {
        host.post_bytes("demo", body.to_vec())
            .await
            .is_problem(400, "invalid_request");
    }
    let long = "x".repeat(256);
    host.post("demo", "a", &long).await.is_problem(400, "invalid_request");
    host.post("demo", &long, "ann").await.is_problem(422, "name_invalid");
    host.post("demo", "", "ann").await.is_problem(422, "name_invalid");
    host.post("demo", "   ", "ann").await.is_problem(422, "name_invalid");
    let zero = json!({ "name": "a", "owner": "ann", "lifetime_ms": 0 });
    let answer = host.post_json("demo", &zero).await;
    assert!([400, 422].contains(&answer.status.as_u16()), "{:?}", answer.body);

    let huge = json!({ "name": "a", "owner": "ann", "attributes": { "x": "y".repeat(100_000) } });
    host.post_json("demo", &huge).await.is_problem(413, "payload_too_large");
    host.request(Method::GET, "/v1/demo/names/%ff")
        .await
        .is_problem(400, "invalid_request");
    host.request(Method::DELETE, "/v1/demo/names/a")
        .await
        .is_problem(400, "invalid_request");
    let wrong = host.request(Method::PUT, "/v1/demo/names/a").await;
    wrong.is_problem(405, "unsupported");
    assert_eq!(wrong.headers["allow"], "GET,HEAD,PATCH,DELETE");
    host.request(Method::GET, "/v2").await.is_problem(404, "not_found");
    // The host still serves.
    assert_eq!(host.post("demo", "a", "ann").await.status, 201);
}

#[tokio::test]
async fn a_request_without_a_host_is_refused() {
    let host = Builder::new().demo().start();
    let ask = |lines: &str| {
        let mut stream = host.connect();
        let request = format!("GET /v1/demo/names/a HTTP/1.{lines}connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    for refused in ["1\r\n", "1\r\nhost: a\r\nhost: a\r\n"] {
        let answer = ask(refused);
        assert!(
            answer.starts_with("HTTP/1.1 400 ") && answer.contains("invalid_request"),
            "{answer}"
        );
    }
    assert!(ask("1\r\nhost: a\r\n").contains("not_found"));
    assert!(ask("0\r\n").contains("not_found"));
}

/// Sends a request target as it is, which no client library would, and returns the answer.
fn raw(host: &Host, target: &str) -> String {
    let mut stream = host.connect();
    let request = format!("GET {target} HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[tokio::test]
async fn no_tenant_id_leads_out_of_the_directory() {
    let host = Builder::new().demo().start();
    for id in [
        "..",
        "%2e%2e",
        "..%2f..",
        "demo%2f..%2fdemo",
        "Demo",
        "demo%00",
        "-demo",
        &"d".repeat(64),
    ] {
        let answer = raw(&host, &format!("/v1/{id}/names/a"));
        assert!(answer.starts_with("HTTP/1.1 404 "), "{id}: {answer}");
        assert!(answer.contains("unknown_tenant"), "{id}: {answer}");
    }
    assert!(raw(&host, "/v1/demo/names/a").contains("not_found"));
}

#[tokio::test]
async fn a_tenant_with_a_bad_component_does_not_stop_the_others() {
    let module = b"\0asm\x01\0\0\0";
    let host = Builder::new()
        .demo()
        .tenant_bytes("empty", b"", "")
        .tenant_bytes("garbage", b"this is no component", "")
        .tenant_bytes("module", module, "")
        .tenant("no-export", guests::NO_EXPORT, "")
        .tenant_bytes("wants-http", &wants_http(), "")
        .tenant("bad-toml", ROOMS, "limits.memory = '64 parsecs'")
        .tenant("bad-namespace", ROOMS, "namespace = 'demo'")
        .start();
    let why = [
        ("empty", "is no WebAssembly binary"),
        ("garbage", "is no WebAssembly binary"),
        ("module", "is a core module"),
        ("no-export", "it exports no namelock:registration/handler@0.1"),
        ("wants-http", "wasi:http/outgoing-handler@0.2.0"),
        ("bad-toml", "limits.memory"),
        ("bad-namespace", "namespace"),
    ];
    let log = host.log();
    for (tenant, expect) in why {
        host.post(tenant, "a", "ann")
            .await
            .is_problem(503, "tenant_unavailable");
        let line = log.lines().find(|line| line.contains(tenant) && line.contains("ERROR"));
        assert!(line.is_some_and(|line| line.contains(expect)), "{tenant}: {line:?}");
    }
    assert_eq!(host.post("demo", "a", "ann").await.status, 201);
}

/// Starts a host that must not start, checks its exit code, and returns its one line.
pub(crate) fn refusal(builder: &Builder, arguments: &[&str], code: i32) -> String {
    let mut command = builder.command();
    let mut process = Process::spawn(command.args(arguments).stdout(Stdio::null()).stderr(Stdio::piped()));
    let (status, text) = process
        .last_words(DEADLINE)
        .unwrap_or_else(|| panic!("it runs, in spite of {arguments:?}"));
    assert_eq!(status.code(), Some(code), "{text}");
    let line = text.lines().rfind(|line| line.starts_with("namelock: "));
    line.unwrap_or_else(|| panic!("it says nothing but {text}")).to_owned()
}

fn refuses(builder: &Builder, arguments: &[&str], code: i32, expect: &str) {
    let line = refusal(builder, arguments, code);
    assert!(line.contains(expect), "{line}");
}

#[test]
fn a_bad_flag_or_setting_stops_the_start_with_one_line() {
    let builder = || Builder::new().demo();
    refuses(&builder(), &["--nonsense"], 2, "--nonsense");
    let config = |section: &str, line: &str| builder().config(&format!("[{section}]\n{line}"));
    refuses(&config("http", "colour = 1"), &[], 2, "colour");
    refuses(&config("lock", r#"lease = "10 parsecs""#), &[], 2, "lock.lease");
    refuses(&config("lock", "lease = 10"), &[], 2, "lock.lease");
    refuses(&builder().lock_url("redis://a:1"), &[], 2, "memcached://");
    let names = "postgres://ann:secret@db/names?sslmode=perhaps";
    refuses(&builder().names_url(names), &[], 2, "sslmode");
}

#[tokio::test]
async fn a_port_in_use_stops_the_start_with_one_line() {
    let host = Builder::new().demo().start();
    let address = host.url.strip_prefix("http://").unwrap().to_owned();
    let second = Builder::new().demo();
    let mut command = Process::command(env!("CARGO_BIN_EXE_namelock"), "the build makes it");
    command
        .current_dir(second.folder())
        .args(["serve", "--listen", &address, "--admin", "127.0.0.1:0"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut process = Process::spawn(&mut command);
    let (status, text) = process.last_words(DEADLINE).expect("it runs on a port in use");
    assert_eq!(status.code(), Some(1), "{text}");
    assert!(text.contains(&format!("cannot listen on {address}")), "{text}");
}

#[test]
fn an_unusable_database_stops_the_start_with_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let garbage = folder.path().join("garbage.db");
    std::fs::write(&garbage, "no database".repeat(1000)).unwrap();
    refuses(&Builder::new().demo().names(&garbage), &[], 1, "no database");
    refuses(
        &Builder::new().demo().names(&folder.path().join("no/names.db")),
        &[],
        1,
        "folder does not exist",
    );

    let newer = folder.path().join("newer.db");
    let raw = rusqlite::Connection::open(&newer).unwrap();
    raw.execute_batch("CREATE TABLE t (a); PRAGMA application_id = 0x6e6d6c6b; PRAGMA user_version = 99")
        .unwrap();
    refuses(&Builder::new().demo().names(&newer), &[], 1, "use a newer namelock");

    let locked = folder.path().join("locked.db");
    let raw = rusqlite::Connection::open(&locked).unwrap();
    raw.execute_batch("CREATE TABLE t (a); BEGIN EXCLUSIVE").unwrap();
    refuses(&Builder::new().demo().names(&locked), &[], 1, "locked");
}

// Shows P7: a write that cannot have the database is refused.
#[tokio::test]
async fn a_locked_database_is_unavailable_until_it_is_unlocked() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("names.db");
    let config = r#"
        [names]
        busy_timeout = "200ms"
    "#;
    let host = Builder::new().config(config).names(&file).demo().start();
    assert_eq!(host.post("demo", "a", "ann").await.status, 201);
    let raw = rusqlite::Connection::open(&file).unwrap();
    raw.execute_batch("BEGIN IMMEDIATE").unwrap();
    host.post("demo", "b", "ann").await.is_problem(503, "names_unavailable");
    assert_eq!(host.get("demo", "a").await.status, 200);
    raw.execute_batch("ROLLBACK").unwrap();
    assert_eq!(host.post("demo", "b", "ann").await.status, 201);
}

#[tokio::test]
async fn a_memcached_that_is_down_at_the_start_is_used_once_it_is_up() {
    let mut memcached = namelock_test_servers::Memcached::start();
    memcached.kill();
    let host = Builder::new().lock(&memcached).demo().start();
    let refused = host.post("demo", "a", "ann").await;
    refused.is_problem(503, "lock_unavailable");
    memcached.restart();
    let registered = async || host.post("demo", "a", "ann").await.status == 201;
    eventually("memcached is found", registered).await;
}

#[tokio::test]
async fn the_reason_of_a_fault_is_in_the_log_and_not_in_the_answer() {
    let host = Builder::new()
        .tenant("t", guests::TRAP_HOLDING_LEASE, "")
        .tenant_bytes("broken", b"\0asm\x0d\0\x01\0this is no component", "")
        .start();
    let ask = async |tenant: &str, id: &str| {
        let body = json!({ "name": "a", "owner": "ann" }).to_string();
        host.send(|client, url| {
            let request = client.post(format!("{url}/v1/{tenant}/names")).body(body);
            request.header("x-request-id", id)
        })
        .await
    };
    let check = |answer: &Answer, id: &str, line: &str, inside: &str| {
        let said = answer.body.to_string();
        assert_eq!(answer.body["request_id"], Value::from(id));
        for word in [
            "wasm",
            inside,
            "handler.wasm",
            "tenants/",
            "unreachable",
            ".rs",
            "backtrace",
        ] {
            assert!(!said.contains(word), "{word}: {said}");
        }
        let log = host.log();
        let found = log.lines().find(|found| found.contains(line));
        assert!(found.is_some_and(|found| found.contains(inside)), "{log}");
    };
    let trapped = ask("t", "mine-1").await;
    trapped.is_problem(500, "handler_trapped");
    check(&trapped, "mine-1", "request_id=\"mine-1\"", "trap_holding_lease");
    // Its fault was logged once, when it was loaded: a line a request would let any caller fill the log.
    let broken = ask("broken", "mine-2").await;
    broken.is_problem(503, "tenant_unavailable");
    check(&broken, "mine-2", "tenant=broken", "cannot be compiled");
}
