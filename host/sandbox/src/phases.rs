//! Where the time of a request goes.
//!
//! A request is in one phase at a time, so what its phases took adds up to what it took. It is told when the next one begins by
//! whoever begins it, from the request's head to its answer.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// What a request does, or waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Phase {
    /// It is read, and waits until its tenant and the host may run it.
    Queue,
    /// An instance of the component is made.
    Instantiate,
    /// The handler runs, or is ready to.
    Guest,
    /// The handler waits for a lock.
    Acquire,
    /// The names database is asked for what it has.
    Find,
    /// The names database is asked to write.
    Save,
    /// Locks are given back, and the memory of the instance.
    Release,
    /// The answer is made.
    Answer,
}

impl Phase {
    /// All of them, in the order of declaration.
    pub const ALL: [Self; 8] = [
        Self::Queue,
        Self::Instantiate,
        Self::Guest,
        Self::Acquire,
        Self::Find,
        Self::Save,
        Self::Release,
        Self::Answer,
    ];

    /// The phase as written in metrics and log.
    pub fn label(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Instantiate => "instantiate",
            Self::Guest => "guest",
            Self::Acquire => "acquire",
            Self::Find => "find",
            Self::Save => "save",
            Self::Release => "release",
            Self::Answer => "answer",
        }
    }
}

/// What each phase took, in their order.
pub type Times = [Duration; Phase::ALL.len()];

/// The phases of one request.
#[derive(Debug)]
pub struct Phases(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    current: Phase,
    since: Instant,
    times: Times,
}

/// A phase within another one, until this is dropped.
pub struct Within<'a> {
    phases: &'a Phases,
    around: Phase,
}

impl Default for Phases {
    fn default() -> Self {
        Self(Mutex::new(Inner {
            current: Phase::Queue,
            since: Instant::now(),
            times: Times::default(),
        }))
    }
}

impl Phases {
    /// Begins the next phase, and returns the one that has ended.
    pub fn enter(&self, phase: Phase) -> Phase {
        let mut inner = self.0.lock();
        let now = Instant::now();
        let ended = std::mem::replace(&mut inner.current, phase);
        let began = std::mem::replace(&mut inner.since, now);
        inner.times[ended as usize] += now - began;
        ended
    }

    /// Begins a phase after which the one of before goes on.
    pub fn within(&self, phase: Phase) -> Within<'_> {
        Within {
            around: self.enter(phase),
            phases: self,
        }
    }

    /// What each phase has taken until now; together, as long as the request has.
    pub fn times(&self) -> Times {
        let inner = self.0.lock();
        let mut times = inner.times;
        times[inner.current as usize] += inner.since.elapsed();
        times
    }
}

impl Drop for Within<'_> {
    fn drop(&mut self) {
        self.phases.enter(self.around);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_is_its_index() {
        for (index, phase) in Phase::ALL.into_iter().enumerate() {
            assert_eq!(phase as usize, index, "{}", phase.label());
        }
    }

    #[test]
    fn the_phases_of_a_request_take_as_long_as_it() {
        let pause = Duration::from_millis(2);
        let began = Instant::now();
        let phases = Phases::default();
        std::thread::sleep(pause);
        phases.enter(Phase::Guest);
        {
            let _find = phases.within(Phase::Find);
            std::thread::sleep(pause * 2);
        }
        std::thread::sleep(pause);
        let times = phases.times();
        let took = began.elapsed();
        let of = |phase: Phase| times[phase as usize];
        assert!(of(Phase::Queue) >= pause && of(Phase::Guest) >= pause && of(Phase::Find) >= pause * 2);
        assert_eq!(of(Phase::Save), Duration::ZERO);
        let all: Duration = times.iter().sum();
        assert!(all >= pause * 4 && all <= took, "{all:?} of {took:?}");
    }
}
