//! What the log is told of that others can cause as often as they like.

use std::time::{Duration, Instant};

/// How far apart two lines about the same are.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// What the log has been told of something that is counted.
// Keeps P6: however often it happens, the log has one line in a minute.
#[derive(Debug, Default)]
pub struct Told {
    count: u64,
    at: Option<Instant>,
}

impl Told {
    /// How much more there is than the log was told, if it is time to tell.
    pub fn tell(&mut self, count: u64, now: Instant) -> Option<u64> {
        let more = count.saturating_sub(self.count);
        if more == 0 || self.at.is_some_and(|at| now.duration_since(at) < TOLD_EVERY) {
            return None;
        }
        (self.count, self.at) = (count, Some(now));
        Some(more)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Shows P6: however often something happens, the log has one line in a minute.
    #[test]
    fn what_happens_often_is_told_once_in_a_minute_with_its_number() {
        let (mut told, begin) = (Told::default(), Instant::now());
        let at = |seconds| begin + Duration::from_secs(seconds);
        assert_eq!(told.tell(0, at(0)), None);
        assert_eq!(told.tell(12, at(1)), Some(12));
        for second in 2..61 {
            assert_eq!(told.tell(12 + second, at(second)), None);
        }
        assert_eq!(told.tell(100, at(61)), Some(88));
        assert_eq!(told.tell(100, at(1000)), None);
    }
}
