//! A proxy in front of one server, that can cut, delay, half-close and reset connections, those of each host in its own way.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use namelock_test_servers::free_port;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

/// What a link does with what it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Hands it on.
    Pass,
    /// Hands each piece on so much later; also after the sender has gone.
    Delay(Duration),
    /// Keeps everything, both ways, until it may pass: a network that has come apart and tells nobody.
    Silent,
    /// Hands requests on, and loses the replies; who waits for one is reset when that ends.
    LoseReplies,
    /// Closes every connection, and each new one.
    Cut,
    /// Ends every connection, and each new one, with a reset.
    Reset,
    /// Tells the server that the client has ended, and the client nothing.
    HalfClose,
}

/// The links between one server and each host.
///
/// All hosts have to write the same list of servers, so each reaches its own end of the links under the same name and
/// port: for each of them the name [`NAME`] means another address of loopback, as `/etc/hosts` says.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    server: watch::Sender<SocketAddr>,
    /// By host.
    modes: Vec<watch::Sender<Mode>>,
    tasks: Vec<AbortHandle>,
}

/// What every host calls its end of the links.
pub const NAME: &str = "servers";

/// Where the end is that this host reaches under [`NAME`].
pub fn end(host: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, u8::try_from(host + 1).unwrap_or(u8::MAX), 1)
}

impl Proxy {
    /// Starts a proxy on a free port, in front of `server`, for so many hosts.
    ///
    /// # Errors
    ///
    /// When there is no port.
    pub async fn start(server: SocketAddr, hosts: usize) -> std::io::Result<Self> {
        let (port, listeners) = listen(hosts).await?;
        let server = watch::Sender::new(server);
        let modes: Vec<_> = (0..hosts).map(|_| watch::Sender::new(Mode::Pass)).collect();
        let tasks = listeners.into_iter().zip(&modes).map(|(listener, mode)| {
            let task = accept(listener, server.subscribe(), mode.subscribe());
            tokio::spawn(task).abort_handle()
        });
        Ok(Self {
            port,
            tasks: tasks.collect(),
            server,
            modes,
        })
    }

    /// The port at every end.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Does something else from now on with what this host sends and is sent.
    pub fn set(&self, host: usize, mode: Mode) {
        self.modes[host].send_replace(mode);
    }

    /// Does something else from now on with all hosts.
    pub fn set_all(&self, mode: Mode) {
        for sender in &self.modes {
            sender.send_replace(mode);
        }
    }

    /// Stands in front of another server from now on; connections to the one before stay.
    pub fn turn_to(&self, server: SocketAddr) {
        self.server.send_replace(server);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Listens on one port at every end.
async fn listen(hosts: usize) -> std::io::Result<(u16, Vec<TcpListener>)> {
    for _ in 0..10 {
        let port = free_port();
        let mut listeners = Vec::new();
        for host in 0..hosts {
            listeners.extend(TcpListener::bind((end(host), port)).await.ok());
        }
        if listeners.len() == hosts {
            return Ok((port, listeners));
        }
    }
    Err(std::io::Error::other("no port is free at every end"))
}

async fn accept(listener: TcpListener, server: watch::Receiver<SocketAddr>, mode: watch::Receiver<Mode>) {
    // Aborted with this task, and so with the proxy.
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        connections.spawn(connect(client, server.clone(), mode.clone()));
        while connections.try_join_next().is_some() {}
    }
}

async fn connect(client: TcpStream, server: watch::Receiver<SocketAddr>, mut mode: watch::Receiver<Mode>) {
    loop {
        let now = *mode.borrow_and_update();
        match now {
            Mode::Cut => return,
            Mode::Reset => return reset(&client),
            Mode::Silent => {
                if mode.changed().await.is_err() {
                    return;
                }
            }
            Mode::Pass | Mode::Delay(_) | Mode::HalfClose | Mode::LoseReplies => break,
        }
    }
    let server = *server.borrow();
    // A server that is not there is a client that is hung up on.
    if let Ok(server) = TcpStream::connect(server).await {
        connection(client, server, mode).await;
    }
}

/// Which way a piece goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    ToServer,
    ToClient,
}

async fn connection(client: TcpStream, server: TcpStream, mode: watch::Receiver<Mode>) {
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::join!(
        forward(from_client, to_server, mode.clone(), Way::ToServer),
        forward(from_server, to_client, mode, Way::ToClient)
    );
}

/// Hands on what comes.
async fn forward(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut mode: watch::Receiver<Mode>, way: Way) {
    let mut piece = vec![0; 64 << 10];
    let mut lossy = *mode.borrow_and_update() == Mode::LoseReplies;
    loop {
        let silent = *mode.borrow() == Mode::Silent;
        let read = tokio::select! {
            changed = mode.changed() => {
                let now = *mode.borrow_and_update();
                match now {
                    _ if changed.is_err() => return,
                    Mode::Cut => return,
                    Mode::Reset => {
                        reset(from.as_ref());
                        reset(to.as_ref());
                        return;
                    }
                    Mode::HalfClose if way == Way::ToServer => {
                        let _ = to.shutdown().await;
                        return;
                    }
                    // What comes now would be taken for the replies that were lost.
                    Mode::Pass | Mode::Delay(_) | Mode::HalfClose | Mode::Silent if lossy => {
                        reset(from.as_ref());
                        reset(to.as_ref());
                        return;
                    }
                    Mode::LoseReplies => lossy = true,
                    Mode::Pass | Mode::Delay(_) | Mode::HalfClose | Mode::Silent => {}
                }
                continue;
            }
            read = from.read(&mut piece), if !silent => read,
        };
        let Ok(read @ 1..) = read else {
            let _ = to.shutdown().await;
            return;
        };
        let now = *mode.borrow();
        match now {
            Mode::Delay(time) => tokio::time::sleep(time).await,
            Mode::LoseReplies if way == Way::ToClient => continue,
            _ => {}
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
