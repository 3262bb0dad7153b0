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
    /// Whether the component is the one that was recorded. Then the call ends where the recorded one was ended.
    is_same: bool,
    /// How many questions were answered.
    answered: usize,
    /// Of each clock, how often it was read, and what it showed last.
    readings: [(usize, i64); 2],
    writes: u64,
    over: Option<Over>,
    replayed: Replayed,
}

impl Player {
    pub(super) fn new(recording: Arc<Recording>, is_same: bool) -> Self {
        let mut player = Self {
            recording,
            is_same,
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
        let done = self.recording.exchanges.get(self.answered).is_none() && self.writes >= writes && !self.unread();
        if self.is_same && done && self.over.is_none() {
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
        let ended = match self.recording.ended {
            Some(End { why, .. }) => format!("the host had ended the recorded call by then, because {why}"),
            None => format!("the recorded call had ended: {}", self.either()),
        };
        let over = self.differs(format!("the component {what}, and {ended}"));
        self.over.get_or_insert(over);
    }

    /// Why it can be that a call is not as recorded.
    fn either(&self) -> &'static str {
        if self.is_same {
            "the component is not deterministic"
        } else {
            "it is another component, or it is not deterministic"
        }
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
            let text = format!("{}: {}", question.instead_of(&exchange.question), self.either());
            self.over = Some(self.differs(text));
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
            match self.recording.ended {
                Some(End { why, .. }) => self.over = Some(Over::Ended(why)),
                None => self.goes_beyond(&format!("was told nothing when it asked `{question}`")),
            }
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
        if self.over.is_none() {
            let missing = match self.recording.exchanges.get(self.answered) {
                Some(Exchange { question, .. }) => {
                    Some(format!("ended where it asked `{question}` in the recorded call"))
                }
                None => self
                    .unread()
                    .then(|| "read its clocks less often than in the recorded call".to_owned()),
            };
            if let Some(missing) = missing {
                self.differs(format!("the component {missing}: {}", self.either()));
            }
        }
        std::mem::take(&mut self.replayed)
    }

    /// Whether a clock was read more often in the recorded call.
    fn unread(&self) -> bool {
        [Clock::Wall, Clock::Monotonic]
            .into_iter()
            .any(|clock| self.readings[clock as usize].0 < self.recorded(clock).len())
    }
}
