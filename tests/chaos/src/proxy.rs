//! A proxy in front of one server, that can cut, delay, half-close and reset connections.

use std::net::SocketAddr;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

/// What the proxy does with what it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Hands it on.
    Pass,
    /// Hands each piece on so much later; also after the sender has gone.
    Delay(Duration),
    /// Closes every connection, and each new one.
    Cut,
    /// Ends every connection, and each new one, with a reset.
    Reset,
    /// Tells the server that the client has ended, and the client nothing.
    HalfClose,
}

/// A running proxy.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
    task: AbortHandle,
}

impl Proxy {
    /// Starts a proxy on a free port, in front of `server`.
    ///
    /// # Errors
    ///
    /// When there is no port.
    pub async fn start(server: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let mode = watch::Sender::new(Mode::Pass);
        Ok(Self {
            address: listener.local_addr()?,
            task: tokio::spawn(accept(listener, server, mode.subscribe())).abort_handle(),
            mode,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Does something else from now on.
    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, mode: watch::Receiver<Mode>) {
    // Aborted with this task, and so with the proxy.
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let now = *mode.borrow();
        match now {
            Mode::Cut => drop(client),
            Mode::Reset => reset(&client),
            Mode::Pass | Mode::Delay(_) | Mode::HalfClose => {
                let mode = mode.clone();
                connections.spawn(async move {
                    // A server that is not there is a client that is hung up on.
                    if let Ok(server) = TcpStream::connect(server).await {
                        connection(client, server, mode).await;
                    }
                });
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(client: TcpStream, server: TcpStream, mode: watch::Receiver<Mode>) {
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::join!(
        forward(from_client, to_server, mode.clone(), Mode::HalfClose),
        forward(from_server, to_client, mode, Mode::Cut)
    );
}

/// Hands on what comes, and ends this direction in the mode `ends` too.
async fn forward(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut mode: watch::Receiver<Mode>, ends: Mode) {
    let mut piece = vec![0; 64 << 10];
    loop {
        let read = tokio::select! {
            changed = mode.changed() => {
                let now = *mode.borrow_and_update();
                if changed.is_err() || now == Mode::Cut {
                    return;
                }
                if now == Mode::Reset {
                    reset(from.as_ref());
                    reset(to.as_ref());
                    return;
                }
                if now == ends {
                    let _ = to.shutdown().await;
                    return;
                }
                continue;
            }
            read = from.read(&mut piece) => read,
        };
        let Ok(read @ 1..) = read else {
            let _ = to.shutdown().await;
            return;
        };
        let now = *mode.borrow();
        if let Mode::Delay(time) = now {
            tokio::time::sleep(time).await;
        }
        if to.write_all(&piece[..read]).await.is_err() {
            return;
        }
    }
}

/// Makes the end of a connection a reset.
fn reset(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}
