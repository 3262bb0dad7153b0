//! The tenants of this host: which exist, and which of them can be served.
//!
//! The directory is read at the start, and again when something in it has changed ([`watch`]), at every SIGHUP, and when an operator
//! says so. What is in files applies at once ([`Tenants::apply`]): tokens, limits, settings, who is gone. Components are loaded
//! behind it ([`Tenants::work`]), and each is swapped in once it is good, whatever becomes of the others. A tenant that was never
//! good stays in the table with the reason, so that its callers get `tenant_unavailable` and not `unknown_tenant`. A tenant whose
//! directory is gone is unknown. Calls in progress keep the version that they began with.
//!
//! A component may be in a registry (`component` in its `tenant.toml`): then it is pulled once, and kept on this machine.
//!
//! A component that the compiler has refused is not compiled again until it changes, so a bomb costs its time once. A
//! good one that many tenants bring is compiled once.
//!
//! - [`directory`], `plan`, `files`: what is in the directory;
//! - `table`, `entry`: what is served of each tenant; `state`: whether it is, and why not; `glance`: what there is to see of each; `loader`:
//!   loads components, and is fair between tenants;
//! - `rehearsal`: a component is tried before it serves; `canary`: it serves a share of the calls first; [`versions`]: those that
//!   were served before, and the way back to them;
//! - [`fleet`]: the tenants of a fleet, which are in its database and in no directory.

mod canary;
pub mod directory;
mod entry;
mod error;
mod files;
pub mod fleet;
mod glance;
mod id;
mod loader;
pub(crate) mod plan;
mod rehearsal;
mod rehearsed;
mod state;
mod table;
pub mod versions;
pub mod watch;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use namelock_account::Account;
use namelock_lock::LockConfig;
use namelock_names::NamesConfig;
use namelock_names::catalog::Catalog;
use namelock_oci::{OciConfig, Outcome};
use namelock_sandbox::{Digest, Sandbox, Wasm};
use tokio::sync::Notify;

pub use self::canary::{Tally, TrialStatus};
pub use self::entry::Ready;
pub use self::error::TenantError;
pub use self::glance::Glance;
pub use self::id::{InvalidTenantId, TenantId};
pub use self::loader::{Loading, Stage};
pub use self::plan::Rules;
#[cfg(fuzzing)]
pub use self::plan::fuzz_tenant_toml;
pub use self::state::{Disabled, Listed, NotServed, State, Status, TriedStatus};

use self::canary::Verdict;
use self::directory::Candidate;
use self::loader::Loader;
use self::plan::Plan;
use self::rehearsal::Rehearsal;
use self::state::Refused;
use self::table::Table;
use self::versions::{RollbackError, Standing, Version, Versions};
use crate::metrics::TenantUsage;
use crate::text::chain;

/// How often it is looked whether a trial has ended, while there is one.
const JUDGED_EVERY: Duration = Duration::from_millis(250);

/// Where components are, besides the directory of tenants.
pub struct Stock {
    /// Those that were served.
    pub versions: Versions,
    /// Those of a fleet.
    pub catalog: Option<Catalog>,
    /// How those of registries are pulled and kept.
    pub oci: OciConfig,
}

/// All tenants of this host.
pub struct Tenants {
    table: Arc<Table>,
    loader: Loader,
    versions: Arc<Versions>,
    /// Notified when an operator wants the directory to be read again.
    read_again: Notify,
}

impl Tenants {
    /// Creates a table with no tenants, of whose components no earlier versions are kept.
    pub fn new(sandbox: Sandbox) -> Self {
        let stock = Stock {
            versions: Versions::none(),
            catalog: None,
            oci: OciConfig::default(),
        };
        Self::with_stock(sandbox, stock, &LockConfig::default(), &NamesConfig::default())
    }

    /// Creates a table with no tenants. New components are tried with locks and names that have these limits.
    pub fn with_stock(sandbox: Sandbox, stock: Stock, lock: &LockConfig, names: &NamesConfig) -> Self {
        let (table, versions) = (Arc::<Table>::default(), Arc::new(stock.versions));
        let rehearsal = Rehearsal::new(lock, names);
        let (of_loader, elsewhere) = (Arc::clone(&versions), (stock.catalog, &stock.oci));
        Self {
            loader: Loader::new(sandbox, Arc::clone(&table), of_loader, rehearsal, elsewhere),
            table,
            versions,
            read_again: Notify::new(),
        }
    }

