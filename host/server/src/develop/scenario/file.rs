//! The file in which scenarios are written.
//!
//! A file has scenarios, and a scenario has steps: a request and what is expected of it, or time that passes. Everything that can be
//! told to be wrong without playing it is refused when the file is read, with its place.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};

use crate::config::source::{ConfigError, Source};
use crate::develop::faults::Faults;
use crate::develop::given::Given;
use crate::error::ErrorKind;
use crate::tenants::plan::SettingValue;

/// Longest file that is read, in bytes.
const FILE_MAX: u64 = 1 << 20;

/// Most that one step advances: a hundred years.
const ADVANCE_MAX_MS: u64 = 100 * 365 * 24 * 60 * 60 * 1000;

/// Most callers of one step.
const CALLERS_MAX: usize = 256;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ScenarioFile {
    scenario: Vec<Scenario>,
}

/// One after another, each with a host of its own.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Scenario {
    /// What it shows, as a sentence.
    pub(super) name: String,
    /// The registrations that are there when it begins.
    #[serde(default)]
    pub(super) given: Vec<Given>,
    /// The names whose locks somebody else holds all the time.
    #[serde(default)]
    pub(super) held: Vec<String>,
    /// Instead of those of the `tenant.toml`, key by key.
    #[serde(default)]
    pub(super) settings: BTreeMap<String, SettingValue>,
    #[serde(default)]
    pub(super) faults: Faults,
    #[serde(rename = "step")]
    pub(super) steps: Vec<Step>,
}

/// A part of a scenario.
#[derive(Debug)]
pub(super) enum Step {
    Ask(Box<Ask>),
    /// So many milliseconds pass for registrations.
    Advance(u64),
}

/// A request, and what is expected.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) request: Request,
    pub(super) name: String,
    /// Its `Idempotency-Key`.
    pub(super) key: Option<String>,
    /// How many send it at once; none: one does, and [`expect`](Self::expect) says all.
    pub(super) callers: Option<usize>,
    /// How many of several callers succeed.
    pub(super) winners: usize,
    /// The codes that the other callers may get.
    pub(super) others: Vec<String>,
    pub(super) expect: Expect,
    /// Beside those of the scenario.
    pub(super) held: Vec<String>,
    /// Instead of those of the scenario.
    pub(super) faults: Option<Faults>,
}

/// What a request asks for.
#[derive(Debug, Clone)]
pub(super) enum Request {
    Register {
        owner: String,
        lifetime_ms: Option<u64>,
        attributes: BTreeMap<String, String>,
    },
    Update {
        owner: String,
        new_owner: Option<String>,
        lifetime: Option<Lifetime>,
        attributes: Option<BTreeMap<String, String>>,
    },
    Free {
        owner: String,
    },
    Find,
}

/// How long a registration lasts: milliseconds, or `"endless"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lifetime {
    Endless,
    Ms(u64),
}

impl<'de> Deserialize<'de> for Lifetime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Lifetime;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("milliseconds, or \"endless\"")
            }
            fn visit_i64<E: Error>(self, ms: i64) -> Result<Lifetime, E> {
                let ms = u64::try_from(ms).map_err(|_| E::custom("a lifetime is not negative"))?;
                Ok(Lifetime::Ms(ms))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Lifetime, E> {
                let endless = (text == "endless").then_some(Lifetime::Endless);
                endless.ok_or_else(|| E::custom(format_args!("`{text}` is neither milliseconds nor \"endless\"")))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// What is expected of an answer. Without a code it is that the request succeeds.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Expect {
    /// A code of `docs/errors.md`.
    pub(super) code: Option<String>,
    /// What the text for the caller contains.
    pub(super) detail: Option<String>,
    pub(super) name: Option<String>,
    pub(super) owner: Option<String>,
    /// How long the registration still lasts.
    #[serde(rename = "lifetime_ms")]
    pub(super) lifetime: Option<Lifetime>,
    pub(super) attributes: Option<BTreeMap<String, String>>,
    /// Whether an earlier request with this key did it.
    pub(super) replayed: Option<bool>,
}

impl Expect {
    /// Whether it says something of a registration.
    fn is_of_registration(&self) -> bool {
        let Self { name, owner, .. } = self;
        name.is_some() || owner.is_some() || self.lifetime.is_some() || self.attributes.is_some()
    }
}

/// A step as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct StepTable {
    register: Option<String>,
    update: Option<String>,
    free: Option<String>,
    find: Option<String>,
    advance_ms: Option<u64>,
    owner: Option<String>,
    new_owner: Option<String>,
    lifetime_ms: Option<Lifetime>,
    attributes: Option<BTreeMap<String, String>>,
    key: Option<String>,
    callers: Option<usize>,
    winners: Option<usize>,
    others: Option<Vec<String>>,
    expect: Option<Expect>,
    held: Option<Vec<String>>,
    faults: Option<Faults>,
}

impl<'de> Deserialize<'de> for Step {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let table = StepTable::deserialize(deserializer)?;
        table.step().map_err(D::Error::custom)
    }
}

