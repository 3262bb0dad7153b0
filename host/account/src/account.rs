//! All that is booked to one tenant.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use namelock_types::histogram::{Counts, Histogram};
use parking_lot::Mutex;

use crate::bucket::Bucket;
use crate::limit::Limit;
use crate::peak::Peak;
use crate::recent::Recent;
use crate::usage::{Counter, Level};

/// How much of what a tenant may use in a second.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budgets {
    /// Bytes of its log a second; ten times as many at once after a silence.
    pub log_rate: u32,
    /// Writes to the names database a second; twice as many at once after a silence.
    pub write_rate: u32,
    /// Reads of the names database a second; twice as many at once after a silence.
    pub read_rate: u32,
    /// Requests that are told that the tenant is at a limit, a second, one after another.
    pub refusal_rate: u32,
}

impl Default for Budgets {
    fn default() -> Self {
        Self {
            log_rate: 64 << 10,
            write_rate: 2000,
            read_rate: 4000,
            refusal_rate: 1000,
        }
    }
}

impl Budgets {
    fn log(&self) -> (u32, u32) {
        (self.log_rate, self.log_rate.saturating_mul(10))
    }

    fn writes(&self) -> (u32, u32) {
        (self.write_rate, self.write_rate.saturating_mul(2))
    }

    fn reads(&self) -> (u32, u32) {
        (self.read_rate, self.read_rate.saturating_mul(2))
    }

    fn refused(&self) -> (u32, u32) {
        (self.refusal_rate, 1)
    }
}

/// The account of one tenant on this host.
#[derive(Debug)]
pub struct Account {
    tenant: Arc<str>,
    opened: Instant,
    counters: [AtomicU64; Counter::ALL.len()],
    levels: [AtomicU64; Level::ALL.len()],
    refusals: [AtomicU64; Limit::ALL.len()],
    peaks: [Peak; Limit::ALL.len()],
    /// How often each outcome of a request occurred; what they mean, only the caller knows.
    outcomes: [AtomicU64; Self::OUTCOMES],
    /// How long its requests took.
    durations: Histogram,
    log: Mutex<Bucket>,
    /// What those who follow the log are told beyond its lines; as much as the log may take.
    told: Mutex<Bucket>,
    writes: Mutex<Bucket>,
    reads: Mutex<Bucket>,
    refused: Mutex<Bucket>,
    recent: Recent,
}

impl Account {
    /// The longest that [`refusal_turn`](Self::refusal_turn) lets a caller wait.
    pub const REFUSAL_WAIT: Duration = Duration::from_secs(1);

    /// How many outcomes of a request it can tell apart.
    pub const OUTCOMES: usize = 32;

    /// Opens the account of a tenant that has used nothing yet.
    pub fn new(tenant: impl Into<Arc<str>>, budgets: &Budgets) -> Self {
        let now = Instant::now();
        let bucket = |(rate, burst)| Mutex::new(Bucket::new(rate, burst, now));
        Self {
            tenant: tenant.into(),
            opened: now,
            counters: Default::default(),
            levels: Default::default(),
            refusals: Default::default(),
            peaks: Default::default(),
            outcomes: Default::default(),
            durations: Histogram::default(),
            log: bucket(budgets.log()),
            told: bucket(budgets.log()),
            writes: bucket(budgets.writes()),
            reads: bucket(budgets.reads()),
            refused: bucket(budgets.refused()),
            recent: Recent::new(now),
        }
    }

    /// Whose account it is.
    pub fn tenant(&self) -> &Arc<str> {
        &self.tenant
    }

    /// What the tenant has run lately, and the host on its behalf.
    pub fn recent(&self) -> &Recent {
        &self.recent
    }

    /// Gives the tenant new budgets; what it has used of the old ones stays used.
    pub fn update(&self, budgets: &Budgets) {
        let now = Instant::now();
        for (bucket, (rate, burst)) in [
            (&self.log, budgets.log()),
            (&self.told, budgets.log()),
            (&self.writes, budgets.writes()),
            (&self.reads, budgets.reads()),
            (&self.refused, budgets.refused()),
        ] {
            bucket.lock().update(rate, burst, now);
        }
    }

    /// Books something that the tenant has used up.
    pub fn charge(&self, counter: Counter, amount: u64) {
        self.counters[counter as usize].fetch_add(amount, Relaxed);
    }

