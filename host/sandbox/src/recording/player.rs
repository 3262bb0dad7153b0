//! Answers a call from a recording, and finds the first thing that it does differently.

use std::sync::Arc;

use super::exchange::{Exchange, Question, Row};
use super::words::{Clock, Over, Play};
use super::{Before, End, Recording};

/// What a replayed call did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replayed {
    /// What it asked for that was not recorded, or did not ask for that was; the first one.
    pub difference: Option<String>,
    /// The lines that it wrote.
    pub log: Vec<String>,
    /// Why it broke down and where, if it did.
    pub broke_down: Option<String>,
    /// What the sandbox said of its outcome.
    pub text: Option<String>,
    /// What it registered or changed.
    pub registration: Option<Row>,
}

pub(super) struct Player {
    recording: Arc<Recording>,
    /// Whether the call ends where the recorded one was ended.
    ends_there: bool,
    /// How many questions were answered.
    answered: usize,
    /// Of each clock, how often it was read, and what it showed last.
    readings: [(usize, i64); 2],
    writes: u64,
    over: Option<Over>,
    replayed: Replayed,
}

impl Player {
    pub(super) fn new(recording: Arc<Recording>, ends_there: bool) -> Self {
        let mut player = Self {
            recording,
            ends_there,
            answered: 0,
            readings: [(0, 0); 2],
            writes: 0,
            over: None,
            replayed: Replayed::default(),
        };
        player.look();
        player
    }

    /// Why the replay is over, if it is.
    pub(super) fn over(&self) -> Option<&Over> {
        self.over.as_ref()
    }

    /// Ends the replay where the host ended the recorded call: once it has done all that it did.
    fn look(&mut self) {
        let Some(End { why, writes }) = self.recording.ended else {
            return;
        };
        let done = self.recording.exchanges.get(self.answered).is_none()
            && self.writes >= writes
            && [Clock::Wall, Clock::Monotonic]
                .into_iter()
                .all(|clock| self.readings[clock as usize].0 >= self.recorded(clock).len());
        if self.ends_there && done && self.over.is_none() {
            self.over = Some(Over::Ended(why));
        }
    }

    fn recorded(&self, clock: Clock) -> &[i64] {
        match clock {
            Clock::Wall => &self.recording.wall_ms,
            Clock::Monotonic => &self.recording.monotonic_ms,
        }
    }

    /// Ends the replay of a call that goes on where the recorded one did not.
    fn goes_beyond(&mut self, what: &str) {
        let over = match self.recording.ended {
            Some(End { why, .. }) => Over::Ended(why),
            None => self.differs(format!(
                "the component {what}, and the recorded call had ended: it is another component, or it is not \
                 deterministic"
            )),
        };
        self.over.get_or_insert(over);
    }

    fn differs(&mut self, text: String) -> Over {
        let difference = self.replayed.difference.get_or_insert(text);
        Over::Differs(difference.clone())
    }

    pub(super) fn ask(&mut self, question: &Question) -> Play {
        if self.over.is_some() {
            return Play::Over;
        }
        let recording = Arc::clone(&self.recording);
        let Some(exchange) = recording.exchanges.get(self.answered) else {
            self.goes_beyond(&format!("asked `{question}`"));
            return Play::Over;
        };
        if exchange.question != *question {
            self.over = Some(self.differs(question.instead_of(&exchange.question)));
            return Play::Over;
        }
        let Exchange {
            answer: Some(answer),
            noted,
            held_ms,
            ..
        } = exchange
        else {
            // The recorded call ended while it waited for this.
            self.answered += 1;
            self.goes_beyond(&format!("was told nothing when it asked `{question}`"));
            return Play::Over;
        };
        self.answered += 1;
        self.look();
        Play::Told {
            answer: answer.clone(),
            noted: noted.clone(),
            held_ms: *held_ms,
        }
    }

    pub(super) fn reading(&mut self, clock: Clock) -> u64 {
        let (read, mut shown) = self.readings[clock as usize];
        match self.recorded(clock).get(read) {
            Some(since) => {
                shown += since;
                self.readings[clock as usize] = (read + 1, shown);
                self.look();
            }
            // It cannot be told by what it is answered, and ends when it is stopped next.
            None if self.over.is_none() => self.goes_beyond("read a clock"),
            None => {}
        }
        u64::try_from(shown).unwrap_or(0)
    }

    pub(super) fn writes(&mut self) -> bool {
        if matches!(self.over, Some(Over::Ended(_))) {
            return false;
        }
        self.writes += 1;
        self.look();
        true
    }

    pub(super) fn line(&mut self, line: &str) {
        // A replay of another component may write more than was recorded, and no more than a log may have.
        self.replayed.log.push(line.to_owned());
    }

    pub(super) fn broke_down(&mut self, text: &str) {
        self.replayed.broke_down = Some(text.to_owned());
    }

    pub(super) fn known_before(&self) -> Option<Before> {
        self.recording.before.clone()
    }

    pub(super) fn outcome(&mut self, text: Option<String>, registration: Option<Row>) {
        (self.replayed.text, self.replayed.registration) = (text, registration);
    }

    pub(super) fn finish(&mut self) -> Replayed {
        if self.over.is_none()
            && let Some(Exchange { question, .. }) = self.recording.exchanges.get(self.answered)
        {
            let text = format!(
                "the component ended where it asked `{question}` in the recorded call: it is another component, or it is \
                 not deterministic"
            );
            self.differs(text);
        }
        std::mem::take(&mut self.replayed)
    }
}
