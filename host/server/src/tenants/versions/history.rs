//! The versions of one tenant, in the order in which they were put.

use namelock_sandbox::Digest;
use serde::{Deserialize, Serialize};

use crate::text::one_line;

/// Longest reason that is kept of a version that was taken back, in bytes.
const WHY_MAX: usize = 512;

/// What is known of a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It served all calls of its tenant.
    Good,
    /// It serves a share of the calls.
    Tried,
    /// It is not served any more, for this reason.
    TakenBack(String),
}

/// A version of a tenant's component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// The SHA-256 of the component.
    pub component: String,
    /// When it was put last, in milliseconds since 1970.
    pub served_ms: u64,
    /// What is known of it.
    pub standing: Standing,
}

/// The versions of a tenant, the newest last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct History {
    pub(super) versions: Vec<Version>,
}

impl History {
    pub(super) fn standing(&self, digest: Digest) -> Option<&Standing> {
        self.place(digest).map(|place| &self.versions[place].standing)
    }

    /// The newest version that served all calls, and was not taken back.
    pub(super) fn newest_good(&self) -> Option<Digest> {
        let mut good = self
            .versions
            .iter()
            .rev()
            .filter(|version| version.standing == Standing::Good);
        good.next()?.component.parse().ok()
    }

    /// The newest good version from before `served`.
    pub(super) fn before(&self, served: Option<Digest>) -> Option<Digest> {
        let place = self.place(served?)?;
        let before = Self {
            versions: self.versions[..place].to_vec(),
        };
        before.newest_good()
    }

    /// Adds a version as the newest, also if it is there already, and drops others until there are `keep`: first those that were
    /// taken back, and of equals the oldest. So there is a way back for as long as one of them was good.
    pub(super) fn add(&mut self, digest: Digest, standing: Standing, now_ms: u64, keep: usize) {
        let newest = self.versions.len().wrapping_sub(1);
        match self.place(digest) {
            Some(place) if place == newest => self.versions[place].standing = standing,
            place => {
                if let Some(place) = place {
                    self.versions.remove(place);
                }
                self.versions.push(Version {
                    component: digest.to_string(),
                    served_ms: now_ms,
                    standing,
                });
            }
        }
        while self.versions.len() > keep.max(1) {
            let older = &self.versions[..self.versions.len() - 1];
            let taken_back = |version: &Version| matches!(version.standing, Standing::TakenBack(_));
            let place = older.iter().position(taken_back).unwrap_or(0);
            self.versions.remove(place);
        }
    }

    pub(super) fn set(&mut self, digest: Digest, standing: Standing) {
        let standing = match standing {
            Standing::TakenBack(why) => Standing::TakenBack(one_line(&why, WHY_MAX)),
            other => other,
        };
        if let Some(place) = self.place(digest) {
            self.versions[place].standing = standing;
        }
    }

    /// Makes this version the newest good one: all that came after it are taken back.
    pub(super) fn return_to(&mut self, digest: Digest) {
        let Some(place) = self.place(digest) else { return };
        self.versions[place].standing = Standing::Good;
        for later in &mut self.versions[place + 1..] {
            if !matches!(later.standing, Standing::TakenBack(_)) {
                later.standing = Standing::TakenBack("an operator returned to an earlier version".to_owned());
            }
        }
    }

    /// What this has and the other one has not.
    pub(super) fn without(&self, other: &Self) -> Vec<Digest> {
        let digests = self
            .versions
            .iter()
            .filter_map(|version| version.component.parse().ok());
        digests.filter(|digest| other.standing(*digest).is_none()).collect()
    }

    fn place(&self, digest: Digest) -> Option<usize> {
        let digest = digest.to_string();
        self.versions.iter().position(|version| version.component == digest)
    }
}
