//! Writes into the log when something that all tenants use begins to fail and when it works again, and counts
//! meanwhile.
//!
//! Not each failure: one guest that asks in a loop meets thousands of them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::text::push_escaped;

/// How long nothing has to fail until a service works again. Of several servers one may be away, and then every other
/// answer is a failure; so this is also how far apart two lines about it are.
const QUIET: Duration = Duration::from_secs(10);

/// The longest reason in a log, in bytes.
const REASON_BYTES_MAX: usize = 512;

/// The services of one sandbox.
#[derive(Debug)]
pub(crate) struct Services {
    pub(crate) locks: Service,
    pub(crate) names: Service,
}

/// One service, and whether it works.
#[derive(Debug)]
pub(crate) struct Service {
    name: &'static str,
    opened: Instant,
    failing: AtomicBool,
    /// Failures since it began to fail.
    failures: AtomicU64,
    /// When the last one was, in milliseconds since `opened`.
    last: AtomicU64,
}

impl Services {
    pub(crate) fn new() -> Self {
        Self {
            locks: Service::new("lock service"),
            names: Service::new("names database"),
        }
    }
}

impl Service {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            opened: Instant::now(),
            failing: AtomicBool::new(false),
            failures: AtomicU64::new(0),
            last: AtomicU64::new(0),
        }
    }

    /// Takes notice of a failure.
    pub(crate) fn failed(&self, reason: &str) {
        if self.begins_to_fail(self.opened.elapsed()) {
            let mut text = String::new();
            push_escaped(&mut text, reason, REASON_BYTES_MAX);
            tracing::warn!(
                service = self.name,
                "it does not answer as it should: {text}; failures are counted until it works again"
            );
        }
    }

    /// Takes notice of an answer.
    pub(crate) fn answered(&self) {
        if let Some(failures) = self.works_again(self.opened.elapsed()) {
            tracing::info!(service = self.name, failures, "it works again");
        }
    }

    /// Counts a failure; true: the first since it worked.
    fn begins_to_fail(&self, at: Duration) -> bool {
        self.failures.fetch_add(1, Relaxed);
        self.last.fetch_max(millis(at), Relaxed);
        !self.failing.load(Relaxed) && !self.failing.swap(true, Relaxed)
    }

    /// Returns how many failures there were, at the first answer after the last of them was long enough ago.
    fn works_again(&self, at: Duration) -> Option<u64> {
        // The usual case costs one load.
        if !self.failing.load(Relaxed) || millis(at) < self.last.load(Relaxed).saturating_add(millis(QUIET)) {
            return None;
        }
        self.failing
            .swap(false, Relaxed)
            .then(|| self.failures.swap(0, Relaxed))
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Shows P6: however often a guest asks what cannot be answered, the log has one line.
    #[test]
    fn a_change_is_reported_once_and_failures_are_counted() {
        let service = Service::new("test");
        let at = Duration::from_millis;
        assert_eq!(service.works_again(at(0)), None);
        assert!(service.begins_to_fail(at(1_000)));
        for failure in 0..9_999 {
            assert!(!service.begins_to_fail(at(2_000 + failure)));
        }
        assert_eq!(service.works_again(at(20_000)), None, "the last failure was too recent");
        assert_eq!(service.works_again(at(22_000)), Some(10_000));
        assert_eq!(service.works_again(at(22_000)), None);
        assert!(service.begins_to_fail(at(23_000)));
        assert_eq!(service.works_again(at(60_000)), Some(1));
    }
}
