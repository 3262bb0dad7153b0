//! The tenants of this host: which exist, and which of them can be served.
//!
//! The directory is read at the start and again at every SIGHUP. What is in files applies at once ([`Tenants::apply`]): tokens,
//! limits, settings, who is gone. Components are loaded behind it ([`Tenants::work`]), and each is swapped in once it is good,
//! whatever becomes of the others. A tenant that was never good stays in the table with the reason, so that its callers get
//! `tenant_unavailable` and not `unknown_tenant`. A tenant whose directory is gone is unknown. Calls in progress keep
//! the version that they began with.
//!
//! A component that the compiler has refused is not compiled again until it changes, so a bomb costs its time once. A
//! good one that many tenants bring is compiled once.
//!
//! - [`directory`], `plan`, `files`: what is in the directory;
//! - `table`: what is served of each tenant; `state`: whether it is, and why not; `glance`: what there is to see of each; `loader`:
//!   loads components, and is fair between tenants.

pub mod directory;
mod error;
mod files;
mod glance;
mod id;
mod loader;
pub(crate) mod plan;
mod state;
mod table;

use std::sync::Arc;

use namelock_account::Account;
use namelock_sandbox::Sandbox;

pub use self::error::TenantError;
pub use self::glance::Glance;
pub use self::id::{InvalidTenantId, TenantId};
pub use self::loader::{Loading, Stage};
pub use self::plan::Rules;
#[cfg(fuzzing)]
pub use self::plan::fuzz_tenant_toml;
pub use self::state::{Disabled, NotServed, State, Status};
pub use self::table::Ready;

use self::directory::Candidate;
use self::loader::Loader;
use self::table::Table;
use crate::metrics::TenantUsage;

/// All tenants of this host.
pub struct Tenants {
    table: Arc<Table>,
    loader: Loader,
}

impl Tenants {
    /// Creates a table with no tenants.
    pub fn new(sandbox: Sandbox) -> Self {
        let table = Arc::<Table>::default();
        Self {
            loader: Loader::new(sandbox, Arc::clone(&table)),
            table,
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
    pub fn status(&self, after: &str, limit: usize) -> Vec<Status> {
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

    /// Loads the components that are queued, now and later; never ends.
    pub async fn work(&self) {
        self.loader.work().await;
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
