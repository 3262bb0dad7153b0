//! Decides which calls may run now: each tenant's share of the host, and the host's own limit.
//!
//! A call passes four limits, the cheapest refusal first, and takes each one only once it holds the one before it:
//!
//! 1. a token of the tenant's **rate**, before any of the body is read; refusing a flood here costs one mutex;
//! 2. one of the tenant's **admitted** calls, as many as may run and wait together, also before the body is read: a
//!    slow body occupies capacity of its own tenant and of nobody else;
//! 3. one of the tenant's **running** calls, for which an admitted call waits for a bounded time;
//! 4. one of the **host's** running calls, with a share for each tenant, and a bound and a wait of the host's own.
//!
//! The tenant comes before the host. In the other order, calls that wait for their tenant would hold places of the
//! host in the meantime, and one tenant could stop all others with calls that do not even run. This way a tenant never
//! has more of the host, running and waiting together, than its own `limits.calls`. That alone would let a few tenants
//! fill the host, so its places are shared by a rule of their own (`share`).
//!
//! A limit of a tenant lives in the semaphore that enforces it (`permits`) and nowhere else, so the two cannot drift
//! apart. Both semaphores are fair: whoever waits first runs first.
//!
//! What a tenant uses outlives its configuration: when tenants are read again, [`Admission::merge_into`] keeps the
//! existing state and gives it the new limits. A smaller limit ends no call; it takes effect as calls end.

mod gate;
mod permits;
mod share;

use std::sync::Arc;
use std::time::{Duration, Instant};

use namelock_account::{Account, Bucket, Limit};
use parking_lot::Mutex;

pub use self::share::Calls;

use self::gate::{Full, Gate, Held};
use self::permits::Permit;
use self::share::{HostFull, Place};

/// How many calls a tenant may have, and how fast they may come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdmissionLimits {
    /// Calls that run at once.
    pub calls: usize,
    /// Calls that wait to run or for the rest of their body.
    pub calls_waiting: usize,
    /// How long a call waits to run.
    pub calls_wait: Duration,
    /// Requests per second, at least one.
    pub rate: u32,
    /// Requests at once after a pause, at least one.
    pub burst: u32,
}

impl Default for AdmissionLimits {
    fn default() -> Self {
        Self {
            calls: 64,
            calls_waiting: 64,
            calls_wait: Duration::from_secs(1),
            rate: 1000,
            burst: 100,
        }
    }
}

/// Why a call may not run now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdmissionError {
    /// The tenant's requests come too fast.
    #[error("the tenant sends requests faster than its limit allows")]
    Rate {
        /// When the next one may come.
        after: Duration,
    },
    /// The tenant is at its limit of calls.
    #[error("the tenant has reached its limit of calls")]
    Tenant {
        /// When the calls that wait now have been served or refused.
        after: Duration,
    },
    /// The host is at its limit of calls.
    #[error("the host has no room for another call of this tenant now")]
    Host {
        /// When the calls that wait now have been served or refused.
        after: Duration,
    },
}

/// What one tenant uses of the host, and how much it may use.
#[derive(Debug)]
pub struct Admission {
    bucket: Mutex<Bucket>,
    gate: Gate,
    /// Where refusals are booked, and how near to its limits the tenant came.
    account: Arc<Account>,
}

impl Admission {
    /// Creates the state of a tenant that uses nothing yet.
    pub fn new(limits: &AdmissionLimits, account: Arc<Account>) -> Self {
        Self {
            bucket: Mutex::new(Bucket::new(limits.rate, limits.burst, Instant::now())),
            gate: Gate::new(limits.calls, limits.calls_waiting, limits.calls_wait),
            account,
        }
    }

    /// Gives these limits to the tenant's `existing` state and returns that, so that the calls that run still count.
    pub fn merge_into(&self, existing: &Arc<Self>) -> Arc<Self> {
        existing.update(&self.limits());
        Arc::clone(existing)
    }

    /// The limits, read from what enforces them.
    fn limits(&self) -> AdmissionLimits {
        let bucket = self.bucket.lock();
        let (rate, burst) = (bucket.rate(), bucket.burst());
        drop(bucket);
        let (calls, calls_waiting, calls_wait) = self.gate.limits();
        AdmissionLimits {
            calls,
            calls_waiting,
            calls_wait,
            rate,
            burst,
        }
    }