    /// Books a time in nanoseconds.
    pub fn charge_time(&self, counter: Counter, time: Duration) {
        self.charge(counter, u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    /// How much the tenant has used up.
    pub fn used(&self, counter: Counter) -> u64 {
        self.counters[counter as usize].load(Relaxed)
    }

    /// Notes what the tenant has now.
    pub fn set(&self, level: Level, amount: u64) {
        self.levels[level as usize].store(amount, Relaxed);
    }

    /// Notes what the tenant had for a moment; the highest such amount counts.
    pub fn raise(&self, level: Level, amount: u64) {
        self.levels[level as usize].fetch_max(amount, Relaxed);
    }

    /// What the tenant has now.
    pub fn level(&self, level: Level) -> u64 {
        self.levels[level as usize].load(Relaxed)
    }

    /// Notes how much of a limit was in use, for [`nearness`](Self::nearness).
    pub fn note(&self, limit: Limit, used: u64, max: u64) {
        self.peaks[limit as usize].note(used, max, self.opened.elapsed());
    }

    /// How near to a limit the tenant came within the last hour, in thousandths of it.
    pub fn nearness(&self, limit: Limit) -> u64 {
        self.peaks[limit as usize].thousandths(self.opened.elapsed())
    }

    /// Counts that something was refused or dropped because of a limit.
    pub fn refuse(&self, limit: Limit) {
        self.refusals[limit as usize].fetch_add(1, Relaxed);
        self.note(limit, 1, 1);
    }

    /// How often something was refused or dropped because of a limit.
    pub fn refusals(&self, limit: Limit) -> u64 {
        self.refusals[limit as usize].load(Relaxed)
    }

    /// Counts a request that ended with this outcome, which is below [`OUTCOMES`](Self::OUTCOMES), and took so long.
    pub fn count_request(&self, outcome: usize, took: Duration) {
        if let Some(count) = self.outcomes.get(outcome) {
            count.fetch_add(1, Relaxed);
        }
        self.durations.observe(took);
    }

    /// How many requests ended with this outcome.
    pub fn outcomes(&self, outcome: usize) -> u64 {
        self.outcomes.get(outcome).map_or(0, |count| count.load(Relaxed))
    }

    /// How many requests took how long.
    pub fn durations(&self) -> Counts {
        self.durations.counts()
    }

    /// Takes the bytes of one line of the log, and books them; false: the line is dropped, which is booked too.
    pub fn log(&self, bytes: usize) -> bool {
        let taken = self.take(&self.log, Limit::LogRate, u32::try_from(bytes).unwrap_or(u32::MAX));
        match taken {
            Ok(()) => self.charge(Counter::LogBytes, bytes as u64),
            Err(_) => self.charge(Counter::LogLinesDropped, 1),
        }
        taken.is_ok()
    }

    /// Takes the bytes of what those who follow the log are told beyond its lines; false: they are not told.
    ///
    /// It has a budget of its own, as large as that of the log, so that what is logged does not depend on who follows.
    pub fn tell(&self, bytes: usize) -> bool {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.told.lock().take_many(bytes, Instant::now()).is_ok()
    }

    /// Takes one write to the names database, and books it.
    ///
    /// # Errors
    ///
    /// How long it takes until the tenant may write again.
    pub fn write(&self) -> Result<(), Duration> {
        self.take(&self.writes, Limit::WriteRate, 1)?;
        self.charge(Counter::Writes, 1);
        Ok(())
    }

    /// Takes one read of the names database by a handler.
    ///
    /// # Errors
    ///
    /// How long it takes until the tenant's handlers may read again.
    pub fn read(&self) -> Result<(), Duration> {
        self.take(&self.reads, Limit::ReadRate, 1)
    }

    /// Returns after how long a caller is told that the tenant is at a limit: at most [`REFUSAL_WAIT`](Self::REFUSAL_WAIT).
    ///
    /// Refusing is work too. Callers that are all refused at once come back at once, again and again, and everybody else
    /// feels each of these waves; when they are told one after another, they come back one after another.
    pub fn refusal_turn(&self) -> Duration {
        let most = Self::REFUSAL_WAIT;
        let Some(wait) = self.refused.lock().take_later(Instant::now(), most) else {
            self.refuse(Limit::RefusalRate);
            return most;
        };
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.note(Limit::RefusalRate, ms(wait), ms(most));
        wait
    }

    fn take(&self, bucket: &Mutex<Bucket>, limit: Limit, amount: u32) -> Result<(), Duration> {
        let mut bucket = bucket.lock();
        let now = Instant::now();
        let taken = bucket.take_many(amount, now);
        let (left, burst) = (bucket.left(now), bucket.burst());
        drop(bucket);
        match taken {
            Ok(()) => self.note(limit, u64::from(burst - left), u64::from(burst)),
            Err(_) => self.refuse(limit),
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(log_rate: u32, write_rate: u32) -> Account {
        Account::new(
            "t",
            &Budgets {
                log_rate,
                write_rate,
                read_rate: 1,
                refusal_rate: 2,
            },
        )
    }

    #[test]
    fn what_is_used_is_booked_and_what_is_too_much_is_refused() {
        let account = account(10, 1);
        assert!(account.log(60) && account.log(40));
        assert!(!account.log(50));
        assert_eq!(
            (account.used(Counter::LogBytes), account.used(Counter::LogLinesDropped)),
            (100, 1)
        );
        assert_eq!(account.refusals(Limit::LogRate), 1);
        assert_eq!(account.nearness(Limit::LogRate), 1000);

        account.write().unwrap();
        assert_eq!(account.nearness(Limit::WriteRate), 500);
        account.write().unwrap();
        assert!(account.write().is_err());
        assert_eq!(
            (account.used(Counter::Writes), account.refusals(Limit::WriteRate)),
            (2, 1)
        );
    }

    #[test]
    fn what_followers_are_told_takes_nothing_from_the_log() {
        let account = account(10, 1);
        assert!(account.tell(60) && account.tell(40));
        assert!(!account.tell(50));
        assert!(account.log(100));
        assert_eq!(
            (account.used(Counter::LogBytes), account.refusals(Limit::LogRate)),
            (100, 0)
        );
    }

    #[test]
    fn reads_have_a_rate_of_their_own() {
        let account = account(10, 1);
        assert!(account.read().is_ok() && account.read().is_ok());
        assert!(account.read().is_err() && account.write().is_ok());
        assert_eq!(account.refusals(Limit::ReadRate), 1);
    }

    #[test]
    fn refusals_come_one_after_another_and_none_waits_for_long() {
        let account = account(10, 1);
        let waits = [(); 4].map(|()| account.refusal_turn());
        assert_eq!(waits[0], Duration::ZERO);
        assert!(waits.is_sorted() && waits[3] == Account::REFUSAL_WAIT, "{waits:?}");
        assert_eq!(account.nearness(Limit::RefusalRate), 1000);
    }

    #[test]
    fn new_budgets_do_not_forget_what_was_used() {
        let account = account(10, 1);
        assert!(account.log(100));
        account.update(&Budgets {
            log_rate: 20,
            ..Budgets::default()
        });
        assert!(!account.log(150));
        assert!(account.log(90));
    }

    #[test]
    fn a_level_is_what_was_set_or_the_highest_that_was_seen() {
        let account = account(1, 1);
        account.set(Level::Registrations, 7);
        account.set(Level::Registrations, 5);
        account.raise(Level::MemoryPeak, 9);
        account.raise(Level::MemoryPeak, 3);
        assert_eq!(
            (account.level(Level::Registrations), account.level(Level::MemoryPeak)),
            (5, 9)
        );
    }

    #[test]
    fn outcomes_are_counted_apart_and_durations_together() {
        let account = account(1, 1);
        for outcome in [0, 31, 31, Account::OUTCOMES] {
            account.count_request(outcome, Duration::from_micros(700));
        }
        assert_eq!(account.durations()[3], 4);
        assert_eq!([0, 1, 31, 32].map(|outcome| account.outcomes(outcome)), [1, 0, 2, 0]);
    }

    #[test]
    fn time_is_booked_in_nanoseconds() {
        let account = account(1, 1);
        account.charge_time(Counter::GuestNanos, Duration::from_micros(3));
        account.charge_time(Counter::GuestNanos, Duration::from_nanos(5));
        assert_eq!(account.used(Counter::GuestNanos), 3005);
    }
}
