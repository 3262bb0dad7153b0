//! Time that stands still, for tests of what depends on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::clock::wall_ms;
use crate::rules::stored_ms;

/// Database time that passes only when somebody says so. It begins at the wall clock's time.
#[derive(Debug, Clone)]
pub struct ManualTime(Arc<AtomicI64>);

impl Default for ManualTime {
    fn default() -> Self {
        Self(Arc::new(AtomicI64::new(wall_ms())))
    }
}

impl ManualTime {
    /// Lets this much time pass.
    pub fn advance(&self, time: Duration) {
        self.0.fetch_add(stored_ms(time), Ordering::Relaxed);
    }

    /// Returns the time, in milliseconds since 1970-01-01 UTC.
    pub fn now_ms(&self) -> u64 {
        u64::try_from(self.read()).unwrap_or(0)
    }

    pub(crate) fn read(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}
