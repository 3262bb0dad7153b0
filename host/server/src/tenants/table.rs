//! The table of tenants: what is served of each, and why not.
//!
//! A tenant has two parts, which change apart from each other:
//!
//! - what its `tenant.toml` says: tokens, limits, settings. It applies at once. If it cannot be read, nobody knows any more who
//!   may call the tenant, so its calls are refused, also if it was served before;
//! - its component, which may take minutes to compile. A bad version leaves the good one before it in place.
//!
//! Beside them an entry has what outlives both: the account, the calls that are admitted, and those who follow the log.

use std::collections::HashMap;
use std::sync::Arc;

use namelock_account::{Account, Budgets, Level};
use namelock_sandbox::{Feed, Handler, Loaded, Tenant};
use parking_lot::RwLock;

use super::directory::Candidate;
use super::error::TenantError;
use super::glance::Glance;
use super::id::TenantId;
use super::plan::{Plan, Record};
use super::state::{Disabled, NotServed, REASON_MAX, Refused, State, Status};
use crate::admission::Admission;
use crate::text::quoted;
use crate::tokens::Tokens;
use crate::tokens::right::Right;
use crate::usage::Usage;

/// A tenant that can be served.
pub struct Ready {
    /// Its id, settings and limits.
    pub tenant: Arc<Tenant>,
    /// Its compiled component.
    pub handler: Handler,
    /// What it uses of the host, and how much it may use.
    pub admission: Arc<Admission>,
    /// Who may call it.
    pub tokens: Tokens<Right>,
    /// How many may follow its log at once.
    pub log_followers: usize,
    /// Whether its calls that fail are recorded, if the host keeps recordings.
    pub records_failures: bool,
}

/// One tenant in the table.
struct Entry {
    /// Where everything is booked that the tenant causes, for as long as the tenant is in the table.
    account: Arc<Account>,
    /// Those who follow its log.
    feed: Arc<Feed>,
    /// What it uses of the host; none before its `tenant.toml` could be read. A new one would forget the calls that run.
    admission: Option<Arc<Admission>>,
    settings: Result<Arc<Plan>, NotServed>,
    component: Option<Loaded>,
    /// Why the newest component is not served.
    refused: Option<Refused>,
    /// Kept when the directory is read again; the host forgets it when it stops.
    disabled: Disabled,
    /// What the parts make together, if they make a tenant that can be served.
    ready: Option<Arc<Ready>>,
}

impl Entry {
    fn new(account: Arc<Account>) -> Self {
        Self {
            account,
            feed: Arc::default(),
            admission: None,
            settings: Err(NotServed::loading()),
            component: None,
            refused: None,
            disabled: Disabled::No,
            ready: None,
        }
    }

