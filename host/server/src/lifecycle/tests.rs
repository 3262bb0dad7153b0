use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

use super::*;
use crate::config::ServeFlags;
use crate::telemetry::{LogFilter, LogWriter};
use crate::text::chain;

fn flags(dir: &tempfile::TempDir) -> ServeFlags {
    let mut names = OsString::from("sqlite:");
    names.push(dir.path().join("names.db"));
    ServeFlags {
        listen: Some("127.0.0.1:0".into()),
        admin: Some("127.0.0.1:0".into()),
        names: Some(names),
        tenants: Some(dir.path().into()),
        cache: Some(dir.path().join("cache").into()),
        ..ServeFlags::default()
    }
}

async fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

/// Serves with these flags while `during` runs.
async fn while_serving(flags: &ServeFlags, during: impl AsyncFnOnce(Addresses)) -> Result<(), RunError> {
    let config = Config::load(flags, &|_| None)?;
    let during = async |addresses, _: Told| during(addresses).await;
    while_serving_with(config, during).await
}

/// Tells a server to stop, as often as it is used.
type Told = mpsc::UnboundedSender<Stop>;

/// Serves with this configuration while `during` runs, which may tell the server to stop itself.
async fn while_serving_with(mut config: Config, during: impl AsyncFnOnce(Addresses, Told)) -> Result<(), RunError> {
    config.versions.keep = 0;
    let (announced, addresses) = oneshot::channel();
    let (tell, mut told) = mpsc::unbounded_channel();
    let stop = async || told.recv().await.unwrap_or(Stop::AtOnce);
    let announce = |addresses| announced.send(addresses).unwrap();
    let (writer, _thread) = LogWriter::start(io::sink(), 0).unwrap();
    // Nothing is logged through it.
    let (filter, _) = LogFilter::new("info").unwrap();
    let log = Log { writer, filter };
    let server = serve(config, log, Manager::default(), announce, stop, async || {
        std::future::pending().await
    });
    let client = async {
        if let Ok(addresses) = addresses.await {
            during(addresses, tell).await;
        }
    };
    tokio::join!(server, client).0
}

#[tokio::test]
async fn a_server_starts_answers_and_stops() {
    let dir = tempfile::tempdir().unwrap();
    let flags = flags(&dir);
    let result = while_serving(&flags, async |addresses| {
        assert!(
            get(addresses.admin.socket, "/healthz")
                .await
                .starts_with("HTTP/1.1 200 ")
        );
        let ready = get(addresses.admin.socket, "/readyz").await;
        assert!(ready.starts_with("HTTP/1.1 200 "), "{ready}");
        assert!(ready.ends_with(r#"{"ready":true,"reasons":[]}"#), "{ready}");
        assert!(
            get(addresses.public.socket, "/v1/acme/names/n")
                .await
                .contains("unknown_tenant")
        );
        let metrics = get(addresses.admin.socket, "/metrics").await;
        assert!(
            metrics.contains(r#"{operation="find",code="unknown_tenant"} 1"#),
            "{metrics}"
        );
    });
    result.await.unwrap();
}

#[tokio::test]
async fn a_host_that_is_told_to_stop_serves_until_it_is_told_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::load(&flags(&dir), &|_| None).unwrap();
    config.http.lame_duck = Duration::MAX;
    let result = while_serving_with(config, async |addresses, tell| {
        let readyz = async || get(addresses.admin.socket, "/readyz").await;
        assert!(readyz().await.starts_with("HTTP/1.1 200 "));
        tell.send(Stop::Announced).unwrap();
        let mut ready = readyz().await;
        while ready.starts_with("HTTP/1.1 200 ") {
            ready = readyz().await;
        }
        assert!(ready.contains(r#"{"part":"host","reason":"stopping"}"#), "{ready}");
        let answer = get(addresses.public.socket, "/v1/acme/names/n").await;
        assert!(answer.contains("unknown_tenant"), "{answer}");
        tell.send(Stop::Announced).unwrap();
        while TcpStream::connect(addresses.public.socket).await.is_ok() {}
    });
    result.await.unwrap();
}

#[tokio::test]
async fn a_host_that_was_told_to_stop_stops_after_its_lame_duck_or_at_once() {
    let dir = tempfile::tempdir().unwrap();
    for (lame_duck, stop) in [
        (Duration::from_millis(1), Stop::Announced),
        (Duration::MAX, Stop::AtOnce),
    ] {
        let mut config = Config::load(&flags(&dir), &|_| None).unwrap();
        config.http.lame_duck = lame_duck;
        let told = while_serving_with(config, async |addresses, tell| {
            tell.send(stop).unwrap();
            while TcpStream::connect(addresses.public.socket).await.is_ok() {}
        });
        told.await.unwrap();
    }
}

#[tokio::test]
async fn a_lock_service_that_is_down_does_not_prevent_the_start() {
    let dir = tempfile::tempdir().unwrap();
    // Nothing listens on port 1.
    let flags = ServeFlags {
        lock: Some("memcached://127.0.0.1:1".into()),
        ..flags(&dir)
    };
    let result = while_serving(&flags, async |addresses| {
        let ready = get(addresses.admin.socket, "/readyz").await;
        assert!(ready.starts_with("HTTP/1.1 503 "), "{ready}");
        assert!(ready.contains(r#"{"part":"lock","reason":""#), "{ready}");
        assert!(
            get(addresses.admin.socket, "/healthz")
                .await
                .starts_with("HTTP/1.1 200 ")
        );
    });
    result.await.unwrap();
}

#[tokio::test]
async fn a_failed_start_has_its_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap().to_string();
    let check = async |flags: ServeFlags, code: u8, expect: &str| {
        let error = while_serving(&flags, async |_| ()).await.unwrap_err();
        let line = chain(&error);
        assert!(line.starts_with(expect), "{line}");
        assert_eq!(error.exit_code(), code, "{line}");
    };
    let expect = format!("cannot listen on {taken}; stop what uses it or pass another address with --listen: ");
    check(
        ServeFlags {
            listen: Some(taken.clone().into()),
            ..flags(&dir)
        },
        1,
        &expect,
    )
    .await;
    check(
        ServeFlags {
            tenants: Some("/no/such/dir".into()),
            ..flags(&dir)
        },
        2,
        "/no/such/dir: ",
    )
    .await;
    let names = "sqlite:/no/such/dir/names.db";
    let expect = format!("cannot open the names database {names}; check --names: ");
    check(
        ServeFlags {
            names: Some(names.into()),
            ..flags(&dir)
        },
        1,
        &expect,
    )
    .await;
    drop(listener);
}
