//! A call as it can be run again: what it was made for, what the host answered it, and how it ended.
//!
//! # Why this is enough
//!
//! A component computes; whatever differs between two of its calls comes from the host. That is the request, the settings, what
//! the lock and the names database answer, the clocks, and random numbers. A recording holds these and nothing of the component
//! itself: a call of the same component that is given the same again does the same again. It is recorded at the edge of the
//! guest, and not where the services are asked, because what a guest is told also depends on budgets of its tenant, on leases
//! that run out, and on the cause that the host notes for the code of a rejection. A replay then needs none of these.
//!
//! Limits are part of it, because a guest that runs into one sees it. What is written to the log is compared and not replayed.
//!
//! # Where a call ends that the host ends
//!
//! A lost lease, the wall time and the CPU time end a call wherever it is. How far it was is known by what it had asked, how
//! often it had read a clock, and how often it had written: a guest that does nothing of these changes nothing that could be
//! seen. So a replay ends such a call as soon as it has done as much, whatever time it took. How long its texts are does not
//! count, because pseudonyms may be longer.
//!
//! # What is not replayed
//!
//! Which of several timers a guest waits for is ready first is decided by real time again, and so is how long it sleeps.
//!
//! - `exchange`: what a guest can ask, and what it is told; `pseudonyms`: a recording that names nobody, `texts`: what callers
//!   have written in one;
//! - [`Tape`]: records a call, or plays a recording to it; `words`: between a call and its tape; `recorder`, `player`: its two
//!   sides.

mod exchange;
mod player;
mod pseudonyms;
mod recorder;
mod tape;
mod texts;
mod words;

use serde::{Deserialize, Serialize};

pub use self::exchange::{Answer, Change, Exchange, Lifetime, Noted, Question, Row, Write};
pub use self::player::Replayed;
pub use self::recorder::TooLarge;
pub use self::tape::Tape;
pub(crate) use self::words::{About, Clock, Over, Play};

/// The version of the form in which recordings are written.
pub const VERSION: u32 = 1;

/// One call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recording {
    /// [`VERSION`].
    pub version: u32,
    /// The SHA-256 of the component.
    pub component: String,
    /// The id of the tenant.
    pub tenant: String,
    /// The id of the request.
    pub request_id: String,
    /// What was done with owners and attributes.
    pub owners: Owners,
    /// What the call was made for.
    pub request: Request,
    /// Whether the request had an idempotency key.
    pub keyed: bool,
    /// What the component reads through `wasi:config/store`.
    pub settings: Vec<(String, String)>,
    /// What the call could use.
    pub limits: Limits,
    /// What its random numbers are drawn from: 32 bytes in hexadecimal digits.
    pub seed: String,
    /// The readings of the clock on the wall, in milliseconds: the first one since 1970-01-01 UTC, each other one since the one
    /// before it.
    pub wall_ms: Vec<i64>,
    /// The readings of the monotonic clock, in milliseconds: the first one since the call began, each other one since the one
    /// before it.
    pub monotonic_ms: Vec<i64>,
    /// What the component asked, and was told.
    pub exchanges: Vec<Exchange>,
    /// What was known of the request from before, if it had a key; none: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Before>,
    /// How the host ended the call, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<End>,
    /// The lines that the component wrote.
    pub log: Vec<String>,
    /// Why it broke down and where, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broke_down: Option<String>,
    /// What came of it.
    pub outcome: Outcome,
}

/// What was done with owners and attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Owners {
    /// They are as they were.
    Kept,
    /// Others stand for them, equal ones for equal ones.
    Pseudonyms,
}

/// What a call was made for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// `register` of the handler.
    Register {
        /// The name.
        name: String,
        /// Who shall have it.
        owner: String,
        /// For how long, in milliseconds.
        lifetime_ms: Option<u64>,
        /// What else was sent.
        attributes: Vec<(String, String)>,
    },
    /// `update`.
    Update {
        /// The name.
        name: String,
        /// Who asks.
        owner: String,
        /// What shall change.
        change: Change,
    },
    /// `free`.
    Free {
        /// The name.
        name: String,
        /// Who asks.
        owner: String,
    },
}

/// What a call could use; the names are those of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Bytes of its memories and tables.
    pub memory: u64,
    /// Bytes of its stack.
    pub stack: u64,
    /// Its running time, in milliseconds.
    pub cpu_time_ms: u64,
    /// Time from its beginning to its end, in milliseconds.
    pub wall_time_ms: u64,
    /// Calls of host functions.
    pub host_calls: u32,
    /// Bytes handed to the host at once.
    pub host_bytes: u64,
    /// Handles at once.
    pub handles: u64,
    /// Random bytes at once.
    pub random_bytes: u64,
    /// Bytes of its log.
    pub log_bytes: u64,
}

/// What was known of a request with a key from before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Before {
    /// It has succeeded.
    Succeeded {
        /// With this registration.
        registration: Row,
    },
    /// Its key is that of another request.
    KeyReused,
    /// The names database did not say.
    Unknown,
}

/// How the host ended a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct End {
    /// Why.
    pub why: Why,
    /// How often the component had written by then.
    pub writes: u64,
}

/// Why the host ended a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// One of its leases was lost.
    LeaseLost,
    /// It had no time left by the clock on the wall.
    WallTime,
    /// It had run for as long as it may.
    CpuTime,
    /// It could not be stopped where it should have been.
    Unstoppable,
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::LeaseLost => "a lease was lost",
            Self::WallTime => "its wall time was over",
            Self::CpuTime => "its CPU time was over",
            Self::Unstoppable => "it could not be stopped where it should have been",
        })
    }
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// `ok`, or the code that its caller was answered.
    pub code: String,
    /// What the sandbox said of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// What it registered or changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registration: Option<Row>,
}

/// Why a text is no recording that can be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It has another form.
    #[error("it is not a recording of a call: {0}")]
    Form(#[from] serde_json::Error),
    /// It was made by another version of this program.
    #[error(
        "it has version {found} of recordings, and this program reads version {VERSION}; use the namelock that made it"
    )]
    Version {
        /// The version of the text.
        found: u32,
    },
}

/// What all versions have.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

impl Recording {
    /// Reads a recording.
    ///
    /// # Errors
    ///
    /// See [`ReadError`].
    pub fn read(text: &[u8]) -> Result<Self, ReadError> {
        let Versioned { version: found } = serde_json::from_slice(text)?;
        if found != VERSION {
            return Err(ReadError::Version { found });
        }
        Ok(serde_json::from_slice(text)?)
    }

    /// Writes it as JSON.
    ///
    /// # Errors
    ///
    /// None that can be met: everything in it is text and numbers.
    pub fn write(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        Ok(text)
    }
}

impl Request {
    /// The name that it is about.
    pub fn name(&self) -> &str {
        match self {
            Self::Register { name, .. } | Self::Update { name, .. } | Self::Free { name, .. } => name,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
