//! What there is to see of a tenant at a glance: nothing that takes long to find out.

use std::sync::Arc;

use namelock_account::Account;

use crate::admission::Admission;
use crate::metrics::TenantUsage;

/// A tenant, whether it is served, and its calls.
#[derive(Clone, Debug)]
pub struct Glance {
    /// Its account, which has its id.
    pub account: Arc<Account>,
    /// Whether it is served: a label of [`State`](super::State).
    pub state: &'static str,
    /// Its calls that run, and those that wait to run or for their body; none before its `tenant.toml` could be read.
    pub calls: Option<(usize, usize)>,
}

impl Glance {
    pub(super) fn of(account: &Arc<Account>, state: &'static str, admission: Option<&Admission>) -> Self {
        Self {
            account: Arc::clone(account),
            state,
            calls: admission.map(|admission| (admission.running(), admission.waiting())),
        }
    }

    /// What it has used, for metrics; none before its `tenant.toml` could be read.
    pub(super) fn usage(self) -> Option<TenantUsage> {
        let (running, waiting) = self.calls?;
        Some(TenantUsage {
            account: self.account,
            running,
            waiting,
        })
    }
}
