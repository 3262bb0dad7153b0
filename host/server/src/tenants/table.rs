//! The table of tenants: what is served of each, and why not.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use namelock_account::{Account, Budgets, Level};
use namelock_sandbox::{Digest, Loaded};
use parking_lot::RwLock;
use tokio::sync::Notify;

use super::canary::{Trial, Verdict};
use super::directory::Candidate;
use super::entry::{Entry, Ready, Tried};
use super::glance::Glance;
use super::id::TenantId;
use super::plan::Plan;
use super::state::{Disabled, Listed, NotServed, REASON_MAX, Refused, State, Status};
use crate::text::quoted;

/// What has to be known to load a tenant's component.
pub(super) struct ToLoad {
    /// What the `tenant.toml` says now.
    pub(super) plan: Arc<Plan>,
    /// The component that is served.
    pub(super) serving: Option<Loaded>,
    /// The component that would be refused again.
    pub(super) refused: Option<Refused>,
}

/// A component that was loaded, and how it comes to be served.
pub(super) struct Put {
    pub(super) loaded: Loaded,
    /// Why it is not the one of the directory.
    pub(super) instead_of: Option<Refused>,
    /// Whether the tenant was never served it before, so that its `[canary]` applies.
    pub(super) is_new: bool,
    /// For how long it was tried before the host was started again.
    pub(super) tried_for: Duration,
}

/// What became of a component that was loaded, or refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finished {
    /// It serves all calls.
    Serves,
    /// It serves a share of them.
    Tried,
    /// It is refused, and another version serves.
    Refused,
    /// It is refused, and there is none that serves.
    NothingServes,
    /// The tenant is gone.
    Gone,
}

/// All tenants of this host.
#[derive(Default)]
pub(super) struct Table {
    entries: RwLock<HashMap<TenantId, Entry>>,
    /// Whether it was ever known which tenants there are: before that nobody is told that there is no such tenant.
    read: AtomicBool,
    /// Notified when a trial begins, or should end.
    trials: Arc<Notify>,
}

impl Table {
    pub(super) fn get(&self, id: &str) -> Option<Result<Arc<Ready>, NotServed>> {
        let found = self.entries.read().get(id).map(Entry::get);
        found.or_else(|| (!self.read.load(Relaxed)).then(|| Err(NotServed::unread())))
    }

    /// The states of the tenants whose ids come after `after`, in order, at most `limit` of them.
    pub(super) fn status(&self, after: &str, limit: usize) -> Listed {
        let entries = self.entries.read();
        let mut all: Vec<_> = entries.iter().filter(|(id, _)| id.as_str() > after).collect();
        all.sort_unstable_by_key(|(id, _)| id.as_str());
        let asked = all.iter().take(limit);
        let tenants: Vec<_> = asked.map(|(id, entry)| entry.status(id)).collect();
        let last = tenants.last().filter(|_| tenants.len() < all.len());
        let next = last.map(|last| last.tenant.clone());
        Listed { tenants, next }
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
        let to_load = candidates
            .into_iter()
            .filter_map(|candidate| apply(&mut entries, &mut before, candidate))
            .collect();
        before.into_iter().for_each(removed);
        self.read.store(true, Relaxed);
        to_load
    }

    /// As [`apply`](Self::apply), for these tenants alone: those that are no candidates are gone.
    pub(super) fn apply_to(
        &self,
        tenants: &BTreeSet<TenantId>,
        candidates: Vec<Candidate>,
    ) -> Vec<(TenantId, Arc<Account>)> {
        let mut entries = self.entries.write();
        let mut before: HashMap<_, _> = tenants.iter().filter_map(|id| entries.remove_entry(id)).collect();
        let to_load = candidates
            .into_iter()
            .filter_map(|candidate| apply(&mut entries, &mut before, candidate))
            .collect();
        before.into_iter().for_each(removed);
        self.read.store(true, Relaxed);
        to_load
    }

