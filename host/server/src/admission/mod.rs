//! Who may run now: one tenant's share of the host, and the host's own limit.
//!
//! A call passes four limits, the cheapest refusal first, and each is taken only once the one before it is held:
//!
//! 1. a token of the tenant's **rate**, before anything of the body is read; a flood is refused here for the price of a lock;
//! 2. one of the tenant's **places**, as many as may run and wait together, also before the body is read: whoever sends a body
//!    slowly keeps a place of its own tenant, and nothing of anybody else's;
//! 3. one of the tenant's **running** calls, for which it waits in its place, for a bounded time;
//! 4. one of the **host's** running calls, through a place and a wait of the host's own.
//!
//! The tenant comes before the host. Were it the other way round, calls that wait for their tenant would hold the host's
//! permits meanwhile, and one tenant could stop all others with calls that do not even run. So a tenant has never more of the
//! host, running and waiting together, than its own `limits.calls`.
//!
//! A limit lives in the semaphore that enforces it (`Permits`), never beside it, so the two cannot drift. Both semaphores
//! are fair: who waits first runs first.
//!
//! What a tenant uses outlives its configuration: when tenants are read again, [`Admission::in_place_of`] keeps the one there
//! was and gives it the new limits. A smaller limit ends no call; it holds as soon as enough calls have ended.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Shortest wait that a caller is told when a limit is full: who comes back sooner finds the same callers before it.
const RETRY_MIN: Duration = Duration::from_millis(100);

/// How many calls a tenant may have, and how fast they may come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdmissionLimits {
    /// Calls running at once.
    pub calls: usize,
    /// Calls that wait for one of them, or for their body.
    pub calls_waiting: usize,
    /// How long a call waits for one of them.
    pub calls_wait: Duration,
    /// Requests a second, at least one.
    pub rate: u32,
    /// Requests at once after a silence, at least one.
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
pub enum Refused {
    /// The tenant's requests come too fast.
    #[error("the tenant's requests come faster than it may have them")]
    Rate {
        /// When the next one may come.
        after: Duration,
    },
    /// The tenant has as many calls as it may have.
    #[error("the tenant has as many calls as it may have")]
    Tenant {
        /// When those that wait now have been served or refused.
        after: Duration,
    },
    /// The host has as many calls as it may have.
    #[error("the host has as many calls as it may have")]
    Host {
        /// When those that wait now have been served or refused.
        after: Duration,
    },
}

/// What one tenant uses of the host, and how much it may.
#[derive(Debug)]
pub struct Admission {
    bucket: Mutex<Bucket>,
    gate: Gate,
}

impl Admission {
    /// A tenant that uses nothing yet.
    pub fn new(limits: &AdmissionLimits) -> Self {
        Self {
            bucket: Mutex::new(Bucket::new(limits.rate, limits.burst, Instant::now())),
            gate: Gate::new(limits.calls, limits.calls_waiting, limits.calls_wait),
        }
    }

    /// Hands its limits on to the one that the tenant had `before`, and answers that one; what is used stays used.
    pub fn in_place_of(&self, before: &Arc<Self>) -> Arc<Self> {
        before.update(&self.limits());
        Arc::clone(before)
    }

    /// The limits, read from what enforces them.
    fn limits(&self) -> AdmissionLimits {
        let (rate, burst) = {
            let bucket = lock(&self.bucket);
            (bucket.rate, bucket.burst)
        };
        let calls = self.gate.running.max();
        AdmissionLimits {
            calls,
            calls_waiting: self.gate.places.max().saturating_sub(calls),
            calls_wait: self.gate.wait(),
            rate,
            burst,
        }
    }

    fn update(&self, limits: &AdmissionLimits) {
        lock(&self.bucket).update(limits.rate, limits.burst, Instant::now());
        self.gate.update(limits.calls, limits.calls_waiting, limits.calls_wait);
    }

    /// Lets a request in, or refuses it at once.
    pub fn arrive(self: &Arc<Self>) -> Result<Arrived, Refused> {
        let taken = lock(&self.bucket).take(Instant::now());
        taken.map_err(|after| Refused::Rate { after })?;
        let place = self.gate.place().map_err(|Full { after }| Refused::Tenant { after })?;
        Ok(Arrived {
            admission: Arc::clone(self),
            place,
        })
    }

    #[cfg(test)]
    fn running(&self) -> usize {
        self.gate.running()
    }
}

