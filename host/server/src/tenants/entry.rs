//! What is served of one tenant, and why not.
//!
//! A tenant has two parts, which change apart from each other:
//!
//! - what its `tenant.toml` says: tokens, limits, settings. It applies at once. If it cannot be read, nobody knows any more who
//!   may call the tenant, so its calls are refused, also if it was served before;
//! - its component, which may take minutes to compile. A bad version leaves the good one before it in place.
//!
//! A good version may be tried beside the one before (`canary`); then there are two, and each call gets one of them.
//!
//! Beside them an entry has what outlives both: the account, the calls that are admitted, and those who follow the log.

use std::sync::Arc;

use namelock_account::Account;
use namelock_sandbox::{Digest, Feed, Handler, Loaded, Tenant};

use super::canary::{Ran, Trial, Verdict};
use super::error::TenantError;
use super::id::TenantId;
use super::plan::{Plan, Record};
use super::state::{Disabled, NotServed, Refused, State, Status, TriedStatus};
use crate::admission::Admission;
use crate::tokens::Tokens;
use crate::tokens::right::Right;
use crate::usage::Usage;

/// A tenant that can be served.
pub struct Ready {
    /// Its id, settings and limits.
    pub tenant: Arc<Tenant>,
    /// Its compiled component.
    pub handler: Handler,
    /// The digest of this, in hexadecimal digits.
    pub component: Arc<str>,
    /// What it uses of the host, and how much it may use.
    pub admission: Arc<Admission>,
    /// Who may call it.
    pub tokens: Tokens<Right>,
    /// How many may follow its log at once.
    pub log_followers: usize,
    /// Whether its calls that fail are recorded, if the host keeps recordings.
    pub records_failures: bool,
    /// The trial in which it is one of two versions, and which.
    trial: Option<(Arc<Trial>, Ran)>,
}

impl Ready {
    /// Counts a call that has ended, if it ran its component; `fault`: the component is the reason, or may be.
    pub fn count(&self, fault: bool) {
        if let Some((trial, ran)) = &self.trial {
            trial.count(*ran, fault);
        }
    }
}

/// A new version that is tried beside the one that is served.
pub(super) struct Tried {
    pub(super) loaded: Loaded,
    pub(super) trial: Arc<Trial>,
    pub(super) ready: Option<Arc<Ready>>,
}

/// One tenant in the table.
pub(super) struct Entry {
    /// Where everything is booked that the tenant causes, for as long as the tenant is in the table.
    pub(super) account: Arc<Account>,
    /// Those who follow its log.
    pub(super) feed: Arc<Feed>,
    /// What it uses of the host; none before its `tenant.toml` could be read. A new one would forget the calls that run.
    pub(super) admission: Option<Arc<Admission>>,
    pub(super) settings: Result<Arc<Plan>, NotServed>,
    pub(super) component: Option<Loaded>,
    /// A newer one, which has a share of the calls.
    pub(super) tried: Option<Tried>,
    /// Why the newest component is not served.
    pub(super) refused: Option<Refused>,
    /// Kept when the directory is read again; the host forgets it when it stops.
    pub(super) disabled: Disabled,
    /// What the parts make together, if they make a tenant that can be served.
    pub(super) ready: Option<Arc<Ready>>,
}

impl Entry {
    pub(super) fn new(account: Arc<Account>) -> Self {
        Self {
            account,
            feed: Arc::default(),
            admission: None,
            settings: Err(NotServed::loading()),
            component: None,
            tried: None,
            refused: None,
            disabled: Disabled::No,
            ready: None,
        }
    }

    /// Applies what the `tenant.toml` says now.
    // Keeps P7: where nobody knows who may call a tenant, nobody may.
    pub(super) fn apply(&mut self, plan: Result<Plan, TenantError>) -> Result<(), Arc<str>> {
        self.settings = match plan {
            Ok(mut plan) => {
                self.account.update(&plan.budgets);
                // What a tenant has used is not forgotten when it is read again.
                let tenant = Arc::make_mut(&mut plan.tenant);
                (tenant.account, tenant.feed) = (Arc::clone(&self.account), Arc::clone(&self.feed));
                let new = Arc::new(Admission::new(&plan.admission, Arc::clone(&plan.tenant.account)));
                self.admission = Some(match &self.admission {
                    Some(existing) => new.merge_into(existing),
                    None => new,
                });
                // What was too long before may not be any more.
                if let Some(refused) = self.refused.as_mut().filter(|refused| refused.limit.is_some()) {
                    refused.digest = None;
                }
                Ok(Arc::new(plan))
            }
            Err(error) => Err(NotServed::because(&error)),
        };
        self.make_ready();
        self.feed.look();
        self.settings
            .as_ref()
            .map(drop)
            .map_err(|refused| Arc::clone(&refused.reason))
    }

