//! Decides which calls may run now: each tenant's share of the host, and the host's own limit.
//!
//! A call passes four limits, the cheapest refusal first, and takes each one only once it holds the one before it:
//!
//! 1. a token of the tenant's **rate**, before any of the body is read; refusing a flood here costs one mutex;
//! 2. one of the tenant's **admitted** calls, as many as may run and wait together, also before the body is read: a
//!    slow body occupies capacity of its own tenant and of nobody else;
//! 3. one of the tenant's **running** calls, for which an admitted call waits for a bounded time;
//! 4. one of the **host's** running calls, with a bound and a wait of the host's own.
//!
//! The tenant comes before the host. In the other order, calls that wait for their tenant would hold permits of the
//! host in the meantime, and one tenant could stop all others with calls that do not even run. This way a tenant never
//! has more of the host, running and waiting together, than its own `limits.calls`.
//!
//! A limit lives in the semaphore that enforces it (`permits`) and nowhere else, so the two cannot drift apart. Both
//! semaphores are fair: whoever waits first runs first.
//!
//! What a tenant uses outlives its configuration: when tenants are read again, [`Admission::merge_into`] keeps the
//! existing state and gives it the new limits. A smaller limit ends no call; it takes effect as calls end.

mod bucket;
mod gate;
mod permits;

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use self::bucket::Bucket;
use self::gate::{Full, Gate, Held};
use self::permits::Permit;

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
            burst: 2000,
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
    #[error("the host has reached its limit of calls")]
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
}

impl Admission {
    /// Creates the state of a tenant that uses nothing yet.
    pub fn new(limits: &AdmissionLimits) -> Self {
        Self {
            bucket: Mutex::new(Bucket::new(limits.rate, limits.burst, Instant::now())),
            gate: Gate::new(limits.calls, limits.calls_waiting, limits.calls_wait),
        }
    }

    /// Gives these limits to the tenant's `existing` state and returns that, so that the calls that run still count.
    pub fn merge_into(&self, existing: &Arc<Self>) -> Arc<Self> {
        existing.update(&self.limits());
        Arc::clone(existing)
    }

    /// The limits, read from what enforces them.
    fn limits(&self) -> AdmissionLimits {
        let (rate, burst) = self.bucket.lock().limits();
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

    /// Admits a request, or refuses it at once.
    pub fn admit(self: &Arc<Self>) -> Result<Admitted, AdmissionError> {
        let token = self.bucket.lock().take(Instant::now());
        token.map_err(|after| AdmissionError::Rate { after })?;
        let permit = self
            .gate
            .admit()
            .map_err(|Full { after }| AdmissionError::Tenant { after })?;
        Ok(Admitted {
            admission: Arc::clone(self),
            permit,
        })
    }

    #[cfg(test)]
    fn running(&self) -> usize {
        self.gate.running()
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
    pub async fn run(self, host: &Calls) -> Result<Running, AdmissionError> {
        let tenant = self.admission.gate.run(self.permit).await;
        let tenant = tenant.map_err(|Full { after }| AdmissionError::Tenant { after })?;
        let host = host.enter().await?;
        Ok(Running {
            _host: host,
            _tenant: tenant,
        })
    }
}

/// A call that runs.
///
/// The host's permit is returned first, so that the next call of the same tenant finds the host's permit free.
#[derive(Debug)]
pub struct Running {
    _host: Held,
    _tenant: Held,
}

/// The calls that the host runs at once, over all tenants.
#[derive(Debug)]
pub struct Calls(Gate);

impl Calls {
    /// Allows `calls` at once; `waiting` more wait for at most `wait`.
    pub fn new(calls: usize, waiting: usize, wait: Duration) -> Self {
        Self(Gate::new(calls, waiting, wait))
    }

    /// How many run now.
    pub fn running(&self) -> usize {
        self.0.running()
    }

    async fn enter(&self) -> Result<Held, AdmissionError> {
        let refused = |Full { after }| AdmissionError::Host { after };
        let permit = self.0.admit().map_err(refused)?;
        self.0.run(permit).await.map_err(refused)
    }
}

#[cfg(test)]
mod tests {
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
        Arc::new(Admission::new(limits))
    }

    fn host() -> Calls {
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
        drop(running);
        assert_eq!((tenant.running(), host.running()), (0, 0));
        tenant.admit().unwrap().run(&host).await.unwrap();
    }

    #[tokio::test]
    async fn a_full_host_refuses_and_the_tenant_gets_its_permits_back() {
        let (host, one, other) = (host(), admission(&limits()), admission(&limits()));
        let running = one.admit().unwrap().run(&host).await.unwrap();
        assert_eq!(other.admit().unwrap().run(&host).await.unwrap_err(), HOST_FULL);
        assert_eq!(other.running(), 0);
        drop(running);
        other.admit().unwrap().run(&host).await.unwrap();
    }

    // Shows P6: a tenant that sends its bodies slowly takes nothing from the others.
    #[tokio::test]
    async fn a_request_that_is_only_admitted_holds_nothing_of_the_host() {
        let (host, slow, other) = (host(), admission(&limits()), admission(&limits()));
        let _reading = [slow.admit().unwrap(), slow.admit().unwrap()];
        assert_eq!(slow.admit().unwrap_err(), TENANT_FULL);
        other.admit().unwrap().run(&host).await.unwrap();
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
        let after = Admission::new(&new).merge_into(&before);
        assert_eq!(after.limits(), new);
        assert_eq!(after.running(), 1);
        let _both = [after.admit().unwrap(), after.admit().unwrap()];
        assert_eq!(after.admit().unwrap_err(), TENANT_FULL, "the one that runs counts");
    }
}
