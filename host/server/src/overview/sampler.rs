//! Reads the counters of the host once a second, so that everybody who looks sees the same rates.
//!
//! Nothing is added to a request for it: what is read here is counted anyway. A second costs two cache lines for each tenant
//! that was not called in it. What is kept of a tenant is 0.3 kB, and 0.9 kB more if it was called within the last minute: 5000
//! tenants are 1.5 MB, and 6 MB if all of them are busy.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use namelock_account::Account;
use namelock_types::histogram::{Counts, quantile};

use super::window::{SECONDS, Window};
use crate::error::Outcome;

/// Over how many seconds a rate is the average.
const RATE_SECONDS: usize = 10;

/// What was counted since the host started, of one of several that are sampled.
#[derive(Clone, Debug, Default)]
pub(super) struct Counted {
    /// How long its requests took.
    pub(super) durations: Counts,
    /// How many of them were faults.
    pub(super) faults: u64,
}

/// What is sampled beside tenants.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Part {
    /// All requests of the host.
    Host,
    /// Requests in their waits for the names database.
    Database,
    /// Batches that were sent to this memcached.
    Memcached(Arc<str>),
}

/// The last minute of a tenant, or of a part of the host.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Recent {
    /// Requests a second, over the last ten seconds.
    pub(super) rate: f64,
    /// Faults within the minute.
    pub(super) faults: u64,
    /// What half of the requests took at most; none: there was none.
    pub(super) p50: Option<Duration>,
    /// What 99 of 100 of them took at most.
    pub(super) p99: Option<Duration>,
}

/// Its requests by second, the oldest first, and the faults among them.
#[derive(Clone, Debug)]
pub(super) struct History {
    pub(super) requests: [u32; SECONDS],
    pub(super) faults: [u32; SECONDS],
}

impl Default for History {
    fn default() -> Self {
        Self {
            requests: [0; SECONDS],
            faults: [0; SECONDS],
        }
    }
}

/// The samples of the last minute.
#[derive(Debug)]
pub(super) struct Samples {
    /// The number of the last second that was sampled, from 1 on.
    second: u64,
    at: Instant,
    /// How long each second really was: a machine that is busy, or was suspended, samples late.
    lengths: [Duration; SECONDS],
    parts: HashMap<Part, Track>,
    tenants: HashMap<Arc<str>, TenantTrack>,
}

#[derive(Debug)]
struct TenantTrack {
    /// A tenant that went and came again has another one, and begins anew.
    account: Arc<Account>,
    seen: u64,
    track: Track,
}

/// What was counted of one of them at the last sample, and in the last minute.
#[derive(Debug, Default)]
struct Track {
    counted: Counted,
    /// None: there was nothing for a minute.
    window: Option<Box<Window>>,
}

impl Track {
    fn sample(&mut self, second: u64, durations: Counts, faults: impl FnOnce() -> u64) {
        if durations == self.counted.durations {
            self.window.take_if(|window| window.is_over(second));
            return;
        }
        let counted = Counted {
            durations,
            faults: faults(),
        };
        let before = std::mem::replace(&mut self.counted, counted);
        let new = std::array::from_fn(|bucket| durations[bucket].saturating_sub(before.durations[bucket]));
        let window = self.window.get_or_insert_with(|| Box::new(Window::new(second)));
        window.add(second, &new, self.counted.faults.saturating_sub(before.faults));
    }
}

impl Samples {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            second: 0,
            at: now,
            lengths: [Duration::ZERO; SECONDS],
            parts: HashMap::new(),
            tenants: HashMap::new(),
        }
    }

    /// Takes the next sample.
    pub(super) fn take(
        &mut self,
        now: Instant,
        parts: impl IntoIterator<Item = (Part, Counted)>,
        tenants: impl IntoIterator<Item = Arc<Account>>,
    ) {
        self.second += 1;
        let second = self.second;
        self.lengths[(second % SECONDS as u64) as usize] = now.saturating_duration_since(self.at);
        self.at = now;
        for (part, counted) in parts {
            let track = self.parts.entry(part).or_default();
            track.sample(second, counted.durations, || counted.faults);
        }
        for account in tenants {
            let fresh = || TenantTrack {
                account: Arc::clone(&account),
                seen: second,
                track: Track::default(),
            };
            let tenant = self.tenants.entry(Arc::clone(account.tenant())).or_insert_with(fresh);
            if !Arc::ptr_eq(&tenant.account, &account) {
                *tenant = fresh();
            }
            tenant.seen = second;
            tenant.track.sample(second, account.durations(), || faults_of(&account));
        }
        self.tenants.retain(|_, tenant| tenant.seen == second);
    }

    /// What a part did in the last minute.
    pub(super) fn part(&self, part: &Part) -> (Recent, History) {
        let track = self.parts.get(part);
        (self.recent(track), self.history(track))
    }

    /// What a tenant did in the last minute.
    pub(super) fn tenant(&self, id: &str) -> Recent {
        self.recent(self.tenants.get(id).map(|tenant| &tenant.track))
    }

    /// The same by second.
    pub(super) fn tenant_history(&self, id: &str) -> History {
        self.history(self.tenants.get(id).map(|tenant| &tenant.track))
    }

    fn recent(&self, track: Option<&Track>) -> Recent {
        let Some(window) = track.and_then(|track| track.window.as_ref()) else {
            return Recent::default();
        };
        let requests = window.requests(self.second);
        let lately = requests[SECONDS - RATE_SECONDS..].iter();
        let lately: u64 = lately.map(|count| u64::from(*count)).sum();
        let durations = window.durations(self.second);
        Recent {
            rate: lately as f64 / self.rate_time().as_secs_f64().max(f64::MIN_POSITIVE),
            faults: window.faults(self.second).iter().map(|count| u64::from(*count)).sum(),
            p50: quantile(&durations, 0.5),
            p99: quantile(&durations, 0.99),
        }
    }

    fn history(&self, track: Option<&Track>) -> History {
        let window = track.and_then(|track| track.window.as_ref());
        window.map_or_else(History::default, |window| History {
            requests: window.requests(self.second),
            faults: window.faults(self.second),
        })
    }

    /// How long the seconds took over which a rate is the average; fewer of them right after the start.
    fn rate_time(&self) -> Duration {
        let seconds = self.second.saturating_sub(RATE_SECONDS as u64) + 1..=self.second;
        seconds
            .map(|second| self.lengths[(second % SECONDS as u64) as usize])
            .sum()
    }
}

