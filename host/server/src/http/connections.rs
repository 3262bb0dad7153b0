//! Connections: their limits and their end.
//!
//! [`run`] takes its listener and its end as arguments, so both listeners of the process and every test run the same
//! function.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long to wait after the kernel refused a connection: most often because there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What one listener may use.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections open at once; more wait in the kernel's backlog.
    pub connections: usize,
    /// Longest head of a request, in bytes, and the most that is read ahead of a body; at least 8 KiB.
    pub header_bytes: usize,
    /// Header lines of a request.
    pub headers: usize,
    /// How long a request's head may take to arrive; also how long a connection may lie idle.
    pub header_timeout: Duration,
    /// How long a peer may leave an answer untaken.
    pub write_timeout: Duration,
    /// How long what runs may go on after the shutdown.
    pub drain: Duration,
}

/// Serves `service` on `listener` until `shutdown`, then finishes what runs.
///
/// Answers how many connections were cut off because they had not ended when `limits.drain` had passed. When it returns,
/// none is left, and whatever their requests held is dropped.
pub async fn run(listener: TcpListener, service: Router, limits: Limits, shutdown: impl Future<Output = ()>) -> usize {
    let slots = Arc::new(Semaphore::new(limits.connections));
    let stop = CancellationToken::new();
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(ended) = connections.join_next() => log_panic(ended),
            (stream, slot) = accept(&listener, &slots) => {
                let connection = connection(stream, service.clone(), limits.clone(), stop.clone());
                connections.spawn(async move {
                    connection.await;
                    drop(slot);
                });
            }
        }
    }
    // New connections are refused from here on, so that whoever balances load goes elsewhere.
    drop(listener);
    stop.cancel();
    drain(connections, limits.drain).await
}

/// Accepts one connection once there is a slot for it.
async fn accept(listener: &TcpListener, slots: &Arc<Semaphore>) -> (TcpStream, Option<OwnedSemaphorePermit>) {
    // Nobody closes the semaphore; if somebody did, there would be no limit to wait for.
    let slot = Arc::clone(slots).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, slot),
            Err(error) if is_the_peers(&error) => tracing::debug!(%error, "a connection ended before it was accepted"),
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections; trying again");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_the_peers(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}

/// Serves one connection until its peer, its idleness or the stop ends it.
///
/// The request runs inside of the connection and not as a task of its own: when the peer hangs up, the connection ends,
/// and with it the request and every lease that it holds.
async fn connection(stream: TcpStream, service: Router, limits: Limits, stop: CancellationToken) {
    // Answers are small and written whole: waiting to fill a packet would only delay them.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    // The kernel ends a connection whose peer takes nothing of an answer: it would hold its slot, and a request its permits,
    // for as long as the peer likes.
    if let Err(error) = SockRef::from(&stream).set_tcp_user_timeout(Some(limits.write_timeout)) {
        tracing::debug!(%error, "cannot set TCP_USER_TIMEOUT");
    }
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_header_size(limits.header_bytes)
        .max_headers(limits.headers)
        .max_buf_size(limits.header_bytes);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service)));
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(error = %crate::error::chain(&error), "connection ended");
    }
}

/// Waits for connections to end, and cuts off those that have not in time.
async fn drain(mut connections: JoinSet<()>, within: Duration) -> usize {
    let all = async {
        while let Some(ended) = connections.join_next().await {
            log_panic(ended);
        }
    };
    if tokio::time::timeout(within, all).await.is_ok() {
        return 0;
    }
    let cut_off = connections.len();
    connections.shutdown().await;
    cut_off
}

/// A panic ends its connection alone; it is a fault of ours all the same.
fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection ended in a panic");
    }
}

#[cfg(test)]
mod tests {
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

    async fn start(service: Router, limits: Limits) -> Running {
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

    fn limits() -> Limits {
        Limits {
            connections: 10,
            header_bytes: 8 << 10,
            headers: 16,
            header_timeout: SOON,
            write_timeout: SOON,
            drain: SOON,
        }
    }

    /// Counts how many requests are being answered, however they end.
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

    /// A service whose requests wait for `go`.
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
    async fn a_stop_finishes_what_runs_and_refuses_what_comes() {
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
    async fn a_drain_has_an_end() {
        let (inside, go) = Default::default();
        let server = start(
            waiting(&inside, &go),
            Limits {
                drain: Duration::from_millis(20),
                ..limits()
            },
        )
        .await;
        let _stream = connect(server.address, REQUEST).await;
        until(&inside, 1).await;
        server.stop.send(()).unwrap();
        assert_eq!(timeout(SOON, server.ended).await.unwrap().unwrap(), 1);
        assert_eq!(inside.load(SeqCst), 0, "what the request held is dropped");
    }

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
    async fn a_head_that_does_not_come_ends_its_connection() {
        let service = Router::new();
        let server = start(
            service,
            Limits {
                header_timeout: Duration::from_millis(20),
                ..limits()
            },
        )
        .await;
        let stream = connect(server.address, b"GET / HTTP/1.1\r\nhost:").await;
        // Whether or not something is answered first, the connection ends.
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
        let limits = Limits {
            connections: 1,
            write_timeout: Duration::from_millis(200),
            ..limits()
        };
        let server = start(service, limits).await;
        let _deaf = connect(server.address, REQUEST).await;
        until(&answered, 1).await;
        // The only slot is free again once the kernel has given up on the first.
        let _next = connect(server.address, REQUEST).await;
        until(&answered, 2).await;
    }

    #[tokio::test]
    async fn a_connection_beyond_the_limit_waits_for_a_slot() {
        let (inside, go) = Default::default();
        let server = start(
            waiting(&inside, &go),
            Limits {
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
}
