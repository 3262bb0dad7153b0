//! Accepts connections, limits them and drains them.
//!
//! - `room`: how many connections there are, and how many of one address;
//! - `activity`: what each of them is doing;
//! - `peer`: its stream, and whether anybody is at its other end.
//!
//! [`run`] takes its listener and its shutdown as arguments, so both listeners of the process and every test run the
//! same function.

mod activity;
mod peer;
mod room;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::header::CONNECTION;
use axum::http::{HeaderMap, HeaderValue};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper::{Request, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::activity::Activity;
use self::peer::Peer;
use self::room::{Room, Slot, Verdict};
use crate::config::HttpConfig;

/// How long to wait after `accept` failed, which is most often for a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long after the stop a connection without a request may still bring one: whoever sends it cannot know yet that the
/// connection is about to end.
const LAST_REQUEST: Duration = Duration::from_millis(500);

/// What the connections of one listener may use.
#[derive(Clone, Debug)]
pub struct ConnectionLimits {
    /// Connections open at once; one address has no more of them than are free.
    pub connections: usize,
    /// Idle connections of one address that are closed in a second to make room for its new ones.
    pub replaced: u32,
    /// Longest head of a request, and the most that is read ahead of a body, in bytes; at least 8 KiB.
    pub header_bytes: usize,
    /// Header lines of a request.
    pub headers: usize,
    /// How long the first head of a connection may take to arrive.
    pub first_head_timeout: Duration,
    /// How long a request's head may take to arrive; also how long a connection may be idle.
    pub header_timeout: Duration,
    /// How long a peer may take to accept more of an answer.
    pub write_timeout: Duration,
    /// How long after the shutdown a connection may still bring its last request; part of `drain`.
    pub last_request: Duration,
    /// How long requests in progress may continue after the shutdown.
    pub drain: Duration,
}

impl From<&HttpConfig> for ConnectionLimits {
    /// Those of the public listener.
    fn from(http: &HttpConfig) -> Self {
        Self {
            connections: http.connections,
            replaced: http.replaced,
            header_bytes: http.header_bytes,
            headers: http.headers,
            first_head_timeout: http.first_head_timeout,
            header_timeout: http.header_timeout,
            write_timeout: http.write_timeout,
            last_request: LAST_REQUEST.min(http.drain / 2),
            drain: http.drain,
        }
    }
}

/// Serves `service` on `listener` until `shutdown`, then finishes the requests in progress.
///
/// Nobody who could not know of the shutdown is cut off: who has connected by then is served, each answer says that it ends
/// its connection, and a connection without a request is closed only after `limits.last_request`.
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
    let room = Room::new(limits.connections, limits.replaced);
    let stop = CancellationToken::new();
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    let mut arrived = None;
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(ended) = connections.join_next() => log_panic(ended),
            (stream, slot) = accept(&listener, &room, &mut arrived) => {
                connections.spawn(connection(stream, service.clone(), limits.clone(), stop.clone(), slot));
                // Keeps P6: those that are served go on between any two of a burst of new ones.
                tokio::task::yield_now().await;
            }
        }
    }
    stop.cancel();
    for (stream, address) in arrived.into_iter().chain(close(listener)) {
        if let Verdict::Served(slot) = room.enter(address) {
            connections.spawn(connection(stream, service.clone(), limits.clone(), stop.clone(), slot));
        }
    }
    drain(connections, limits.drain).await
}

/// Accepts one connection that there is room for. One that finds none waits in `arrived`, and those behind it in the
/// kernel's backlog.
async fn accept(
    listener: &TcpListener,
    room: &Arc<Room>,
    arrived: &mut Option<(TcpStream, IpAddr)>,
) -> (TcpStream, Slot) {
    loop {
        // It stays there when this future is dropped because something else has to be done first.
        let (stream, address) = match arrived.take() {
            Some(arrived) => arrived,
            None => accept_any(listener).await,
        };
        match room.enter(address) {
            Verdict::Served(slot) => return (stream, slot),
            Verdict::Refused => tracing::debug!(%address, "a connection was refused: its address has its share"),
            Verdict::Waits => {
                *arrived = Some((stream, address));
                room.changed().await;
            }
        }
    }
}