fn faults_of(account: &Account) -> u64 {
    let faults = Outcome::all().filter(|outcome| outcome.is_fault());
    faults.map(|outcome| account.outcomes(outcome.index())).sum()
}

#[cfg(test)]
mod tests {
    use namelock_account::Budgets;

    use super::*;
    use crate::error::ErrorKind::HandlerTrapped;

    const SECOND: Duration = Duration::from_secs(1);

    fn account(id: &str) -> Arc<Account> {
        Arc::new(Account::new(id, &Budgets::default()))
    }

    #[test]
    fn a_rate_is_that_of_the_last_ten_seconds_and_faults_are_those_of_the_minute() {
        let began = Instant::now();
        let (mut samples, tenant) = (Samples::new(began), account("a"));
        for second in 1..=20 {
            for _ in 0..if second <= 10 { 30 } else { 5 } {
                tenant.count_request(Outcome::Ok.index(), Duration::from_millis(2));
            }
            if second == 3 {
                tenant.count_request(Outcome::Failed(HandlerTrapped).index(), Duration::from_secs(2));
            }
            samples.take(began + SECOND * second, [], [Arc::clone(&tenant)]);
        }
        let recent = samples.tenant("a");
        assert!((recent.rate - 5.0).abs() < 1e-9, "{recent:?}");
        assert_eq!(recent.faults, 1);
        // From 1 to 2.5 ms.
        assert!(
            recent.p99 > recent.p50 && recent.p99 <= Some(Duration::from_micros(2_500)),
            "{recent:?}"
        );
        let history = samples.tenant_history("a");
        assert_eq!((history.requests[SECONDS - 1], history.requests[SECONDS - 18]), (5, 31));
        assert_eq!(history.faults[SECONDS - 18], 1);
        assert_eq!(samples.tenant("nobody"), Recent::default());
    }

    #[test]
    fn a_sample_that_comes_late_is_no_peak() {
        let began = Instant::now();
        let mut samples = Samples::new(began);
        let mut counted = Counted::default();
        for late in [1, 5] {
            counted.durations[4] += 10 * u64::from(late);
            let now = samples.at + SECOND * late;
            samples.take(now, [(Part::Host, counted.clone())], []);
        }
        let (recent, _) = samples.part(&Part::Host);
        assert!((recent.rate - 10.0).abs() < 1e-9, "{recent:?}");
    }

    #[test]
    fn a_tenant_that_is_gone_or_came_again_begins_anew() {
        let began = Instant::now();
        let (mut samples, first) = (Samples::new(began), account("a"));
        first.count_request(0, Duration::from_millis(2));
        first.count_request(0, Duration::from_millis(2));
        samples.take(began + SECOND, [], [first]);
        assert!(samples.tenant("a").rate > 0.0);
        let again = account("a");
        again.count_request(0, Duration::from_millis(2));
        samples.take(began + SECOND * 2, [], [again]);
        assert_eq!(samples.tenant_history("a").requests.iter().sum::<u32>(), 1);
        samples.take(began + SECOND * 3, [], []);
        assert!(samples.tenants.is_empty());
    }

    // Shows P6: a tenant that nobody calls costs next to nothing.
    #[test]
    fn what_is_kept_of_a_tenant_is_small_and_smaller_after_a_quiet_minute() {
        let began = Instant::now();
        let (mut samples, tenant) = (Samples::new(began), account("a"));
        tenant.count_request(0, Duration::from_millis(2));
        for second in 1..=61 {
            samples.take(began + SECOND * second, [], [Arc::clone(&tenant)]);
            let is_kept = samples.tenants["a"].track.window.is_some();
            assert_eq!(is_kept, second <= 60, "{second}");
        }
        assert!(size_of::<TenantTrack>() <= 300, "{}", size_of::<TenantTrack>());
    }
}
