//! What a host answers to `GET /overview`, as far as it is shown.
//!
//! Names of locks, ids and reasons come from strangers, and a terminal obeys some texts. So every text becomes [`Plain`] as it is
//! read, and nothing else of an answer is ever drawn. What an older host leaves out is zero or empty.

use std::fmt;

use serde::{Deserialize, Deserializer};

use crate::text::{one_line, quoted};

/// Longest text that is kept, in bytes.
const TEXT_MAX: usize = 256;

/// Longest name of a lock that is kept, in bytes.
const NAME_MAX: usize = 80;

/// A text on one short line, without what a terminal would obey or would not show.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Plain(String);

impl Plain {
    pub(super) fn new(text: &str) -> Self {
        Self(one_line(text, TEXT_MAX))
    }

    /// The name of a lock, in quotes, so that it is seen where it ends.
    fn name(text: &str) -> Self {
        Self(quoted(text, NAME_MAX))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self::new(&text))
    }
}

/// The answer.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Overview {
    /// By the clock of the host, in milliseconds since 1970.
    #[serde(default)]
    pub(super) at_ms: u64,
    pub(super) host: Host,
    #[serde(default)]
    pub(super) lock: LockService,
    #[serde(default)]
    pub(super) database: Database,
    #[serde(default)]
    pub(super) tenants: Tenants,
    #[serde(default)]
    pub(super) locks: Locks,
    #[serde(default)]
    pub(super) faults: Faults,
    /// Why names were asked for and are not shown.
    #[serde(skip)]
    pub(super) nameless: Option<Plain>,
}

/// The last minute.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Minute {
    pub(super) rate: f64,
    pub(super) faults: u64,
    pub(super) p50_ms: Option<f64>,
    pub(super) p99_ms: Option<f64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Host {
    pub(super) version: Plain,
    pub(super) state: Plain,
    pub(super) calls_running: u64,
    pub(super) calls_waiting: u64,
    pub(super) calls_max: u64,
    #[serde(flatten)]
    pub(super) minute: Minute,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LockService {
    pub(super) refused: Option<Plain>,
    pub(super) servers: Vec<Server>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Server {
    pub(super) server: Plain,
    pub(super) up: bool,
    pub(super) queued: u64,
    #[serde(flatten)]
    pub(super) minute: Minute,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Database {
    pub(super) kind: Plain,
    pub(super) refused: Option<Plain>,
    pub(super) clock_off_ms: i64,
    #[serde(flatten)]
    pub(super) minute: Minute,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Tenants {
    /// All that match, of which `rows` has the first.
    pub(super) matching: u64,
    pub(super) rows: Vec<Tenant>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Tenant {
    pub(super) tenant: Plain,
    pub(super) state: Plain,
    pub(super) running: u64,
    pub(super) waiting: u64,
    pub(super) held: u64,
    #[serde(flatten)]
    pub(super) minute: Minute,
    /// The nearest first.
    pub(super) near: Vec<Near>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Near {
    pub(super) limit: Plain,
    pub(super) percent: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Locks {
    pub(super) held: u64,
    /// Calls that wait for one of them.
    pub(super) waiting: u64,
    pub(super) rows: Vec<Held>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Held {
    pub(super) id: u64,
    pub(super) namespace: Plain,
    pub(super) digest: Plain,
    pub(super) age_ms: u64,
    pub(super) remaining_ms: u64,
    pub(super) waiting: u64,
    /// If names were asked for, and may be told.
    #[serde(skip)]
    pub(super) name: Option<Plain>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Faults {
    pub(super) codes: Vec<CodeFaults>,
    /// The latest first.
    pub(super) lately: Vec<Fault>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct CodeFaults {
    pub(super) code: Plain,
    /// Within the last hour.
    pub(super) count: u64,
    /// In each minute of it, the oldest first.
    pub(super) minutes: Vec<u64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Fault {
    pub(super) tenant: Option<Plain>,
    pub(super) code: Plain,
    pub(super) last_ms: u64,
    pub(super) request_id: Plain,
}

/// A lock of `GET /locks?names=true`, as far as it is needed.
#[derive(Debug, Deserialize)]
struct Named {
    id: u64,
    name: Option<String>,
}

impl Overview {
    /// Reads the text of an answer.
    pub(super) fn read(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// Adds the names of locks, from the text of another answer.
    pub(super) fn name_locks(&mut self, text: &str) -> Result<(), serde_json::Error> {
        for named in serde_json::from_str::<Vec<Named>>(text)? {
            if let Some(held) = self.locks.rows.iter_mut().find(|held| held.id == named.id) {
                held.name = named.name.as_deref().map(Plain::name);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_from_a_host_has_nothing_that_a_terminal_obeys() {
        let hostile = "a\u{1b}[2J\u{1b}]0;x\u{7}b\u{9b}31m\r\n\u{202e}c";
        let text = serde_json::json!({ "host": { "version": hostile, "state": hostile } }).to_string();
        let host = Overview::read(&text).unwrap().host;
        assert_eq!(host.version.as_str(), "a [2J ]0;x b 31m \\u{202e}c");
        assert_eq!(host.state, host.version);
        let long = Plain::new(&"é".repeat(1000));
        assert!(long.as_str().len() <= TEXT_MAX && long.as_str().ends_with('…'));
    }

    #[test]
    fn a_name_is_quoted_and_belongs_to_its_lock() {
        let text = r#"{"host":{},"locks":{"held":2,"waiting":0,"rows":[{"id":1,"digest":"d"},{"id":2,"digest":"e"}]}}"#;
        let mut overview = Overview::read(text).unwrap();
        let names = r#"[{"id":2,"name":"red\u001b[2J","age_ms":5},{"id":9,"name":"gone"},{"id":1}]"#;
        overview.name_locks(names).unwrap();
        let names: Vec<_> = overview.locks.rows.iter().map(|held| held.name.as_ref()).collect();
        assert_eq!(names, [None, Some(&Plain("\"red\\u{1b}[2J\"".to_owned()))]);
    }

    #[test]
    fn what_is_left_out_is_empty_and_what_is_no_answer_of_a_host_is_refused() {
        let overview = Overview::read(r#"{"host":{"rate":2.5,"p50_ms":null,"new":[1]},"other":{}}"#).unwrap();
        assert_eq!((overview.host.minute.rate, overview.host.minute.p50_ms), (2.5, None));
        assert!(overview.locks.rows.is_empty());
        for wrong in [
            "",
            "{}",
            "[]",
            r#"{"host":{"rate":"fast"}}"#,
            r#"{"host":{"calls_max":-1}}"#,
        ] {
            assert!(Overview::read(wrong).is_err(), "{wrong}");
        }
    }
}