async fn accept_any(listener: &TcpListener) -> (TcpStream, IpAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, address)) => return (stream, address.ip()),
            Err(error) if is_peer_fault(&error) => tracing::debug!(%error, "a connection ended before it was accepted"),
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections; trying again");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Returns those who have connected and were not accepted yet, whom the kernel would cut off. From then on new connections are
/// refused, so that a load balancer sends them elsewhere.
fn close(listener: TcpListener) -> Vec<(TcpStream, IpAddr)> {
    let accept = |listener: &std::net::TcpListener| {
        let (stream, address) = listener.accept()?;
        stream.set_nonblocking(true)?;
        Ok((TcpStream::from_std(stream)?, address.ip()))
    };
    let Ok(listener) = listener.into_std() else {
        return Vec::new();
    };
    let mut last = Vec::new();
    loop {
        match accept(&listener) {
            Ok(arrived) => last.push(arrived),
            Err(error) if is_peer_fault(&error) => {}
            // Nobody is left, most of all.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return last,
            Err(error) => {
                tracing::warn!(%error, "cannot accept the last connections");
                return last;
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
async fn connection(stream: TcpStream, service: Router, limits: ConnectionLimits, stop: CancellationToken, slot: Slot) {
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
    let activity = &slot.activity;
    let stream = TokioIo::new(Peer::new(stream, Arc::clone(activity)));
    let mut connection = pin!(http.serve_connection(stream, watched(service, activity, &stop)));
    let mut stopped = pin!(async {
        stop.cancelled().await;
        tokio::time::sleep(limits.last_request).await;
    });
    let mut first_head = pin!(tokio::time::sleep(limits.first_head_timeout));
    let (mut is_new, mut stopping) = (true, false);
    let result = loop {
        tokio::select! {
            result = connection.as_mut() => break result,
            () = &mut stopped, if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
            () = &mut first_head, if is_new => {
                is_new = false;
                if activity.is_new() {
                    return;
                }
            }
            () = activity.closed() => return,
        }
    };
    if let Err(error) = result {
        tracing::debug!(error = %crate::text::chain(&error), "connection ended");
    }
}

/// The service of one connection, which notes when a request begins, has come whole, and ends. After `stop` an answer says
/// that it is the last one.
fn watched(
    service: Router,
    activity: &Arc<Activity>,
    stop: &CancellationToken,
) -> impl Service<Request<Incoming>, Response = axum::response::Response, Error = Infallible, Future: Send> {
    let (service, activity, stop) = (TowerToHyperService::new(service), Arc::clone(activity), stop.clone());
    service_fn(move |request: Request<Incoming>| {
        let begun = activity.begin(request.version() >= Version::HTTP_11);
        let begun = begun.then(|| InRequest(Arc::clone(&activity)));
        let answer = service.call(request.map(|body| WatchedBody::new(body, &activity)));
        let stop = stop.clone();
        async move {
            let Some(begun) = begun else {
                // The connection is about to be closed, and whatever is in it dropped.
                return std::future::pending().await;
            };
            let mut answer = answer.await;
            drop(begun);
            if let (Ok(answer), true) = (&mut answer, stop.is_cancelled()) {
                let headers: &mut HeaderMap = answer.headers_mut();
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            answer
        }
    })
}

/// A request that has begun, until it is answered or dropped.
struct InRequest(Arc<Activity>);

impl Drop for InRequest {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// A body that says when it has been read to its end.
struct WatchedBody {
    body: Incoming,
    activity: Arc<Activity>,
}

impl WatchedBody {
    fn new(body: Incoming, activity: &Arc<Activity>) -> Self {
        let watched = Self {
            body,
            activity: Arc::clone(activity),
        };
        watched.look();
        watched
    }

    fn look(&self) {
        if self.body.is_end_stream() {
            self.activity.run();
        }
    }
}

impl Body for WatchedBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        match &frame {
            None => this.activity.run(),
            Some(_) => this.look(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
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
