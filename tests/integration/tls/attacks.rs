//! Peers that use HTTP/2 against the host. Whoever behaves goes on being served on a connection beside them.

use std::future::Future;

use axum::http::{HeaderName, HeaderValue};
use h2::client::SendRequest;
use namelock_test_artifacts::{ROOMS, guests};
use namelock_test_servers::Authority;
use serde_json::json;
use tokio::task::JoinHandle;

use super::client::{Client, Failure, request};
use super::{builder, client};
use crate::admission::running;
use crate::fixture::{DEADLINE, Host, LONG_CALLS, LONG_LEASES, eventually};

/// An attacker's connection, and how it ended.
async fn attacker(client: &Client) -> (SendRequest<&'static [u8]>, JoinHandle<Result<(), h2::Error>>) {
    let (sender, connection) = client.frames().await.unwrap();
    (sender, tokio::spawn(connection))
}

/// Waits for something that must not last for ever.
async fn ends<T>(what: &str, future: impl Future<Output = T>) -> T {
    let ended = tokio::time::timeout(DEADLINE, future).await;
    ended.unwrap_or_else(|_| panic!("not true after {DEADLINE:?}: {what}"))
}

/// Somebody else is served.
async fn others_are_served(host: &Host, authority: &Authority, name: &str) {
    let mut connection = client(host, authority).http2().await.unwrap();
    assert_eq!(connection.register("demo", name).await.unwrap().status, 201);
}

// Shows P6: who begins requests and takes them back (CVE-2023-44487) loses the connection, and no call goes on for it.
#[tokio::test]
async fn who_resets_streams_as_fast_as_they_begin_loses_the_connection() {
    let authority = Authority::new();
    let host = builder(&authority, LONG_LEASES)
        .demo()
        .tenant("sleep", guests::SLEEP_HOLDING_LEASE, LONG_CALLS)
        .start();
    let (sender, connection) = attacker(&client(&host, &authority)).await;
    let flood = async {
        // Until the connection has ended.
        while let Ok(mut sender) = sender.clone().ready().await {
            let Ok((_, mut body)) = sender.send_request(request("POST", "/v1/sleep/names", ()).unwrap(), false) else {
                return;
            };
            tokio::task::yield_now().await;
            body.send_reset(h2::Reason::CANCEL);
        }
    };
    ends("the flood ends", flood).await;
    assert!(ends("the connection ends", connection).await.unwrap().is_err());
    running(&host, 0).await;
    others_are_served(&host, &authority, "after resets").await;
}

#[tokio::test]
async fn a_connection_has_no_more_streams_than_it_may() {
    let authority = Authority::new();
    let host = builder(&authority, &format!("http.streams = 3\n{LONG_LEASES}"))
        .demo()
        .tenant("sleep", guests::SLEEP_HOLDING_LEASE, LONG_CALLS)
        .start();
    let (sender, _connection) = attacker(&client(&host, &authority)).await;
    eventually("the client knows the limit", async || {
        sender.current_max_send_streams() == 3
    })
    .await;
    let mut streams = Vec::new();
    for _ in 0..3 {
        let mut sender = sender.clone().ready().await.unwrap();
        // The body never comes.
        streams.push(
            sender
                .send_request(request("POST", "/v1/sleep/names", ()).unwrap(), false)
                .unwrap(),
        );
    }
    let mut one_more = sender.clone().ready().await.unwrap();
    let (answer, _) = one_more
        .send_request(request("GET", "/v1/demo/names/x", ()).unwrap(), true)
        .unwrap();
    let waits = tokio::spawn(answer);
    others_are_served(&host, &authority, "beside many streams").await;
    assert!(!waits.is_finished(), "it waits for one of the streams");
    drop(streams);
    assert_eq!(ends("it is answered", waits).await.unwrap().unwrap().status(), 404);
}

