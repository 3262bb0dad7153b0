//! What is stored, and what a write consists of.

use std::time::Duration;

use namelock_types::FencingToken;
use tokio::time::Instant;

use crate::keep::Keep;
use crate::quota::Quota;
use crate::request::RequestKey;
use crate::seen::Seen;

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

impl Registration {
    /// Returns for how long the name of this registration, which has ended, is held at `now_ms` for its owner.
    pub(crate) fn held_for(&self, hold_ms: Option<i64>, now_ms: i64) -> Option<Duration> {
        let hold_ms = u64::try_from(hold_ms?).ok()?;
        let free_ms = self.expires_ms?.max(self.created_ms).saturating_add(hold_ms);
        let left_ms = free_ms.checked_sub(u64::try_from(now_ms).unwrap_or(0))?;
        Some(Duration::from_millis(left_ms)).filter(|left| !left.is_zero())
    }
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
    /// For how long after it has ended or was freed only its last owner can take the name; at most
    /// [`NamesConfig::hold_max`](crate::NamesConfig::hold_max).
    pub hold: Duration,
    /// The request that saves it, if it may be repeated.
    pub request: Option<RequestKey>,
    /// What lasts until it is decided whether this is written.
    pub keep: Keep,
}

impl Save {
    /// Returns the registration that it is once it is saved.
    pub(crate) fn registered(self, created_ms: u64, expires_ms: Option<u64>) -> Registration {
        Registration {
            created_ms,
            expires_ms,
            name: self.name,
            owner: self.owner,
            fencing_token: self.fencing_token,
            attributes: self.attributes,
        }
    }
}

/// A change of an active registration.
#[derive(Debug, Clone)]
pub struct Update {
    /// The tenant that the name belongs to.
    pub tenant: String,
    /// The name.
    pub name: String,
    /// What changes.
    pub change: Change,
    /// The fencing token of the lease.
    pub fencing_token: FencingToken,
    /// Until when the lease provably lasts; the write does not begin later.
    pub deadline: Instant,
    /// What the tenant may keep in the database. A row that does not grow is written under any quota.
    pub quota: Quota,
    /// The request that asks for it, if it may be repeated.
    pub request: Option<RequestKey>,
    /// What the caller has read of the name under this lease. If another lease has written it since, the write is refused as
    /// [`LeaseLost`](crate::SaveError::LeaseLost).
    pub seen: Seen,
    /// What lasts until it is decided whether this is written.
    pub keep: Keep,
}

/// What changes of a registration; none: it stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// Who is to have it, 1 to 255 bytes.
    pub owner: Option<String>,
    /// How long it lasts.
    pub lifetime: Option<Lifetime>,
    /// What else is saved with it, all of it.
    pub attributes: Option<Vec<(String, String)>>,
}

/// How long a registration lasts after it was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// Until it is freed.
    Endless,
    /// From the instant of the change, 1 ms to [`LIFETIME_MAX`](crate::LIFETIME_MAX).
    FromNow(Duration),
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
    /// What the caller has read of the name under this lease. If another lease has written it since, the write is refused as
    /// [`LeaseLost`](crate::SaveError::LeaseLost).
    pub seen: Seen,
    /// What lasts until it is decided whether this is written.
    pub keep: Keep,
}
