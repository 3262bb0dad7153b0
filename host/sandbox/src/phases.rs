//! Where the time of a request goes.
//!
//! A request is in one phase at a time, so what its phases took adds up to what it took. It is told when the next one begins by
//! whoever begins it, from the request's head to its answer.
//!
//! What each phase took is always summed. When each of them began is noted only of a request that is traced
//! ([`Phases::with_timeline`]), so that others pay nothing for it.

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

/// One phase of a request, from when to when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// What it was.
    pub phase: Phase,
    /// When it began, from the beginning of the request.
    pub began: Duration,
    /// How long it took.
    pub took: Duration,
}

/// The phases of one request one after the other, up to a limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Timeline {
    /// The first of them. They do not overlap.
    pub segments: Vec<Segment>,
    /// How many came after them.
    pub left_out: usize,
    /// What these took together.
    pub left_out_time: Duration,
}

/// The phases of one request.
#[derive(Debug)]
pub struct Phases(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    current: Phase,
    since: Instant,
    times: Times,
    recorder: Option<Box<Recorder>>,
}

/// Notes when phases begin.
#[derive(Debug, Clone)]
struct Recorder {
    began: Instant,
    limit: usize,
    timeline: Timeline,
}

/// A phase within another one, until this is dropped.
pub struct Within<'a> {
    phases: &'a Phases,
    around: Phase,
}

impl Default for Phases {
    fn default() -> Self {
        Self::begin(None)
    }
}

impl Phases {
    fn begin(limit: Option<usize>) -> Self {
        let now = Instant::now();
        let recorder = limit.map(|limit| {
            Box::new(Recorder {
                began: now,
                limit,
                timeline: Timeline::default(),
            })
        });
        Self(Mutex::new(Inner {
            current: Phase::Queue,
            since: now,
            times: Times::default(),
            recorder,
        }))
    }

    /// Those of a request that begins now, with a timeline of at most `limit` segments.
    pub fn with_timeline(limit: usize) -> Self {
        Self::begin(Some(limit))
    }

    /// Begins the next phase, and returns the one that has ended.
    pub fn enter(&self, phase: Phase) -> Phase {
        let mut inner = self.0.lock();
        let now = Instant::now();
        let ended = std::mem::replace(&mut inner.current, phase);
        let began = std::mem::replace(&mut inner.since, now);
        inner.times[ended as usize] += now - began;
        if let Some(recorder) = &mut inner.recorder {
            recorder.add(ended, began, now);
        }
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
        self.end().0
    }

    /// What each phase has taken until now, and the timeline until the same instant, if there is one.
    pub fn end(&self) -> (Times, Option<Timeline>) {
        let inner = self.0.lock();
        let now = Instant::now();
        let mut times = inner.times;
        times[inner.current as usize] += now - inner.since;
        let timeline = inner.recorder.as_deref().map(|recorder| {
            let mut recorder = recorder.clone();
            recorder.add(inner.current, inner.since, now);
            recorder.timeline
        });
        (times, timeline)
    }
}

impl Recorder {
    fn add(&mut self, phase: Phase, began: Instant, ended: Instant) {
        let (began, took) = (began - self.began, ended - began);
        let Timeline {
            segments,
            left_out,
            left_out_time,
        } = &mut self.timeline;
        let is_full = segments.len() >= self.limit;
        match segments.last_mut() {
            // A phase that begins again at its end goes on.
            Some(last) if *left_out == 0 && last.phase == phase => last.took += took,
            _ if took.is_zero() => {}
            // Keeps P6: a handler that asks for names without end makes no longer a trace.
            _ if is_full => {
                *left_out += 1;
                *left_out_time += took;
            }
            _ => segments.push(Segment { phase, began, took }),
        }
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
        assert_eq!(phases.end().1, None);
    }

    /// Lets a moment pass that a clock can tell.
    fn moment() {
        let began = Instant::now();
        while began.elapsed() < Duration::from_micros(1) {
            std::hint::spin_loop();
        }
    }

    fn phases_of(timeline: &Timeline) -> Vec<Phase> {
        timeline.segments.iter().map(|segment| segment.phase).collect()
    }

    #[test]
    fn a_timeline_has_the_phases_one_after_the_other_and_ends_with_the_request() {
        let phases = Phases::with_timeline(64);
        moment();
        phases.enter(Phase::Guest);
        for _ in 0..2 {
            moment();
            let _acquire = phases.within(Phase::Acquire);
            moment();
        }
        moment();
        // Goes on.
        phases.enter(Phase::Guest);
        moment();
        phases.enter(Phase::Answer);
        moment();
        let (times, timeline) = phases.end();
        let timeline = timeline.unwrap();
        use Phase::{Acquire, Answer, Guest, Queue};
        let expect = [Queue, Guest, Acquire, Guest, Acquire, Guest, Answer];
        assert_eq!(phases_of(&timeline), expect);
        let mut at = Duration::ZERO;
        for segment in &timeline.segments {
            assert_eq!(segment.began, at, "{timeline:?}");
            at += segment.took;
        }
        assert_eq!(at, times.iter().sum());
        let times_of = |phase| {
            let of_phase = timeline.segments.iter().filter(|segment| segment.phase == phase);
            of_phase.map(|segment| segment.took).sum::<Duration>()
        };
        assert!(
            Phase::ALL
                .into_iter()
                .all(|phase| times_of(phase) == times[phase as usize])
        );
    }

    // Shows P6: however many phases a handler causes, a timeline has no more segments than it may.
    #[test]
    fn phases_beyond_the_limit_of_a_timeline_are_summed() {
        let phases = Phases::with_timeline(3);
        moment();
        phases.enter(Phase::Guest);
        moment();
        for _ in 0..100 {
            let _find = phases.within(Phase::Find);
            moment();
        }
        moment();
        let (times, timeline) = phases.end();
        let timeline = timeline.unwrap();
        assert_eq!(phases_of(&timeline), [Phase::Queue, Phase::Guest, Phase::Find]);
        assert!(timeline.left_out >= 100, "{}", timeline.left_out);
        let within: Duration = timeline.segments.iter().map(|segment| segment.took).sum();
        assert_eq!(within + timeline.left_out_time, times.iter().sum());
    }
}