    /// The tenant with this id, or why it cannot be served; none if there is no such tenant.
    pub fn get(&self, id: &str) -> Option<Result<Arc<Ready>, NotServed>> {
        self.table.get(id)
    }

    /// The account of the tenant with this id.
    pub fn account(&self, id: &str) -> Option<Arc<Account>> {
        self.table.account(id)
    }

    /// The states of the tenants whose ids come after `after`, in order, at most `limit` of them.
    pub fn status(&self, after: &str, limit: usize) -> Listed {
        self.table.status(after, limit)
    }

    /// The state of one tenant.
    pub fn status_of(&self, id: &str) -> Option<Status> {
        self.table.status_of(id)
    }

    /// At most `limit` of the tenants whose components are being loaded: those at work first.
    pub fn loading(&self, limit: usize) -> Vec<Loading> {
        self.loader.list(limit)
    }

    /// How many components were pulled from registries, or were not, by how it ended.
    pub fn pulls(&self) -> [(Outcome, u64); Outcome::ALL.len()] {
        self.loader.pulls()
    }

    /// Has the calls of a tenant refused from now on, or no longer; those that were admitted go on. A tenant that is removed
    /// and comes again is a new one. Returns its state; none if there is no such tenant.
    pub fn disable(&self, id: &str, disabled: Disabled) -> Option<Status> {
        self.table.disable(id, disabled)
    }

    /// How many tenants there are in each state.
    pub fn states(&self) -> [(State, usize); State::ALL.len()] {
        self.table.states()
    }

    /// What there is to see of every tenant at a glance.
    pub fn glances(&self) -> Vec<Glance> {
        self.table.glances()
    }

    /// What every tenant has used, for metrics.
    pub fn usage(&self) -> Vec<TenantUsage> {
        self.table.glances().into_iter().filter_map(Glance::usage).collect()
    }

    /// Makes the table match these candidates, and queues their components.
    pub fn apply(&self, candidates: Vec<Candidate>) {
        self.loader.push(self.table.apply(candidates));
    }

    /// Makes the table match these candidates as far as these tenants go, and queues their components.
    pub fn apply_to(&self, tenants: &BTreeSet<TenantId>, candidates: Vec<Candidate>) {
        self.loader.push(self.table.apply_to(tenants, candidates));
    }

    /// Notes which tenants are gone, of these or of all that ever were here: none of their versions is served in place of what they
    /// have should they come again.
    pub async fn note_gone(&self, of: Option<&BTreeSet<TenantId>>, candidates: &[Candidate]) {
        let there: BTreeSet<_> = candidates.iter().map(|candidate| candidate.id().clone()).collect();
        let (versions, of) = (Arc::clone(&self.versions), of.cloned());
        let noted = tokio::task::spawn_blocking(move || versions.end(of.as_ref(), &there));
        // A panic is logged where it happens.
        let _ = noted.await;
    }

    /// Compiles and tries a component of a tenant as if it were to be served, without serving it.
    ///
    /// # Errors
    ///
    /// Why it would be refused.
    pub(crate) async fn try_out(&self, plan: &Plan, wasm: &Wasm) -> Result<(), TenantError> {
        self.loader.try_out(plan, wasm).await
    }

    /// Has the directory of tenants read again.
    pub fn read_again(&self) {
        self.read_again.notify_one();
    }

    /// Waits until an operator wants the directory of tenants to be read again.
    pub async fn to_read_again(&self) {
        self.read_again.notified().await;
    }

    /// Loads the components that are queued, now and later, and ends trials; never ends.
    pub async fn work(&self) {
        tokio::join!(self.loader.work(), self.judge());
    }

    /// The versions of a tenant that are kept, the newest last; none if there is no such tenant.
    pub async fn versions(&self, id: &str) -> Option<Vec<Version>> {
        let (id, versions) = (self.known(id)?, Arc::clone(&self.versions));
        let list = tokio::task::spawn_blocking(move || versions.list(&id));
        Some(list.await.unwrap_or_default())
    }