    /// The components of registries that tenants have.
    pub(super) fn pulled(&self) -> HashSet<namelock_oci::Digest> {
        let entries = self.entries.read();
        let plans = entries.values().filter_map(|entry| entry.settings.as_ref().ok());
        plans
            .filter_map(|plan| Some(plan.reference.as_ref()?.digest()))
            .collect()
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
    pub(super) fn finish(&self, id: &TenantId, account: &Arc<Account>, put: Result<Put, Refused>) -> Finished {
        let mut entries = self.entries.write();
        let Some(entry) = entries.get_mut(id).filter(|entry| Arc::ptr_eq(&entry.account, account)) else {
            return Finished::Gone;
        };
        match put {
            Ok(put) => {
                account.set(Level::ArtifactBytes, put.loaded.artifact_bytes);
                self.put(id, entry, put)
            }
            Err(refused) => {
                let (served, finished) = if entry.ready.is_some() {
                    ("it is served as it was", Finished::Refused)
                } else {
                    ("it cannot be served", Finished::NothingServes)
                };
                tracing::error!(tenant = %id, error = %quoted(&refused.why.reason, REASON_MAX), "tenant refused; {served}");
                if let Some(limit) = refused.limit {
                    account.refuse(limit);
                }
                entry.refused = Some(refused);
                finished
            }
        }
    }

    fn put(&self, id: &TenantId, entry: &mut Entry, put: Put) -> Finished {
        let Put {
            loaded,
            instead_of,
            is_new,
            tried_for,
        } = put;
        let component = loaded.digest;
        if entry
            .tried
            .as_ref()
            .is_some_and(|tried| tried.loaded.digest == component)
        {
            entry.refused = None;
            return Finished::Tried;
        }
        let canary = entry.settings.as_ref().ok().map(|plan| plan.canary.clone());
        let share = canary.as_ref().and_then(|canary| Some((canary.share?, canary.time)));
        let other_serves = entry
            .component
            .as_ref()
            .is_some_and(|served| served.digest != component);
        entry.tried = None;
        if let Some((share, time)) = share.filter(|_| is_new && other_serves && instead_of.is_none()) {
            tracing::info!(tenant = %id, %component, share = %share, ?time, "tenant loaded; a share of its calls tries it");
            entry.tried = Some(Tried {
                loaded,
                trial: Arc::new(Trial::begin(
                    share,
                    time.saturating_sub(tried_for),
                    Arc::clone(&self.trials),
                )),
                ready: None,
            });
            entry.refused = None;
            entry.make_ready();
            self.trials.notify_one();
            return Finished::Tried;
        }
        match &instead_of {
            None => tracing::info!(tenant = %id, %component, "tenant loaded"),
            Some(refused) => {
                let error = quoted(&refused.why.reason, REASON_MAX);
                tracing::warn!(tenant = %id, %component, %error, "tenant loaded with an earlier version");
            }
        }
        (entry.component, entry.refused) = (Some(loaded), instead_of);
        entry.make_ready();
        Finished::Serves
    }

    /// The newest version of a tenant that has calls.
    pub(super) fn newest(&self, id: &str) -> Option<Digest> {
        self.entries.read().get(id)?.newest()
    }

    /// Waits until a trial begins, or should end.
    pub(super) async fn trials_changed(&self) {
        self.trials.notified().await;
    }

    /// Ends the trials whose verdict is known, and returns these, and whether others go on.
    pub(super) fn judge(&self, now: Instant) -> (Vec<(TenantId, Digest, Verdict)>, bool) {
        let mut entries = self.entries.write();
        let (mut judged, mut others) = (Vec::new(), false);
        for (id, entry) in entries.iter_mut() {
            let Some(verdict) = entry.tried.as_ref().map(|tried| tried.trial.verdict(now)) else {
                continue;
            };
            others |= verdict == Verdict::Open;
            if verdict != Verdict::Open
                && let Some(digest) = entry.end_trial(&verdict)
            {
                judged.push((id.clone(), digest, verdict));
            }
        }
        (judged, others)
    }

    /// Ends the trial of a tenant as an operator says, and returns the version that was tried.
    pub(super) fn end_trial(&self, id: &str, verdict: &Verdict) -> Option<Digest> {
        self.entries.write().get_mut(id)?.end_trial(verdict)
    }

    /// Notes why the newest component of a tenant is not served, if this one does not serve.
    pub(super) fn took_back(&self, id: &TenantId, refused: Refused) {
        if let Some(entry) = self.entries.write().get_mut(id) {
            entry.refused = Some(refused);
        }
    }
}

/// Applies what a `tenant.toml` says now; returns the tenant with its account if its component is to be loaded.
fn apply(
    entries: &mut HashMap<TenantId, Entry>,
    before: &mut HashMap<TenantId, Entry>,
    Candidate { id, plan }: Candidate,
) -> Option<(TenantId, Arc<Account>)> {
    let mut entry = before.remove(&id).unwrap_or_else(|| {
        let budgets = plan
            .as_ref()
            .map_or_else(|_| Budgets::default(), |plan| plan.budgets.clone());
        Entry::new(Arc::new(Account::new(id.as_str(), &budgets)))
    });
    let to_load = match entry.apply(plan) {
        Ok(()) => Some((id.clone(), Arc::clone(&entry.account))),
        Err(error) => {
            tracing::error!(tenant = %id, error = %quoted(&error, REASON_MAX), "tenant refused; it cannot be served");
            None
        }
    };
    entries.insert(id, entry);
    to_load
}

fn removed((id, entry): (TenantId, Entry)) {
    tracing::info!(tenant = %id, "tenant removed");
    entry.feed.look();
}
