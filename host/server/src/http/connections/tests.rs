use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;

const SOON: Duration = Duration::from_secs(10);
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
const LAST_REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<usize>,
}

async fn start(service: Router, limits: ConnectionLimits) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let shutdown = async { stopped.await.unwrap_or_default() };
    Running {
        address,
        stop,
        ended: tokio::spawn(run(listener, service, limits, shutdown)),
    }
}

fn limits() -> ConnectionLimits {
    ConnectionLimits {
        connections: 10,
        header_bytes: 8 << 10,
        headers: 16,
        header_timeout: SOON,
        write_timeout: SOON,
        drain: SOON,
    }
}

/// Counts the requests in progress, however they end.
struct Inside(Arc<AtomicUsize>);

impl Inside {
    fn enter(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// A service whose requests wait for `go` before they are answered.
fn waiting(inside: &Arc<AtomicUsize>, go: &Arc<Notify>) -> Router {
    let (inside, go) = (Arc::clone(inside), Arc::clone(go));
    Router::new().route(
        "/",
        get(async move || {
            let _inside = Inside::enter(&inside);
            go.notified().await;
            "done"
        }),
    )
}

async fn until(inside: &AtomicUsize, expect: usize) {
    timeout(SOON, async {
        while inside.load(SeqCst) != expect {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .unwrap();
}

async fn connect(address: SocketAddr, send: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(send).await.unwrap();
    stream
}

async fn rest(mut stream: TcpStream) -> String {
    let mut text = String::new();
    timeout(SOON, stream.read_to_string(&mut text)).await.unwrap().unwrap();
    text
}

#[tokio::test]
async fn a_shutdown_finishes_requests_in_progress_and_refuses_new_ones() {
    let (inside, go) = Default::default();
    let server = start(waiting(&inside, &go), limits()).await;
    let idle = connect(server.address, b"").await;
    let stream = connect(server.address, REQUEST).await;
    until(&inside, 1).await;
    server.stop.send(()).unwrap();
    assert_eq!(rest(idle).await, "", "an idle connection is closed");
    assert!(TcpStream::connect(server.address).await.is_err());
    go.notify_one();
    assert!(rest(stream).await.ends_with("done"));
    assert_eq!(server.ended.await.unwrap(), 0);
}

// Shows P3: after the drain time a request that still runs is dropped with all that it holds.
#[tokio::test]
async fn a_drain_has_an_end() {
    let (inside, go) = Default::default();
    let server = start(
        waiting(&inside, &go),
        ConnectionLimits {
            drain: Duration::from_millis(20),
            ..limits()
        },
    )
    .await;
    let _stream = connect(server.address, REQUEST).await;
    until(&inside, 1).await;
    server.stop.send(()).unwrap();
    assert_eq!(timeout(SOON, server.ended).await.unwrap().unwrap(), 1);
    assert_eq!(inside.load(SeqCst), 0, "what the request held was dropped");
}

// Shows P3: a client that is gone does not keep its request running.
#[tokio::test]
async fn a_client_that_hangs_up_ends_its_request() {
    let (inside, go) = Default::default();
    let server = start(waiting(&inside, &go), limits()).await;
    let stream = connect(server.address, REQUEST).await;
    until(&inside, 1).await;
    drop(stream);
    until(&inside, 0).await;
}

#[tokio::test]
async fn a_head_that_does_not_arrive_ends_its_connection() {
    let service = Router::new();
    let server = start(
        service,
        ConnectionLimits {
            header_timeout: Duration::from_millis(20),
            ..limits()
        },
    )
    .await;
    let stream = connect(server.address, b"GET / HTTP/1.1\r\nhost:").await;
    // The connection ends, whether or not an answer comes first.
    let _ = rest(stream).await;
}

#[tokio::test]
async fn a_peer_that_takes_no_answer_is_cut_off() {
    let answered = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&answered);
    let answer = async move || {
        count.fetch_add(1, SeqCst);
        vec![b' '; 16 << 20]
    };
    let service = Router::new().route("/", get(answer));
    let limits = ConnectionLimits {
        connections: 1,
        write_timeout: Duration::from_millis(200),
        ..limits()
    };
    let server = start(service, limits).await;
    let _unread = connect(server.address, REQUEST).await;
    until(&answered, 1).await;
    // The only permit is free again once the kernel has given up on the first connection.
    let _next = connect(server.address, REQUEST).await;
    until(&answered, 2).await;
}

#[tokio::test]
async fn a_connection_beyond_the_limit_waits_for_a_slot() {
    let (inside, go) = Default::default();
    let server = start(
        waiting(&inside, &go),
        ConnectionLimits {
            connections: 1,
            ..limits()
        },
    )
    .await;
    let first = connect(server.address, LAST_REQUEST).await;
    until(&inside, 1).await;
    let second = connect(server.address, LAST_REQUEST).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(inside.load(SeqCst), 1);
    go.notify_one();
    assert!(rest(first).await.ends_with("done"));
    until(&inside, 1).await;
    go.notify_one();
    assert!(rest(second).await.ends_with("done"));
}
