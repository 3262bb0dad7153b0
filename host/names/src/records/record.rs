//! What is kept of a name, and what must be so for it to be put.

use std::time::Duration;

use namelock_types::{check_name, check_owner};

use crate::config::NamesConfig;
use crate::error::SaveError;
use crate::registration::Registration;
use crate::request::RequestKey;
use crate::rules::{check_attributes, stored_ms};

/// How many records are read or put at once, at most.
pub const PAGE_MAX: usize = 1000;

/// How many bytes the attributes of the records of a page have, beyond those of the first.
pub(super) const PAGE_BYTES_MAX: usize = 1 << 20;

/// How long a page may take, and how long a snapshot is kept for the next one.
pub(super) const PAGE_TIMEOUT: Duration = Duration::from_secs(60);

/// The greatest fencing token that may be put: it leaves room for 65,536 lives of lock servers.
pub const TOKEN_MAX: u64 = 1 << 62;

/// All that a database keeps of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The registration, or the last one; its fencing token is that of whoever has written the name last.
    pub registration: Registration,
    /// Whether it had ended or was freed.
    pub ended: bool,
    /// For how long after its end the name is held for its owner, in milliseconds; 0: not at all.
    pub hold_ms: u64,
    /// The request that saved it.
    pub saved_by: Option<RequestKey>,
    /// The last request that changed it.
    pub changed_by: Option<RequestKey>,
}

impl Record {
    /// Moves the end by so much. What had ended stays ended.
    pub fn shift(&mut self, by: Duration) {
        if let Some(expires_ms) = &mut self.registration.expires_ms {
            *expires_ms = expires_ms.saturating_add(stored_ms(by).unsigned_abs());
        }
    }

    /// Checks everything about a record that does not depend on what the database holds.
    ///
    /// # Errors
    ///
    /// [`SaveError::Invalid`] states the rule that it breaks.
    pub fn check(&self, config: &NamesConfig) -> Result<(), SaveError> {
        let invalid = |reason: String| Err(SaveError::Invalid { reason });
        let registration = &self.registration;
        check_name(&registration.name)?;
        check_owner(&registration.owner)?;
        check_attributes(
            &registration.attributes,
            config.attributes_max,
            config.attribute_bytes_max,
        )?;
        for time in [
            registration.created_ms,
            registration.expires_ms.unwrap_or(0),
            self.hold_ms,
        ] {
            stored_time(time)?;
        }
        match registration.expires_ms {
            Some(expires_ms) if expires_ms < registration.created_ms => {
                return invalid(format!(
                    "it ends at {expires_ms}, before it begins at {}",
                    registration.created_ms
                ));
            }
            None if self.ended => return invalid("it has ended, and there is no end".to_owned()),
            Some(_) | None => {}
        }
        if registration.fencing_token.get() > TOKEN_MAX {
            return invalid(format!(
                "the fencing token {} is greater than {TOKEN_MAX}: no lock server could ever give a greater one",
                registration.fencing_token
            ));
        }
        Ok(())
    }

    /// How many bytes of a page it takes.
    pub(super) fn bytes(&self) -> usize {
        let attributes = self.registration.attributes.iter();
        attributes.map(|(key, value)| key.len() + value.len()).sum()
    }
}

/// The greatest fencing token of these records, as it is stored.
pub(super) fn greatest_token(records: &[Record]) -> i64 {
    let tokens = records.iter().map(|record| record.registration.fencing_token.get());
    tokens.max().map_or(0, |token| i64::try_from(token).unwrap_or(i64::MAX))
}

/// A time as it is stored.
pub(super) fn stored_time(ms: u64) -> Result<i64, SaveError> {
    i64::try_from(ms).map_err(|_| SaveError::Invalid {
        reason: format!("{ms} ms is no time that can be stored"),
    })
}

pub(super) fn used_key() -> SaveError {
    SaveError::Invalid {
        reason: "the key of a request is already that of another registration of this database, so a retry could be answered \
                 with the wrong one; free that registration and wait until it is purged (names.retention), or take the \
                 key out of the record"
            .to_owned(),
    }
}