/// A request that has a place with its tenant, and may read its body.
#[derive(Debug)]
pub struct Arrived {
    admission: Arc<Admission>,
    place: Permit,
}

impl Arrived {
    /// Waits until the request may run; it runs until what this answers is dropped.
    pub async fn run(self, host: &Calls) -> Result<Running, Refused> {
        let tenant = self.admission.gate.run(self.place).await;
        let tenant = tenant.map_err(|Full { after }| Refused::Tenant { after })?;
        let host = host.enter().await?;
        Ok(Running {
            _host: host,
            _tenant: tenant,
        })
    }
}

/// A call that runs. The host's permit goes back first, so that a call that waits for the tenant's finds the host's free.
#[derive(Debug)]
pub struct Running {
    _host: Held,
    _tenant: Held,
}

/// The calls that the host runs at once, over all tenants.
#[derive(Debug)]
pub struct Calls(Gate);

impl Calls {
    /// Allows `calls` at once; `waiting` more wait for `wait` at most.
    pub fn new(calls: usize, waiting: usize, wait: Duration) -> Self {
        Self(Gate::new(calls, waiting, wait))
    }

    /// How many run now.
    pub fn running(&self) -> usize {
        self.0.running()
    }

    async fn enter(&self) -> Result<Held, Refused> {
        let refused = |Full { after }| Refused::Host { after };
        let place = self.0.place().map_err(refused)?;
        self.0.run(place).await.map_err(refused)
    }
}

/// Some run, some wait, nobody waits for long.
#[derive(Debug)]
struct Gate {
    /// As many as may run and wait together.
    places: Arc<Permits>,
    running: Arc<Permits>,
    wait: Mutex<Duration>,
}

/// Nobody more can run or wait.
#[derive(Debug)]
struct Full {
    after: Duration,
}

/// One that runs, and still has its place: the place counts it as long as it is here.
#[derive(Debug)]
struct Held {
    _running: Permit,
    _place: Permit,
}

impl Gate {
    fn new(running: usize, waiting: usize, wait: Duration) -> Self {
        Self {
            places: Permits::new(running.saturating_add(waiting)),
            running: Permits::new(running),
            wait: Mutex::new(wait),
        }
    }

    fn update(&self, running: usize, waiting: usize, wait: Duration) {
        self.places.resize(running.saturating_add(waiting));
        self.running.resize(running);
        *lock(&self.wait) = wait;
    }

    fn wait(&self) -> Duration {
        *lock(&self.wait)
    }

    fn full(&self) -> Full {
        Full {
            after: self.wait().max(RETRY_MIN),
        }
    }

    /// Takes a place, or tells at once that there is none.
    fn place(&self) -> Result<Permit, Full> {
        self.places.try_take().ok_or_else(|| self.full())
    }

    /// Waits for its turn in this place.
    async fn run(&self, place: Permit) -> Result<Held, Full> {
        let running = tokio::time::timeout(self.wait(), self.running.take()).await;
        Ok(Held {
            _running: running.ok().flatten().ok_or_else(|| self.full())?,
            _place: place,
        })
    }

    fn running(&self) -> usize {
        self.running.taken()
    }
}

/// A limit together with the semaphore that enforces it.
#[derive(Debug)]
struct Permits {
    semaphore: Arc<Semaphore>,
    size: Mutex<Size>,
}

#[derive(Debug)]
struct Size {
    /// The limit.
    max: usize,
    /// Permits that are out and will not come back, because the limit has become smaller.
    owed: usize,
}

/// One permit, given back when it is dropped.
#[derive(Debug)]
struct Permit {
    permit: Option<OwnedSemaphorePermit>,
    permits: Arc<Permits>,
}

impl Permits {
    fn new(max: usize) -> Arc<Self> {
        let max = max.min(Semaphore::MAX_PERMITS);
        Arc::new(Self {
            semaphore: Arc::new(Semaphore::new(max)),
            size: Mutex::new(Size { max, owed: 0 }),
        })
    }

    fn try_take(self: &Arc<Self>) -> Option<Permit> {
        let permit = Arc::clone(&self.semaphore).try_acquire_owned().ok()?;
        Some(self.permit(permit))
    }

    /// Waits for a permit. Nobody closes the semaphore; if somebody did, there would be none.
    async fn take(self: &Arc<Self>) -> Option<Permit> {
        let permit = Arc::clone(&self.semaphore).acquire_owned().await.ok()?;
        Some(self.permit(permit))
    }

