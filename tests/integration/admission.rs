//! Admission: every limit of a tenant and of the host is reached, and no other tenant is affected.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use namelock_test_artifacts::{ROOMS, guests};
use namelock_test_servers::Process;
use serde_json::json;

use crate::fixture::{Answer, Builder, Host, LONG_CALLS, LONG_LEASES, eventually};

/// How long a call waits for its turn in here, which is far longer than an answer takes that waits for nothing.
const WAIT: Duration = Duration::from_secs(8);

/// Far longer than anything in here takes.
const FOREVER_MS: u32 = 200_000;

/// Starts a call of this tenant's `sleep_holding_lease` that runs until the connection is dropped.
fn hold(host: &Host, tenant: &str, name: &str) -> TcpStream {
    let attributes = json!({ "hold_ms": FOREVER_MS.to_string() });
    let body = json!({ "name": name, "owner": "ann", "attributes": attributes }).to_string();
    send(host, &format!("{}{body}", head(tenant, body.len())))
}

/// The head of a registration with a body of this length.
pub(crate) fn head(tenant: &str, length: usize) -> String {
    format!("POST /v1/{tenant}/names HTTP/1.1\r\nhost: t\r\ncontent-length: {length}\r\n\r\n")
}

/// Sends this text on a connection of its own.
pub(crate) fn send(host: &Host, text: &str) -> TcpStream {
    let mut stream = host.connect();
    stream.write_all(text.as_bytes()).unwrap();
    stream
}

/// What comes until the host ends the connection; a reset after the answer, for what it did not read, is an end as well.
pub(crate) fn rest(mut stream: TcpStream) -> String {
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
pub(crate) async fn running(host: &Host, expect: usize) {
    let line = format!("namelock_calls_running {expect}");
    eventually(&line, async || {
        let metrics = host.admin("/metrics").await.body;
        metrics.as_str().unwrap().lines().any(|found| found == line)
    })
    .await;
}

async fn timed(answer: impl Future<Output = Answer>) -> (Answer, Duration) {
    let begin = Instant::now();
    (answer.await, begin.elapsed())
}

// Shows P6: callers that were refused together do not come back together.
#[tokio::test]
async fn those_who_are_refused_are_told_one_after_another() {
    let limits = r#"
        [limits]
        rate = 1
        burst = 1
        refusal_rate = 20
    "#;
    let host = Builder::new().demo().tenant("fast", ROOMS, limits).start();
    let begin = Instant::now();
    let mut answers: FuturesUnordered<_> = (0..12).map(|_| host.get("fast", "a")).collect();
    let mut told = Vec::new();
    while let Some(answer) = answers.next().await {
        if answer.status == 429 {
            told.push(begin.elapsed());
        }
    }
    assert!(told.len() >= 6, "{told:?}");
    for (number, at) in (0..).zip(&told) {
        assert!(
            *at >= Duration::from_millis(50) * number,
            "number {number} after {at:?}"
        );
    }
}

#[tokio::test]
async fn requests_that_come_too_fast_hear_when_the_next_may_come() {
    let limits = r#"
        [limits]
        rate = 1
        burst = 3
    "#;
    let config = r#"
        [http]
        body_timeout = "1s"
    "#;
    let host = Builder::new()
        .config(config)
        .demo()
        .tenant("fast", ROOMS, limits)
        .start();
    // More at once than the burst, and than what comes while they are answered.
    let begin = Instant::now();
    let answers = futures_util::future::join_all((0..100).map(|_| host.get("fast", "a"))).await;
    let (refused, served): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 429);
    let most = 4 + begin.elapsed().as_secs();
    assert!(
        (3..=most).contains(&(served.len() as u64)),
        "{} of {most}",
        served.len()
    );
    let mut after = 0;
    for answer in &refused {
        answer.is_problem(429, "tenant_limit");
        assert_eq!(answer.headers["retry-after"], "1");
        after = answer.body["retry_after_ms"].as_u64().unwrap();
        assert!((1..=1000).contains(&after), "{after}");
    }
    assert_eq!(
        host.post("demo", "a", "ann").await.status,
        201,
        "others are not refused"
    );
    // What may come has come by then, unless somebody else took it.
    tokio::time::sleep(Duration::from_millis(after)).await;
    host.get("fast", "a").await.is_problem(404, "not_found");

    // Nothing of the body is read: it never comes. Where a token has come meanwhile, the body is waited for.
    let refused = |answer: &String| answer.starts_with("HTTP/1.1 429 ");
    let mut answers = (0..100).map(|_| rest(send(&host, &head("fast", 60_000))));
    let answer = answers.find(refused).expect("one of many is refused");
    assert!(answer.contains("connection: close"), "{answer}");
}

