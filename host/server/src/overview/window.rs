//! What was counted in the last minute, by second, and how long it took.

use namelock_types::histogram::{BUCKETS, Counts};

/// How many seconds are remembered.
pub(super) const SECONDS: usize = 60;

/// Seconds that share one histogram, so that a tenant does not need sixty.
const SLICE: u64 = 10;

const SLICES: usize = SECONDS / SLICE as usize;

/// The counts of the last minute of one tenant, server or host: 900 bytes. Seconds are numbered from 1 on; one that was not
/// counted in is empty, so nobody has to clear what is old before it is read.
#[derive(Clone, Debug)]
pub(super) struct Window {
    /// The last second that was counted in.
    last: u64,
    requests: [u32; SECONDS],
    faults: [u32; SECONDS],
    durations: [[u32; BUCKETS]; SLICES],
}

impl Window {
    pub(super) fn new(second: u64) -> Self {
        Self {
            last: second,
            requests: [0; SECONDS],
            faults: [0; SECONDS],
            durations: [[0; BUCKETS]; SLICES],
        }
    }

    /// Adds what has ended in this second, which is not before the last one.
    pub(super) fn add(&mut self, second: u64, durations: &Counts, faults: u64) {
        for empty in (self.last + 1..=second).rev().take(SECONDS) {
            let cell = cell(empty);
            (self.requests[cell], self.faults[cell]) = (0, 0);
        }
        for empty in (self.last / SLICE + 1..=second / SLICE).rev().take(SLICES) {
            self.durations[slice(empty)] = [0; BUCKETS];
        }
        self.last = second;
        let cell = cell(second);
        self.requests[cell] = self.requests[cell].saturating_add(narrow(durations.iter().sum()));
        self.faults[cell] = self.faults[cell].saturating_add(narrow(faults));
        for (sum, count) in self.durations[slice(second / SLICE)].iter_mut().zip(durations) {
            *sum = sum.saturating_add(narrow(*count));
        }
    }

    /// Whether nothing was counted in the minute before this second.
    pub(super) fn is_over(&self, second: u64) -> bool {
        self.last + (SECONDS as u64) <= second
    }

    /// The requests of each second of the minute that ends with this one, the oldest first.
    pub(super) fn requests(&self, second: u64) -> [u32; SECONDS] {
        self.by_second(&self.requests, second)
    }

    /// The faults among them.
    pub(super) fn faults(&self, second: u64) -> [u32; SECONDS] {
        self.by_second(&self.faults, second)
    }

    fn by_second(&self, counts: &[u32; SECONDS], second: u64) -> [u32; SECONDS] {
        std::array::from_fn(|at| {
            let wanted = (second + 1 + at as u64).checked_sub(SECONDS as u64);
            let counted = wanted.filter(|wanted| *wanted <= self.last && wanted + (SECONDS as u64) > self.last);
            counted.map_or(0, |wanted| counts[cell(wanted)])
        })
    }

    /// How long the requests of the last 50 to 60 seconds took.
    pub(super) fn durations(&self, second: u64) -> Counts {
        let mut all = Counts::default();
        let now = second / SLICE;
        for number in now.saturating_sub(SLICES as u64 - 1)..=now.min(self.last / SLICE) {
            if number + (SLICES as u64) > self.last / SLICE {
                let counted = self.durations[slice(number)];
                all.iter_mut()
                    .zip(counted)
                    .for_each(|(sum, count)| *sum += u64::from(count));
            }
        }
        all
    }
}

fn cell(second: u64) -> usize {
    (second % SECONDS as u64) as usize
}

fn slice(number: u64) -> usize {
    (number % SLICES as u64) as usize
}

fn narrow(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn took(bucket: usize, count: u64) -> Counts {
        let mut counts = Counts::default();
        counts[bucket] = count;
        counts
    }

    #[test]
    fn a_minute_is_remembered_by_second() {
        let mut window = Window::new(1);
        window.add(1, &took(3, 5), 1);
        window.add(3, &took(3, 7), 0);
        let requests = window.requests(4);
        assert_eq!(requests[SECONDS - 4..], [5, 0, 7, 0]);
        assert_eq!(requests.iter().sum::<u32>(), 12);
        assert_eq!(window.faults(4)[SECONDS - 4..], [1, 0, 0, 0]);
        assert_eq!(window.requests(60)[0], 5);
        assert_eq!(window.requests(61).iter().sum::<u32>(), 7);
        assert!(!window.is_over(62) && window.is_over(63));
        assert_eq!(window.requests(63).iter().sum::<u32>(), 0);
    }

    #[test]
    fn what_is_older_than_a_minute_is_forgotten_when_it_goes_on() {
        let mut window = Window::new(1);
        window.add(1, &took(3, 5), 5);
        window.add(65, &took(4, 2), 0);
        assert_eq!(window.requests(65).iter().sum::<u32>(), 2);
        assert_eq!(window.faults(65).iter().sum::<u32>(), 0);
        window.add(65, &took(4, 2), 0);
        assert_eq!(window.requests(65)[SECONDS - 1], 4);
        window.add(1_000_000, &took(4, 1), 0);
        assert_eq!(window.requests(1_000_000).iter().sum::<u32>(), 1);
    }

    #[test]
    fn times_are_remembered_for_nearly_a_minute_to_a_minute() {
        let mut window = Window::new(9);
        window.add(9, &took(3, 5), 0);
        window.add(11, &took(4, 6), 0);
        let of = |window: &Window, second| [3, 4].map(|bucket| window.durations(second)[bucket]);
        assert_eq!(of(&window, 11), [5, 6]);
        assert_eq!(of(&window, 59), [5, 6]);
        assert_eq!(of(&window, 60), [0, 6]);
        assert_eq!(of(&window, 70), [0, 0]);
        window.add(62, &took(3, 1), 0);
        assert_eq!(of(&window, 62), [1, 6]);
        window.add(200, &took(4, 1), 0);
        assert_eq!(of(&window, 200), [0, 1]);
    }

    #[test]
    fn a_window_is_small() {
        assert!(size_of::<Window>() <= 900, "{}", size_of::<Window>());
    }
}