#[tokio::test]
async fn a_head_of_http2_that_is_too_long_is_refused() {
    let authority = Authority::new();
    let host = builder(&authority, "http.header_bytes = '8KiB'\nhttp.headers = 16\n")
        .demo()
        .start();
    let (sender, _connection) = attacker(&client(&host, &authority)).await;
    let ask = async |headers: Vec<(String, usize)>| -> Result<u16, Failure> {
        let mut sender = sender.clone().ready().await?;
        let mut request = request("GET", "/v1/demo/names/x", ())?;
        for (name, length) in headers {
            let (name, value) = (HeaderName::try_from(name)?, HeaderValue::try_from("x".repeat(length))?);
            request.headers_mut().append(name, value);
        }
        let (answer, _) = sender.send_request(request, true)?;
        Ok(ends("it is answered", answer).await?.status().as_u16())
    };
    assert_eq!(ask(vec![]).await.unwrap(), 404);
    let many = |count| (0..count).map(|number| (format!("x-{number}"), 1)).collect();
    assert_eq!(ask(many(16)).await.unwrap(), 404);
    assert_eq!(ask(many(17)).await.unwrap(), 431);
    assert_eq!(ask(vec![("x-long".to_owned(), 8 << 10)]).await.unwrap(), 431);
    others_are_served(&host, &authority, "after long heads").await;
}

// Shows P6: a head without an end (CVE-2024-27316) is not collected.
#[tokio::test]
async fn a_head_without_an_end_loses_the_connection() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let authority = Authority::new();
    let host = builder(&authority, "").demo().start();
    let mut stream = client(&host, &authority).stream("h2").await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    stream.write_all(&frame(4, 0, 0, &[])).await.unwrap();
    // A literal header field without indexing (RFC 7541, section 6.2.2), again and again, in frames that never end the head.
    let field = [&[0, 3][..], b"x-a", &[100], &[b'x'; 100]].concat();
    let fields = field.repeat(100);
    stream.write_all(&frame(1, 0, 1, &fields)).await.unwrap();
    let (mut reading, mut writing) = tokio::io::split(stream);
    let flood = async {
        for _ in 0..10_000 {
            if writing.write_all(&frame(9, 0, 1, &fields)).await.is_err() {
                return;
            }
        }
        panic!("nobody ends it");
    };
    let drained = async { while matches!(reading.read(&mut [0; 4096]).await, Ok(1..)) {} };
    ends("the flood ends", async { tokio::join!(flood, drained) }).await;
    others_are_served(&host, &authority, "after a head without an end").await;
}

/// A frame of this type, with flags, on a stream (RFC 9113, section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

// Shows P6: who takes no answer holds no call, and loses the connection.
#[tokio::test]
async fn who_gives_no_room_for_answers_loses_the_connection() {
    let authority = Authority::new();
    let host = builder(&authority, "http.header_timeout = '1s'\nhttp.write_timeout = '1s'\n")
        .demo()
        .start();
    let stream = client(&host, &authority).stream("h2").await.unwrap();
    let (sender, connection) = h2::client::Builder::new()
        .initial_window_size(0)
        .handshake::<_, &'static [u8]>(stream)
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let mut answers = Vec::new();
    for _ in 0..20 {
        let mut sender = sender.clone().ready().await.unwrap();
        let (answer, _) = sender
            .send_request(request("GET", "/v1/demo/names/x", ()).unwrap(), true)
            .unwrap();
        answers.push(ends("the head of an answer comes", answer).await.unwrap());
    }
    running(&host, 0).await;
    let _ = ends("the connection ends", connection).await.unwrap();
    others_are_served(&host, &authority, "after who takes no answers").await;
}

#[tokio::test]
async fn a_connection_that_is_idle_is_told_goodbye() {
    let authority = Authority::new();
    let host = builder(&authority, "http.header_timeout = '100ms'\n").demo().start();
    let (sender, connection) = attacker(&client(&host, &authority)).await;
    let mut ready = sender.clone().ready().await.unwrap();
    let (answer, _) = ready
        .send_request(request("GET", "/v1/demo/names/x", ()).unwrap(), true)
        .unwrap();
    assert_eq!(answer.await.unwrap().status(), 404);
    // What the client still says to who has gone may fail.
    let _ = ends("the connection ends", connection).await.unwrap();
    drop(sender);
}

