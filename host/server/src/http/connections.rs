//! Accepts connections, limits them and drains them.
//!
//! - `room`: how many connections there are, and how many of one address;
//! - `activity`: what each of them is doing;
//! - `limits`: what they may use;
//! - `connection`: one of them, from its handshake to its end;
//! - `stream`: its stream, with TLS or without; `peer`: whether anybody is at its other end;
//! - `watched`: its requests; `streams`: where those of HTTP/2 run; `taken`: whether their peers take the answers.
//!
//! [`run`] takes its listener and its shutdown as arguments, so both listeners of the process and every test run the
//! same function.

mod activity;
mod connection;
mod limits;
mod peer;
mod room;
mod stream;
mod streams;
mod taken;
mod watched;

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::connection::Serving;
pub use self::limits::ConnectionLimits;
use self::room::{Room, Slot, Verdict};
pub use self::stream::Certified;
pub use self::watched::{Endless, PeerAddress};
use crate::tls::Tls;

/// How long to wait after `accept` failed, which is most often for a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

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
    tls: Option<Arc<Tls>>,
    service: Router,
    limits: ConnectionLimits,
    shutdown: impl Future<Output = ()>,
) -> usize {
    let room = Room::new(limits.connections, limits.replaced);
    let drain_within = limits.drain;
    let serving = Serving {
        service,
        limits,
        tls,
        stop: CancellationToken::new(),
        streams: TaskTracker::new(),
    };
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    let mut arrived = None;
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(ended) = connections.join_next() => log_panic(ended),
            (stream, slot) = accept(&listener, &room, &mut arrived) => {
                connections.spawn(serving.clone().serve(stream, slot));
                // Keeps P6: those that are served go on between any two of a burst of new ones.
                tokio::task::yield_now().await;
            }
        }
    }
    serving.stop.cancel();
    for (stream, address) in arrived.into_iter().chain(close(listener)) {
        if let Verdict::Served(slot) = room.enter(address) {
            connections.spawn(serving.clone().serve(stream, slot));
        }
    }
    let cut_off = drain(connections, drain_within).await;
    serving.streams.close();
    serving.streams.wait().await;
    cut_off
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
