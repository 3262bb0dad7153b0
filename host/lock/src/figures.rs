//! What the locks of one process count, for an operator.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use namelock_types::histogram::{Histogram, Observed};

use crate::error::AcquireError;
use crate::mishaps::Mishaps;

/// Why a lease was not granted, from a closed list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Refused {
    /// Somebody else has the name.
    Busy,
    /// The lock service does not answer, or may not grant.
    Unavailable,
    /// The source of epochs does not answer.
    NoEpoch,
    /// The name cannot be locked, or was given twice.
    Invalid,
}

impl Refused {
    /// All of them, in the order of declaration.
    pub const ALL: [Self; 4] = [Self::Busy, Self::Unavailable, Self::NoEpoch, Self::Invalid];

    /// The reason as written in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Unavailable => "unavailable",
            Self::NoEpoch => "no_epoch",
            Self::Invalid => "invalid",
        }
    }
}

impl From<&AcquireError> for Refused {
    fn from(error: &AcquireError) -> Self {
        match error {
            AcquireError::Busy { .. } => Self::Busy,
            AcquireError::Unavailable { .. } => Self::Unavailable,
            AcquireError::NoEpoch { .. } => Self::NoEpoch,
            AcquireError::InvalidName(_) | AcquireError::Doubled { .. } => Self::Invalid,
        }
    }
}

/// What the locks of this process have counted until now.
#[derive(Debug, Clone)]
pub struct Figures {
    /// Leases that callers of this process hold.
    pub held: usize,
    /// Callers of this process that wait for their turn at a name that another one of it has.
    pub waiting: usize,
    /// How long those waited that were granted a lease, or heard that it is busy.
    pub waits: Observed,
    /// How long leases were held that have ended.
    pub holds: Observed,
    /// How many were refused, and why.
    pub refused: Vec<(Refused, u64)>,
    /// The memcached servers; none for `memory:`.
    pub servers: Vec<ServerFigures>,
}

/// What was counted of one memcached.
#[derive(Debug, Clone)]
pub struct ServerFigures {
    /// Its address.
    pub server: Arc<str>,
    /// Whether all connections to it are usable.
    pub up: bool,
    /// Whether it may grant, if it answers: not in the grace period after it has lost locks, nor while its clock is wrong.
    pub grants: bool,
    /// Connections that were made.
    pub connections: u64,
    /// Batches that were exchanged.
    pub batches: u64,
    /// Commands in them.
    pub operations: u64,
    /// How long the exchanges took, those that failed included.
    pub exchanges: Observed,
    /// Commands that wait to be sent.
    pub queued: usize,
    /// What has gone wrong with it.
    pub mishaps: Mishaps,
}

/// The counters behind them.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    waits: Histogram,
    pub(crate) holds: Histogram,
    refused: [AtomicU64; Refused::ALL.len()],
}

/// The counters of one lane.
#[derive(Debug, Default)]
pub(crate) struct LaneCounts {
    pub(crate) connections: AtomicU64,
    batches: AtomicU64,
    operations: AtomicU64,
    exchanges: Histogram,
}

impl Counts {
    /// Counts how a caller's wait for a lease, or for several, has ended.
    pub(crate) fn asked<T>(&self, waited: Duration, answer: Result<T, AcquireError>) -> Result<T, AcquireError> {
        let refused = answer.as_ref().err().map(Refused::from);
        if matches!(refused, None | Some(Refused::Busy)) {
            self.waits.observe(waited);
        }
        if let Some(reason) = refused {
            self.refused[reason as usize].fetch_add(1, Relaxed);
        }
        answer
    }

    pub(crate) fn figures(&self, held: usize, waiting: usize, servers: Vec<ServerFigures>) -> Figures {
        let count = |reason: Refused| (reason, self.refused[reason as usize].load(Relaxed));
        Figures {
            held,
            waiting,
            waits: self.waits.observed(),
            holds: self.holds.observed(),
            refused: Refused::ALL.map(count).to_vec(),
            servers,
        }
    }
}

impl LaneCounts {
    /// Counts an exchange of so many commands.
    pub(crate) fn exchanged(&self, operations: usize, took: Duration) {
        self.batches.fetch_add(1, Relaxed);
        self.operations.fetch_add(operations as u64, Relaxed);
        self.exchanges.observe(took);
    }

    /// Adds them to those of their server.
    pub(crate) fn add_to(&self, server: &mut ServerFigures) {
        server.connections += self.connections.load(Relaxed);
        server.batches += self.batches.load(Relaxed);
        server.operations += self.operations.load(Relaxed);
        server.exchanges.add(&self.exchanges.observed());
    }
}
