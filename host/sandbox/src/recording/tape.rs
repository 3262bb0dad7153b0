//! What records a call while it runs, or answers it from a recording.
//!
//! The views of a call (`wit`), its clocks and its log each have the tape, and ask it first. A tape that is off is one branch.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::exchange::{Answer, Noted, Question, Row};
use super::player::{Player, Replayed};
use super::recorder::{Recorder, TooLarge};
use super::words::{About, Clock, Over, Play, Seed};
use super::{Before, Recording, Why};

/// Records one call, plays one, or does neither. Clones share it.
#[derive(Clone, Default)]
pub struct Tape(Option<Arc<Shared>>);

struct Shared {
    seed: Seed,
    mode: Mutex<Mode>,
    /// Wakes the call whose replay is over.
    over: Notify,
    /// Whether nobody is to hear what the component says.
    is_quiet: bool,
}

enum Mode {
    Recording(Box<Recorder>),
    Replaying(Box<Player>),
}

impl Tape {
    /// A tape for one call, whose recording may take about this many bytes of memory.
    ///
    /// # Errors
    ///
    /// The operating system gives no random numbers.
    pub fn recording(bytes_max: usize) -> std::io::Result<Self> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(std::io::Error::other)?;
        let mode = Mode::Recording(Box::new(Recorder::new(bytes_max)));
        Ok(Self::of(Seed(seed), mode, false))
    }

    /// A tape that answers a call as this one was answered. None where the seed is none.
    ///
    /// A call of the very component that was recorded ends where the host ended it. Another one, which may have been mended, gets
    /// what its limits allow; where it asks further than was recorded, nobody knows what it would be told.
    pub fn replaying(recording: Arc<Recording>, is_same_component: bool) -> Option<Self> {
        let seed = Seed::parse(&recording.seed)?;
        let player = Player::new(recording, is_same_component);
        Some(Self::of(seed, Mode::Replaying(Box::new(player)), false))
    }

    /// The same for the component that was recorded, whose lines go to no log.
    pub fn replaying_quietly(recording: Arc<Recording>) -> Option<Self> {
        let seed = Seed::parse(&recording.seed)?;
        let player = Player::new(recording, true);
        Some(Self::of(seed, Mode::Replaying(Box::new(player)), true))
    }

    fn of(seed: Seed, mode: Mode, is_quiet: bool) -> Self {
        Self(Some(Arc::new(Shared {
            seed,
            mode: Mutex::new(mode),
            over: Notify::new(),
            is_quiet,
        })))
    }

    /// Ends a recording, with the code that the caller is answered; none: nothing was recorded.
    ///
    /// # Errors
    ///
    /// The recording took more than it may, and was dropped.
    pub fn finish(&self, code: &str) -> Result<Option<Recording>, TooLarge> {
        let Some(shared) = &self.0 else { return Ok(None) };
        match &mut *shared.mode.lock() {
            Mode::Recording(recorder) => recorder.finish(code, &shared.seed),
            Mode::Replaying(_) => Ok(None),
        }
    }

    /// What a replayed call did; none: none was replayed.
    pub fn replayed(&self) -> Option<Replayed> {
        match &mut *self.0.as_ref()?.mode.lock() {
            Mode::Recording(_) => None,
            Mode::Replaying(player) => Some(player.finish()),
        }
    }

    pub(crate) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.0.as_ref().is_some_and(|shared| shared.is_quiet)
    }

    /// What the random numbers of the call are drawn from; none: from those of the operating system.
    pub(crate) fn seed(&self) -> Option<Seed> {
        self.0.as_ref().map(|shared| shared.seed)
    }

    fn record(&self, note: impl FnOnce(&mut Recorder)) {
        if let Some(shared) = &self.0
            && let Mode::Recording(recorder) = &mut *shared.mode.lock()
        {
            note(recorder);
        }
    }

    /// Plays, and ends the replay if the call has come to its end.
    fn play<T>(&self, play: impl FnOnce(&mut Player) -> T) -> Option<T> {
        let shared = self.0.as_ref()?;
        match &mut *shared.mode.lock() {
            Mode::Recording(_) => None,
            Mode::Replaying(player) => {
                let played = play(player);
                if player.over().is_some() {
                    shared.over.notify_one();
                }
                Some(played)
            }
        }
    }

    /// Notes what a call is made for.
    pub(crate) fn begin<'a>(&self, about: impl FnOnce() -> About<'a>) {
        self.record(|recorder| recorder.begin(about()));
        // The host may have ended it before it did anything.
        self.play(|_| ());
    }

    /// Passes a question on, or answers it.
    pub(crate) fn ask(&self, question: impl FnOnce() -> Question) -> Play {
        let Some(shared) = &self.0 else { return Play::Ask };
        if matches!(&*shared.mode.lock(), Mode::Replaying(_)) {
            return self.play(|player| player.ask(&question())).unwrap_or(Play::Ask);
        }
        self.record(|recorder| recorder.asked(question()));
        Play::Ask
    }

    /// Notes the answer to the question that was passed on last.
    pub(crate) fn told(&self, told: impl FnOnce() -> (Answer, Option<Noted>, Option<u64>)) {
        self.record(|recorder| {
            let (answer, noted, held_ms) = told();
            recorder.told(answer, noted, held_ms);
        });
    }

    /// Reads a clock, in milliseconds.
    pub(crate) fn reading(&self, clock: Clock, read: impl FnOnce() -> u64) -> u64 {
        if self.0.is_none() {
            return read();
        }
        if let Some(reading) = self.play(|player| player.reading(clock)) {
            return reading;
        }
        let reading = read();
        self.record(|recorder| recorder.reading(clock, reading));
        reading
    }

    /// Notes that a guest writes; false: the recorded call had been ended before.
    pub(crate) fn writes(&self) -> bool {
        self.record(Recorder::writes);
        self.play(Player::writes).unwrap_or(true)
    }

    /// Notes a line that a guest has written.
    pub(crate) fn line(&self, line: &str) {
        self.record(|recorder| recorder.line(line));
        self.play(|player| player.line(line));
    }

    /// Notes how the host ends the call.
    pub(crate) fn ended(&self, why: Why) {
        self.record(|recorder| recorder.ended(why));
    }

    /// Notes why the call broke down.
    pub(crate) fn broke_down(&self, text: &str) {
        self.record(|recorder| recorder.broke_down(text));
        self.play(|player| player.broke_down(text));
    }

    /// Notes what was known of the request from before.
    pub(crate) fn found_before(&self, before: Before) {
        self.record(|recorder| recorder.found_before(before));
    }

    /// What was known of it when it was recorded; the outer none: nothing is replayed.
    pub(crate) fn known_before(&self) -> Option<Option<Before>> {
        self.play(|player| player.known_before())
    }

    /// Notes what came of the call.
    pub(crate) fn outcome(&self, text: Option<String>, registration: Option<Row>) {
        self.record(|recorder| recorder.outcome(text.clone(), registration.clone()));
        self.play(|player| player.outcome(text.clone(), registration.clone()));
    }

    /// Waits until a replay is over before its component has returned; without end where nothing is replayed.
    pub(crate) async fn over(&self) -> Over {
        let Some(shared) = &self.0 else {
            return std::future::pending().await;
        };
        loop {
            if let Mode::Replaying(player) = &*shared.mode.lock()
                && let Some(over) = player.over()
            {
                return over.clone();
            }
            shared.over.notified().await;
        }
    }
}

impl std::fmt::Debug for Tape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tape")
            .field("is_on", &self.is_on())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
