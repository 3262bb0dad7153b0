//! What `/overview` answers. Durations and ages are in milliseconds, instants in milliseconds since 1970.

use std::time::Duration;

use namelock_lock::held::HeldLease;
use namelock_types::milliseconds;
use serde::Serialize;

use super::faults::{CodeFaults, Fault};
use super::sampler::{History, Recent};

/// The whole of it.
#[derive(Debug, Serialize)]
pub(crate) struct Answer {
    /// When it was made, by the clock of the host.
    pub(super) at_ms: u64,
    pub(super) host: Host,
    pub(super) lock: Lock,
    pub(super) database: Database,
    pub(super) tenants: Tenants,
    pub(super) locks: Locks,
    pub(super) faults: Faults,
}

/// The host as a whole.
#[derive(Debug, Serialize)]
pub(super) struct Host {
    pub(super) version: &'static str,
    pub(super) up_ms: u64,
    /// `ready`, `not_ready` or `stopping`.
    pub(super) state: &'static str,
    pub(super) calls_running: usize,
    pub(super) calls_waiting: usize,
    /// `http.calls`.
    pub(super) calls_max: usize,
    #[serde(flatten)]
    pub(super) minute: Minute,
    pub(super) history: Seconds,
}

/// The last minute of a tenant, or of a part of the host.
#[derive(Debug, Serialize)]
pub(super) struct Minute {
    /// Requests a second, over the last ten seconds.
    rate: f64,
    /// Faults in the last minute.
    faults: u64,
    /// What half of the requests of the last minute took at most; null: there was none.
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
}

impl From<Recent> for Minute {
    fn from(recent: Recent) -> Self {
        let ms = |time: Duration| round(time.as_secs_f64() * 1e3);
        Self {
            rate: round(recent.rate),
            faults: recent.faults,
            p50_ms: recent.p50.map(ms),
            p99_ms: recent.p99.map(ms),
        }
    }
}

/// Counts by second, the oldest first.
#[derive(Debug, Serialize)]
pub(super) struct Seconds {
    requests: Vec<u32>,
    faults: Vec<u32>,
}

impl From<History> for Seconds {
    fn from(history: History) -> Self {
        Self {
            requests: history.requests.into(),
            faults: history.faults.into(),
        }
    }
}

/// The lock service.
#[derive(Debug, Serialize)]
pub(super) struct Lock {
    /// `memcached`, or `memory`.
    pub(super) kind: &'static str,
    /// Why it is not ready.
    pub(super) refused: Option<String>,
    pub(super) servers: Vec<Server>,
}

/// One memcached; its `rate` is of batches, and its times are those of their exchanges.
#[derive(Debug, Serialize)]
pub(super) struct Server {
    pub(super) server: String,
    pub(super) up: bool,
    /// Commands that wait to be sent.
    pub(super) queued: usize,
    /// Connections that were made since the host started.
    pub(super) connections: u64,
    #[serde(flatten)]
    pub(super) minute: Minute,
    pub(super) history: Vec<u32>,
}

/// The names database; its `rate` is of requests that waited for it, and its times are those of their waits.
#[derive(Debug, Serialize)]
pub(super) struct Database {
    /// `PostgreSQL` or `SQLite`.
    pub(super) kind: &'static str,
    /// Why it is not ready.
    pub(super) refused: Option<String>,
    /// By how much the clock that database time follows is ahead of it.
    pub(super) clock_off_ms: i64,
    #[serde(flatten)]
    pub(super) minute: Minute,
    pub(super) history: Vec<u32>,
}

/// The tenants.
#[derive(Debug, Serialize)]
pub(super) struct Tenants {
    /// All there are.
    pub(super) total: usize,
    /// Those that were asked for; `rows` has the first of them.
    pub(super) matching: usize,
    /// All that are not `serving`.
    pub(super) not_serving: usize,
    pub(super) rows: Vec<Tenant>,
}

/// One tenant.
#[derive(Debug, Serialize)]
pub(super) struct Tenant {
    pub(super) tenant: String,
    pub(super) state: &'static str,
    /// Why the contents of its directory are not served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) refused: Option<String>,
    pub(super) running: usize,
    pub(super) waiting: usize,
    /// Leases that its calls on this host hold.
    pub(super) held: usize,
    #[serde(flatten)]
    pub(super) minute: Minute,
    /// How near to its limits it came within the last hour, the nearest first.
    pub(super) near: Vec<Near>,
    pub(super) history: Seconds,
}

/// How near to one limit a tenant came.
#[derive(Debug, Serialize)]
pub(super) struct Near {
    pub(super) limit: &'static str,
    pub(super) percent: u64,
}

/// The locks that calls of this host hold.
#[derive(Debug, Serialize)]
pub(super) struct Locks {
    pub(super) held: usize,
    /// Calls that wait for one of them.
    pub(super) waiting: usize,
    /// Those that were asked for; `rows` has the first of them.
    pub(super) matching: usize,
    pub(super) rows: Vec<Held>,
}

/// One of them.
#[derive(Debug, Serialize)]
pub(super) struct Held {
    /// With it the lease can be ended: `DELETE /locks/{id}`.
    id: u64,
    /// The tenant; empty: one of those with the empty namespace.
    namespace: String,
    /// The MD5 of the name.
    digest: String,
    /// As text: readers of JSON take it for a double, and round it.
    fencing_token: String,
    age_ms: u64,
    remaining_ms: u64,
    waiting: usize,
}

impl From<&HeldLease> for Held {
    fn from(held: &HeldLease) -> Self {
        Self {
            id: held.id,
            namespace: held.key.namespace().to_owned(),
            digest: held.key.digest().to_owned(),
            fencing_token: held.fencing_token.get().to_string(),
            age_ms: milliseconds(held.age),
            remaining_ms: milliseconds(held.remaining),
            waiting: held.waiting,
        }
    }
}

/// The faults of the last hour.
#[derive(Debug, Serialize)]
pub(super) struct Faults {
    pub(super) codes: Vec<CodeFaults>,
    /// Whose they were, the latest first.
    pub(super) lately: Vec<Fault>,
}

/// Three digits behind the point: microseconds.
fn round(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}
