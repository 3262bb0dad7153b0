//! Who may call and who may run now: every limit of a tenant and of the host is reached, and nobody else notices.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

use namelock_test_artifacts::{ROOMS, guests};
use namelock_test_servers::Process;
use reqwest::Method;
use serde_json::{Value, json};

use crate::fixture::{Answer, Builder, Host};

/// Far more than an answer takes that waits for nothing, and far less than the waits in here.
const AT_ONCE: Duration = Duration::from_millis(250);

/// Starts a call of this tenant's `sleep_holding_lease` that runs for `hold_ms`.
fn hold(host: &Host, tenant: &str, name: &str, hold_ms: u32) -> TcpStream {
    let body = json!({ "name": name, "owner": "ann", "attributes": { "hold_ms": hold_ms.to_string() } }).to_string();
    send(host, &format!("{}{body}", head(tenant, body.len())))
}

/// The head of a registration with a body of this length.
fn head(tenant: &str, length: usize) -> String {
    format!("POST /v1/{tenant}/names HTTP/1.1\r\nhost: t\r\ncontent-length: {length}\r\n\r\n")
}

/// Sends this text on a connection of its own.
fn send(host: &Host, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(host.url.strip_prefix("http://").unwrap()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    stream
}

/// What comes until the host ends the connection; a reset after the answer, for what it did not read, is an end as well.
fn rest(mut stream: TcpStream) -> String {
    let (mut answer, mut part) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut part) {
            Ok(0) => break,
            Ok(read) => answer.extend_from_slice(&part[..read]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) => panic!("the connection does not end: {error}; so far it said {answer:?}"),
        }
    }
    String::from_utf8(answer).unwrap()
}

/// Waits until so many calls hold a permit of the host.
async fn running(host: &Host, expect: usize) {
    let line = format!("namelock_calls_running {expect}");
    for _ in 0..1000 {
        let metrics = host.admin("/metrics").await.body;
        if metrics.as_str().unwrap().lines().any(|found| found == line) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("there are never {expect} calls running");
}

async fn timed(answer: impl Future<Output = Answer>) -> (Answer, Duration) {
    let begin = Instant::now();
    (answer.await, begin.elapsed())
}

#[tokio::test]
async fn requests_that_come_too_fast_hear_when_the_next_may_come() {
    let host = Builder::new()
        .demo()
        .tenant("fast", ROOMS, "[limits]\nrate = 2\nburst = 3\n")
        .start();
    for _ in 0..3 {
        host.get("fast", "a").await.is_problem(404, "not_found");
    }
    let refused = host.get("fast", "a").await;
    refused.is_problem(429, "tenant_limit");
    assert_eq!(refused.headers["retry-after"], "1");
    let after = refused.body["retry_after_ms"].as_u64().unwrap();
    assert!((1..=500).contains(&after), "{after}");
    // Nothing of the body is read: it never comes.
    let answer = rest(send(&host, &head("fast", 60_000)));
    assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    assert_eq!(
        host.post("demo", "a", "ann").await.status,
        201,
        "others are not refused"
    );
    tokio::time::sleep(Duration::from_millis(after)).await;
    host.get("fast", "a").await.is_problem(404, "not_found");
}

#[tokio::test]
async fn a_tenant_that_is_full_is_refused_and_others_are_served() {
    let limits = "[limits]\ncalls = 1\ncalls_waiting = 1\ncalls_wait = \"600ms\"\n";
    let host = Builder::new()
        .demo()
        .tenant("full", guests::SLEEP_HOLDING_LEASE, limits)
        .start();
    let held = hold(&host, "full", "held", 3000);
    running(&host, 1).await;
    let waits = timed(host.post("full", "waits", "ann"));
    let has_no_place = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let refused = timed(host.post("full", "more", "ann")).await;
        (refused, timed(host.post("demo", "a", "ann")).await)
    };
    let ((waited, wait), ((refused, at_once), (other, served))) = tokio::join!(waits, has_no_place);
    for answer in [&waited, &refused] {
        answer.is_problem(429, "tenant_limit");
        assert_eq!(answer.body["retry_after_ms"], 600);
    }
    assert!(wait >= Duration::from_millis(600), "{wait:?}");
    assert!(at_once < AT_ONCE, "{at_once:?}");
    assert_eq!(other.status, 201);
    assert!(served < AT_ONCE, "{served:?}");
    drop(held);
    running(&host, 0).await;
    host.get("full", "held").await.is_problem(404, "not_found");
}

