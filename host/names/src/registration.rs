//! What is stored, and what a write consists of.

use std::time::Duration;

use namelock_types::FencingToken;
use tokio::time::Instant;

use crate::quota::Quota;

/// A name that has an owner, for a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// The name, compared byte by byte.
    pub name: String,
    /// Who has it.
    pub owner: String,
    /// When it was saved, in milliseconds since 1970-01-01 UTC by database time.
    pub created_ms: u64,
    /// When it ends, on the same clock; none: it does not end by itself.
    pub expires_ms: Option<u64>,
    /// The fencing token of the lease under which it was saved.
    pub fencing_token: FencingToken,
    /// What else was saved with it, in the order in which it was given.
    pub attributes: Vec<(String, String)>,
}

/// A registration to be saved.
#[derive(Debug, Clone)]
pub struct Save {
    /// The tenant that the name belongs to.
    pub tenant: String,
    /// The name, 1 to 255 bytes.
    pub name: String,
    /// Who is to have it, 1 to 255 bytes.
    pub owner: String,
    /// How long it lasts, 1 ms to [`LIFETIME_MAX`](crate::LIFETIME_MAX); none: without end.
    pub lifetime: Option<Duration>,
    /// What else is saved with it.
    pub attributes: Vec<(String, String)>,
    /// The fencing token of the lease.
    pub fencing_token: FencingToken,
    /// Until when the lease provably lasts; the write does not begin later.
    pub deadline: Instant,
    /// What the tenant may keep in the database, this registration included.
    pub quota: Quota,
}

/// A registration to be ended.
#[derive(Debug, Clone)]
pub struct Free {
    /// The tenant that the name belongs to.
    pub tenant: String,
    /// The name.
    pub name: String,
    /// The fencing token of the lease.
    pub fencing_token: FencingToken,
    /// Until when the lease provably lasts; the write does not begin later.
    pub deadline: Instant,
}
