//! The clocks that a guest sees.
//!
//! Both are coarse, because a guest could measure its neighbours with a fine one.

use std::time::{Duration, Instant, SystemTime};

use wasmtime_wasi::{HostMonotonicClock, HostWallClock};

use crate::recording::{Clock, Tape};

/// The unit in which a guest's clocks advance.
const GRAIN: Duration = Duration::from_millis(1);

/// A clock that advances once a millisecond.
pub(crate) struct CoarseClock {
    begin: Instant,
    tape: Tape,
}

impl CoarseClock {
    pub(crate) fn new(tape: &Tape) -> Self {
        Self {
            begin: Instant::now(),
            tape: tape.clone(),
        }
    }
}

impl HostWallClock for CoarseClock {
    fn resolution(&self) -> Duration {
        GRAIN
    }

    fn now(&self) -> Duration {
        let now = || {
            let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            whole_milliseconds(since.unwrap_or_default())
        };
        Duration::from_millis(self.tape.reading(Clock::Wall, now))
    }
}

impl HostMonotonicClock for CoarseClock {
    fn resolution(&self) -> u64 {
        nanoseconds(GRAIN)
    }

    fn now(&self) -> u64 {
        let now = || whole_milliseconds(self.begin.elapsed());
        nanoseconds(Duration::from_millis(self.tape.reading(Clock::Monotonic, now)))
    }
}

/// The grains that have passed, rounded down: a guest must not be told of a time that has not come.
fn whole_milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
