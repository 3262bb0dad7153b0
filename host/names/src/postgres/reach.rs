//! How a server is reached: which of several can be written, and how long that is looked for.
//!
//! Servers are tried one after the other, and of each the addresses that its name has. A further one is tried as soon as the
//! one before has failed, or has not answered for a quarter of `connect_timeout`, while that goes on: so one that hangs, or
//! that the network swallows, delays a connection by that quarter, and one that is only slow is still waited for. Each has the
//! whole `connect_timeout`. The first that can be written wins; a standby, which cannot, has failed.
//!
//! The order is that of the URL, but the one that was reached last comes first: it most likely still is the primary, and while
//! the first of the URL hangs, only one connection waits for it, and not each.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use namelock_types::error_chain;
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, Connection, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::postgres::address::Server;

/// How many addresses of one name are tried.
const ADDRESSES_MAX: usize = 8;

/// After which share of the time that a server has the next is tried.
const STAGGER_SHARE: u32 = 4;

/// A connection that has just been made, which somebody has to drive.
pub(crate) type Reached = (
    Client,
    Connection<Socket, <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>,
);

/// Reaches the servers of one URL. Clones know the same.
#[derive(Clone)]
pub(crate) struct Reach(Arc<Shared>);

struct Shared {
    named: Config,
    servers: Vec<Server>,
    tls: MakeRustlsConnect,
    connect_timeout: Duration,
    /// Which was reached last.
    last: Mutex<Option<Place>>,
}

/// A server, by its place in the URL, at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    server: usize,
    address: Option<IpAddr>,
}

/// Why none of the servers was reached.
#[derive(Debug)]
pub(crate) struct Unreachable(Vec<String>);

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("; "))
    }
}

impl std::error::Error for Unreachable {}

impl Reach {
    /// `named` is what [`Session`](crate::postgres::session::Session) has configured. An error says what is wrong with the
    /// servers that it names.
    pub(crate) fn new(named: Config, tls: MakeRustlsConnect, connect_timeout: Duration) -> Result<Self, String> {
        Ok(Self(Arc::new(Shared {
            servers: Server::all(&named)?,
            named,
            tls,
            connect_timeout,
            last: Mutex::default(),
        })))
    }

    /// Returns whether there is a choice.
    pub(crate) fn has_several(&self) -> bool {
        self.0.servers.len() > 1
    }

    /// Connects to the first server that can be written, and tells whether it is another one than before.
    // Keeps P7: it ends after twice `connect_timeout`, and a quarter for each further address.
    pub(crate) async fn connect(&self) -> Result<(Reached, bool), Unreachable> {
        let last = *self.0.last.lock();
        let mut order: Vec<_> = (0..self.0.servers.len()).collect();
        order.sort_by_key(|server| last.is_none_or(|last| last.server != *server));
        let tries = order.into_iter().map(|server| {
            let shared = Arc::clone(&self.0);
            async move { shared.connect_to(server, last).await }
        });
        let reached = race(tries.collect(), self.0.connect_timeout / STAGGER_SHARE).await;
        let (reached, place) = reached.map_err(|reasons| Unreachable(reasons.into_iter().flatten().collect()))?;
        let before = self.0.last.lock().replace(place);
        Ok((reached, before.is_some_and(|before| before != place)))
    }
}

impl Shared {
    /// Connects to one server, at the first of its addresses that answers.
    async fn connect_to(self: Arc<Self>, server: usize, last: Option<Place>) -> Result<(Reached, Place), Vec<String>> {
        let Some(named) = self.servers.get(server) else {
            return Err(Vec::new());
        };
        let failed = |reason: &dyn fmt::Display| vec![format!("{named}: {reason}")];
        let mut places: Vec<_> = match timeout(self.connect_timeout, named.look_up()).await {
            Ok(Ok(addresses)) => addresses.into_iter().map(|address| Place { server, address }).collect(),
            Ok(Err(error)) => return Err(failed(&format_args!("its name cannot be looked up: {error}"))),
            Err(_) => {
                return Err(failed(&format_args!(
                    "its name was not found within {:?}",
                    self.connect_timeout
                )));
            }
        };
        places.sort_by_key(|place| Some(*place) != last);
        places.truncate(ADDRESSES_MAX);
        if places.is_empty() {
            return Err(failed(&"its name has no address"));
        }
        let tries = places.into_iter().map(|place| {
            let shared = Arc::clone(&self);
            async move { shared.connect_at(place).await }
        });
        race(tries.collect(), self.connect_timeout / STAGGER_SHARE).await
    }

    async fn connect_at(self: Arc<Self>, place: Place) -> Result<(Reached, Place), String> {
        let Some(server) = self.servers.get(place.server) else {
            return Err(String::new());
        };
        let alone = server.alone(&self.named, place.address);
        let reason = match timeout(self.connect_timeout, alone.connect(self.tls.clone())).await {
            Ok(Ok(reached)) => return Ok((reached, place)),
            Ok(Err(error)) => error_chain(&error),
            Err(_) => format!(
                "it has not answered within {:?} (connect_timeout)",
                self.connect_timeout
            ),
        };
        Err(match place.address {
            Some(address) if server.to_string() != std::net::SocketAddr::new(address, server.port()).to_string() => {
                format!("{server} at {address}: {reason}")
            }
            _ => format!("{server}: {reason}"),
        })
    }
}

/// Begins one try after the other, each when the one before has failed or has gone on for `stagger`, and returns what the first
/// has got that succeeds; the others end. If all fail it returns why, in the order in which they did.
async fn race<T, E, F>(tries: Vec<F>, stagger: Duration) -> Result<T, Vec<E>>
where
    T: Send + 'static,
    E: Send + 'static,
    F: Future<Output = Result<T, E>> + Send + 'static,
{
    let mut waiting = tries.into_iter();
    let mut running = JoinSet::new();
    let mut reasons = Vec::new();
    loop {
        if let Some(next) = waiting.next() {
            running.spawn(next);
        }
        tokio::select! {
            ended = running.join_next() => match ended {
                Some(Ok(Ok(got))) => return Ok(got),
                Some(Ok(Err(reason))) => reasons.push(reason),
                // It has panicked.
                Some(Err(_)) => {}
                None => return Err(reasons),
            },
            () = sleep(stagger), if waiting.len() > 0 => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAGGER: Duration = Duration::from_secs(1);

    /// Ends with `end` after this many seconds.
    async fn after(seconds: u64, end: Result<u8, u8>) -> Result<u8, u8> {
        sleep(Duration::from_secs(seconds)).await;
        end
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_is_tried_when_one_has_failed_or_hangs_and_the_first_that_succeeds_wins() {
        let begin = tokio::time::Instant::now();
        let won = race(vec![after(60, Ok(1)), after(0, Err(2)), after(0, Ok(3))], STAGGER).await;
        assert_eq!((won, begin.elapsed()), (Ok(3), STAGGER));
        // One that is slow is still waited for.
        let won = race(vec![after(5, Ok(1)), after(0, Err(2))], STAGGER).await;
        assert_eq!(won, Ok(1));
        let lost = race(vec![after(3, Err(1)), after(0, Err(2)), after(1, Err(3))], STAGGER).await;
        assert_eq!(lost, Err(vec![2, 3, 1]));
        assert_eq!(
            race(Vec::<std::future::Ready<Result<u8, u8>>>::new(), STAGGER).await,
            Err(vec![])
        );
    }
}