impl StepTable {
    fn step(mut self) -> Result<Step, String> {
        if let Some(ms) = self.advance_ms.take() {
            if ms > ADVANCE_MAX_MS {
                return Err(format!(
                    "advance_ms is at most {ADVANCE_MAX_MS}, which is a hundred years"
                ));
            }
            return match self.is_empty() {
                true => Ok(Step::Advance(ms)),
                false => Err("a step with advance_ms has nothing else".to_owned()),
            };
        }
        let (name, request) = self.request()?;
        let expect = self.expect.take().unwrap_or_default();
        let others = self.others.take();
        check_expect(&expect, &request)?;
        let codes = expect.code.iter().chain(others.iter().flatten());
        if let Some(unknown) = codes.into_iter().find(|code| !is_code(code)) {
            return Err(format!("`{unknown}` is no code of docs/errors.md"));
        }
        match self.callers {
            Some(0) => return Err("callers is at least 1".to_owned()),
            Some(callers) if callers > CALLERS_MAX => return Err(format!("callers is at most {CALLERS_MAX}")),
            None if others.is_some() => return Err("others needs callers".to_owned()),
            _ => {}
        }
        match (self.winners, self.callers) {
            (Some(_), None) => return Err("winners needs callers".to_owned()),
            (Some(_), Some(_)) if expect.code.is_some() || matches!(request, Request::Find) => {
                return Err("winners is for callers of whom some succeed and others do not".to_owned());
            }
            (Some(winners), Some(callers)) if winners > callers => {
                return Err(format!("winners is at most {callers}, the number of callers"));
            }
            _ => {}
        }
        Ok(Step::Ask(Box::new(Ask {
            request,
            name,
            key: self.key,
            callers: self.callers,
            winners: self.winners.unwrap_or(1),
            others: others.unwrap_or_else(|| {
                [ErrorKind::NameTaken, ErrorKind::NameBusy]
                    .map(|kind| kind.label().to_owned())
                    .to_vec()
            }),
            expect,
            held: self.held.unwrap_or_default(),
            faults: self.faults,
        })))
    }

    fn is_empty(&self) -> bool {
        matches!(
            self,
            Self {
                register: None,
                update: None,
                free: None,
                find: None,
                advance_ms: None,
                owner: None,
                new_owner: None,
                lifetime_ms: None,
                attributes: None,
                key: None,
                callers: None,
                winners: None,
                others: None,
                expect: None,
                held: None,
                faults: None,
            }
        )
    }

    /// What is asked for, of which name.
    fn request(&mut self) -> Result<(String, Request), String> {
        let names = (
            self.register.take(),
            self.update.take(),
            self.free.take(),
            self.find.take(),
        );
        let mut owner = || self.owner.take().ok_or("this step needs an owner");
        let (what, name, request) = match names {
            (Some(name), None, None, None) => {
                let lifetime_ms = match self.lifetime_ms.take() {
                    Some(Lifetime::Endless) => {
                        return Err("register has a lifetime in milliseconds, or none".to_owned());
                    }
                    Some(Lifetime::Ms(ms)) => Some(ms),
                    None => None,
                };
                let (owner, attributes) = (owner()?, self.attributes.take().unwrap_or_default());
                let request = Request::Register {
                    owner,
                    lifetime_ms,
                    attributes,
                };
                ("register", name, request)
            }
            (None, Some(name), None, None) => {
                let request = Request::Update {
                    owner: owner()?,
                    new_owner: self.new_owner.take(),
                    lifetime: self.lifetime_ms.take(),
                    attributes: self.attributes.take(),
                };
                ("update", name, request)
            }
            (None, None, Some(name), None) => ("free", name, Request::Free { owner: owner()? }),
            (None, None, None, Some(name)) => ("find", name, Request::Find),
            _ => return Err("a step has one of register, update, free, find and advance_ms".to_owned()),
        };
        let takes_key = matches!(request, Request::Register { .. } | Request::Update { .. });
        for (key, is_left) in [
            ("owner", self.owner.is_some()),
            ("new_owner", self.new_owner.is_some()),
            ("lifetime_ms", self.lifetime_ms.is_some()),
            ("attributes", self.attributes.is_some()),
            ("key", self.key.is_some() && !takes_key),
        ] {
            if is_left {
                return Err(format!("{what} has no {key}"));
            }
        }
        Ok((name, request))
    }
}

fn check_expect(expect: &Expect, request: &Request) -> Result<(), String> {
    if expect.code.is_some() && (expect.is_of_registration() || expect.replayed.is_some()) {
        return Err("expect has a code, or says what the registration is, but not both".to_owned());
    }
    if expect.detail.is_some() && expect.code.is_none() {
        return Err("expect has detail only beside a code".to_owned());
    }
    if matches!(request, Request::Free { .. }) && expect.is_of_registration() {
        return Err("free answers nothing that could be expected but a code".to_owned());
    }
    Ok(())
}

fn is_code(text: &str) -> bool {
    ErrorKind::ALL.iter().any(|kind| kind.label() == text)
}

/// Reads the scenarios of a file.
///
/// # Errors
///
/// All that is wrong with it.
pub(super) fn read(path: &Path) -> Result<Vec<Scenario>, Vec<ConfigError>> {
    let source = Source::read(path, FILE_MAX).map_err(|error| vec![error])?;
    let (file, wrong) = source.parse_all::<ScenarioFile>();
    match file {
        Some(file) if wrong.is_empty() => Ok(file.scenario),
        _ => Err(wrong),
    }
}

#[cfg(test)]
mod tests;
