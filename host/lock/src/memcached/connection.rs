//! One connection to one memcached server: it is greeted, then exchanges batches.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use memcache::exp::{AsyncMetaConnection, Error};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::codec::{self, Command, Reply};
use super::health::GRACE;
use crate::config::{COARSE_CLOCK, LockConfig};
use crate::table::OwnerToken;

/// The item that tells one life of a server from the next. No lock's key has an `@` there.
const SENTINEL: &str = "namelock:@epoch";

/// The oldest server whose `md … C` compares with the CAS that was sent; before, it compared with 0 (its release notes).
const VERSION_MIN: [u32; 3] = [1, 6, 13];

/// The first server whose slab mover leaves the CAS of an item alone (its release notes).
const RENUMBERS_UNTIL: [u32; 3] = [1, 6, 24];

/// Less memory than this is a sign that nobody has thought about it: memcached's own default.
const MEMORY_MIN: u64 = 64 << 20;

/// The longest line that a server may answer when it is greeted, and the most of them.
const GREETING_BYTES_MAX: u64 = 64 * 1024;

/// What the server answers to arithmetic on an item that is no number; it looks at that before it compares the CAS.
const NOT_A_NUMBER: &str = "cannot increment or decrement non-numeric value";

/// Numbers every connection of this process, so that a grant can say over which it came.
static CONNECTIONS: AtomicU64 = AtomicU64::new(1);

/// A connection that has been greeted.
pub(super) struct Connection {
    pub(super) id: u64,
    /// The value of the sentinel when the connection was made; see the module's documentation on fencing tokens.
    pub(super) epoch: u64,
    /// What is unwise about the server's settings.
    unwise: Vec<&'static str>,
    /// Reads replies. It holds the socket's second handle, because a batch must be written as a whole and its replies read one
    /// by one: `execute_batch` of the crate gives up on all replies of a batch for one `SERVER_ERROR out of memory` among them.
    replies: AsyncMetaConnection,
    socket: TcpStream,
    payload: Vec<u8>,
}

/// Why a connection could not be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Protocol(#[from] Error),
    #[error("no answer in time")]
    Timeout,
    #[error("version {0} is too old to check who releases a lock; it must be 1.6.13 or newer")]
    Version(String),
    #[error("it runs without CAS, so nothing can be released safely; start it without -C")]
    NoCas,
}

/// What became of one command of a batch.
pub(super) type Outcome = Result<Reply, Refusal>;

/// Why a command has no reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    OutOfMemory,
    /// It was sent, and what became of it is not known.
    Unanswered(String),
}

impl Connection {
    /// Connects to `server` and greets it, within `connect_timeout`.
    pub(super) async fn open(server: &str, config: &LockConfig) -> Result<Self, ConnectError> {
        timeout(config.connect_timeout, Self::open_unbounded(server))
            .await
            .unwrap_or(Err(ConnectError::Timeout))
    }

    async fn open_unbounded(server: &str) -> Result<Self, ConnectError> {
        let mut socket = TcpStream::connect(server).await?;
        socket.set_nodelay(true)?;
        let unwise = greet(&mut socket).await?;
        let socket = socket.into_std()?;
        let mut connection = Self {
            id: CONNECTIONS.fetch_add(1, Ordering::Relaxed),
            epoch: 0,
            unwise,
            replies: AsyncMetaConnection::from_stream(TcpStream::from_std(socket.try_clone()?)?),
            socket: TcpStream::from_std(socket)?,
            payload: Vec::new(),
        };
        connection.epoch = connection.learn_epoch().await?;
        Ok(connection)
    }

    /// Finds out for how much longer another host wants nothing granted, within `connect_timeout`; `known` is the life that this host
    /// knows the server in, 0: none. If that is another one, this host says so too.
    ///
    /// A server that nobody here knows is first watched for as long as [`LockConfig::notice`].
    pub(super) async fn settle(
        &mut self,
        server: &str,
        config: &LockConfig,
        known: u64,
    ) -> Result<Option<Duration>, ConnectError> {
        if known != self.epoch {
            for unwise in self.unwise.drain(..) {
                tracing::warn!(server, "memcached is not set up for locks: {unwise}");
            }
        }
        if known == 0 {
            tokio::time::sleep(config.notice().saturating_sub(age(self.epoch))).await;
        }
        let grace = async {
            let grace_left = self.learn_grace().await?;
            if known != 0 && known != self.epoch && grace_left.is_none() {
                self.ask_for_grace(config).await?;
            }
            Ok(grace_left)
        };
        timeout(config.connect_timeout, grace)
            .await
            .unwrap_or(Err(ConnectError::Timeout))
    }

