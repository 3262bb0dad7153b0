//! One connection, from its handshake to its end.

use std::future::{Future, pending};
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::activity::Activity;
use super::limits::ConnectionLimits;
use super::peer::Peer;
use super::room::Slot;
use super::stream::{Opened, Protocol, Stream};
use super::streams::Streams;
use super::watched::{PeerAddress, Resets, Watched};
use crate::text::chain;
use crate::tls::Tls;

/// What of a request or an answer may wait in one HTTP/2 stream, and of all requests in one connection, in bytes.
const STREAM_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = 256 << 10;

/// What all connections of a listener have in common.
#[derive(Clone)]
pub(super) struct Serving {
    pub(super) service: Router,
    pub(super) limits: ConnectionLimits,
    pub(super) tls: Option<Arc<Tls>>,
    /// Cancelled once the host stops.
    pub(super) stop: CancellationToken,
    /// The streams of HTTP/2 connections.
    pub(super) streams: TaskTracker,
}

impl Serving {
    /// Serves one connection until the peer closes it, it is idle for too long, or the host stops.
    // Keeps P3: the request runs inside the connection's future, or in a task that ends with it, so when the peer hangs up the
    // connection ends, and with it the request and every lease that it holds.
    pub(super) async fn serve(self, stream: TcpStream, slot: Slot) {
        prepare(&stream, self.limits.write_timeout);
        let address = stream.peer_addr().ok();
        let activity = &*slot.activity;
        let first_head = async {
            sleep(self.limits.first_head_timeout).await;
            if !activity.is_new() {
                pending::<()>().await;
            }
        };
        // Answers without an end have ended by then, unless the peer does not read them, and then there is nothing to wait for.
        let unread = async {
            self.stopped_for(self.limits.last_request).await;
            activity.only_endless().await;
        };
        let served = async {
            let opened = tokio::select! {
                biased;
                opened = Stream::open(stream, self.tls.as_ref()) => opened,
                // Nothing has been asked for yet.
                () = self.stopped_for(self.limits.last_request) => return Ok(()),
            };
            match opened {
                Ok(opened) => {
                    self.speak(opened, address.map(|address| address.ip()), &slot.activity)
                        .await
                }
                Err(error) => Err(error.into()),
            }
        };
        let result = tokio::select! {
            biased;
            result = served => result,
            () = first_head => return,
            () = activity.closed() => return,
            () = unread => return,
        };
        if let Err(error) = result {
            tracing::debug!(error = %chain(&*error), "connection ended");
        }
    }

    async fn speak(&self, opened: Opened, address: Option<IpAddr>, activity: &Arc<Activity>) -> Result<(), BoxError> {
        let Self { limits, stop, .. } = self;
        let watched = Watched {
            activity: Arc::clone(activity),
            headers: limits.headers,
            address: address.map(PeerAddress),
            certified: opened.certified,
            stop: stop.clone(),
            resets: (opened.protocol == Protocol::Http2).then(|| Resets::new(limits.resets)),
        };
        let service = watched.over(self.service.clone());
        let stream = TokioIo::new(Peer::new(opened.stream, Arc::clone(activity)));
        match opened.protocol {
            Protocol::Http1 => {
                let connection = self.http1().serve_connection(stream, service);
                // Who sends a request cannot know yet that the connection is about to end.
                drive(connection, self.stopped_for(limits.last_request)).await
            }
            Protocol::Http2 => {
                let ended = CancellationToken::new();
                let _ended = ended.clone().drop_guard();
                let connection = self
                    .http2(Streams::new(self.streams.clone(), ended, limits.write_timeout))
                    .serve_connection(stream, service);
                // The frame that says goodbye says as well which requests are still served (RFC 9113, section 6.8).
                let goodbye = async {
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = activity.idle_for(limits.header_timeout) => {}
                    }
                };
                tokio::select! {
                    biased;
                    result = drive(connection, goodbye) => result,
                    // What has been answered was not taken.
                    () = activity.idle_for(limits.header_timeout + limits.write_timeout) => Ok(()),
                }
            }
        }
    }

    fn http1(&self) -> http1::Builder {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(self.limits.header_timeout)
            .max_header_size(self.limits.header_bytes)
            .max_headers(self.limits.headers)
            .max_buf_size(self.limits.header_bytes);
        http
    }

    fn http2(&self, streams: Streams) -> http2::Builder<Streams> {
        let header_bytes = u32::try_from(self.limits.header_bytes).unwrap_or(u32::MAX);
        let mut http = http2::Builder::new(streams);
        http.timer(TokioTimer::new())
            .max_concurrent_streams(self.limits.streams)
            .max_header_list_size(header_bytes)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(STREAM_WINDOW as usize);
        http
    }

    /// Waits until the host has been stopping for so long.
    async fn stopped_for(&self, time: Duration) {
        self.stop.cancelled().await;
        sleep(time).await;
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Runs a connection to its end; after `goodbye` it takes no new request.
async fn drive<C>(connection: C, goodbye: impl Future<Output = ()>) -> Result<(), BoxError>
where
    C: GracefulConnection<Error = hyper::Error>,
{
    let mut connection = pin!(connection);
    tokio::select! {
        biased;
        result = connection.as_mut() => return Ok(result?),
        () = goodbye => connection.as_mut().graceful_shutdown(),
    }
    Ok(connection.await?)
}

fn prepare(stream: &TcpStream, write_timeout: Duration) {
    let set = || -> io::Result<()> {
        // Answers are small and written whole: waiting to fill a packet would only delay them.
        stream.set_nodelay(true)?;
        // The kernel ends a connection whose peer does not read its answer; otherwise the peer could hold the connection's
        // permit and the request's permits for as long as it likes.
        SockRef::from(stream).set_tcp_user_timeout(Some(write_timeout))
    };
    if let Err(error) = set() {
        tracing::debug!(%error, "cannot set an option of a connection");
    }
}
