//! What a tenant may keep in the database, and what it keeps there.
//!
//! Every row counts: that of an active registration, and that of a name whose last one has ended, for as long as it is
//! kept (`names.retention`), because it takes the disk like any other. So a tenant at its quota
//!
//! - can save a name again that it had before: the row is replaced, and only the difference counts;
//! - gets room for other names by freeing some, or letting them end, once their retention is over: at most
//!   `names.retention` later, the time until the next purge, and the rows that are to be purged before them;
//! - is refused no write that makes its row no longer, even where its quota has been lowered below what it has.
//!
//! If rows that have ended did not count, a loop of save and free would fill the disk with them.

/// How many bytes each row counts on top of its texts: its numbers, its entry in the index by end, and its share of the
/// pages that hold both. Rounded up from what rows without attributes take in either database.
pub(crate) const ROW_BYTES: u64 = 128;

/// What a tenant may keep in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// How many rows.
    pub registrations: u64,
    /// How many bytes, counted as in [`Usage::bytes`].
    pub bytes: u64,
}

impl Default for Quota {
    fn default() -> Self {
        Self {
            registrations: 1_000_000,
            bytes: 1 << 30,
        }
    }
}

/// What a tenant keeps in the database.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// How many rows, those of names without an active registration included.
    pub registrations: u64,
    /// Of each row 128 bytes, and the bytes of the tenant's id, the name, the owner, and the attributes as the JSON that
    /// is stored.
    pub bytes: u64,
}

/// What of its quota a tenant has used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuotaKind {
    /// Its rows.
    Registrations,
    /// Their bytes.
    Bytes,
}

impl Usage {
    /// What one row counts, which holds these texts.
    pub(crate) fn of_row(tenant: &str, name: &str, owner: &str, attributes: &str) -> Self {
        let texts = [tenant, name, owner, attributes].map(str::len);
        Self {
            registrations: 1,
            bytes: ROW_BYTES + texts.iter().sum::<usize>() as u64,
        }
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            registrations: self.registrations.saturating_add(other.registrations),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }

    pub(crate) fn minus(self, other: Self) -> Self {
        Self {
            registrations: self.registrations.saturating_sub(other.registrations),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }

    /// Reads what a database counts. It counts with signs, and never below 0.
    pub(crate) fn from_signed(registrations: i64, bytes: i64) -> Self {
        Self {
            registrations: registrations.try_into().unwrap_or(0),
            bytes: bytes.try_into().unwrap_or(0),
        }
    }

    /// Checks that a tenant who has this may save the row `new` in the place of the row `old`, none: there is no row.
    pub(crate) fn check(self, old: Option<Self>, new: Self, quota: Quota) -> Result<(), QuotaKind> {
        let old = old.unwrap_or_default();
        // Only what grows is held against the quota.
        let goes_beyond = |has: u64, old: u64, new: u64, max: u64| new > old && has.saturating_add(new - old) > max;
        if goes_beyond(
            self.registrations,
            old.registrations,
            new.registrations,
            quota.registrations,
        ) {
            return Err(QuotaKind::Registrations);
        }
        if goes_beyond(self.bytes, old.bytes, new.bytes, quota.bytes) {
            return Err(QuotaKind::Bytes);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTA: Quota = Quota {
        registrations: 3,
        bytes: 1000,
    };

    fn usage(registrations: u64, bytes: u64) -> Usage {
        Usage { registrations, bytes }
    }

    #[test]
    fn a_new_row_counts_in_full_and_the_quota_can_be_filled_exactly() {
        assert_eq!(usage(2, 800).check(None, usage(1, 200), QUOTA), Ok(()));
        assert_eq!(usage(2, 800).check(None, usage(1, 201), QUOTA), Err(QuotaKind::Bytes));
        assert_eq!(
            usage(3, 800).check(None, usage(1, 200), QUOTA),
            Err(QuotaKind::Registrations)
        );
        let all = Quota {
            registrations: u64::MAX,
            bytes: u64::MAX,
        };
        assert_eq!(usage(1, u64::MAX).check(None, usage(1, 1), all), Ok(()));
    }

    #[test]
    fn a_replaced_row_counts_only_the_difference() {
        let old = Some(usage(1, 300));
        assert_eq!(usage(3, 900).check(old, usage(1, 400), QUOTA), Ok(()));
        assert_eq!(usage(3, 900).check(old, usage(1, 401), QUOTA), Err(QuotaKind::Bytes));
        // Far beyond a quota that was lowered, too.
        assert_eq!(usage(9, 9000).check(old, usage(1, 300), QUOTA), Ok(()));
    }

    #[test]
    fn a_row_counts_its_texts_in_bytes() {
        assert_eq!(Usage::of_row("t", "ü", "ann", "[]"), usage(1, 128 + 1 + 2 + 3 + 2));
    }
}
