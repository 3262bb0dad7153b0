//! Records a call, in bounded memory.

use super::exchange::{Answer, Exchange, Noted, Question, Row, WORD_BYTES, pairs_bytes};
use super::words::{About, Clock, Seed};
use super::{Before, End, Outcome, Owners, Recording, VERSION, Why};

/// A recording was not kept because the call did too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the call did more than fits into a recording of {bytes_max} bytes")]
pub struct TooLarge {
    /// How many bytes it may take.
    pub bytes_max: usize,
}

pub(super) struct Recorder {
    bytes_max: usize,
    /// About how many it takes.
    bytes: usize,
    /// What was recorded; none: nothing yet, or too much.
    recording: Option<Recording>,
    /// Of each clock, what it showed last.
    readings: [i64; 2],
    writes: u64,
    noted: Option<Noted>,
    is_too_large: bool,
}

impl Recorder {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            bytes: 0,
            recording: None,
            readings: [0; 2],
            writes: 0,
            noted: None,
            is_too_large: false,
        }
    }

    pub(super) fn begin(&mut self, about: About<'_>) {
        let bytes = pairs_bytes(&about.settings) + serde_json::to_vec(&about.request).map_or(0, |text| text.len());
        let recording = Recording {
            version: VERSION,
            component: about.component,
            tenant: about.tenant.to_owned(),
            request_id: about.request_id.to_owned(),
            owners: Owners::Kept,
            request: about.request,
            keyed: about.keyed,
            settings: about.settings,
            limits: about.limits,
            seed: String::new(),
            wall_ms: Vec::new(),
            monotonic_ms: Vec::new(),
            exchanges: Vec::new(),
            before: None,
            ended: None,
            log: Vec::new(),
            broke_down: None,
            outcome: Outcome {
                code: String::new(),
                text: None,
                registration: None,
            },
        };
        self.recording = Some(recording);
        self.add(bytes, |_| ());
    }

    /// Adds something that takes so many bytes, if there is room.
    // Keeps P6: a call that is recorded takes no more memory for it than it may.
    fn add(&mut self, bytes: usize, add: impl FnOnce(&mut Recording)) {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > self.bytes_max {
            self.is_too_large = true;
            self.recording = None;
        }
        if let Some(recording) = &mut self.recording {
            add(recording);
        }
    }

    pub(super) fn asked(&mut self, question: Question) {
        self.add(question.bytes(), |recording| {
            recording.exchanges.push(Exchange {
                question,
                answer: None,
                noted: None,
                held_ms: None,
            });
        });
    }

    pub(super) fn told(&mut self, answer: Answer, noted: Option<Noted>, held_ms: Option<u64>) {
        // What was noted stays noted until something else is.
        let noted = noted.filter(|noted| self.noted.as_ref() != Some(noted));
        if noted.is_some() {
            self.noted.clone_from(&noted);
        }
        self.add(answer.bytes(), |recording| {
            if let Some(exchange) = recording.exchanges.last_mut() {
                (exchange.answer, exchange.noted, exchange.held_ms) = (Some(answer), noted, held_ms);
            }
        });
    }

    pub(super) fn reading(&mut self, clock: Clock, reading: u64) {
        let reading = i64::try_from(reading).unwrap_or(i64::MAX);
        let last = &mut self.readings[clock as usize];
        let since = reading - *last;
        *last = reading;
        self.add(WORD_BYTES, |recording| recording.readings(clock).push(since));
    }

    pub(super) fn writes(&mut self) {
        self.writes += 1;
    }

    pub(super) fn line(&mut self, line: &str) {
        self.add(line.len() + WORD_BYTES, |recording| recording.log.push(line.to_owned()));
    }

    pub(super) fn ended(&mut self, why: Why) {
        let writes = self.writes;
        self.add(0, |recording| recording.ended = Some(End { why, writes }));
    }

    pub(super) fn broke_down(&mut self, text: &str) {
        self.add(text.len(), |recording| {
            // Where a guest was when its time was over is decided by time.
            if recording.ended.is_none() {
                recording.broke_down = Some(text.to_owned());
            }
        });
    }

    pub(super) fn found_before(&mut self, before: Before) {
        let bytes = match &before {
            Before::Succeeded { registration } => registration.bytes(),
            Before::KeyReused | Before::Unknown => 0,
        };
        self.add(bytes, |recording| recording.before = Some(before));
    }

    pub(super) fn outcome(&mut self, text: Option<String>, registration: Option<Row>) {
        let bytes = text.as_ref().map_or(0, String::len) + registration.as_ref().map_or(0, Row::bytes);
        self.add(bytes, |recording| {
            (recording.outcome.text, recording.outcome.registration) = (text, registration);
        });
    }

    pub(super) fn finish(&mut self, code: &str, seed: &Seed) -> Result<Option<Recording>, TooLarge> {
        if self.is_too_large {
            let bytes_max = self.bytes_max;
            return Err(TooLarge { bytes_max });
        }
        let recording = self.recording.take();
        Ok(recording.map(|mut recording| {
            recording.seed = seed.hex();
            code.clone_into(&mut recording.outcome.code);
            recording
        }))
    }
}

impl Recording {
    fn readings(&mut self, clock: Clock) -> &mut Vec<i64> {
        match clock {
            Clock::Wall => &mut self.wall_ms,
            Clock::Monotonic => &mut self.monotonic_ms,
        }
    }
}