    fn permit(self: &Arc<Self>, permit: OwnedSemaphorePermit) -> Permit {
        Permit {
            permit: Some(permit),
            permits: Arc::clone(self),
        }
    }

    fn max(&self) -> usize {
        lock(&self.size).max
    }

    fn taken(&self) -> usize {
        let size = lock(&self.size);
        (size.max + size.owed).saturating_sub(self.semaphore.available_permits())
    }

    fn resize(&self, max: usize) {
        let max = max.min(Semaphore::MAX_PERMITS);
        let mut size = lock(&self.size);
        if max >= size.max {
            let more = max - size.max;
            let forgiven = more.min(size.owed);
            size.owed -= forgiven;
            self.semaphore.add_permits(more - forgiven);
        } else {
            let fewer = size.max - max;
            size.owed += fewer - self.semaphore.forget_permits(fewer);
        }
        size.max = max;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        // Under the lock, so that a limit that changes meanwhile counts this permit once.
        let mut size = lock(&self.permits.size);
        let permit = self.permit.take();
        if let Some(owed) = size.owed.checked_sub(1) {
            size.owed = owed;
            permit.into_iter().for_each(OwnedSemaphorePermit::forget);
        }
    }
}

/// A token bucket, kept as the one instant at which it will be full again (the generic cell rate algorithm).
#[derive(Debug)]
struct Bucket {
    full_at: Instant,
    /// Tokens that come in a second.
    rate: u32,
    burst: u32,
}

impl Bucket {
    fn new(rate: u32, burst: u32, now: Instant) -> Self {
        Self {
            full_at: now,
            rate: rate.max(1),
            burst: burst.max(1),
        }
    }

    /// How long one token takes to come.
    fn interval(&self) -> Duration {
        Duration::from_secs(1) / self.rate
    }

    /// Takes a token, or tells when there will be one.
    fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let missing = self.full_at.saturating_duration_since(now) + self.interval();
        let room = self.interval() * self.burst;
        if missing > room {
            return Err(missing - room);
        }
        self.full_at = now + missing;
        Ok(())
    }

    /// Changes the rate; as many tokens are missing as before, but never more than there can be.
    fn update(&mut self, rate: u32, burst: u32, now: Instant) {
        let missing = self
            .full_at
            .saturating_duration_since(now)
            .div_duration_f64(self.interval());
        *self = Self::new(rate, burst, now);
        self.full_at = now + self.interval().mul_f64(missing.min(f64::from(self.burst)));
    }
}

