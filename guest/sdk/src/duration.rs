//! Durations as the contract carries them: in whole milliseconds.

use std::time::Duration;

/// Counts the milliseconds of `duration`, where a part of one counts as a whole one.
///
/// Rounded down, a short wish would become 0, which means something else: "try once", or "no lifetime at all". What is
/// longer than can be said becomes the longest that can.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// Counts milliseconds as [`millis`] does, for a wait, which the contract carries in 32 bits (49 days).
pub(crate) fn wait_millis(wait: Duration) -> u32 {
    u32::try_from(millis(wait)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_never_rounded_down() {
        assert_eq!(millis(Duration::ZERO), 0);
        assert_eq!(millis(Duration::from_nanos(1)), 1);
        assert_eq!(millis(Duration::from_millis(7)), 7);
        assert_eq!(millis(Duration::from_micros(7_001)), 8);
    }

    #[test]
    fn a_wish_that_is_too_long_becomes_the_longest() {
        assert_eq!(millis(Duration::MAX), u64::MAX);
        assert_eq!(wait_millis(Duration::from_secs(60 * 60 * 24 * 365)), u32::MAX);
    }
}
