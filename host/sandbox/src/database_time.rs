//! The time that the names database takes for a tenant.

use std::time::Instant;

use namelock_account::{Account, Counter};

/// Books the time from its beginning until it is dropped, which happens also to a request that nobody waits for any more.
pub struct DatabaseTime<'a> {
    account: &'a Account,
    began: Instant,
}

impl<'a> DatabaseTime<'a> {
    /// Begins, just before the database is asked.
    pub fn begin(account: &'a Account) -> Self {
        Self {
            account,
            began: Instant::now(),
        }
    }
}

impl Drop for DatabaseTime<'_> {
    fn drop(&mut self) {
        self.account.charge_time(Counter::DatabaseNanos, self.began.elapsed());
    }
}
