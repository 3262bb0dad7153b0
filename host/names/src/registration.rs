//! What is stored, and what a write must look like.

use std::time::Duration;

use tokio::time::Instant;

use crate::error::SaveError;
use crate::names::NamesConfig;

/// The longest name and the longest owner, in bytes of UTF-8.
pub const TEXT_BYTES_MAX: usize = 255;

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
    pub fencing_token: u64,
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
    pub fencing_token: u64,
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
    pub fencing_token: u64,
    /// Until when the lease provably lasts; the write does not begin later.
    pub deadline: Instant,
}

impl Save {
    /// Refuses what breaks a rule, before anything is asked of the database.
    pub(crate) fn check(&self, config: &NamesConfig) -> Result<(), SaveError> {
        check_text("name", &self.name)?;
        check_text("owner", &self.owner)?;
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

fn check_text(what: &str, text: &str) -> Result<(), SaveError> {
    if text.is_empty() || text.len() > TEXT_BYTES_MAX {
        return Err(invalid(format!(
            "the {what} is 1 to {TEXT_BYTES_MAX} bytes of UTF-8 long"
        )));
    }
    Ok(())
}

fn invalid(reason: String) -> SaveError {
    SaveError::Invalid { reason }
}
