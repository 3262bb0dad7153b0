//! A new version that serves a share of the calls first, and goes back by itself.
//!
//! `[canary]` in a `tenant.toml` says which share, and for how long. Both versions are counted from the beginning of the trial, and
//! [`verdict`] compares them:
//!
//! - as soon as the new one has failed at least [`FAULTS_MIN`] times, and more than twice as often for each call as the old one, it
//!   goes back. Twice, because a share of a few percent is a small number of calls, in which chance alone makes one the worse;
//! - at the end it goes back if it has failed at least so many times, and more often at all;
//! - otherwise it serves all from then on. Nothing is known against one that nobody has called.
//!
//! A fault is what would be recorded of a tenant: a call that its handler ends and not its caller, such as a trap or a deadline. A
//! refusal is an answer.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde::de::{Deserializer, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::rehearsed::Rehearsed;
use crate::config::source::ConfigError;

/// How many faults of a new version mean anything.
const FAULTS_MIN: u64 = 3;

/// How long a new version is tried unless the `tenant.toml` says otherwise, and at most.
const TIME_DEFAULT: Duration = Duration::from_mins(10);
const TIME_MAX: Duration = Duration::from_hours(24);

/// The section `canary` of a `tenant.toml`, or its share alone.
#[derive(Debug, Default)]
pub(super) struct CanarySection {
    share: Option<String>,
    for_ms: Option<u64>,
    request: Option<Rehearsed>,
}

/// How a new version comes into use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Canary {
    /// The share of calls that it serves first; none: it serves all at once.
    pub(super) share: Option<Share>,
    /// For how long.
    pub(super) time: Duration,
    /// A request that it must answer as expected before it serves any.
    pub(crate) request: Option<Rehearsed>,
}

/// A share of calls, in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share(u16);

impl CanarySection {
    /// What the section says, or what is wrong with it; `location` says where a key is.
    pub(super) fn checked(self, location: impl Fn(&str) -> String) -> Result<Canary, Vec<ConfigError>> {
        let mut wrong = Vec::new();
        let mut note = |key: &str, problem: String| wrong.push(ConfigError::new(location(key), problem));
        let share = self.share.as_deref().map(Share::from_str).transpose();
        let share = share.unwrap_or_else(|problem| {
            note("canary.share", problem);
            None
        });
        let time = self.for_ms.map_or(TIME_DEFAULT, Duration::from_millis);
        if time > TIME_MAX {
            let most = TIME_MAX.as_millis();
            note(
                "canary.for_ms",
                format!("{} is more than a day; write at most {most}", time.as_millis()),
            );
        }
        if let Some(problem) = self.request.as_ref().and_then(Rehearsed::problem) {
            note("canary.request.expect", problem);
        }
        if !wrong.is_empty() {
            return Err(wrong);
        }
        Ok(Canary {
            share,
            time,
            request: self.request,
        })
    }
}

impl<'de> Deserialize<'de> for CanarySection {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SectionVisitor)
    }
}

/// The section as a table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    share: Option<String>,
    for_ms: Option<u64>,
    request: Option<Rehearsed>,
}

struct SectionVisitor;

impl<'de> Visitor<'de> for SectionVisitor {
    type Value = CanarySection;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a share such as \"5%\", or a table with share, for_ms and request")
    }

    fn visit_str<E>(self, share: &str) -> Result<CanarySection, E> {
        Ok(CanarySection {
            share: Some(share.to_owned()),
            ..CanarySection::default()
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<CanarySection, A::Error> {
        let Table { share, for_ms, request } = Table::deserialize(MapAccessDeserializer::new(map))?;
        Ok(CanarySection { share, for_ms, request })
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no share of the calls; write one between 0.1% and 99.9%, such as \"5%\"");
        let number = text.strip_suffix('%').ok_or_else(wrong)?.trim_end();
        let (whole, tenth) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |part: &str, most: usize| {
            (1..=most).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
        };
        if !digits(whole, 2) || !digits(tenth, 1) {
            return Err(wrong());
        }
        let number = |part: &str| part.parse::<u16>().map_err(|_| wrong());
        let share = number(whole)? * 10 + number(tenth)?;
        if share == 0 { Err(wrong()) } else { Ok(Self(share)) }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0 / 10, self.0 % 10) {
            (whole, 0) => write!(f, "{whole}%"),
            (whole, tenth) => write!(f, "{whole}.{tenth}%"),
        }
    }
}

/// How a version has done since a trial began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Calls of it that have ended.
    pub calls: u64,
    /// Those of them that it failed.
    pub faults: u64,
}

/// Counts the calls of one version while another one is tried, or it is.
#[derive(Debug, Default)]
struct Counts {
    calls: AtomicU64,
    faults: AtomicU64,
}

impl Counts {
    fn count(&self, fault: bool) {
        self.calls.fetch_add(1, Relaxed);
        self.faults.fetch_add(u64::from(fault), Relaxed);
    }

    fn tally(&self) -> Tally {
        Tally {
            calls: self.calls.load(Relaxed),
            faults: self.faults.load(Relaxed),
        }
    }
}

/// A new version is tried beside the old one.
#[derive(Debug)]
pub(super) struct Trial {
    share: Share,
    ends: Instant,
    old: Counts,
    new: Counts,
    /// Whether it gets no more calls: what is known against it suffices.
    over: AtomicBool,
    /// Notified when a call of the new version has failed.
    faulted: Arc<Notify>,
}