    fn update(&self, limits: &AdmissionLimits) {
        self.bucket.lock().update(limits.rate, limits.burst, Instant::now());
        self.gate.update(limits.calls, limits.calls_waiting, limits.calls_wait);
    }

    /// Counts a request that is no call against the rate, or refuses it at once.
    pub fn count(&self) -> Result<(), AdmissionError> {
        self.take_token().map_err(|after| AdmissionError::Rate { after })
    }

    /// Admits a request, or refuses it at once.
    pub fn admit(self: &Arc<Self>) -> Result<Admitted, AdmissionError> {
        self.count()?;
        let permit = self.gate.admit().map_err(|Full { after }| {
            self.account.refuse(Limit::CallsWaiting);
            AdmissionError::Tenant { after }
        })?;
        let (_, max, _) = self.gate.limits();
        self.note(Limit::CallsWaiting, self.waiting(), max);
        Ok(Admitted {
            admission: Arc::clone(self),
            permit,
        })
    }

    fn take_token(&self) -> Result<(), Duration> {
        let now = Instant::now();
        let mut bucket = self.bucket.lock();
        let taken = bucket.take(now);
        let (left, burst) = (bucket.left(now), bucket.burst());
        drop(bucket);
        match taken {
            Ok(()) => self
                .account
                .note(Limit::Rate, u64::from(burst - left), u64::from(burst)),
            Err(_) => self.account.refuse(Limit::Rate),
        }
        taken
    }

    fn note(&self, limit: Limit, used: usize, max: usize) {
        self.account.note(limit, used as u64, max as u64);
    }

    /// How many calls hold one of `limits.calls`.
    pub fn running(&self) -> usize {
        self.gate.running()
    }

    /// How many calls wait to run, or for their body.
    pub fn waiting(&self) -> usize {
        self.gate.waiting()
    }
}

/// A request that counts towards its tenant's calls and may read its body.
#[derive(Debug)]
pub struct Admitted {
    admission: Arc<Admission>,
    permit: Permit,
}

impl Admitted {
    /// Waits until the request may run; it counts as running until the returned value is dropped.
    // Keeps P6: the tenant's permit comes first, so calls that wait for their tenant hold nothing of the host.
    pub async fn run(self, host: &Arc<Calls>) -> Result<Running, AdmissionError> {
        let Admission { gate, account, .. } = &*self.admission;
        let tenant = gate.run(self.permit).await.map_err(|Full { after }| {
            account.refuse(Limit::Calls);
            AdmissionError::Tenant { after }
        })?;
        let (max, ..) = gate.limits();
        self.admission.note(Limit::Calls, gate.running(), max);
        let host = host.enter(account.tenant()).await;
        let host = host.map_err(|HostFull { after }| AdmissionError::Host { after })?;
        Ok(Running {
            _host: host,
            _tenant: tenant,
        })
    }
}

/// A call that runs.
///
/// The host's place is given back first, so that the next call of the same tenant finds it free.
#[derive(Debug)]
pub struct Running {
    _host: Place,
    _tenant: Held,
}

#[cfg(test)]
mod tests {
    use namelock_account::Budgets;

    use super::gate::RETRY_MIN;
    use super::*;

    fn limits() -> AdmissionLimits {
        AdmissionLimits {
            calls: 1,
            calls_waiting: 1,
            calls_wait: Duration::from_millis(5),
            rate: 1000,
            burst: 1000,
        }
    }

    fn admission(limits: &AdmissionLimits) -> Arc<Admission> {
        tenant("a", limits)
    }

    fn tenant(id: &str, limits: &AdmissionLimits) -> Arc<Admission> {
        let account = Arc::new(Account::new(id, &Budgets::default()));
        Arc::new(Admission::new(limits, account))
    }

    fn host() -> Arc<Calls> {
        Calls::new(1, 0, Duration::from_millis(5))
    }

    const TENANT_FULL: AdmissionError = AdmissionError::Tenant { after: RETRY_MIN };
    const HOST_FULL: AdmissionError = AdmissionError::Host { after: RETRY_MIN };

