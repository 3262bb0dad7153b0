//! Whether a tenant is served, and why not: as its callers hear it, and as an operator sees it.

use std::sync::Arc;
use std::time::Duration;

use namelock_account::Limit;
use namelock_sandbox::{Digest, LoadError};
use serde::Serialize;

use super::canary::TrialStatus;
use super::error::TenantError;
use super::plan::Plan;
use crate::text::{chain, one_line};
use crate::usage::Usage;

/// When a call is to be made again of a tenant whose component is being loaded, which takes from nothing to a minute.
const LOADED_SOON: Duration = Duration::from_secs(1);

/// Longest reason that is kept for a tenant that is not served, in bytes.
pub(super) const REASON_MAX: usize = 4096;

/// Why a tenant is not served. Cloned for each of its calls, so it is shared.
#[derive(Clone, Debug)]
pub struct NotServed {
    /// The reason that callers see.
    pub public_reason: Arc<str>,
    /// The chain of causes, for the log and the operator.
    pub reason: Arc<str>,
    /// When a call may be made again, if waiting helps.
    pub retry_after: Option<Duration>,
}

impl NotServed {
    pub(super) fn because(error: &TenantError) -> Self {
        Self {
            public_reason: error.public_reason().into(),
            reason: one_line(&chain(error), REASON_MAX).into(),
            retry_after: None,
        }
    }

    pub(super) fn loading() -> Self {
        Self {
            public_reason: "its component is being loaded; try again soon".into(),
            reason: "its component is being loaded".into(),
            retry_after: Some(LOADED_SOON),
        }
    }

    pub(super) fn unread() -> Self {
        Self {
            public_reason: "the tenants of this host are not read yet; try again soon".into(),
            reason: "the tenants are not read yet".into(),
            retry_after: Some(LOADED_SOON),
        }
    }

    pub(super) fn disabled() -> Self {
        Self {
            public_reason: "disabled by the operator".into(),
            reason: "disabled by the operator".into(),
            retry_after: None,
        }
    }
}

/// Why a component is not served.
#[derive(Clone, Debug)]
pub(super) struct Refused {
    pub(super) why: NotServed,
    /// The component, if it would be refused again.
    pub(super) digest: Option<Digest>,
    pub(super) limit: Option<Limit>,
}

impl Refused {
    pub(super) fn because(error: &TenantError) -> Self {
        let limit = error.is_too_large().then_some(Limit::Component);
        Self {
            why: NotServed::because(error),
            digest: None,
            limit,
        }
    }

    /// The sandbox refused the component; the digest is remembered only if it would refuse it again.
    pub(super) fn because_of_load(plan: &Plan, source: LoadError, digest: Digest) -> Self {
        let of_artifact = matches!(&source, LoadError::TooMuch { limit, .. } if limit.ends_with(".artifact"));
        let digest = source.is_final().then_some(digest);
        let path = plan.place();
        Self {
            why: NotServed::because(&TenantError::Load { path, source }),
            digest,
            limit: of_artifact.then_some(Limit::Artifact),
        }
    }
}

/// Whether a tenant is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Its calls are answered by what its directory holds.
    Serving,
    /// Its calls are answered by an older version of its component: the newest is refused.
    ServingPrevious,
    /// It has never been served, and its component is being loaded.
    Loading,
    /// Its calls are refused.
    Unavailable,
    /// Its calls are refused because an operator wants it so.
    Disabled,
}

impl State {
    /// All of them, in the order of declaration.
    pub const ALL: [Self; 5] = [
        Self::Serving,
        Self::ServingPrevious,
        Self::Loading,
        Self::Unavailable,
        Self::Disabled,
    ];

    /// The state as written in metrics, and by the admin listener.
    pub fn label(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::ServingPrevious => "serving_previous",
            Self::Loading => "loading",
            Self::Unavailable => "unavailable",
            Self::Disabled => "disabled",
        }
    }
}

/// Whether an operator wants the calls of a tenant to be refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disabled {
    /// Refused until the tenant is enabled again, or the host stops.
    Yes,
    /// Answered as its directory says.
    No,
}

/// A version that is tried, for an operator.
#[derive(Debug, Serialize)]
pub struct TriedStatus {
    /// The SHA-256 of the component.
    pub component: String,
    /// How the trial stands.
    #[serde(flatten)]
    pub trial: TrialStatus,
}

/// The states of some tenants, for an operator.
#[derive(Debug, Serialize)]
pub struct Listed {
    /// In the order of their ids.
    pub tenants: Vec<Status>,
    /// The tenant after which the next ones come; none: there are no more.
    pub next: Option<String>,
}

/// The state of a tenant, for an operator.
#[derive(Debug, Serialize)]
pub struct Status {
    /// Its id.
    pub tenant: String,
    /// Whether it is served.
    pub state: State,
    /// The SHA-256 of the component that is served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub component: Option<String>,
    /// A newer one that serves a share of the calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tried: Option<TriedStatus>,
    /// Why the contents of the directory are not served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// The keys of its `[settings]` that no call has read since its `tenant.toml` was.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unread_settings: Vec<String>,
    /// What it has used, and how near to its limits it came; none before its `tenant.toml` could be read.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}
