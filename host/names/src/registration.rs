//! What is stored, and what a write must look like.

use std::time::Duration;

use namelock_types::{FencingToken, check_name, check_owner};
use tokio::time::Instant;

use crate::error::SaveError;
use crate::names::NamesConfig;

/// The longest lifetime. What shall last longer has no end at all.
pub const LIFETIME_MAX: Duration = Duration::from_secs(100 * 366 * 24 * 60 * 60);

/// A name that somebody has, for a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// The name, compared byte by byte.
    pub name: String,
    /// Whoever has it.
    pub owner: String,
    /// When it was saved, in milliseconds since 1970-01-01 UTC by the database's clock.
    pub created_ms: u64,
    /// When it ends, on the same clock; none: it does not end by itself.
    pub expires_ms: Option<u64>,
    /// The fencing token of the lease under which it was saved.
    pub fencing_token: FencingToken,
    /// Whatever else was saved with it, in the order in which it was given.
    pub attributes: Vec<(String, String)>,
}

/// A registration to be saved.
#[derive(Debug, Clone)]
pub struct Save {
    /// Whose name it is.
    pub tenant: String,
    /// The name, 1 to 255 bytes.
    pub name: String,
    /// Whoever shall have it, 1 to 255 bytes.
    pub owner: String,
    /// For how long; none: without end.
    pub lifetime: Option<Duration>,
    /// Whatever else is saved with it.
    pub attributes: Vec<(String, String)>,
    /// The fencing token of the lease.
    pub fencing_token: FencingToken,
    /// Until when the lease provably lasts; the write does not begin later.
    pub deadline: Instant,
}

/// A registration to be ended.
#[derive(Debug, Clone)]
pub struct Free {
    /// Whose name it is.
    pub tenant: String,
    /// The name.
    pub name: String,
    /// The fencing token of the lease.
    pub fencing_token: FencingToken,
    /// Until when the lease provably lasts; the write does not begin later.
    pub deadline: Instant,
}

impl Save {
    /// Refuses what breaks a rule, before anything is asked of the database.
    pub(crate) fn check(&self, config: &NamesConfig) -> Result<(), SaveError> {
        check_name(&self.name)?;
        check_owner(&self.owner)?;
        if self
            .lifetime
            .is_some_and(|lifetime| lifetime < Duration::from_millis(1) || lifetime > LIFETIME_MAX)
        {
            return Err(invalid("a lifetime is at least 1 ms and at most 100 years".to_owned()));
        }
        if self.attributes.len() > config.attributes_max {
            return Err(invalid(format!(
                "there are at most {} attributes",
                config.attributes_max
            )));
        }
        let bytes: usize = self.attributes.iter().map(|(key, value)| key.len() + value.len()).sum();
        if bytes > config.attribute_bytes_max {
            let limit = config.attribute_bytes_max;
            return Err(invalid(format!(
                "all attributes together are at most {limit} bytes long"
            )));
        }
        Ok(())
    }
}

/// A fencing token as databases store it: their numbers are signed. One that does not fit is centuries away.
pub(crate) fn stored(token: FencingToken) -> Result<i64, SaveError> {
    i64::try_from(token.get()).map_err(|_| invalid(format!("the fencing token {token} is too large to be stored")))
}

fn invalid(reason: String) -> SaveError {
    SaveError::Invalid { reason }
}
