//! The time that the names database takes for a tenant.

use std::time::Instant;

use namelock_account::{Account, Counter};

use crate::phases::{Phase, Phases, Within};

/// Books the time from its beginning until it is dropped, which happens also to a request that nobody waits for any more.
pub struct DatabaseTime<'a> {
    account: &'a Account,
    began: Instant,
    _phase: Within<'a>,
}

impl<'a> DatabaseTime<'a> {
    /// Begins, just before the database is asked, and with it this phase of the request.
    pub fn begin(account: &'a Account, phases: &'a Phases, phase: Phase) -> Self {
        Self {
            account,
            began: Instant::now(),
            _phase: phases.within(phase),
        }
    }
}

impl Drop for DatabaseTime<'_> {
    fn drop(&mut self) {
        self.account.charge_time(Counter::DatabaseNanos, self.began.elapsed());
    }
}