    #[tokio::test]
    async fn a_full_tenant_refuses_at_once_and_after_its_wait() {
        let (host, tenant) = (Calls::new(9, 0, Duration::ZERO), admission(&limits()));
        let running = tenant.admit().unwrap().run(&host).await.unwrap();
        assert_eq!((tenant.running(), host.running()), (1, 1));
        let waiting = tenant.admit().unwrap();
        assert_eq!(tenant.admit().unwrap_err(), TENANT_FULL, "one runs and one waits");
        assert_eq!(
            waiting.run(&host).await.unwrap_err(),
            TENANT_FULL,
            "no call ended in time"
        );
        assert_eq!(host.running(), 1, "the host was never asked");
        let account = &tenant.account;
        assert_eq!(
            [Limit::CallsWaiting, Limit::Calls].map(|limit| (account.refusals(limit), account.nearness(limit))),
            [(1, 1000), (1, 1000)]
        );
        drop(running);
        assert_eq!((tenant.running(), host.running()), (0, 0));
        tenant.admit().unwrap().run(&host).await.unwrap();
    }

    #[tokio::test]
    async fn a_full_host_refuses_and_the_tenant_gets_its_permits_back() {
        let (host, one, other) = (host(), tenant("one", &limits()), tenant("other", &limits()));
        let running = one.admit().unwrap().run(&host).await.unwrap();
        assert_eq!(other.admit().unwrap().run(&host).await.unwrap_err(), HOST_FULL);
        assert_eq!(other.running(), 0);
        drop(running);
        other.admit().unwrap().run(&host).await.unwrap();
    }

    // Shows P6: a tenant that sends its bodies slowly takes nothing from the others.
    #[tokio::test]
    async fn a_request_that_is_only_admitted_holds_nothing_of_the_host() {
        let (host, slow, other) = (host(), tenant("one", &limits()), tenant("other", &limits()));
        let _reading = [slow.admit().unwrap(), slow.admit().unwrap()];
        assert_eq!(slow.admit().unwrap_err(), TENANT_FULL);
        other.admit().unwrap().run(&host).await.unwrap();
    }

    #[tokio::test]
    async fn a_tenant_learns_how_near_to_its_rate_it_came() {
        let tenant = admission(&AdmissionLimits {
            calls: 9,
            rate: 1,
            burst: 4,
            ..limits()
        });
        let _calls = [tenant.admit().unwrap(), tenant.admit().unwrap()];
        // A part of a token has come meanwhile.
        assert!((250..=500).contains(&tenant.account.nearness(Limit::Rate)));
        let _calls = [tenant.admit().unwrap(), tenant.admit().unwrap()];
        assert!(matches!(tenant.admit(), Err(AdmissionError::Rate { .. })));
        assert_eq!(tenant.account.refusals(Limit::Rate), 1);
    }

    #[tokio::test]
    async fn a_waiting_call_runs_when_another_ends() {
        let (host, tenant) = (Calls::new(9, 0, Duration::ZERO), admission(&limits()));
        tenant.update(&AdmissionLimits {
            calls_wait: Duration::from_secs(10),
            ..limits()
        });
        let running = tenant.admit().unwrap().run(&host).await.unwrap();
        let waiting = tenant.admit().unwrap().run(&host);
        let (_running, ()) = tokio::join!(waiting, async { drop(running) });
    }

    #[tokio::test]
    async fn a_call_that_is_dropped_while_it_waits_returns_its_permit() {
        let (host, tenant) = (host(), admission(&limits()));
        tenant.update(&AdmissionLimits {
            calls_wait: Duration::from_secs(60),
            ..limits()
        });
        let running = tenant.admit().unwrap().run(&host).await.unwrap();
        let waiting = tenant.admit().unwrap().run(&host);
        assert!(tokio::time::timeout(Duration::ZERO, waiting).await.is_err());
        drop(running);
        let _both = [tenant.admit().unwrap(), tenant.admit().unwrap()];
    }

    #[tokio::test]
    async fn a_reloaded_tenant_keeps_its_calls_under_its_new_limits() {
        let (host, before) = (Calls::new(9, 0, Duration::ZERO), admission(&limits()));
        let _running = before.admit().unwrap().run(&host).await.unwrap();
        let new = AdmissionLimits {
            calls: 3,
            calls_waiting: 0,
            calls_wait: Duration::ZERO,
            rate: 7,
            burst: 9,
        };
        let after = admission(&new).merge_into(&before);
        assert_eq!(after.limits(), new);
        assert_eq!(after.running(), 1);
        let _both = [after.admit().unwrap(), after.admit().unwrap()];
        assert_eq!(after.admit().unwrap_err(), TENANT_FULL, "the one that runs counts");
    }
}
