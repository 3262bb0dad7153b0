//! Tells a peer that has finished sending from one that is gone.
//!
//! Both look the same: the stream from it ends. One that has only closed its half, as `nc -N` does, waits for its
//! answer (RFC 9112, section 9.6); the call of one that is gone has to end, and its leases with it. So while a request
//! runs, the end is kept from the HTTP library, and the peer is sent an interim answer, `100 Continue`: who waits for
//! an answer has to expect those (RFC 9110, section 15.2), and the kernel of one that is gone refuses it with a reset.
//!
//! HTTP/1.0 knows no interim answers, and within TLS there is no place for them beside the library's own records; there, who
//! closes its half is taken to be gone. With HTTP/2 each stream ends by itself.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::activity::Activity;
use super::stream::Stream;

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// How often to look whether a reset has come: first, and at last.
const LOOK_FIRST: Duration = Duration::from_millis(2);
const LOOK_LAST: Duration = Duration::from_millis(200);

/// How long the body of a request that has come whole may take to be read from the stream's buffer; a body that is
/// still not whole then never will be.
const READ_TIMEOUT: Duration = Duration::from_secs(1);

/// The stream of one connection.
#[derive(Debug)]
pub(super) struct Peer {
    stream: Stream,
    activity: Arc<Activity>,
    /// Whether the peer takes no more of an answer at the moment.
    blocked: bool,
    half_closed: Option<HalfClosed>,
}

/// The peer has finished sending, and was asked whether it is there.
#[derive(Debug)]
struct HalfClosed {
    asked: Instant,
    look: Pin<Box<Sleep>>,
    every: Duration,
}

impl Peer {
    pub(super) fn new(stream: Stream, activity: Arc<Activity>) -> Self {
        Self {
            stream,
            activity,
            blocked: false,
            half_closed: None,
        }
    }

    /// Asks the peer whether it is there; false: it cannot be asked.
    fn ask(&mut self) -> bool {
        // In the middle of an earlier answer there is no place for another one.
        let may_ask = !self.blocked && self.stream.is_plain() && self.activity.may_ask();
        if !may_ask || self.stream.tcp().try_write(CONTINUE).ok() != Some(CONTINUE.len()) {
            return false;
        }
        self.half_closed = Some(HalfClosed {
            asked: Instant::now(),
            look: Box::pin(sleep(LOOK_FIRST)),
            every: LOOK_FIRST,
        });
        true
    }

    /// Waits until the running request is answered, or the peer turns out to be gone.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(HalfClosed { asked, look, every }) = &mut self.half_closed else {
            return Poll::Ready(Ok(()));
        };
        while self.activity.is_running() || (self.activity.is_reading() && asked.elapsed() < READ_TIMEOUT) {
            if let Some(error) = self.stream.tcp().take_error()? {
                return Poll::Ready(Err(error));
            }
            ready!(look.as_mut().poll(cx));
            *every = (*every * 2).min(LOOK_LAST);
            look.as_mut().reset(Instant::now() + *every);
        }
        Poll::Ready(Ok(()))
    }

    fn note(&mut self, blocked: bool) {
        if self.blocked != blocked {
            self.blocked = blocked;
            self.activity.is_blocked(blocked);
        }
    }
}

impl AsyncRead for Peer {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.half_closed.is_some() {
            return this.poll_end(cx);
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buffer))?;
        let ended = buffer.filled().len() == before && buffer.remaining() > 0;
        if ended && this.ask() {
            return this.poll_end(cx);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Peer {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.note(written.is_pending());
        written
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, slices);
        this.note(written.is_pending());
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