    /// Applies what the `tenant.toml` says now.
    // Keeps P7: where nobody knows who may call a tenant, nobody may.
    fn apply(&mut self, plan: Result<Plan, TenantError>) -> Result<(), Arc<str>> {
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

    fn make_ready(&mut self) {
        self.ready = match (&self.settings, &self.component, &self.admission) {
            (Ok(plan), Some(component), Some(admission)) => Some(Arc::new(Ready {
                tenant: Arc::clone(&plan.tenant),
                handler: component.handler.clone(),
                admission: Arc::clone(admission),
                tokens: plan.tokens.clone(),
                log_followers: plan.log_followers,
                records_failures: plan.record == Some(Record::Failures),
            })),
            _ => None,
        };
    }

    fn get(&self) -> Result<Arc<Ready>, NotServed> {
        if self.disabled == Disabled::Yes {
            return Err(NotServed::disabled());
        }
        let refused = || match (&self.settings, &self.refused) {
            (Err(refused), _) => refused.clone(),
            (Ok(_), Some(refused)) => refused.why.clone(),
            (Ok(_), None) => NotServed::loading(),
        };
        self.ready.clone().ok_or_else(refused)
    }

    fn unread_settings(&self) -> Vec<String> {
        let plan = self.settings.as_ref().ok();
        let unread = plan.into_iter().flat_map(|plan| plan.tenant.settings.unread());
        unread.map(str::to_owned).collect()
    }

    fn state(&self) -> State {
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

    fn status(&self, id: &TenantId) -> Status {
        let refused = match (&self.settings, &self.refused) {
            (Err(refused), _) => Some(refused.clone()),
            (Ok(_), Some(refused)) => Some(refused.why.clone()),
            (Ok(_), None) => self.component.is_none().then(NotServed::loading),
        };
        Status {
            tenant: id.to_string(),
            state: self.state(),
            component: self.component.as_ref().map(|loaded| loaded.digest.to_string()),
            refused: refused.map(|refused| refused.reason.to_string()),
            unread_settings: self.unread_settings(),
            usage: self
                .admission
                .as_ref()
                .map(|admission| Usage::of(&self.account, admission)),
        }
    }
}

/// What has to be known to load a tenant's component.
pub(super) struct ToLoad {
    /// What the `tenant.toml` says now.
    pub(super) plan: Arc<Plan>,
    /// The component that is served.
    pub(super) serving: Option<Loaded>,
    /// The component that would be refused again.
    pub(super) refused: Option<Refused>,
}

/// All tenants of this host.
#[derive(Default)]
pub(super) struct Table {
    entries: RwLock<HashMap<TenantId, Entry>>,
}

impl Table {
    pub(super) fn get(&self, id: &str) -> Option<Result<Arc<Ready>, NotServed>> {
        self.entries.read().get(id).map(Entry::get)
    }

    /// The states of the tenants whose ids come after `after`, in order, at most `limit` of them.
    pub(super) fn status(&self, after: &str, limit: usize) -> Vec<Status> {
        let entries = self.entries.read();
        let mut all: Vec<_> = entries.iter().filter(|(id, _)| id.as_str() > after).collect();
        all.sort_unstable_by_key(|(id, _)| id.as_str());
        let asked = all.into_iter().take(limit);
        asked.map(|(id, entry)| entry.status(id)).collect()
    }

    /// Has the calls of a tenant refused from now on, or no longer; returns its state.
    pub(super) fn disable(&self, id: &str, disabled: Disabled) -> Option<Status> {
        let mut entries = self.entries.write();
        entries.get_mut(id)?.disabled = disabled;
        let (id, entry) = entries.get_key_value(id)?;
        Some(entry.status(id))
    }

    /// How many tenants there are in each state.
    pub(super) fn states(&self) -> [(State, usize); State::ALL.len()] {
        let entries = self.entries.read();
        State::ALL.map(|state| (state, entries.values().filter(|entry| entry.state() == state).count()))
    }

    /// The state of one tenant.
    pub(super) fn status_of(&self, id: &str) -> Option<Status> {
        let entries = self.entries.read();
        let (id, entry) = entries.get_key_value(id)?;
        Some(entry.status(id))
    }

    /// The account of a tenant.
    pub(super) fn account(&self, id: &str) -> Option<Arc<Account>> {
        self.entries.read().get(id).map(|entry| Arc::clone(&entry.account))
    }

    /// What there is to see of every tenant at a glance, in no order.
    pub(super) fn glances(&self) -> Vec<Glance> {
        let entries = self.entries.read();
        let glance = |entry: &Entry| Glance::of(&entry.account, entry.state().label(), entry.admission.as_deref());
        entries.values().map(glance).collect()
    }

    /// Applies what every `tenant.toml` says now, and removes the tenants that are gone; returns those whose component is to be
    /// loaded, with their accounts.
    pub(super) fn apply(&self, candidates: Vec<Candidate>) -> Vec<(TenantId, Arc<Account>)> {
        let mut entries = self.entries.write();
        let mut before = std::mem::take(&mut *entries);
        let mut to_load = Vec::new();
        for Candidate { id, plan } in candidates {
            let mut entry = before.remove(&id).unwrap_or_else(|| {
                let budgets = plan
                    .as_ref()
                    .map_or_else(|_| Budgets::default(), |plan| plan.budgets.clone());
                Entry::new(Arc::new(Account::new(id.as_str(), &budgets)))
            });
            match entry.apply(plan) {
                Ok(()) => to_load.push((id.clone(), Arc::clone(&entry.account))),
                Err(error) => {
                    tracing::error!(tenant = %id, error = %quoted(&error, REASON_MAX), "tenant refused; it cannot be served");
                }
            }
            entries.insert(id, entry);
        }
        for (id, entry) in before {
            tracing::info!(tenant = %id, "tenant removed");
            entry.feed.look();
        }
        to_load
    }

    /// What has to be known to load a tenant's component; none: it is gone, or its `tenant.toml` cannot be read.
    pub(super) fn to_load(&self, id: &TenantId, account: &Arc<Account>) -> Option<ToLoad> {
        let entries = self.entries.read();
        let entry = entries.get(id).filter(|entry| Arc::ptr_eq(&entry.account, account))?;
        Some(ToLoad {
            plan: Arc::clone(entry.settings.as_ref().ok()?),
            serving: entry.component.clone(),
            refused: entry.refused.clone(),
        })
    }

    /// Puts a component in place, or says why it is not. A tenant that was removed meanwhile, and perhaps came again, is not
    /// touched: its account is not the one for which the component was loaded.
    pub(super) fn finish(&self, id: &TenantId, account: &Arc<Account>, loaded: Result<Loaded, Refused>) {
        let mut entries = self.entries.write();
        let Some(entry) = entries.get_mut(id).filter(|entry| Arc::ptr_eq(&entry.account, account)) else {
            return;
        };
        match loaded {
            Ok(loaded) => {
                tracing::info!(tenant = %id, component = %loaded.digest, "tenant loaded");
                account.set(Level::ArtifactBytes, loaded.artifact_bytes);
                (entry.component, entry.refused) = (Some(loaded), None);
                entry.make_ready();
            }
            Err(refused) => {
                let served = if entry.ready.is_some() {
                    "it is served as it was"
                } else {
                    "it cannot be served"
                };
                tracing::error!(tenant = %id, error = %quoted(&refused.why.reason, REASON_MAX), "tenant refused; {served}");
                if let Some(limit) = refused.limit {
                    account.refuse(limit);
                }
                entry.refused = Some(refused);
            }
        }
    }
}
