//! The stream of a connection, with TLS or without, and the protocol that is spoken on it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::logins::NotLetIn;
use crate::tls::{HTTP_2, Tls, name_of};

/// What a TLS handshake begins with (RFC 8446, section 5.1); no request in plain text does.
const HANDSHAKE: u8 = 22;

/// What is said to who does not speak TLS.
const SPEAKS_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\nconnection: close\r\n\r\n\
    this port speaks TLS; write https:// instead of http://\n";

/// The stream of one connection.
#[derive(Debug)]
pub(super) enum Stream {
    /// What is written is what is sent.
    Plain(TcpStream),
    /// It is encrypted.
    Tls(Box<TlsStream<TcpStream>>),
}

/// What is spoken on a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// The peer has shown a certificate that one of the listener's authorities has signed.
#[derive(Clone, Debug)]
pub struct Certified {
    /// How the log names whoever shows it.
    pub name: Arc<str>,
    tls: Arc<Tls>,
    roots: u64,
}

impl Certified {
    /// Whether these are still the listener's authorities: an operator who is let in no more has connections that are open.
    pub fn counts(&self) -> bool {
        self.tls.accepts(self.roots)
    }
}

/// A stream on which requests can come.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) stream: Stream,
    pub(super) protocol: Protocol,
    pub(super) certified: Option<Certified>,
}

impl Stream {
    /// Makes the handshake, if the listener has TLS. HTTP/2 is spoken only where the handshake has agreed on it.
    pub(super) async fn open(stream: TcpStream, tls: Option<&Arc<Tls>>) -> io::Result<Opened> {
        let Some(tls) = tls else {
            return Ok(Opened {
                stream: Self::Plain(stream),
                protocol: Protocol::Http1,
                certified: None,
            });
        };
        let stream = expect_handshake(stream).await?;
        let (config, roots) = tls.current();
        let address = stream.peer_addr().ok();
        let stream = TlsAcceptor::from(config).accept(stream).await.inspect_err(|error| {
            if is_of_certificate(error) {
                let address = address.map(|address| address.ip());
                tls.logins().refuse(NotLetIn::UnknownCertificate, address);
            }
        })?;
        let (_, session) = stream.get_ref();
        let protocol = match session.alpn_protocol() {
            Some(HTTP_2) => Protocol::Http2,
            _ => Protocol::Http1,
        };
        Ok(Opened {
            protocol,
            // The first one is the peer's, and the rest has signed it (RFC 8446, section 4.4.2).
            certified: session
                .peer_certificates()
                .and_then(<[_]>::first)
                .map(|shown| Certified {
                    name: name_of(shown).into(),
                    tls: Arc::clone(tls),
                    roots,
                }),
            stream: Self::Tls(Box::new(stream)),
        })
    }

    /// The connection below.
    pub(super) fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }

    /// Whether something can be written past what writes to the stream otherwise.
    pub(super) fn is_plain(&self) -> bool {
        matches!(self, Self::Plain(_))
    }
}

/// Whether a handshake has failed because of the certificate that the peer has shown.
fn is_of_certificate(error: &io::Error) -> bool {
    let error = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    matches!(error, Some(rustls::Error::InvalidCertificate(_)))
}

/// Tells a peer that does not speak TLS what to do; its own software would say only that the answer is no HTTP.
async fn expect_handshake(mut stream: TcpStream) -> io::Result<TcpStream> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 1 && first[0] != HANDSHAKE {
        stream.write_all(SPEAKS_TLS).await?;
        stream.shutdown().await?;
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the peer does not speak TLS",
        ));
    }
    Ok(stream)
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
