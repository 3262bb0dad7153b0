//! One connection to one memcached server: it learns the server's epoch, then exchanges batches.
//!
//! Every batch ends with a look at the sentinel, so that a grant is only believed in the epoch that the connection
//! knows ([`crate::fencing`]).

use std::time::Duration;

use memcache::exp::Error;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::codec::{Command, GRACE_KEY, Reply, SENTINEL_KEY};
use super::greeting::{ConnectError, greet};
use super::wire::{CommandError, Outcome, Wire};
use crate::config::{COARSE_CLOCK, LockConfig};
use crate::fencing::ServerEpoch;
use crate::grant::ConnectionId;

/// A connection over which the server was greeted and its epoch learned.
pub(super) struct Connection {
    pub(super) id: ConnectionId,
    /// The server's epoch when the connection was made.
    pub(super) epoch: ServerEpoch,
    /// Which settings of the server put locks at risk.
    warnings: Vec<&'static str>,
    wire: Wire,
}

impl Connection {
    /// Connects to `server`, greets it and learns its epoch, within `connect_timeout`.
    pub(super) async fn open(server: &str, config: &LockConfig) -> Result<Self, ConnectError> {
        timeout(config.connect_timeout, Self::open_unbounded(server))
            .await
            .unwrap_or(Err(ConnectError::Timeout))
    }

    async fn open_unbounded(server: &str) -> Result<Self, ConnectError> {
        let mut socket = TcpStream::connect(server).await?;
        socket.set_nodelay(true)?;
        let warnings = greet(&mut socket).await?;
        let mut wire = Wire::new(socket)?;
        Ok(Self {
            id: ConnectionId::next(),
            epoch: learn_epoch(&mut wire).await?,
            warnings,
            wire,
        })
    }

    /// Finds out for how much longer other hosts want nothing granted, within `connect_timeout`. If this host knows the
    /// server in another epoch, which is `known`, it asks the other hosts for that too.
    ///
    /// A server that this host knows nothing of is first watched for as long as [`LockConfig::notice_time`].
    pub(super) async fn learn_grace(
        &mut self,
        server: &str,
        config: &LockConfig,
        known: Option<ServerEpoch>,
    ) -> Result<Option<Duration>, ConnectError> {
        if known != Some(self.epoch) {
            for warning in self.warnings.drain(..) {
                tracing::warn!(server, "memcached is not set up for locks: {warning}");
            }
        }
        if known.is_none() {
            tokio::time::sleep(config.notice_time().saturating_sub(self.epoch.age())).await;
        }
        let has_forgotten = known.is_some_and(|known| known != self.epoch);
        let grace = async {
            let grace_left = read_grace(&mut self.wire).await?;
            if has_forgotten && grace_left.is_none() {
                ask_for_grace(&mut self.wire, config).await?;
            }
            Ok(grace_left)
        };
        timeout(config.connect_timeout, grace)
            .await
            .unwrap_or(Err(ConnectError::Timeout))
    }

    /// Sends the commands as one batch and reads their replies, within `deadline`. There is one outcome for each
    /// command.
    ///
    /// The sentinel is read after them all. Unless it still tells the epoch of this connection, the adds count as
    /// unanswered.
    ///
    /// The connection must not be used again after an error, which says why.
    pub(super) async fn exchange(
        &mut self,
        commands: &[(&str, Command)],
        deadline: Instant,
    ) -> (Vec<Outcome>, Result<(), String>) {
        let mut batch = commands.to_vec();
        batch.push((SENTINEL_KEY, Command::Look));
        let mut outcomes = Vec::with_capacity(batch.len());
        let mut end = match timeout_at(deadline, self.wire.exchange(&batch, &mut outcomes)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("no answer in time".to_owned()),
        };
        if let Err(reason) = &end {
            outcomes.resize_with(batch.len(), || Err(CommandError::Unanswered(reason.clone())));
        }
        let sentinel = Some(self.epoch.sentinel());
        let same_epoch = matches!(outcomes.pop(), Some(Ok(Reply::Item { value, .. })) if value == sentinel);
        if !same_epoch {
            let reason = end
                .err()
                .unwrap_or_else(|| "memcached was flushed or replaced meanwhile".to_owned());
            for ((_, command), outcome) in commands.iter().zip(&mut outcomes) {
                if matches!((command, &outcome), (Command::Add { .. }, Ok(Reply::Done { .. }))) {
                    *outcome = Err(CommandError::Unanswered(reason.clone()));
                }
            }
            end = Err(reason);
        }
        (outcomes, end)
    }

    /// Waits until the server closes the connection, or says something that nobody asked for.
    pub(super) async fn broken(&self) {
        self.wire.broken().await;
    }

    /// Tells, without waiting, whether the connection is [`broken`](Self::broken). Only between exchanges.
    pub(super) fn is_broken(&self) -> bool {
        self.wire.is_broken()
    }
}

/// Reads the sentinel, or begins an epoch by making it.
async fn learn_epoch(wire: &mut Wire) -> Result<ServerEpoch, ConnectError> {
    let make = Command::Add {
        ttl_seconds: 0,
        value: ServerEpoch::begin().sentinel(),
    };
    let mut outcomes = Vec::new();
    wire.exchange(&[(SENTINEL_KEY, make), (SENTINEL_KEY, Command::Look)], &mut outcomes)
        .await?;
    match outcomes.pop() {
        Some(Ok(Reply::Item { cas: 0, .. })) => Err(ConnectError::NoCas),
        Some(Ok(Reply::Item { value: Some(value), .. })) => Ok(ServerEpoch::from_sentinel(value)),
        other => Err(ConnectError::Protocol(Error::Protocol(format!(
            "the item {SENTINEL_KEY} is not a number or cannot be made ({other:?}); delete it if it is not namelock's"
        )))),
    }
}

/// Reads for how much longer other hosts want nothing granted.
async fn read_grace(wire: &mut Wire) -> Result<Option<Duration>, ConnectError> {
    let mut outcomes = Vec::new();
    wire.exchange(&[(GRACE_KEY, Command::Look)], &mut outcomes).await?;
    Ok(match outcomes.pop() {
        Some(Ok(Reply::Item { seconds_left, .. })) => {
            Some(seconds_left.map_or(Duration::MAX, |seconds| Duration::from_secs(seconds.into())))
        }
        _ => None,
    })
}

/// Tells hosts that connect from now on that nothing is to be granted for a while.
///
/// It does not matter if the server has no memory for it: then it has none for a lock either.
async fn ask_for_grace(wire: &mut Wire, config: &LockConfig) -> Result<(), ConnectError> {
    let grace = (config.grace() + COARSE_CLOCK).as_secs() + 1;
    let ask = Command::Add {
        ttl_seconds: u32::try_from(grace).unwrap_or(u32::MAX),
        // Only that the item is there means something.
        value: 1,
    };
    Ok(wire.exchange(&[(GRACE_KEY, ask)], &mut Vec::new()).await?)
}
