//! Why a tenant, or its component, is not served: what callers are told, and what the operator is.

use std::sync::Arc;
use std::time::Duration;

use namelock_account::Limit;
use namelock_sandbox::{Digest, LoadError};

use super::error::TenantError;
use super::plan::Plan;
use crate::text::{chain, one_line};

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
}

/// Why a component is not served.
#[derive(Clone, Debug)]
pub(super) struct Refused {
    pub(super) why: NotServed,
    /// The component, if it would be refused again.
    pub(super) digest: Option<Digest>,
    /// The limit that it reaches.
    pub(super) limit: Option<Limit>,
}

impl Refused {
    pub(super) fn because(error: &TenantError) -> Self {
        let limit = matches!(error, TenantError::TooLarge { .. }).then_some(Limit::Component);
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
        let path = plan.component.clone();
        Self {
            why: NotServed::because(&TenantError::Load { path, source }),
            digest,
            limit: of_artifact.then_some(Limit::Artifact),
        }
    }
}
