//! Accepts connections, limits them and drains them.
//!
//! [`run`] takes its listener and its shutdown as arguments, so both listeners of the process and every test run the
//! same function.

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

/// How long to wait after `accept` failed, which is most often for a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the connections of one listener may use.
#[derive(Clone, Debug)]
pub struct ConnectionLimits {
    /// Connections open at once; more wait in the kernel's backlog.
    pub connections: usize,
    /// Longest head of a request, and the most that is read ahead of a body, in bytes; at least 8 KiB.
    pub header_bytes: usize,
    /// Header lines of a request.
    pub headers: usize,
    /// How long a request's head may take to arrive; also how long a connection may be idle.
    pub header_timeout: Duration,
    /// How long a peer may take to accept more of an answer.
    pub write_timeout: Duration,
    /// How long requests in progress may continue after the shutdown.
    pub drain: Duration,
}

/// Serves `service` on `listener` until `shutdown`, then finishes the requests in progress.
///
/// Returns how many connections were cut off because they had not ended after `limits.drain`. When it returns, no
/// connection is left, and whatever their requests held is dropped.
// Keeps P3: when the host stops, each request either ends or is dropped, and its leases with it.
pub async fn run(
    listener: TcpListener,
    service: Router,
    limits: ConnectionLimits,
    shutdown: impl Future<Output = ()>,
) -> usize {
    let permits = Arc::new(Semaphore::new(limits.connections));
    let stop = CancellationToken::new();
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(ended) = connections.join_next() => log_panic(ended),
            (stream, permit) = accept(&listener, &permits) => {
                let connection = connection(stream, service.clone(), limits.clone(), stop.clone());
                connections.spawn(async move {
                    connection.await;
                    drop(permit);
                });
            }
        }
    }
    // From here on new connections are refused, so that a load balancer sends them elsewhere.
    drop(listener);
    stop.cancel();
    drain(connections, limits.drain).await
}

/// Accepts one connection once there is a permit for it; those beyond the limit wait in the kernel.
async fn accept(listener: &TcpListener, permits: &Arc<Semaphore>) -> (TcpStream, Option<OwnedSemaphorePermit>) {
    // Nobody closes the semaphore; if somebody did, there would be no limit to wait for.
    let permit = Arc::clone(permits).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, permit),
            Err(error) if is_peer_fault(&error) => tracing::debug!(%error, "a connection ended before it was accepted"),
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections; trying again");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Whether the peer gave up before the connection was accepted.
fn is_peer_fault(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}

/// Serves one connection until the peer closes it, it is idle for too long, or the host stops.
// Keeps P3: the request runs inside the connection's future and not as a task of its own, so when the peer hangs up the
// connection ends, and with it the request and every lease that it holds.
async fn connection(stream: TcpStream, service: Router, limits: ConnectionLimits, stop: CancellationToken) {
    // Answers are small and written whole: waiting to fill a packet would only delay them.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    // The kernel ends a connection whose peer does not read its answer; otherwise the peer could hold the connection's
    // permit and the request's permits for as long as it likes.
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
        tracing::debug!(error = %crate::text::chain(&error), "connection ended");
    }
}

/// Waits for the connections to end; cuts off those that are left after `within`, and returns their number.
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

/// Logs a panic: it ends only its own connection, but it is a bug of the host.
fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection panicked");
    }
}

#[cfg(test)]
mod tests;
