use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use axum::body::Bytes;
use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;

const SOON: Duration = Duration::from_secs(60);
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
        ended: tokio::spawn(run(listener, None, service, limits, shutdown)),
    }
}

fn limits() -> ConnectionLimits {
    ConnectionLimits {
        connections: 10,
        replaced: 1000,
        header_bytes: 8 << 10,
        headers: 16,
        streams: 16,
        resets: 100,
        first_head_timeout: SOON,
        header_timeout: SOON,
        write_timeout: SOON,
        last_request: Duration::from_millis(20),
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

/// Connects from another address of loopback, which has a share of its own.
async fn connect_from(last: u8, address: SocketAddr, send: &[u8]) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, last], 0).into()).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    stream.write_all(send).await.unwrap();
    stream
}

async fn rest(mut stream: TcpStream) -> String {
    let mut text = String::new();
    match timeout(SOON, stream.read_to_string(&mut text)).await.unwrap() {
        Ok(_) => text,
        // It was closed before it had been read to the end.
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => text,
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn a_shutdown_waits_for_no_answer_that_has_no_end() {
    let endless = async || {
        let nothing = futures_util::stream::pending::<Result<Bytes, Infallible>>();
        let mut answer = axum::response::Response::new(axum::body::Body::from_stream(nothing));
        answer.extensions_mut().insert(Endless);
        answer
    };
    let server = start(Router::new().route("/", get(endless)), limits()).await;
    let mut stream = connect(server.address, REQUEST).await;
    // It has begun.
    timeout(SOON, stream.read_u8()).await.unwrap().unwrap();
    server.stop.send(()).unwrap();
    assert_eq!(server.ended.await.unwrap(), 0, "it was cut off only after the drain");
    rest(stream).await;
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

#[tokio::test]
async fn an_idle_connection_may_bring_a_last_request_after_the_shutdown() {
    let limits = ConnectionLimits {
        last_request: SOON,
        ..limits()
    };
    let server = start(Router::new().route("/", get(async || "done")), limits).await;
    let mut idle = connect(server.address, b"").await;
    server.stop.send(()).unwrap();
    timeout(SOON, async {
        while TcpStream::connect(server.address).await.is_ok() {}
    })
    .await
    .unwrap();
    idle.write_all(REQUEST).await.unwrap();
    let answer = rest(idle).await;
    assert!(
        answer.contains("connection: close") && answer.ends_with("done"),
        "{answer}"
    );
}

#[tokio::test]
async fn who_has_connected_before_the_shutdown_is_served() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    // The kernel has accepted them, and nobody else has yet.
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(connect(address, REQUEST).await);
    }
    let service = Router::new().route("/", get(async || "done"));
    assert_eq!(run(listener, None, service, limits(), async {}).await, 0);
    for client in clients {
        assert!(rest(client).await.ends_with("done"));
    }
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
    // The only place is free again once the kernel has given up on the first connection.
    let _next = connect_from(2, server.address, REQUEST).await;
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
    let second = connect_from(2, server.address, LAST_REQUEST).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(inside.load(SeqCst), 1);
    go.notify_one();
    assert!(rest(first).await.ends_with("done"));
    until(&inside, 1).await;
    go.notify_one();
    assert!(rest(second).await.ends_with("done"));
}

// Shows P6: whoever is silent is cut off soon, and one that has made a request may be idle for longer.
#[tokio::test]
async fn a_connection_has_less_time_for_its_first_head() {
    let limits = ConnectionLimits {
        first_head_timeout: Duration::from_millis(200),
        ..limits()
    };
    let server = start(Router::new().route("/", get(async || "done")), limits).await;
    let silent = connect(server.address, b"").await;
    let begun = connect(server.address, b"GET / HT").await;
    let mut served = connect(server.address, REQUEST).await;
    assert_eq!(rest(silent).await, "");
    assert_eq!(rest(begun).await, "");
    tokio::time::sleep(Duration::from_millis(300)).await;
    served.write_all(LAST_REQUEST).await.unwrap();
    assert_eq!(rest(served).await.matches("done").count(), 2);
}

// Shows P6: an address that opens connections and is silent loses its own, and another address finds room at once.
#[tokio::test]
async fn silent_connections_of_one_address_leave_room_for_another() {
    let server = start(Router::new().route("/", get(async || "done")), limits()).await;
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(connect(server.address, b"").await);
    }
    let other = connect_from(2, server.address, LAST_REQUEST).await;
    assert!(rest(other).await.ends_with("done"));
    // The last five of the address are still open; each of the others made room for a later one.
    let last = silent.split_off(45);
    for stream in silent {
        assert_eq!(rest(stream).await, "");
    }
    for mut stream in last {
        stream.write_all(LAST_REQUEST).await.unwrap();
        assert!(rest(stream).await.ends_with("done"));
    }
}

