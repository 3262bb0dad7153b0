//! Tells whether only one tenant makes calls.
//!
//! Asked before each poll of each call, so it is two atomics and no lock. Where several threads ask at once for different
//! tenants, one of them may be noted as the last though another one was later. That does no harm: whoever is not noted finds
//! another tenant there, begins the time anew, and is not alone either.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use namelock_account::Account;

/// Who has made calls lately.
#[derive(Debug)]
pub(super) struct Alone {
    /// How long only one tenant has to have run before it is alone.
    after: Duration,
    began: Instant,
    /// Where the account of the tenant is that ran last. It is only compared: an account that came to the place of one that
    /// is gone is taken for it, which is of consequence only where the two ran directly after each other.
    last: AtomicUsize,
    /// Since when no other tenant has run, in nanoseconds since `began`.
    since: AtomicU64,
}

impl Alone {
    pub(super) fn new(after: Duration) -> Self {
        Self {
            after,
            began: Instant::now(),
            last: AtomicUsize::new(0),
            since: AtomicU64::new(0),
        }
    }

    /// Notes that a call of this tenant is about to be polled, and tells whether no other tenant has run for long enough.
    pub(super) fn runs(&self, account: &Arc<Account>) -> bool {
        let (tenant, now) = (Arc::as_ptr(account).addr(), self.began.elapsed());
        if self.last.load(Relaxed) != tenant {
            // First the time: who finds its tenant noted must not find the time of another one.
            self.since.store(nanoseconds(now), Relaxed);
            self.last.store(tenant, Relaxed);
            return false;
        }
        now.saturating_sub(Duration::from_nanos(self.since.load(Relaxed))) >= self.after
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use namelock_account::Budgets;

    use super::*;

    fn account(id: &str) -> Arc<Account> {
        Arc::new(Account::new(id, &Budgets::default()))
    }

    #[test]
    fn a_tenant_is_alone_when_no_other_one_has_run_for_long_enough() {
        let (alone, [one, other]) = (Alone::new(Duration::from_millis(20)), ["one", "other"].map(account));
        let begin = Instant::now();
        assert!(!alone.runs(&one));
        while !alone.runs(&one) {}
        assert!(begin.elapsed() >= Duration::from_millis(20));
        assert!(!alone.runs(&other), "it has come just now");
        assert!(!alone.runs(&one), "the other one has run just now");
        let begin = Instant::now();
        while !alone.runs(&one) {}
        assert!(begin.elapsed() + Duration::from_millis(1) >= Duration::from_millis(20));
    }

    #[test]
    fn of_two_that_take_turns_none_is_ever_alone() {
        let (alone, accounts) = (Alone::new(Duration::ZERO), ["one", "other"].map(account));
        for _ in 0..100 {
            assert!(accounts.iter().all(|account| !alone.runs(account)));
        }
    }
}
