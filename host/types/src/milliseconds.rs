//! Rounds durations to whole milliseconds, the unit of the WIT, of messages and of log fields.

use std::time::Duration;

/// Returns whole milliseconds, rounded up, so that a short time is never reported as none.
pub fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_millisecond_counts_as_a_whole_one() {
        assert_eq!(milliseconds(Duration::ZERO), 0);
        assert_eq!(milliseconds(Duration::from_nanos(1)), 1);
        assert_eq!(milliseconds(Duration::from_millis(5)), 5);
        assert_eq!(milliseconds(Duration::from_micros(5001)), 6);
        assert_eq!(milliseconds(Duration::MAX), u64::MAX);
    }
}