    pub(super) fn make_ready(&mut self) {
        let ready = |loaded: &Loaded, trial| match (&self.settings, &self.admission) {
            (Ok(plan), Some(admission)) => Some(Arc::new(Ready {
                tenant: Arc::clone(&plan.tenant),
                handler: loaded.handler.clone(),
                component: loaded.digest.to_string().into(),
                admission: Arc::clone(admission),
                tokens: plan.tokens.clone(),
                log_followers: plan.log_followers,
                records_failures: plan.record == Some(Record::Failures),
                trial,
            })),
            _ => None,
        };
        let ran = |ran| self.tried.as_ref().map(|tried| (Arc::clone(&tried.trial), ran));
        let served = self.component.as_ref().and_then(|loaded| ready(loaded, ran(Ran::Old)));
        let tried = self
            .tried
            .as_ref()
            .and_then(|tried| ready(&tried.loaded, ran(Ran::New)));
        self.ready = served;
        if let Some(existing) = &mut self.tried {
            existing.ready = tried;
        }
    }

    pub(super) fn get(&self) -> Result<Arc<Ready>, NotServed> {
        if self.disabled == Disabled::Yes {
            return Err(NotServed::disabled());
        }
        let refused = || match (&self.settings, &self.refused) {
            (Err(refused), _) => refused.clone(),
            (Ok(_), Some(refused)) => refused.why.clone(),
            (Ok(_), None) => NotServed::loading(),
        };
        if let Some(Tried {
            trial,
            ready: Some(ready),
            ..
        }) = &self.tried
            && trial.takes_call()
        {
            return Ok(Arc::clone(ready));
        }
        self.ready.clone().ok_or_else(refused)
    }

    /// The newest version that has calls.
    pub(super) fn newest(&self) -> Option<Digest> {
        let tried = self.tried.as_ref().map(|tried| tried.loaded.digest);
        tried.or(self.component.as_ref().map(|loaded| loaded.digest))
    }

    /// Ends a trial, and serves all calls with the new version, or none.
    pub(super) fn end_trial(&mut self, verdict: &Verdict) -> Option<Digest> {
        let Tried { loaded, .. } = self.tried.take()?;
        let digest = loaded.digest;
        // What is refused stays so: it came after the trial began.
        if *verdict == Verdict::Good {
            self.component = Some(loaded);
        }
        self.make_ready();
        Some(digest)
    }

    fn unread_settings(&self) -> Vec<String> {
        let plan = self.settings.as_ref().ok();
        let unread = plan.into_iter().flat_map(|plan| plan.tenant.settings.unread());
        unread.map(str::to_owned).collect()
    }

    pub(super) fn state(&self) -> State {
        if self.disabled == Disabled::Yes {
            return State::Disabled;
        }
        match (&self.ready, &self.settings, &self.refused) {
            (Some(_), _, None) => State::Serving,
            (Some(_), _, Some(_)) => State::ServingPrevious,
            (None, Ok(_), None) => State::Loading,
            (None, ..) => State::Unavailable,
        }
    }

    pub(super) fn status(&self, id: &TenantId) -> Status {
        let refused = match (&self.settings, &self.refused) {
            (Err(refused), _) => Some(refused.clone()),
            (Ok(_), Some(refused)) => Some(refused.why.clone()),
            (Ok(_), None) => self.component.is_none().then(NotServed::loading),
        };
        Status {
            tenant: id.to_string(),
            state: self.state(),
            component: self.component.as_ref().map(|loaded| loaded.digest.to_string()),
            tried: self.tried.as_ref().map(|tried| TriedStatus {
                component: tried.loaded.digest.to_string(),
                trial: tried.trial.stands(),
            }),
            refused: refused.map(|refused| refused.reason.to_string()),
            unread_settings: self.unread_settings(),
            usage: self
                .admission
                .as_ref()
                .map(|admission| Usage::of(&self.account, admission)),
        }
    }
}
