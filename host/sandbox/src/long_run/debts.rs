//! What each tenant owes for its long runs.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a tenant may owe before all its calls need a permit; and the most that its runs make it owe, which is paid off in two
/// seconds.
pub(super) const CREDIT: Duration = Duration::from_millis(10);
pub(super) const DEBT_MAX: Duration = Duration::from_millis(50);

/// What a tenant owes whose guest could not be stopped, which is paid off in forty seconds: as long as all its calls at
/// once keep the processors busy until they are ended, several times over.
const PENALTY: Duration = Duration::from_secs(1);

/// The seconds in which one second of debt is paid off: long runs of a tenant may take a fortieth of a processor's
/// time.
const PAY_OFF_FACTOR: u32 = 40;

/// What all tenants owe. A tenant that owes nothing has no entry.
#[derive(Debug, Default)]
pub(super) struct Debts(HashMap<Arc<str>, Debt>);

/// The time of a tenant's long runs, less what was paid off until `at`.
#[derive(Debug)]
struct Debt {
    time: Duration,
    at: Instant,
    /// How many of its calls have ended and wait to give their memory back.
    deferred: usize,
}

impl Debts {
    /// What a tenant owes now.
    pub(super) fn of(&self, tenant: &Arc<str>) -> Duration {
        self.0.get(tenant).map_or(Duration::ZERO, |debt| {
            debt.time.saturating_sub(debt.at.elapsed() / PAY_OFF_FACTOR)
        })
    }

    /// Adds a long run to the debt of a tenant.
    pub(super) fn charge(&mut self, tenant: &Arc<str>, ran: Duration) {
        let owed = self.of(tenant);
        self.set(tenant, (owed + ran).min(DEBT_MAX.max(owed)));
    }

    /// Makes a tenant owe much for long.
    pub(super) fn penalize(&mut self, tenant: &Arc<str>) {
        self.set(tenant, PENALTY);
    }

    /// Notes that one more call of a tenant has ended and waits to give its memory back.
    pub(super) fn defer(&mut self, tenant: &Arc<str>) {
        self.entry(tenant).deferred += 1;
    }

    /// Notes that one of them has done so.
    pub(super) fn done(&mut self, tenant: &Arc<str>) {
        self.entry(tenant).deferred -= 1;
    }

    /// Tells whether a tenant owes so much that all its calls need a permit; forgets one that owes nothing.
    pub(super) fn is_much(&mut self, tenant: &Arc<str>) -> bool {
        if self.0.get(tenant).is_some_and(|debt| debt.deferred > 0) {
            return true;
        }
        let debt = self.of(tenant);
        if debt.is_zero() {
            self.0.remove(tenant);
        }
        debt >= CREDIT
    }

    /// Tells whether nobody owes anything.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn set(&mut self, tenant: &Arc<str>, time: Duration) {
        let debt = self.entry(tenant);
        (debt.time, debt.at) = (time, Instant::now());
    }

    fn entry(&mut self, tenant: &Arc<str>) -> &mut Debt {
        self.0.entry(Arc::clone(tenant)).or_insert_with(|| Debt {
            time: Duration::ZERO,
            at: Instant::now(),
            deferred: 0,
        })
    }
}
