//! The bytes to and from a server, in the clear or over TLS.
//!
//! There are two kinds of stream and each read and write is of a whole batch, so this is an enum that asks once for each of
//! them which one it is. A trait object, or the crate's `Either` for any two streams, would ask as often and know less: whether
//! a stream is quiet is seen otherwise over TLS.

use std::io;
use std::pin::Pin;
use std::task::{Context, Waker};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// A connection to a server.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// Whether what is sent is encrypted.
    pub(super) fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Sends all of it.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.write_all(bytes).await,
            Self::Tls(stream) => {
                stream.write_all(bytes).await?;
                // What the socket did not take at once is still in the buffer of TLS.
                stream.flush().await
            }
        }
    }

    /// Appends what has arrived, as much as there is room for in `into`, and returns how much that was. 0: the server has closed the
    /// connection.
    pub(super) async fn read(&mut self, into: &mut Vec<u8>) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read_buf(into).await,
            Self::Tls(stream) => stream.read_buf(into).await,
        }
    }

    /// Tells, without waiting, that nothing has arrived and that the server has not closed the connection.
    pub(super) fn is_quiet(&mut self) -> bool {
        match self {
            Self::Plain(socket) => {
                matches!(socket.try_read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
            }
            // The socket may have something to read of which nothing is for us, such as a session ticket.
            Self::Tls(stream) => {
                let mut byte = [0];
                let mut nobody = Context::from_waker(Waker::noop());
                Pin::new(&mut **stream)
                    .poll_read(&mut nobody, &mut ReadBuf::new(&mut byte))
                    .is_pending()
            }
        }
    }
}
