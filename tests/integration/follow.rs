//! A tenant follows its own log: what it reads, who may, and that nobody waits for one who does not read.

mod follower;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use namelock_test_artifacts::{ROOMS, guests};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use self::follower::{Events, Follower, ask};
use crate::authentication::new_token;
use crate::fixture::{Answer, Builder, DEADLINE, Host, LONG_CALLS, LONG_LEASES, eventually};

async fn post(host: &Host, tenant: &str, request_id: &str, secret: Option<&str>) -> Answer {
    let body = json!({ "name": request_id, "owner": "ann" }).to_string();
    host.send(|client, url| {
        let request = client.post(format!("{url}/v1/{tenant}/names")).body(body);
        let request = request.header("x-request-id", request_id);
        match secret {
            Some(secret) => request.bearer_auth(secret),
            None => request,
        }
    })
    .await
}

async fn get(host: &Host, tenant: &str, request_id: &str) -> Answer {
    let url = |url: &str| format!("{url}/v1/{tenant}/names/a");
    host.send(|client, base| client.get(url(base)).header("x-request-id", request_id))
        .await
}

// Shows P6: whatever a handler writes, it is a line of its tenant's and looks like nothing else; and no other tenant reads it.
#[tokio::test]
async fn a_tenant_reads_its_lines_and_the_ends_of_its_requests_in_order_and_nobody_elses() {
    let host = Builder::new()
        .tenant("mine", guests::LOG_EVENTS, "")
        .tenant("theirs", guests::LOG_EVENTS, "")
        .start();
    let mut follower = Follower::begin(&host, "mine", None).await;
    post(&host, "theirs", "theirs-1", None).await;
    let refused = post(&host, "mine", "mine-1", None).await;
    refused.is_problem(422, "name_invalid");
    post(&host, "theirs", "theirs-2", None).await;
    get(&host, "mine", "mine-2").await.is_problem(404, "not_found");
    let events = follower.until("mine-2").await;

    let text = String::from_utf8(follower.events.bytes.clone()).unwrap();
    assert!(!text.contains("theirs"), "{text}");
    let control = text.chars().find(|c| c.is_control() && *c != '\n');
    assert_eq!(control, None, "{text}");
    let numbers: Vec<_> = events.iter().map(|event| event.number).collect();
    assert_eq!(numbers, (2..2 + events.len() as u64).collect::<Vec<_>>());
    let kinds: Vec<_> = events.iter().map(|event| event.kind.as_str()).collect();
    let lines = events.len() - 2;
    assert!(
        kinds[..lines].iter().all(|kind| *kind == "line") && kinds[lines..] == ["request"; 2],
        "{kinds:?}"
    );
    for line in &events[..lines] {
        assert_eq!(
            (&line.data["request_id"], &line.data["from"]),
            (&json!("mine-1"), &json!("handler"))
        );
        assert!(line.data["time_ms"].is_u64());
    }
    let texts: Vec<_> = events[..lines]
        .iter()
        .map(|line| line.data["text"].as_str().unwrap())
        .collect();
    let expect = [
        "first",
        "event: request",
        "id: 99",
        "data: {\"code\":\"ok\"}",
        "\rdata: forged\r\rid: 98\r",
        "\u{1b}[2J\u{9b}\u{202e}\u{2028}event: request",
    ];
    assert_eq!(texts, expect);

    let [registered, found] = [&events[lines].data, &events[lines + 1].data];
    assert_eq!(
        (&registered["operation"], &registered["code"], &registered["detail"]),
        (&json!("register"), &json!("name_invalid"), &refused.body["detail"])
    );
    assert_eq!(registered["component"].as_str().map(str::len), Some(64));
    assert_eq!(
        (&found["operation"], &found["code"]),
        (&json!("find"), &json!("not_found"))
    );
    assert_eq!(found["component"], Value::Null, "no component ran");
    for ended in [registered, found] {
        let phases = ended["phases_ms"].as_object().unwrap();
        let sum: f64 = phases.values().map(|time| time.as_f64().unwrap()).sum();
        let all = ended["duration_ms"].as_f64().unwrap();
        assert!(all > 0.0 && (sum - all).abs() < 0.01, "{ended}");
    }
    assert!(registered["phases_ms"]["guest"].as_f64() > Some(0.0));
}