    /// Takes back what was put after the version `to` of a tenant, and serves this one; without `to` it is the one before the newest
    /// that has calls. Returns it once it serves, or could not be loaded; none if there is no such tenant.
    ///
    /// # Errors
    ///
    /// See [`RollbackError`].
    pub async fn roll_back(&self, id: &str, to: Option<Digest>) -> Option<Result<Digest, RollbackError>> {
        let (tenant, account) = (self.known(id)?, self.account(id)?);
        let (versions, newest) = (Arc::clone(&self.versions), self.table.newest(id));
        let returned = {
            let tenant = tenant.clone();
            tokio::task::spawn_blocking(move || versions.roll_back(&tenant, newest, to))
        };
        let returned = returned
            .await
            .unwrap_or_else(|panic| Err(RollbackError::Io(std::io::Error::other(panic))));
        let (to, undo) = match returned {
            Ok(returned) => returned,
            // Another host of the fleet was told first, and this one has heard of it.
            Err(RollbackError::Unknown(_)) if to.is_some() && to == newest => return to.map(Ok),
            Err(error) => return Some(Err(error)),
        };
        self.table.end_trial(id, &Verdict::Open);
        self.loader.push(vec![(tenant.clone(), Arc::clone(&account))]);
        self.loader.done(id).await;
        let status = self.status_of(id)?;
        if status.component == Some(to.to_string()) {
            let put_back = self.loader.put_back(&tenant, to, None).await;
            return Some(
                put_back
                    .map(|()| to)
                    .map_err(|source| RollbackError::Fleet { to, source }),
            );
        }
        let versions = Arc::clone(&self.versions);
        let undone = {
            let tenant = tenant.clone();
            tokio::task::spawn_blocking(move || versions.undo(&tenant, undo))
        };
        // A panic is logged where it happens.
        let _ = undone.await;
        self.loader.push(vec![(tenant, account)]);
        self.loader.done(id).await;
        let why = status.refused.unwrap_or_default();
        Some(Err(RollbackError::NotServed { to, why }))
    }

    /// Serves all calls of a tenant with the version that is tried, and returns this; none if there is none.
    pub async fn promote(&self, id: &str) -> Option<Digest> {
        let (tenant, digest) = (self.known(id)?, self.table.end_trial(id, &Verdict::Good)?);
        self.note(&tenant, digest, Standing::Good).await;
        Some(digest)
    }

    /// The id of a tenant of this host.
    fn known(&self, id: &str) -> Option<TenantId> {
        self.table.account(id)?;
        id.parse().ok()
    }

    /// Ends trials when it is known what becomes of the new version; never ends.
    async fn judge(&self) {
        loop {
            let (judged, others) = self.table.judge(Instant::now());
            for (tenant, digest, verdict) in judged {
                let Verdict::Bad { old, new } = verdict else {
                    tracing::info!(tenant = %tenant, component = %digest, "the version that was tried serves all calls");
                    self.note(&tenant, digest, Standing::Good).await;
                    continue;
                };
                let why = format!(
                    "as a canary it failed {} of {} calls, and the version before it {} of {}",
                    new.faults, new.calls, old.faults, old.calls
                );
                tracing::error!(tenant = %tenant, component = %digest, why, "the version that was tried is taken back");
                let refused = Refused::because(&TenantError::TakenBack {
                    component: digest,
                    why: why.clone(),
                });
                self.table.took_back(&tenant, refused);
                self.note(&tenant, digest, Standing::TakenBack(why)).await;
                self.put_back(&tenant, digest).await;
            }
            let looked_at = async {
                match others {
                    true => tokio::time::sleep(JUDGED_EVERY).await,
                    false => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.table.trials_changed() => {}
                () = looked_at => {}
            }
        }
    }

    /// Has the fleet serve again what it served before a version that was taken back.
    async fn put_back(&self, tenant: &TenantId, taken_back: Digest) {
        let Some(to) = self.table.newest(tenant.as_str()) else {
            return;
        };
        if let Err(error) = self.loader.put_back(tenant, to, Some(taken_back)).await {
            let error = chain(&error);
            tracing::error!(tenant = %tenant, component = %to, error, "the fleet still has the version that was taken back; `namelock admin rollback` puts the one before");
        }
    }

    async fn note(&self, tenant: &TenantId, digest: Digest, standing: Standing) {
        let (versions, tenant) = (Arc::clone(&self.versions), tenant.clone());
        let noted = tokio::task::spawn_blocking(move || versions.set(&tenant, digest, standing));
        // A panic is logged where it happens; the version is tried again at the next start.
        let _ = noted.await;
    }

    /// Waits until every component was loaded or refused.
    pub async fn settled(&self) {
        self.loader.settled().await;
    }

    /// Applies these candidates and loads their components.
    pub async fn load(&self, candidates: Vec<Candidate>) {
        self.apply(candidates);
        tokio::select! {
            () = self.work() => {}
            () = self.settled() => {}
        }
    }
}

#[cfg(test)]
mod tests;
