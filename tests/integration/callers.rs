//! Callers that are silent, slow or too long: what each may cost is reached, and they keep nobody else out.

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use crate::admission::{head, rest, send};
use crate::fixture::{Builder, DEADLINE, Host};

// Shows P6: whoever opens connections and says nothing keeps nobody else out.
#[tokio::test]
async fn silent_connections_keep_nobody_out() {
    let config = r#"
        [http]
        connections = 200
        header_timeout = "5m"
        first_head_timeout = "2s"
    "#;
    let host = Builder::new().config(config).demo().start();
    let silent: Vec<_> = (0..200).map(|_| host.connect()).collect();
    // Without a share for each address nobody would be served before those were cut off.
    let begin = Instant::now();
    assert_eq!(host.post("demo", "a", "ann").await.status, 201);
    println!("served after {:?}", begin.elapsed());
    for stream in silent {
        assert_eq!(rest(stream), "", "it is cut off, although heads have more time later");
    }
    assert_eq!(host.get("demo", "a").await.status, 200);
}

/// Sends this text byte by byte until the host ends the connection, and returns what it said.
fn trickle(host: &Host, begin: &str, text: &str) -> String {
    let mut stream = send(host, begin);
    stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let (started, mut answer, mut part) = (Instant::now(), Vec::new(), [0; 4096]);
    for byte in text.bytes().cycle() {
        assert!(started.elapsed() < DEADLINE, "it may trickle for ever");
        // A write fails once the host is gone, and then there may still be something to read.
        let _ = stream.write_all(&[byte]);
        match stream.read(&mut part) {
            Ok(0) => break,
            Ok(read) => answer.extend_from_slice(&part[..read]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
    }
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn a_body_that_trickles_is_refused_in_time() {
    let config = r#"
        [http]
        body_timeout = "300ms"
    "#;
    let host = Builder::new().config(config).demo().start();
    let answer = trickle(&host, &head("demo", 60_000), " ");
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.contains("did not arrive within 300ms"), "{answer}");
}

#[tokio::test]
async fn a_head_that_trickles_is_cut_off() {
    let config = r#"
        [http]
        header_timeout = "300ms"
    "#;
    let host = Builder::new().config(config).demo().start();
    let answer = trickle(&host, "GET /v1/demo/names/", "a");
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408 "), "{answer}");
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
