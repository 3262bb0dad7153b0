//! Tells whether a tenant that calls little has called lately: then a processor is kept free for it.
//!
//! Asked and told in each poll of each call, so it is two atomics and no lock. Only the last of such tenants is kept. One that
//! turns out to call much is taken out again, and with it whoever it had replaced, whose next call counts anew.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use namelock_account::Account;

/// Nobody.
const NONE: usize = 0;

/// The last tenant that called and calls little.
#[derive(Debug)]
pub(super) struct Quiet {
    /// How long a call counts.
    lately: Duration,
    began: Instant,
    /// Where its account is. It is only compared: an account that came to the place of one that is gone is taken for it,
    /// and takes its call out of account if it calls much itself.
    who: AtomicUsize,
    /// When it called, in nanoseconds since `began`.
    at: AtomicU64,
}

impl Quiet {
    pub(super) fn new(lately: Duration) -> Self {
        Self {
            lately,
            began: Instant::now(),
            who: AtomicUsize::new(NONE),
            at: AtomicU64::new(0),
        }
    }

    /// Notes a call of a tenant that calls little.
    pub(super) fn called(&self, account: &Arc<Account>) {
        // First the time: whoever sees the tenant must not see the time of one before it.
        self.at.store(self.now(), Relaxed);
        self.who.store(address(account), Relaxed);
    }

    /// Notes that this tenant calls much, so that a processor need not be kept free for it.
    pub(super) fn is_not(&self, account: &Arc<Account>) {
        if self.who.load(Relaxed) == address(account) {
            // Another one may be written meanwhile, and stays.
            let _ = self.who.compare_exchange(address(account), NONE, Relaxed, Relaxed);
        }
    }

    /// Tells whether one has called lately.
    pub(super) fn called_lately(&self) -> bool {
        let since = || self.now().saturating_sub(self.at.load(Relaxed));
        self.who.load(Relaxed) != NONE && Duration::from_nanos(since()) < self.lately
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

fn address(account: &Arc<Account>) -> usize {
    Arc::as_ptr(account).addr()
}

#[cfg(test)]
mod tests {
    use namelock_account::Budgets;

    use super::*;

    #[test]
    fn a_call_counts_for_its_time_and_not_when_its_tenant_calls_much() {
        let quiet = Quiet::new(Duration::from_millis(20));
        let [little, much] = ["little", "much"].map(|id| Arc::new(Account::new(id, &Budgets::default())));
        assert!(!quiet.called_lately(), "nobody has called");
        let begin = Instant::now();
        quiet.called(&little);
        while quiet.called_lately() {}
        assert!(begin.elapsed() >= Duration::from_millis(20));

        let quiet = Quiet::new(Duration::MAX);
        quiet.called(&much);
        quiet.is_not(&little);
        assert!(quiet.called_lately());
        quiet.is_not(&much);
        assert!(!quiet.called_lately());
        quiet.called(&little);
        quiet.is_not(&much);
        assert!(quiet.called_lately());
    }
}