#[tokio::test]
async fn a_tenant_reads_why_its_handler_broke_down_and_nothing_about_the_host() {
    let host = Builder::new().tenant("t", guests::TRAP_HOLDING_LEASE, "").start();
    let mut follower = Follower::begin(&host, "t", None).await;
    let trapped = post(&host, "t", "trapped-1", None).await;
    trapped.is_problem(500, "handler_trapped");
    let events = follower.until("trapped-1").await;
    let [line, ended] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!((line.kind.as_str(), &line.data["from"]), ("line", &json!("host")));
    assert!(line.data["text"].as_str().unwrap().starts_with("the call broke down: "));
    assert_eq!(
        (&ended.data["code"], &ended.data["detail"]),
        (&json!("handler_trapped"), &trapped.body["detail"])
    );
}

// Shows P7: nobody follows a log without the right.
#[tokio::test]
async fn a_follow_needs_its_right_and_a_strangers_requests_are_not_in_the_log() {
    let (reader, reader_lines) = new_token(&["--name", "reader", "--rights", "log"]);
    let (writer, writer_lines) = new_token(&["--name", "writer", "--rights", "register,find"]);
    let host = Builder::new()
        .tenant("mine", ROOMS, &format!("{reader_lines}{writer_lines}"))
        .start();
    let check = async |method: Method, path: &str, secret: Option<&str>, expect: (u16, &str)| {
        let answer = ask(&host, method, path, secret).await;
        let status = answer.status().as_u16();
        let body: Value = answer.json().await.unwrap();
        assert_eq!((status, body["code"].as_str().unwrap()), expect);
    };
    check(Method::GET, "/v1/mine/log", None, (401, "unauthorized")).await;
    check(Method::GET, "/v1/mine/log", Some("nlk_x"), (401, "unauthorized")).await;
    check(Method::GET, "/v1/mine/log", Some(&writer), (403, "forbidden")).await;
    check(Method::GET, "/v1/none/log", Some(&reader), (404, "unknown_tenant")).await;
    check(
        Method::GET,
        "/v1/mine/log?after=1",
        Some(&reader),
        (400, "invalid_request"),
    )
    .await;
    check(Method::PATCH, "/v1/mine/log", Some(&reader), (405, "unsupported")).await;
    let head = ask(&host, Method::HEAD, "/v1/mine/log", Some(&reader)).await;
    assert_eq!(
        (head.status(), &head.headers()["content-type"]),
        (StatusCode::OK, &"text/event-stream".parse().unwrap())
    );
    assert_eq!(head.text().await.unwrap(), "");

    let mut follower = Follower::begin(&host, "mine", Some(&reader)).await;
    post(&host, "mine", "stranger-1", None)
        .await
        .is_problem(401, "unauthorized");
    post(&host, "mine", "stranger-2", Some("nlk_x"))
        .await
        .is_problem(401, "unauthorized");
    post(&host, "mine", "reader-1", Some(&reader))
        .await
        .is_problem(403, "forbidden");
    assert_eq!(post(&host, "mine", "writer-1", Some(&writer)).await.status, 201);
    let events = follower.until("writer-1").await;
    let told: Vec<_> = events
        .iter()
        .map(|event| {
            (
                event.data["request_id"].as_str().unwrap(),
                event.data["code"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(told, [("reader-1", "forbidden"), ("writer-1", "ok")]);
}

// Shows P6: followers are limited.
#[tokio::test]
async fn a_log_has_no_more_followers_than_it_may() {
    let host = Builder::new()
        .tenant("one", ROOMS, "limits = { log_followers = 1 }")
        .tenant("none", ROOMS, "limits = { log_followers = 0 }")
        .start();
    let follower = Follower::begin(&host, "one", None).await;
    for tenant in ["one", "none"] {
        let path = format!("/v1/{tenant}/log");
        host.request(Method::GET, &path).await.is_problem(429, "tenant_limit");
    }
    assert_eq!(host.tenant_status("one").await["refusals"]["log_followers"], 1);
    drop(follower);
    eventually("the place is free", async || {
        ask(&host, Method::GET, "/v1/one/log", None).await.status() == 200
    })
    .await;
}

// Shows P6: those who follow leave room for those who call.
#[tokio::test]
async fn the_followers_of_all_tenants_leave_connections_and_calls_to_others() {
    let config = "http.connections = 16\nhttp.calls = 1\nhttp.calls_waiting = 0\n";
    let limits = "limits = { calls = 1, calls_waiting = 0 }";
    let host = Builder::new()
        .config(config)
        .tenant("one", ROOMS, limits)
        .tenant("other", ROOMS, limits)
        .start();
    let mut follower = Follower::begin(&host, "one", None).await;
    let refused = host.request(Method::GET, "/v1/other/log").await;
    refused.is_problem(503, "overloaded");
    assert_eq!(post(&host, "one", "one-1", None).await.status, 201);
    follower.until("one-1").await;
    drop(follower);
    eventually("the place is free", async || {
        ask(&host, Method::GET, "/v1/other/log", None).await.status() == 200
    })
    .await;
}

/// A host on which one call of the tenant `t` writes a megabyte to its log, and the kernel cuts off nobody who does not read.
fn flooded() -> Builder {
    let config = r#"
        [http]
        write_timeout = "10m"
        lame_duck = "10m"
        drain = "10m"
        [limits]
        log_bytes = "16MiB"
        log_rate = "1GiB"
        cpu_time = "30s"
    "#;
    // What follows a log does not depend on what the host's own log shows.
    let builder = Builder::new().config(config).log("info,guest=off");
    builder.tenant("t", guests::LOG_FLOOD, "")
}

/// More than the kernel keeps for a follower that does not read, on both sides.
const MEGABYTES: usize = 24;

/// Follows the log of `t`, and reads no more than its beginning.
fn deaf(host: &Host) -> (TcpStream, Events) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket
        .connect(&host.address().parse::<SocketAddr>().unwrap().into())
        .unwrap();
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(b"GET /v1/t/log HTTP/1.0\r\nhost: t\r\n\r\n").unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    assert!(head.starts_with(b"HTTP/1.0 200 "), "{}", String::from_utf8_lossy(&head));
    (stream, Events::default())
}

/// Has calls write more than a follower's queue and the kernel hold. Each of them is answered.
async fn flood(host: &Host) {
    for number in 0..MEGABYTES {
        let answer = post(host, "t", &format!("flood-{number}"), None).await;
        answer.is_problem(422, "name_invalid");
    }
}

// Shows P6: a follower that does not read delays neither calls nor others who follow, and hears what it has missed.
#[tokio::test]
async fn a_follower_that_does_not_read_delays_nobody_and_hears_how_much_was_dropped() {
    let host = flooded().start();
    let (mut stream, mut events) = deaf(&host);
    let mut reader = Follower::begin(&host, "t", None).await;
    let last = format!("flood-{}", MEGABYTES - 1);
    let ((), read) = tokio::join!(flood(&host), reader.until(&last));
    assert!(read.len() > MEGABYTES);

    let heard = tokio::task::spawn_blocking(move || {
        let (mut last, mut buffer) = (0, vec![0; 64 << 10]);
        loop {
            let count = stream.read(&mut buffer).unwrap();
            assert!(count > 0, "it was cut off");
            events.add(&buffer[..count]);
            while let Some(event) = events.next() {
                let dropped = event.data["events"].as_u64();
                assert_eq!(dropped.is_some(), event.kind == "dropped");
                assert_eq!(event.number, last + dropped.unwrap_or(1), "{event:?}");
                last = event.number;
                if let Some(dropped) = dropped {
                    return dropped;
                }
            }
        }
    });
    // What was dropped is told before the next event.
    eventually("it has heard", async || {
        get(&host, "t", "next").await;
        heard.is_finished()
    })
    .await;
    let dropped = heard.await.unwrap();
    // That the numbers add up was seen above. How many there are depends on how much the kernel holds, and on who is quicker.
    assert!(dropped > 0);
    let log = host.log();
    assert!(!log.contains(" guest: "), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_ends_every_follow_and_waits_for_none() {
    let mut host = flooded().start();
    let (_stream, _) = deaf(&host);
    flood(&host).await;
    let mut reader = Follower::begin(&host, "t", None).await;
    host.process.signal("TERM");
    eventually("the host is not ready", async || {
        host.admin("/readyz").await.status == 503
    })
    .await;
    // Until balancers have seen it, everything goes on.
    post(&host, "t", "late-1", None).await.is_problem(422, "name_invalid");
    reader.until("late-1").await;
    host.process.signal("TERM");
    reader.has_ended("the host stops").await;
    let code = tokio::task::block_in_place(|| host.process.wait(DEADLINE));
    assert_eq!(code.expect("the host did not stop").code(), Some(0));
    let log = host.log();
    assert!(!log.contains("cut off"), "{log}");
}

// Shows P7: a token that was revoked reads nothing more, and neither does anybody of a tenant that is gone.
#[tokio::test]
async fn a_follow_ends_with_its_token_and_with_its_tenant() {
    let (first, first_lines) = new_token(&["--name", "first", "--rights", "log"]);
    let (second, second_lines) = new_token(&["--name", "second", "--rights", "log,register"]);
    let host = Builder::new()
        .tenant("mine", ROOMS, &format!("{first_lines}{second_lines}"))
        .tenant("open", ROOMS, "")
        .demo()
        .start();
    let mut revoked = Follower::begin(&host, "mine", Some(&first)).await;
    let mut kept = Follower::begin(&host, "mine", Some(&second)).await;
    let mut open = Follower::begin(&host, "open", None).await;
    let mut broken = Follower::begin(&host, "demo", None).await;

    fs::write(host.tenant("mine").join("tenant.toml"), &second_lines).unwrap();
    fs::write(host.tenant("open").join("tenant.toml"), &first_lines).unwrap();
    fs::write(host.tenant("demo").join("tenant.toml"), "x = 1").unwrap();
    host.process.signal("HUP");
    revoked.has_ended("this token does not have the right any more").await;
    open.has_ended("this token does not have the right any more").await;
    broken.has_ended("this tenant cannot be served any more").await;
    assert_eq!(post(&host, "mine", "mine-1", Some(&second)).await.status, 201);
    kept.until("mine-1").await;

    fs::remove_dir_all(host.tenant("mine")).unwrap();
    host.process.signal("HUP");
    kept.has_ended("this tenant was removed").await;
}

#[tokio::test]
async fn a_follower_hears_that_a_silent_log_goes_on() {
    // Neither of these is for an answer that goes on.
    let config = "http.header_timeout = '1s'\nhttp.first_head_timeout = '1s'\n";
    let host = Builder::new().config(config).demo().start();
    let mut follower = Follower::begin(&host, "demo", None).await;
    let before = follower.events.comments.len();
    let heard = async {
        while follower.events.comments.len() == before {
            assert!(follower.read().await);
            assert!(follower.events.next().is_none(), "nothing has happened");
        }
    };
    tokio::time::timeout(DEADLINE, heard).await.unwrap();
}

#[tokio::test]
async fn a_request_whose_caller_hangs_up_is_in_the_log() {
    let host = Builder::new()
        .config(LONG_LEASES)
        .tenant("t", guests::SLEEP_FOR_EVER, LONG_CALLS)
        .start();
    let mut follower = Follower::begin(&host, "t", None).await;
    let runs = eventually("the call runs", async || {
        host.tenant_status("t").await["calls"]["running"] == 1
    });
    tokio::select! {
        answer = post(&host, "t", "slow-1", None) => panic!("the call has ended: {answer:?}"),
        () = runs => {}
    }
    let events = follower.until("slow-1").await;
    assert_eq!(events.last().unwrap().data["code"], "client_gone");
}
