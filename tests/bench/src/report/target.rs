//! What a measurement is to show.

use serde::{Deserialize, Serialize};

/// A figure, and the bound that it is to keep. A target that is missed does not end the run: the report says so.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Target {
    /// What is measured, such as `64 callers: namelock / Redis`.
    pub(crate) what: String,
    pub(crate) bound: Bound,
    /// None: a peer that it takes is missing.
    pub(crate) measured: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Met,
    Missed,
    NotMeasured,
}

impl Target {
    /// A figure that is to be at least this.
    pub(crate) fn at_least(what: &str, bound: f64, measured: Option<f64>) -> Self {
        Self {
            what: what.to_owned(),
            bound: Bound::AtLeast(bound),
            measured,
        }
    }

    /// A figure that is to be at most this.
    pub(crate) fn at_most(what: &str, bound: f64, measured: Option<f64>) -> Self {
        Self {
            what: what.to_owned(),
            bound: Bound::AtMost(bound),
            measured,
        }
    }

    /// Whether it is kept. The figure counts as it was measured, not as it is printed, and one that is no number keeps
    /// nothing.
    pub(crate) fn verdict(&self) -> Verdict {
        match (self.measured, self.bound) {
            (None, _) => Verdict::NotMeasured,
            (Some(measured), Bound::AtLeast(bound)) if measured >= bound => Verdict::Met,
            (Some(measured), Bound::AtMost(bound)) if measured <= bound => Verdict::Met,
            (Some(_), Bound::AtLeast(_) | Bound::AtMost(_)) => Verdict::Missed,
        }
    }
}
