//! Durations as the contract carries them: in whole milliseconds.

use std::time::Duration;

/// Returns `duration` in milliseconds, rounded up.
///
/// Rounded down, a short duration would become 0, which means something else: "try once", or "no lifetime at all". A
/// duration that does not fit becomes the longest that does.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// Returns a wait in milliseconds as [`millis`] does; the contract carries it in 32 bits (49 days).
pub(crate) fn wait_millis(wait: Duration) -> u32 {
    u32::try_from(millis(wait)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_rounded_up() {
        assert_eq!(millis(Duration::ZERO), 0);
        assert_eq!(millis(Duration::from_nanos(1)), 1);
        assert_eq!(millis(Duration::from_millis(7)), 7);
        assert_eq!(millis(Duration::from_micros(7_001)), 8);
    }

    #[test]
    fn a_duration_that_does_not_fit_becomes_the_longest_that_does() {
        assert_eq!(millis(Duration::MAX), u64::MAX);
        assert_eq!(wait_millis(Duration::from_secs(60 * 60 * 24 * 365)), u32::MAX);
    }
}