    /// Reads the sentinel, or makes it.
    async fn learn_epoch(&mut self) -> Result<u64, ConnectError> {
        let make = Command::Take {
            ttl_seconds: 0,
            token: OwnerToken(nanoseconds_since_1970()),
        };
        let mut outcomes = Vec::new();
        self.talk(&[(SENTINEL, make), (SENTINEL, Command::Look)], &mut outcomes)
            .await?;
        match outcomes.pop() {
            Some(Ok(Reply::Item { cas: 0, .. })) => Err(ConnectError::NoCas),
            Some(Ok(Reply::Item { token: Some(epoch), .. })) => Ok(epoch.0),
            other => Err(ConnectError::Protocol(Error::Protocol(format!(
                "the item {SENTINEL} cannot be made or is not a number ({other:?}); delete it if another program made it"
            )))),
        }
    }

    /// Reads for how much longer another host wants nothing granted.
    async fn learn_grace(&mut self) -> Result<Option<Duration>, ConnectError> {
        let mut outcomes = Vec::new();
        self.talk(&[(GRACE, Command::Look)], &mut outcomes).await?;
        Ok(match outcomes.pop() {
            Some(Ok(Reply::Item { seconds_left, .. })) => {
                Some(seconds_left.map_or(Duration::MAX, |seconds| Duration::from_secs(seconds.into())))
            }
            _ => None,
        })
    }

    /// Tells hosts that connect from now on that nothing is to be granted for a while. It is no loss if the server has no memory for it:
    /// then it has none for a lock either.
    async fn ask_for_grace(&mut self, config: &LockConfig) -> Result<(), ConnectError> {
        let grace = (config.grace() + COARSE_CLOCK).as_secs() + 1;
        let ask = Command::Take {
            ttl_seconds: u32::try_from(grace).unwrap_or(u32::MAX),
            token: OwnerToken(1),
        };
        Ok(self.talk(&[(GRACE, ask)], &mut Vec::new()).await?)
    }

    /// Sends the commands as one batch and reads their replies, within `deadline`. There is one outcome for each command.
    ///
    /// The sentinel is read behind them all; unless it is still the one of this connection, the takes count as unanswered.
    ///
    /// The connection must not be used again after an error; it says why.
    pub(super) async fn exchange(
        &mut self,
        commands: &[(&str, Command)],
        deadline: Instant,
    ) -> (Vec<Outcome>, Result<(), String>) {
        let mut batch = commands.to_vec();
        batch.push((SENTINEL, Command::Look));
        let mut outcomes = Vec::with_capacity(batch.len());
        let mut end = match timeout_at(deadline, self.talk(&batch, &mut outcomes)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("no answer in time".to_owned()),
        };
        if let Err(reason) = &end {
            outcomes.resize_with(batch.len(), || Err(Refusal::Unanswered(reason.clone())));
        }
        let epoch = Some(OwnerToken(self.epoch));
        let same = matches!(outcomes.pop(), Some(Ok(Reply::Item { token, .. })) if token == epoch);
        if !same {
            let reason = end
                .err()
                .unwrap_or_else(|| "memcached was flushed or replaced meanwhile".to_owned());
            for ((_, command), outcome) in commands.iter().zip(&mut outcomes) {
                if matches!((command, &outcome), (Command::Take { .. }, Ok(Reply::Done { .. }))) {
                    *outcome = Err(Refusal::Unanswered(reason.clone()));
                }
            }
            end = Err(reason);
        }
        (outcomes, end)
    }

    /// Writes a batch and reads its replies into `outcomes`, which keeps those read before an error.
    async fn talk(&mut self, commands: &[(&str, Command)], outcomes: &mut Vec<Outcome>) -> Result<(), Error> {
        self.payload.clear();
        for (opaque, (key, command)) in commands.iter().enumerate() {
            command.encode(key, opaque, &mut self.payload)?;
        }
        self.socket.write_all(&self.payload).await?;
        for opaque in 0..commands.len() {
            outcomes.push(match self.replies.receive().await {
                Ok(response) => Ok(codec::decode(response, opaque)?),
                // The two kinds of error line after which the replies are still in step with the commands. The second one is how
                // a take is refused for an item that is no number: some other client's lock.
                Err(Error::Server(message)) if is_out_of_memory(&message) => Err(Refusal::OutOfMemory),
                Err(Error::Rejected(message)) if message == NOT_A_NUMBER => Ok(Reply::Mismatch),
                Err(error) => return Err(error),
            });
        }
        Ok(())
    }