/// Sends two requests where there is room for one to wait, and returns the one that waited, and the one that was
/// refused at once.
async fn one_waits(
    one: impl Future<Output = Answer>,
    other: impl Future<Output = Answer>,
    status: u16,
    code: &str,
) -> (Duration, Duration) {
    let ((one, one_took), (other, other_took)) = tokio::join!(timed(one), timed(other));
    for answer in [&one, &other] {
        answer.is_problem(status, code);
        assert_eq!(
            answer.body["retry_after_ms"].as_u64().map(Duration::from_millis),
            Some(WAIT)
        );
    }
    (one_took.max(other_took), one_took.min(other_took))
}

// Shows P6: a tenant that has as many calls as it may have is refused, and another tenant is served.
#[tokio::test]
async fn a_tenant_that_is_full_is_refused_and_others_are_served() {
    let config = r#"
        [lock]
        lease = "5m"
        max_hold = "5m"
        [limits.max]
        calls_wait = "8s"
        wall_time = "5m"
    "#;
    let limits = r#"
        [limits]
        calls = 1
        calls_waiting = 1
        calls_wait = "8s"
        wall_time = "5m"
    "#;
    let host = Builder::new()
        .config(config)
        .demo()
        .tenant("full", guests::SLEEP_HOLDING_LEASE, limits)
        .start();
    let held = hold(&host, "full", "held");
    running(&host, 1).await;
    let calls = one_waits(
        host.post("full", "waits", "ann"),
        host.post("full", "more", "ann"),
        429,
        "tenant_limit",
    );
    let ((waited, refused), (other, served)) = tokio::join!(calls, timed(host.post("demo", "a", "ann")));
    assert!(waited >= WAIT && refused < WAIT, "{waited:?}, {refused:?}");
    assert_eq!(other.status, 201);
    assert!(served < WAIT, "{served:?}");
    drop(held);
    running(&host, 0).await;
    host.get("full", "held").await.is_problem(404, "not_found");
}

// Shows P7: a host that has as many calls as it may have refuses one more at once.
#[tokio::test]
async fn a_host_that_is_full_refuses() {
    let config = r#"
        [http]
        calls = 1
        calls_waiting = 1
        calls_wait = "8s"
    "#;
    let host = Builder::new()
        .config(&format!("{LONG_LEASES}{config}"))
        .demo()
        .tenant("sleep", guests::SLEEP_HOLDING_LEASE, LONG_CALLS)
        .start();
    let held = hold(&host, "sleep", "held");
    running(&host, 1).await;
    let calls = one_waits(host.post("demo", "a", "ann"), host.get("demo", "a"), 503, "overloaded");
    let (waited, refused) = calls.await;
    assert!(waited >= WAIT && refused < WAIT, "{waited:?}, {refused:?}");
    drop(held);
    running(&host, 0).await;
    assert_eq!(host.post("demo", "a", "ann").await.status, 201);
}

// Shows P6: tenants whose calls only sleep cannot fill the host, each with as many calls as it may have.
#[tokio::test]
async fn four_tenants_whose_calls_sleep_do_not_starve_a_fifth() {
    let config = r#"
        [http]
        calls = 32
        calls_waiting = 64
        [limits]
        calls = 8
        calls_waiting = 8
        calls_wait = "1m"
    "#;
    let sleepers = ["one", "two", "three", "four"];
    let mut builder = Builder::new()
        .config(&format!("{LONG_LEASES}calls_wait = \"1m\"\n{config}"))
        .demo();
    for tenant in sleepers {
        builder = builder.tenant(tenant, guests::SLEEP_HOLDING_LEASE, LONG_CALLS);
    }
    let host = builder.start();
    let mut held = Vec::new();
    // One after another: three may have all of theirs, and the fourth half of what is left.
    for (tenant, expected) in sleepers.into_iter().zip([8, 16, 24, 28]) {
        held.extend((0..8).map(|number| hold(&host, tenant, &format!("held {number}"))));
        running(&host, expected).await;
    }
    for number in 0..50 {
        let answer = host.post("demo", &format!("room {number}"), "ann").await;
        assert_eq!(answer.status, 201, "{:?}", answer.body);
    }
    drop(held);
    running(&host, 0).await;
}

