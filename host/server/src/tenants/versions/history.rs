//! The versions of one tenant, in the order in which they were put.

use namelock_sandbox::Digest;
use serde::{Deserialize, Serialize};

use crate::text::one_line;

/// Longest reason that is kept of a version that was taken back, in bytes.
const WHY_MAX: usize = 512;

/// How many versions that were taken back are remembered, by their digests.
const TAKEN_BACK_MAX: usize = 100;

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
    /// Whether the tenant was removed since it was served last: then none of them is served in place of what it has.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) removed: bool,
}

impl Version {
    fn is_taken_back(&self) -> bool {
        matches!(self.standing, Standing::TakenBack(_))
    }
}

impl History {
    pub(super) fn standing(&self, digest: Digest) -> Option<&Standing> {
        self.place(digest).map(|place| &self.versions[place].standing)
    }

    /// The version that is served in place of what the tenant has: the newest good one.
    pub(super) fn instead(&self) -> Option<Digest> {
        if self.removed {
            None
        } else {
            newest_good(&self.versions)
        }
    }

    /// The newest good version from before `served`; one that is not known is the newest of all.
    pub(super) fn before(&self, served: Option<Digest>) -> Option<Digest> {
        let place = served.and_then(|served| self.place(served));
        newest_good(&self.versions[..place.unwrap_or(self.versions.len())])
    }

    /// The version that is tried.
    pub(super) fn tried(&self) -> Option<&Version> {
        self.versions.iter().find(|version| version.standing == Standing::Tried)
    }

    /// Adds a version as the newest, also if it is there already, and drops what is too much.
    pub(super) fn add(&mut self, digest: Digest, standing: Standing, now_ms: u64, keep: usize) {
        self.removed = false;
        // Whatever else was tried is not tried any more.
        let text = digest.to_string();
        self.versions
            .retain(|version| version.standing != Standing::Tried || version.component == text);
        let newest = self.versions.len().wrapping_sub(1);
        match self.place(digest) {
            Some(place) if place == newest => self.versions[place].standing = standing,
            place => {
                if let Some(place) = place {
                    self.versions.remove(place);
                }
                self.push(digest, standing, now_ms);
            }
        }
        self.trim(keep);
    }

    /// Notes what became of a version; one that was taken back is remembered also if it is not kept.
    pub(super) fn set(&mut self, digest: Digest, standing: Standing, now_ms: u64, keep: usize) {
        let standing = match standing {
            Standing::TakenBack(why) => Standing::TakenBack(one_line(&why, WHY_MAX)),
            other => other,
        };
        match (self.place(digest), &standing) {
            (Some(place), _) => self.versions[place].standing = standing,
            (None, Standing::TakenBack(_)) => self.push(digest, standing, now_ms),
            (None, Standing::Good | Standing::Tried) => {}
        }
        self.trim(keep);
    }

    /// Makes this version the newest good one: all that came after it are taken back, and so is what is served.
    pub(super) fn return_to(&mut self, digest: Digest, served: Option<Digest>, now_ms: u64) {
        let why = "an operator returned to another version";
        if let Some(served) = served.filter(|served| self.place(*served).is_none()) {
            self.push(served, Standing::Good, now_ms);
        }
        let Some(place) = self.place(digest) else { return };
        self.versions[place].standing = Standing::Good;
        for later in self.versions[place + 1..]
            .iter_mut()
            .filter(|later| !later.is_taken_back())
        {
            later.standing = Standing::TakenBack(why.to_owned());
        }
    }

    /// Forgets that a version was taken back.
    pub(super) fn pardon(&mut self, digest: Digest) {
        self.versions
            .retain(|version| !version.is_taken_back() || version.component != digest.to_string());
    }

    /// Those whose components are kept: as many good ones as the host says, as many that were taken back, and the one that is
    /// tried. So what was taken back never costs the way back.
    pub(super) fn kept(&self, keep: usize) -> Vec<&Version> {
        let (mut good, mut taken_back) = (0, 0);
        let kept = self.versions.iter().rev().filter(|version| {
            let count = match version.standing {
                Standing::Tried => return keep > 0,
                Standing::Good => &mut good,
                Standing::TakenBack(_) => &mut taken_back,
            };
            *count += 1;
            *count <= keep
        });
        let mut kept: Vec<_> = kept.collect();
        kept.reverse();
        kept
    }

    fn push(&mut self, digest: Digest, standing: Standing, now_ms: u64) {
        self.versions.push(Version {
            component: digest.to_string(),
            served_ms: now_ms,
            standing,
        });
    }

    /// Drops good ones that are not kept, and those that were taken back so long ago that nobody brings them again.
    fn trim(&mut self, keep: usize) {
        let kept: Vec<_> = self
            .kept(keep)
            .into_iter()
            .map(|version| version.component.clone())
            .collect();
        self.versions
            .retain(|version| version.is_taken_back() || kept.contains(&version.component));
        let taken_back = self.versions.iter().filter(|version| version.is_taken_back()).count();
        let mut too_many = taken_back.saturating_sub(TAKEN_BACK_MAX);
        self.versions.retain(|version| {
            let goes = version.is_taken_back() && too_many > 0;
            too_many -= usize::from(goes);
            !goes
        });
    }

    /// The components that are kept of it.
    pub(super) fn components(&self, keep: usize) -> Vec<Digest> {
        let kept = self.kept(keep).into_iter();
        kept.filter_map(|version| version.component.parse().ok()).collect()
    }

    fn place(&self, digest: Digest) -> Option<usize> {
        let digest = digest.to_string();
        self.versions.iter().position(|version| version.component == digest)
    }
}

/// The newest of them that served all calls, and was not taken back.
fn newest_good(versions: &[Version]) -> Option<Digest> {
    let mut good = versions
        .iter()
        .rev()
        .filter(|version| version.standing == Standing::Good);
    good.next()?.component.parse().ok()
}