    /// Waits until the server closes the connection, or says something that nobody asked for.
    pub(super) async fn broken(&self) {
        loop {
            if self.socket.readable().await.is_err() || self.is_broken() {
                return;
            }
        }
    }

    /// Tells, without waiting, whether the server has closed the connection or said something that nobody asked for. Only
    /// between exchanges.
    pub(super) fn is_broken(&self) -> bool {
        !matches!(self.socket.try_read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

/// `Out of memory allocating new item` where there was no item, and `out of memory` where there was one (memcached 1.6.18,
/// `proto_text.c`).
fn is_out_of_memory(message: &str) -> bool {
    const WORDS: &str = "out of memory";
    message
        .get(..WORDS.len())
        .is_some_and(|words| words.eq_ignore_ascii_case(WORDS))
}

fn nanoseconds_since_1970() -> u64 {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or_default()
}

/// How long ago a sentinel was made, if the clock of the host that made it is as ours; one from the future is young.
fn age(epoch: u64) -> Duration {
    Duration::from_nanos(nanoseconds_since_1970().saturating_sub(epoch))
}

/// Asks the server for its version and settings, refuses one that cannot hold a lock, and tells what is unwise.
async fn greet(socket: &mut TcpStream) -> Result<Vec<&'static str>, ConnectError> {
    let (mut version, mut refused, mut unwise) = (None, None, Vec::new());
    statistics(socket, "version\r\nstats settings\r\n", |key, value| {
        match (key, value) {
            ("version", text) => {
                version = parse_version(text);
                if version.is_none_or(|version| version < VERSION_MIN) {
                    refused = Some(ConnectError::Version(text.to_owned()));
                }
            }
            ("cas_enabled", "no") => refused = Some(ConnectError::NoCas),
            ("evictions", "on") => unwise.push("it evicts locks when it is full; start it with -M"),
            ("maxbytes", bytes) if bytes.parse().is_ok_and(|bytes: u64| bytes < MEMORY_MIN) => {
                unwise.push("it has less than 64 MiB; start it with -m 64 or more");
            }
            ("slab_automove", level) if level != "0" && version.is_some_and(|version| version < RENUMBERS_UNTIL) => {
                unwise.push(
                    "its slab mover may renumber locks, which costs a look each; start it with -o no_slab_automove",
                );
            }
            _ => {}
        }
    })
    .await?;
    refused.map_or(Ok(unwise), Err)
}

/// Asks for statistics, and hands on each with its value; the version is one of the name `version`.
pub(super) async fn statistics(
    socket: &mut TcpStream,
    request: &str,
    mut take: impl FnMut(&str, &str),
) -> Result<(), ConnectError> {
    socket.write_all(request.as_bytes()).await?;
    let mut lines = BufReader::new(socket).take(GREETING_BYTES_MAX).lines();
    while let Some(line) = lines.next_line().await? {
        let mut words = line.split_ascii_whitespace();
        match (words.next(), words.next(), words.next()) {
            (Some("VERSION"), Some(version), _) => take("version", version),
            (Some("STAT"), Some(key), Some(value)) => take(key, value),
            (Some("END"), ..) => return Ok(()),
            (Some("ERROR" | "CLIENT_ERROR" | "SERVER_ERROR"), ..) => {
                return Err(Error::Protocol(format!("it answered {line:?}; is it a memcached?")).into());
            }
            _ => {}
        }
    }
    Err(Error::Protocol("it closed the connection when it was greeted; is it a memcached?".into()).into())
}

/// Reads `1.6.18`, and `1.6.18_4_gdeadbee` as a build between versions is named.
fn parse_version(text: &str) -> Option<[u32; 3]> {
    let mut parts = text.split(['.', '_', '-']).map(str::parse);
    Some([parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_without_memory_says_so_in_two_ways() {
        for message in ["out of memory", "Out of memory allocating new item"] {
            assert!(is_out_of_memory(message), "{message}");
        }
        for message in ["", "out", "object too large for cache", "öut of memory"] {
            assert!(!is_out_of_memory(message), "{message}");
        }
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(parse_version("1.6.18"), Some([1, 6, 18]));
        assert_eq!(parse_version("1.6.9_3_gabc"), Some([1, 6, 9]));
        assert!(parse_version("1.6.9").unwrap() < VERSION_MIN && parse_version("1.10.0").unwrap() > VERSION_MIN);
        assert_eq!(parse_version("unknown"), None);
    }
}