#[tokio::test]
async fn a_connection_without_a_request_makes_room_and_one_with_a_request_does_not() {
    let (inside, go) = Default::default();
    let limits = ConnectionLimits {
        connections: 2,
        ..limits()
    };
    let server = start(waiting(&inside, &go), limits).await;
    let busy = connect(server.address, LAST_REQUEST).await;
    until(&inside, 1).await;
    let idle = connect_from(2, server.address, b"").await;
    let next = connect_from(3, server.address, LAST_REQUEST).await;
    until(&inside, 2).await;
    assert_eq!(rest(idle).await, "");
    go.notify_waiters();
    assert!(rest(busy).await.ends_with("done"));
    assert!(rest(next).await.ends_with("done"));
}

/// Sends this, closes its half of the connection, and returns what is answered once `go` is told.
async fn half_closed(server: &Running, send: &[u8], inside: &AtomicUsize, go: &Notify) -> String {
    let mut stream = connect(server.address, send).await;
    stream.shutdown().await.unwrap();
    until(inside, 1).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(inside.load(SeqCst), 1, "the request was dropped");
    go.notify_one();
    rest(stream).await
}

#[tokio::test]
async fn a_client_that_closes_its_half_gets_its_answer() {
    let (inside, go): (Arc<AtomicUsize>, Arc<Notify>) = Default::default();
    let (count, told) = (Arc::clone(&inside), Arc::clone(&go));
    let read = async move |body: Bytes| {
        let _inside = Inside::enter(&count);
        told.notified().await;
        body
    };
    let router = waiting(&inside, &go).route("/read", axum::routing::post(read));
    let server = start(router, limits()).await;
    let answer = half_closed(&server, REQUEST, &inside, &go).await;
    assert!(
        answer.starts_with("HTTP/1.1 100 ") && answer.ends_with("done"),
        "{answer}"
    );
    let post = b"POST /read HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nbody";
    let answer = half_closed(&server, post, &inside, &go).await;
    assert!(answer.ends_with("body"), "{answer}");
}

// Shows P3: a client that is gone is noticed also when it had closed its half before.
#[tokio::test]
async fn a_client_that_closes_its_half_and_then_goes_ends_its_request() {
    let (inside, go) = Default::default();
    let server = start(waiting(&inside, &go), limits()).await;
    let mut stream = connect(server.address, REQUEST).await;
    stream.shutdown().await.unwrap();
    until(&inside, 1).await;
    // It leaves the interim answer unread, so its kernel says that it is gone.
    stream.readable().await.unwrap();
    drop(stream);
    until(&inside, 0).await;
}

#[tokio::test]
async fn a_body_that_ends_too_early_is_noticed() {
    let read = async |body: Result<Bytes, axum::extract::rejection::BytesRejection>| body.map(|_| "whole");
    let server = start(Router::new().route("/", axum::routing::post(read)), limits()).await;
    let mut stream = connect(
        server.address,
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nbo",
    )
    .await;
    stream.shutdown().await.unwrap();
    assert!(!rest(stream).await.contains("whole"));
}