/// Which version a call ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ran {
    Old,
    New,
}

/// What becomes of a new version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is not known yet.
    Open,
    /// It serves all.
    Good,
    /// It goes back.
    Bad { old: Tally, new: Tally },
}

impl Trial {
    pub(super) fn begin(share: Share, time: Duration, faulted: Arc<Notify>) -> Self {
        Self {
            share,
            ends: Instant::now() + time,
            old: Counts::default(),
            new: Counts::default(),
            over: AtomicBool::new(false),
            faulted,
        }
    }

    /// Whether the next call is one of those that the new version serves.
    pub(super) fn takes_call(&self) -> bool {
        !self.over.load(Relaxed) && rand::random_range(0..1000) < self.share.0
    }

    /// Counts a call that has ended.
    pub(super) fn count(&self, ran: Ran, fault: bool) {
        match ran {
            Ran::Old => self.old.count(fault),
            Ran::New => self.new.count(fault),
        }
        // Not only whoever looks now and then: a version that fails every call gets no more of them.
        if ran == Ran::New && fault && matches!(self.verdict(Instant::now()), Verdict::Bad { .. }) {
            self.over.store(true, Relaxed);
            self.faulted.notify_one();
        }
    }

    pub(super) fn verdict(&self, now: Instant) -> Verdict {
        verdict(self.old.tally(), self.new.tally(), now >= self.ends)
    }

    /// How the trial stands.
    pub(super) fn stands(&self) -> TrialStatus {
        TrialStatus {
            share: self.share.to_string(),
            left_ms: namelock_types::milliseconds(self.ends.saturating_duration_since(Instant::now())),
            old: self.old.tally(),
            new: self.new.tally(),
        }
    }
}

/// A trial, for an operator.
#[derive(Clone, Debug, Serialize)]
pub struct TrialStatus {
    /// The share of the calls that the new version serves.
    pub share: String,
    /// For how long it is tried yet, in milliseconds.
    pub left_ms: u64,
    /// How the old version has done meanwhile.
    pub old: Tally,
    /// How the new one has.
    pub new: Tally,
}

/// Compares a new version with the old one.
fn verdict(old: Tally, new: Tally, ended: bool) -> Verdict {
    // How often one has failed is a fraction; these are both multiplied by both numbers of calls.
    let (new_faults, old_faults) = (
        u128::from(new.faults) * u128::from(old.calls.max(1)),
        u128::from(old.faults) * u128::from(new.calls),
    );
    let worse = if ended {
        new_faults > old_faults
    } else {
        new_faults > 2 * old_faults
    };
    match (new.faults >= FAULTS_MIN && worse, ended) {
        (true, _) => Verdict::Bad { old, new },
        (false, true) => Verdict::Good,
        (false, false) => Verdict::Open,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(calls: u64, faults: u64) -> Tally {
        Tally { calls, faults }
    }

    #[test]
    fn a_share_is_written_in_percent() {
        for (text, share) in [("5%", 50), ("0.5%", 5), ("99.9%", 999), ("50.0%", 500)] {
            assert_eq!(text.parse(), Ok(Share(share)), "{text}");
        }
        assert_eq!(Share(50).to_string(), "5%");
        assert_eq!(Share(5).to_string(), "0.5%");
        for wrong in ["", "%", "5", "0%", "100%", "-1%", "1.25%", ".5%", "5.%", "+5%", "five%"] {
            assert!(wrong.parse::<Share>().unwrap_err().contains("such as"), "{wrong}");
        }
    }

    #[test]
    fn a_few_faults_and_more_than_twice_as_many_for_each_call_are_too_many() {
        let check = |old, new, bad: bool| {
            let verdict = verdict(old, new, false);
            assert_eq!(
                matches!(verdict, Verdict::Bad { .. }),
                bad,
                "{old:?} {new:?}: {verdict:?}"
            );
        };
        check(tally(0, 0), tally(3, 3), true);
        check(tally(1000, 0), tally(50, 2), false);
        check(tally(1000, 0), tally(50, 3), true);
        // Both fail because of the same thing.
        check(tally(1000, 100), tally(50, 5), false);
        check(tally(1000, 100), tally(50, 10), false);
        check(tally(1000, 100), tally(50, 11), true);
    }

    #[test]
    fn at_the_end_one_that_fails_more_often_goes_back_and_any_other_stays() {
        let bad = |old, new| matches!(verdict(old, new, true), Verdict::Bad { .. });
        assert!(bad(tally(1000, 100), tally(50, 6)));
        assert!(!bad(tally(1000, 100), tally(50, 5)));
        assert_eq!(verdict(tally(1000, 0), tally(50, 2), true), Verdict::Good);
        assert_eq!(verdict(tally(0, 0), tally(0, 0), true), Verdict::Good);
    }

    #[test]
    fn a_version_that_has_failed_enough_gets_no_more_calls() {
        let trial = Trial::begin(Share(999), Duration::from_mins(1), Arc::default());
        for _ in 0..FAULTS_MIN {
            assert!((0..100).any(|_| trial.takes_call()));
            trial.count(Ran::New, true);
        }
        assert!((0..10_000).all(|_| !trial.takes_call()));
    }
}