#[tokio::test]
async fn a_caller_that_hangs_up_is_counted_and_logged() {
    let host = Builder::new()
        .config(LONG_LEASES)
        .log("debug")
        .tenant("sleep", guests::SLEEP_HOLDING_LEASE, LONG_CALLS)
        .start();
    let held = hold(&host, "sleep", "held");
    running(&host, 1).await;
    drop(held);
    eventually("the metric counts it", async || {
        let metrics = host.admin("/metrics").await.body;
        let line = r#"namelock_requests_total{operation="register",code="client_gone"} 1"#;
        metrics.as_str().unwrap().contains(line)
    })
    .await;
    running(&host, 0).await;
    assert_eq!(
        host.admin("/tenants/sleep").await.body["calls"]["codes"],
        json!({ "client_gone": 1 })
    );
    eventually("the log names it", async || host.log().contains("code=\"client_gone\"")).await;
}

// Shows P6: a tenant whose calls all fail writes no more to the log than it may, and the rest is counted.
#[tokio::test]
async fn a_tenant_whose_calls_all_trap_fills_no_log() {
    // So little that a slow machine uses it up too.
    let little = "[limits]\nlog_rate = \"1KiB\"\n";
    let host = Builder::new().tenant("t", guests::TRAP_HOLDING_LEASE, little).start();
    eventually("calls fail of which the log says nothing", async || {
        let calls = (0..20).map(async |number| host.post("t", &format!("room {number}"), "ann").await);
        futures_util::future::join_all(calls).await;
        let status = host.admin("/tenants/t").await.body;
        let lines = host.log().lines().filter(|line| line.contains("request ended")).count() as u64;
        status["calls"]["codes"]["handler_trapped"].as_u64() > Some(lines)
            && status["log"]["lines_dropped"].as_u64() > Some(0)
            && status["refusals"]["log_rate"].as_u64() > Some(0)
    })
    .await;
}

// Shows P6: a tenant whose callers send slowly keeps nobody else waiting.
#[tokio::test]
async fn a_slow_body_holds_a_place_of_its_tenant_and_nothing_of_the_host() {
    let config = r#"
        [http]
        calls = 1
        calls_waiting = 0
        body_timeout = "5m"
    "#;
    let limits = r#"
        [limits]
        calls = 2
        calls_waiting = 2
    "#;
    let host = Builder::new()
        .config(config)
        .demo()
        .tenant("slow", ROOMS, limits)
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
    let served = async || host.get("slow", "a").await.code() != "tenant_limit";
    eventually("the places come back", served).await;
}

#[test]
fn a_limit_that_cannot_be_kept_stops_the_start() {
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
        r#"limits = { memory = "2MiB", max = { memory = "1MiB" } }"#,
        "",
        "limits.max.memory",
    );
}

#[tokio::test]
async fn a_tenant_with_a_limit_above_the_maximum_is_unavailable() {
    let config = r#"
        [limits.max]
        memory = "128MiB"
    "#;
    let host = Builder::new()
        .config(config)
        .tenant("fits", ROOMS, r#"limits = { memory = "128MiB" }"#)
        .tenant("greedy", ROOMS, r#"limits = { memory = "129MiB" }"#)
        .tenant("rash", ROOMS, "limits = { rate = 1001 }")
        .start();
    assert_eq!(host.post("fits", "a", "ann").await.status, 201);
    let log = host.log();
    for (tenant, key) in [("greedy", "limits.max.memory"), ("rash", "limits.max.rate")] {
        host.get(tenant, "a").await.is_problem(503, "tenant_unavailable");
        let line = log.lines().find(|line| line.contains(tenant) && line.contains("ERROR"));
        assert!(line.is_some_and(|line| line.contains(key)), "{tenant}: {line:?}");
    }
}