#[tokio::test]
async fn who_says_nothing_after_the_handshake_or_none_is_cut_off() {
    use tokio::io::AsyncReadExt;

    let authority = Authority::new();
    let host = builder(&authority, "http.first_head_timeout = '100ms'\n")
        .demo()
        .start();
    let mut silent = tokio::net::TcpStream::connect(host.addresses().0).await.unwrap();
    assert_eq!(ends("it is cut off", silent.read(&mut [0])).await.unwrap(), 0);
    let mut silent = client(&host, &authority).stream("h2").await.unwrap();
    ends("it is cut off", async {
        while matches!(silent.read(&mut [0; 64]).await, Ok(1..)) {}
    })
    .await;
}

#[tokio::test]
async fn a_request_of_http2_says_once_for_which_host_it_is() {
    let authority = Authority::new();
    let host = builder(&authority, "").demo().start();
    let (sender, _connection) = attacker(&client(&host, &authority)).await;
    let ask = async |hosts: &[&'static str]| {
        let mut sender = sender.clone().ready().await.unwrap();
        let mut request = request("GET", "/v1/demo/names/x", ()).unwrap();
        for host in hosts {
            request.headers_mut().append("host", HeaderValue::from_static(host));
        }
        let (answer, _) = sender.send_request(request, true).unwrap();
        ends("it is answered", answer).await.unwrap().status().as_u16()
    };
    assert_eq!(ask(&[]).await, 404);
    assert_eq!(ask(&["namelock.test"]).await, 404);
    assert_eq!(ask(&["another.test"]).await, 400);
    assert_eq!(ask(&["namelock.test", "namelock.test"]).await, 400);
    let tenant = host.admin("/tenants/demo").await.body;
    assert_eq!(
        tenant["calls"]["codes"],
        json!({ "not_found": 2, "invalid_request": 2 })
    );
}

// Shows P6: whoever follows a log and takes nothing of it loses his place, though his connection goes on; one who has nothing to take
// does not.
#[tokio::test]
async fn a_follower_that_gives_its_stream_no_window_loses_its_place() {
    let authority = Authority::new();
    let host = builder(&authority, "http.write_timeout = '300ms'\n")
        .demo()
        .tenant("t", ROOMS, "limits = { log_followers = 1 }")
        .start();
    let client = client(&host, &authority);
    let ask = async |sender: &SendRequest<&'static [u8]>, path: &str| {
        let mut sender = sender.clone().ready().await.unwrap();
        let (answer, _) = sender.send_request(request("GET", path, ()).unwrap(), true).unwrap();
        ends("it is answered", answer).await.unwrap()
    };
    let (reader, _connection) = attacker(&client).await;
    let mut read = ask(&reader, "/v1/demo/log").await.into_body();
    // What comes at the beginning, and then nothing for longer than that.
    ends("it begins", read.data()).await.unwrap().unwrap();

    let mut silent = h2::client::Builder::new();
    let stream = client.stream("h2").await.unwrap();
    let (silent, connection) = silent.initial_window_size(0).handshake(stream).await.unwrap();
    tokio::spawn(connection);
    for _ in 0..2 {
        let mut stuck = None;
        eventually("the place is free", async || {
            let answer = ask(&silent, "/v1/t/log").await;
            let has_it = answer.status() == 200;
            stuck = has_it.then(|| answer.into_body());
            has_it
        })
        .await;
        let reset = ends("its stream is reset", stuck.unwrap().data())
            .await
            .unwrap()
            .unwrap_err();
        assert_eq!(reset.reason(), Some(h2::Reason::CANCEL), "{reset}");
    }
    assert_eq!(
        ask(&silent, "/v1/t/names/x").await.status(),
        404,
        "the connection goes on"
    );

    others_are_served(&host, &authority, "after silence").await;
    let mut text = String::new();
    while !text.contains("\"register\"") {
        let data = ends("he who reads hears of it", read.data()).await.unwrap().unwrap();
        text.push_str(std::str::from_utf8(&data).unwrap());
    }
}
