//! The clocks that a guest sees.
//!
//! Both are coarse, because a guest could measure its neighbours with a fine one.

use std::time::{Duration, Instant, SystemTime};

use wasmtime_wasi::{HostMonotonicClock, HostWallClock};

/// The unit in which a guest's clocks advance.
const GRAIN: Duration = Duration::from_millis(1);

/// A clock that advances once a millisecond.
pub(crate) struct CoarseClock {
    begin: Instant,
}

impl CoarseClock {
    pub(crate) fn new() -> Self {
        Self { begin: Instant::now() }
    }
}

impl HostWallClock for CoarseClock {
    fn resolution(&self) -> Duration {
        GRAIN
    }

    fn now(&self) -> Duration {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        Duration::from_millis(u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
    }
}

impl HostMonotonicClock for CoarseClock {
    fn resolution(&self) -> u64 {
        nanoseconds(GRAIN)
    }

    fn now(&self) -> u64 {
        let since = self.begin.elapsed();
        nanoseconds(since) / nanoseconds(GRAIN) * nanoseconds(GRAIN)
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