/// A panic elsewhere leaves numbers that are as right as before: nothing in here panics half-way.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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

    const TENANT_FULL: Refused = Refused::Tenant { after: RETRY_MIN };
    const HOST_FULL: Refused = Refused::Host { after: RETRY_MIN };

    #[tokio::test]
    async fn a_tenant_that_is_full_refuses_at_once_and_after_its_wait() {
        let (host, tenant) = (Calls::new(9, 0, Duration::ZERO), admission(&limits()));
        let running = tenant.arrive().unwrap().run(&host).await.unwrap();
        assert_eq!((tenant.running(), host.running()), (1, 1));
        let waiting = tenant.arrive().unwrap();
        assert_eq!(tenant.arrive().unwrap_err(), TENANT_FULL, "no place is left");
        assert_eq!(
            waiting.run(&host).await.unwrap_err(),
            TENANT_FULL,
            "nobody ended in time"
        );
        assert_eq!(host.running(), 1, "the host was never asked");
        drop(running);
        assert_eq!((tenant.running(), host.running()), (0, 0));
        tenant.arrive().unwrap().run(&host).await.unwrap();
    }

    #[tokio::test]
    async fn a_host_that_is_full_refuses_and_the_tenant_gets_its_permits_back() {
        let (host, one, other) = (host(), admission(&limits()), admission(&limits()));
        let running = one.arrive().unwrap().run(&host).await.unwrap();
        assert_eq!(other.arrive().unwrap().run(&host).await.unwrap_err(), HOST_FULL);
        assert_eq!(other.running(), 0);
        drop(running);
        other.arrive().unwrap().run(&host).await.unwrap();
    }

    #[tokio::test]
    async fn a_request_that_only_arrived_holds_nothing_of_the_host() {
        let (host, slow, other) = (host(), admission(&limits()), admission(&limits()));
        let _reading = [slow.arrive().unwrap(), slow.arrive().unwrap()];
        assert_eq!(slow.arrive().unwrap_err(), TENANT_FULL);
        other.arrive().unwrap().run(&host).await.unwrap();
    }

    #[tokio::test]
    async fn one_who_waits_runs_when_another_ends() {
        let (host, tenant) = (Calls::new(9, 0, Duration::ZERO), admission(&limits()));
        tenant.update(&AdmissionLimits {
            calls_wait: Duration::from_secs(10),
            ..limits()
        });
        let running = tenant.arrive().unwrap().run(&host).await.unwrap();
        let waiting = tenant.arrive().unwrap().run(&host);
        let (_running, ()) = tokio::join!(waiting, async { drop(running) });
    }

    #[tokio::test]
    async fn a_call_that_is_dropped_while_it_waits_gives_its_place_back() {
        let (host, tenant) = (host(), admission(&limits()));
        let running = tenant.arrive().unwrap().run(&host).await.unwrap();
        let waiting = tenant.arrive().unwrap().run(&host);
        assert!(tokio::time::timeout(Duration::ZERO, waiting).await.is_err());
        drop(running);
        let _both = [tenant.arrive().unwrap(), tenant.arrive().unwrap()];
    }

    #[tokio::test]
    async fn a_limit_that_changes_keeps_what_is_used() {
        let permits = Permits::new(3);
        let (one, two) = (permits.try_take().unwrap(), permits.try_take().unwrap());
        permits.resize(1);
        assert_eq!(permits.taken(), 2);
        drop(one);
        assert_eq!(permits.taken(), 1);
        assert!(permits.try_take().is_none(), "one is still too many");
        permits.resize(2);
        let three = permits.try_take().unwrap();
        assert!(permits.try_take().is_none());
        drop((two, three));
        assert_eq!((permits.taken(), permits.semaphore.available_permits()), (0, 2));
    }

    #[tokio::test]
    async fn a_tenant_that_is_read_again_keeps_its_calls_under_its_new_limits() {
        let (host, before) = (Calls::new(9, 0, Duration::ZERO), admission(&limits()));
        let _running = before.arrive().unwrap().run(&host).await.unwrap();
        let new = AdmissionLimits {
            calls: 3,
            calls_waiting: 0,
            calls_wait: Duration::ZERO,
            rate: 7,
            burst: 9,
        };
        let after = Admission::new(&new).in_place_of(&before);
        assert_eq!(after.limits(), new);
        assert_eq!(after.running(), 1);
        let _both = [after.arrive().unwrap(), after.arrive().unwrap()];
        assert_eq!(after.arrive().unwrap_err(), TENANT_FULL, "the one that runs counts");
    }

    #[test]
    fn the_next_token_comes_when_it_was_said() {
        let mut now = Instant::now();
        let mut bucket = Bucket::new(10, 3, now);
        for _ in 0..3 {
            bucket.take(now).unwrap();
        }
        let after = bucket.take(now).unwrap_err();
        assert_eq!(after, Duration::from_millis(100));
        now += after - Duration::from_nanos(1);
        assert_eq!(bucket.take(now), Err(Duration::from_nanos(1)));
        now += Duration::from_nanos(1);
        assert_eq!(bucket.take(now), Ok(()));
        assert!(bucket.take(now).is_err());
        now += Duration::from_secs(60);
        assert_eq!(
            (0..9).filter(|_| bucket.take(now).is_ok()).count(),
            3,
            "no more than the burst"
        );
    }

    #[test]
    fn a_new_rate_does_not_fill_the_bucket() {
        let now = Instant::now();
        let mut bucket = Bucket::new(10, 3, now);
        while bucket.take(now).is_ok() {}
        bucket.update(1000, 3, now);
        assert_eq!(bucket.take(now), Err(Duration::from_millis(1)));
        bucket.update(1, 1, now);
        assert_eq!(bucket.take(now), Err(Duration::from_secs(1)));
    }

    proptest! {
        #[test]
        fn no_span_of_time_has_more_than_the_burst_and_what_comes_in_it(
            rate in 1u32..2000, burst in 1u32..50, steps in prop::collection::vec(0u64..20_000, 1..300),
        ) {
            let begin = Instant::now();
            let (mut bucket, mut now, mut taken) = (Bucket::new(rate, burst, begin), begin, 0u32);
            for step in steps {
                now += Duration::from_micros(step);
                taken += u32::from(bucket.take(now).is_ok());
            }
            let most = f64::from(burst) + (now - begin).as_secs_f64() * f64::from(rate);
            prop_assert!(f64::from(taken) <= most + 1e-3, "{} of {}", taken, most);
        }
    }
}