#[tokio::test]
async fn a_host_that_is_full_refuses() {
    let config = "[http]\ncalls = 1\ncalls_waiting = 1\ncalls_wait = \"600ms\"\n";
    let host = Builder::new()
        .config(config)
        .demo()
        .tenant("sleep", guests::SLEEP_HOLDING_LEASE, "")
        .start();
    let held = hold(&host, "sleep", "held", 3000);
    running(&host, 1).await;
    let waits = timed(host.post("demo", "a", "ann"));
    let has_no_place = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        timed(host.get("demo", "a")).await
    };
    let ((waited, wait), (refused, at_once)) = tokio::join!(waits, has_no_place);
    for answer in [&waited, &refused] {
        answer.is_problem(503, "overloaded");
        assert_eq!(answer.body["retry_after_ms"], 600);
    }
    assert!(wait >= Duration::from_millis(600), "{wait:?}");
    assert!(at_once < AT_ONCE, "{at_once:?}");
    drop(held);
    running(&host, 0).await;
    assert_eq!(host.post("demo", "a", "ann").await.status, 201);
}

#[tokio::test]
async fn a_slow_body_holds_a_place_of_its_tenant_and_nothing_of_the_host() {
    let config = "[http]\ncalls = 1\ncalls_waiting = 0\nbody_timeout = \"20s\"\n";
    let host = Builder::new()
        .config(config)
        .demo()
        .tenant("slow", ROOMS, "[limits]\ncalls = 2\ncalls_waiting = 2\n")
        .start();
    // The host says "continue" when it begins to read a body, so once a request has its place.
    let head = "POST /v1/slow/names HTTP/1.1\r\nhost: t\r\ncontent-length: 100\r\nexpect: 100-continue\r\n\r\n";
    let senders = [(); 4].map(|()| {
        let (mut stream, mut line) = (send(&host, head), [0; 12]);
        stream.read_exact(&mut line).unwrap();
        assert_eq!(&line, b"HTTP/1.1 100");
        stream.write_all(b"{").unwrap();
        stream
    });
    host.get("slow", "a").await.is_problem(429, "tenant_limit");
    running(&host, 0).await;
    assert_eq!(host.post("demo", "a", "ann").await.status, 201);
    drop(senders);
    let mut tries = 0;
    while host.get("slow", "a").await.code() == "tenant_limit" {
        tries += 1;
        assert!(tries < 200, "the places never come back");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Sends this text byte by byte until the host ends the connection, and tells what it said and after how long.
fn trickle(host: &Host, begin: &str, text: &str) -> (String, Duration) {
    let mut stream = send(host, begin);
    stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let (started, mut answer, mut part) = (Instant::now(), Vec::new(), [0; 4096]);
    for byte in text.bytes().cycle() {
        assert!(started.elapsed() < Duration::from_secs(10), "it may trickle for ever");
        // A write fails once the host is gone, and then there may still be something to read.
        let _ = stream.write_all(&[byte]);
        match stream.read(&mut part) {
            Ok(0) => break,
            Ok(read) => answer.extend_from_slice(&part[..read]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
    }
    (String::from_utf8(answer).unwrap(), started.elapsed())
}

#[tokio::test]
async fn a_body_that_trickles_is_refused_in_time() {
    let host = Builder::new()
        .config("[http]\nbody_timeout = \"300ms\"\n")
        .demo()
        .start();
    let (answer, took) = trickle(&host, &head("demo", 60_000), " ");
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.contains("did not arrive within 300ms"), "{answer}");
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[tokio::test]
async fn a_head_that_trickles_is_cut_off() {
    let host = Builder::new()
        .config("[http]\nheader_timeout = \"300ms\"\n")
        .demo()
        .start();
    let (answer, took) = trickle(&host, "GET /v1/demo/names/", "a");
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(took < Duration::from_secs(2), "{took:?}");
    let idle = send(&host, "");
    assert_eq!(rest(idle), "", "a connection may not idle for longer either");
}

#[tokio::test]
async fn a_head_that_is_too_long_is_refused() {
    let host = Builder::new().demo().start();
    let request = |lines: &str| {
        let head = "GET /v1/demo/names/a HTTP/1.1\r\nhost: t\r\nconnection: close\r\n";
        rest(send(&host, &format!("{head}{lines}\r\n")))
    };
    assert!(request(&format!("x: {}\r\n", "y".repeat(15 << 10))).starts_with("HTTP/1.1 404 "));
    assert!(request(&format!("x: {}\r\n", "y".repeat(17 << 10))).starts_with("HTTP/1.1 431 "));
    assert!(request(&"x: y\r\n".repeat(60)).starts_with("HTTP/1.1 404 "));
    assert!(request(&"x: y\r\n".repeat(65)).starts_with("HTTP/1.1 431 "));
    let long = format!("GET /{} HTTP/1.1\r\nhost: t\r\n\r\n", "a".repeat(17 << 10));
    let answer = rest(send(&host, &long));
    assert!(
        answer.starts_with("HTTP/1.1 431 ") || answer.starts_with("HTTP/1.1 414 "),
        "{answer}"
    );
}

#[tokio::test]
async fn a_body_that_is_too_long_is_not_read() {
    let host = Builder::new().demo().start();
    let check = |answer: String| {
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        assert!(answer.contains("payload_too_large"), "{answer}");
        assert!(answer.contains("connection: close"), "{answer}");
    };
    check(rest(send(&host, &head("demo", (64 << 10) + 1))));
    let chunked = "POST /v1/demo/names HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n";
    check(rest(send(&host, &format!("{chunked}11000\r\n{}", " ".repeat(0x11000)))));
}

/// Makes a token with the real binary: its secret, and the lines for the file.
fn new_token(arguments: &[&str]) -> (String, String) {
    let mut command = Process::command(env!("CARGO_BIN_EXE_namelock"), "the build makes it");
    let output = command.args(["token", "new"]).args(arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let (secret, lines) = text.split_once("\n\n").unwrap();
    (secret.to_owned(), lines.to_owned())
}

/// Any request of this tenant with this `Authorization`.
async fn ask(host: &Host, method: Method, tenant: &str, authorization: Option<&str>) -> Answer {
    let (path, body) = match method {
        Method::POST => (format!("/v1/{tenant}/names"), r#"{"name":"a","owner":"ann"}"#),
        _ => (format!("/v1/{tenant}/names/a?owner=ann"), ""),
    };
    host.send(|client, url| {
        let request = client.request(method, format!("{url}{path}")).body(body);
        match authorization {
            Some(value) => request.header("authorization", value),
            None => request,
        }
    })
    .await
}

#[tokio::test]
async fn a_token_opens_its_tenant_for_its_rights_alone() {
    let (all, all_lines) = new_token(&[]);
    let (reader, reader_lines) = new_token(&["--name", "reader", "--rights", "find"]);
    let (other, other_lines) = new_token(&["--name", "other"]);
    let host = Builder::new()
        .tenant("mine", ROOMS, &format!("{all_lines}{reader_lines}"))
        .tenant("theirs", ROOMS, &other_lines)
        .tenant("rated", ROOMS, &format!("[limits]\nrate = 1\nburst = 1\n{other_lines}"))
        .start();
    let bearer = |secret: &str| format!("Bearer {secret}");
    for method in [Method::POST, Method::GET, Method::DELETE] {
        for wrong in [
            None,
            Some(bearer(&other)),
            Some("Bearer ".to_owned()),
            Some(format!("Basic {all}")),
        ] {
            let answer = ask(&host, method.clone(), "mine", wrong.as_deref()).await;
            answer.is_problem(401, "unauthorized");
            assert_eq!(answer.headers["www-authenticate"], "Bearer");
            assert!(!answer.body.to_string().contains("nlk_"), "{:?}", answer.body);
        }
        ask(&host, method, "none", Some(&bearer(&all)))
            .await
            .is_problem(404, "unknown_tenant");
    }
    for method in [Method::POST, Method::DELETE] {
        ask(&host, method, "mine", Some(&bearer(&reader)))
            .await
            .is_problem(403, "forbidden");
    }
    assert_eq!(ask(&host, Method::POST, "mine", Some(&bearer(&all))).await.status, 201);
    assert_eq!(
        ask(&host, Method::GET, "mine", Some(&bearer(&reader))).await.status,
        200
    );
    assert_eq!(
        ask(&host, Method::DELETE, "mine", Some(&bearer(&all))).await.status,
        204
    );

    for _ in 0..10 {
        ask(&host, Method::GET, "rated", Some(&bearer(&all)))
            .await
            .is_problem(401, "unauthorized");
    }
    ask(&host, Method::GET, "rated", Some(&bearer(&other)))
        .await
        .is_problem(404, "not_found");
}

#[tokio::test]
async fn no_secret_is_ever_logged() {
    let (secret, lines) = new_token(&["--rights", "find"]);
    let host = Builder::new()
        .log("trace")
        .tenant("mine", ROOMS, &lines)
        .tenant(
            "pasted",
            ROOMS,
            &lines.replace("sha256 = \"", &format!("sha256 = \"{secret}")),
        )
        .start();
    let bearer = format!("Bearer {secret}");
    for tenant in ["mine", "pasted", "none"] {
        for method in [Method::POST, Method::GET, Method::DELETE] {
            let answer = ask(&host, method, tenant, Some(&bearer)).await;
            assert!(!answer.body.to_string().contains(&secret), "{:?}", answer.body);
        }
    }
    let log = host.log();
    assert!(
        log.contains("request ended") && log.contains("`namelock token new`"),
        "{log}"
    );
    assert!(!log.contains(&secret), "{log}");
}

/// Starts a host on this address, and tells its exit code and what it said, or that it serves.
fn listen(
    builder: &Builder,
    address: &str,
    arguments: &[&str],
    open: Option<&str>,
) -> Result<(), (Option<i32>, String)> {
    let mut command = Process::command(env!("CARGO_BIN_EXE_namelock"), "the build makes it");
    command
        .current_dir(builder.folder())
        .args(["serve", "--listen", address, "--admin", "127.0.0.1:0"])
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if let Some(open) = open {
        command.env("NAMELOCK_OPEN", open);
    }
    let mut process = Process::spawn(&mut command);
    if process.listening(Duration::from_secs(20)).is_some() {
        return Ok(());
    }
    let (status, text) = process
        .last_words(Duration::from_secs(20))
        .expect("it neither serves nor ends");
    Err((status.code(), text))
}

#[test]
fn a_tenant_without_tokens_keeps_the_host_on_loopback() {
    let open = Builder::new().demo();
    for address in ["0.0.0.0:0", "[::]:0"] {
        let (code, text) = listen(&open, address, &[], None).unwrap_err();
        assert_eq!(code, Some(2), "{text}");
        let line = text
            .lines()
            .rfind(|line| line.starts_with("namelock: "))
            .unwrap_or_default();
        assert!(
            line.contains("http.listen") && line.contains("`demo` has no tokens"),
            "{text}"
        );
        assert!(line.contains("--open"), "{text}");
    }
    listen(&open, "0.0.0.0:0", &["--open"], None).unwrap();
    listen(&open, "0.0.0.0:0", &[], Some("true")).unwrap();
    assert!(listen(&open, "0.0.0.0:0", &[], Some("false")).is_err());
    listen(&open, "127.0.0.1:0", &[], None).unwrap();
    let closed = Builder::new().tenant("mine", ROOMS, &new_token(&[]).1);
    listen(&closed, "0.0.0.0:0", &[], None).unwrap();
}

#[test]
fn a_limit_that_cannot_be_held_stops_the_start() {
    let check = |config: &str, before: &str, expect: &str| {
        let builder = Builder::new().config(config).demo();
        // Writes the configuration file; the host itself is started by a shell that lowers its limits first.
        builder.command();
        let mut command = Process::command("sh", "every machine has one");
        let line =
            format!("{before} exec \"$0\" serve --config namelock.toml --listen 127.0.0.1:0 --admin 127.0.0.1:0");
        command
            .current_dir(builder.folder())
            .args(["-c", &line, env!("CARGO_BIN_EXE_namelock")]);
        let output = command.output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{text}");
        let last = text.lines().last().unwrap_or_default();
        assert!(last.starts_with("namelock: ") && last.contains(expect), "{text}");
    };
    check("", "ulimit -n 300;", "http.connections: 4096 connections need");
    check(
        "[limits]\nmemory = \"2MiB\"\n[limits.max]\nmemory = \"1MiB\"\n",
        "",
        "limits.max.memory",
    );
}

#[tokio::test]
async fn a_tenant_that_wants_more_than_the_most_is_unavailable() {
    let config = "[limits.max]\nmemory = \"128MiB\"\n";
    let host = Builder::new()
        .config(config)
        .tenant("fits", ROOMS, "[limits]\nmemory = \"128MiB\"\n")
        .tenant("greedy", ROOMS, "[limits]\nmemory = \"129MiB\"\n")
        .tenant("rash", ROOMS, "[limits]\nrate = 1001\n")
        .start();
    assert_eq!(host.post("fits", "a", "ann").await.status, 201);
    let log = host.log();
    for (tenant, key) in [("greedy", "limits.max.memory"), ("rash", "limits.max.rate")] {
        host.get(tenant, "a").await.is_problem(503, "tenant_unavailable");
        let line = log.lines().find(|line| line.contains(tenant) && line.contains("ERROR"));
        assert!(line.is_some_and(|line| line.contains(key)), "{tenant}: {line:?}");
    }
}

#[tokio::test]
async fn a_fault_has_its_name_in_the_log_and_not_in_the_answer() {
    let host = Builder::new()
        .tenant("t", guests::TRAP_HOLDING_LEASE, "")
        .tenant_bytes("broken", b"this is no component", "")
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
