//! A component is tried before it serves anybody.
//!
//! It is instantiated once, because one that was compiled and fits may still break down whenever it starts. If the `tenant.toml`
//! has a `[canary.request]`, this is made too, and must come out as it says. Both happen with locks of this process and a database
//! of their own that is removed afterwards: nothing that is tried is seen by anybody. They are booked to the tenant, and have its
//! limits.

use std::sync::Arc;
use std::time::Duration;

use namelock_lock::{LockConfig, LockUrl, Locks, OwnEpochs};
use namelock_names::{NamesConfig, NamesUrl};
use namelock_sandbox::{CallError, Context, Handler, Powers};
use tempfile::TempDir;
use tokio::sync::OnceCell;

use super::error::TenantError;
use super::plan::Plan;
use crate::error::{Outcome, Problem};
use crate::text::chain;

/// The id under which it is in the tenant's log.
const REQUEST_ID: &str = "canary";

/// How often a component is tried that finds the host full, and how long it waits before it is tried again.
const TRIES: usize = 50;
const TRY_AGAIN: Duration = Duration::from_millis(100);

/// Locks and names that nobody else sees.
struct Stage {
    powers: Powers,
    // Last, because the database is in it.
    _folder: TempDir,
}

/// Where components are tried.
pub(super) struct Rehearsal {
    lock: LockConfig,
    names: NamesConfig,
    /// For those that are only instantiated.
    empty: OnceCell<Stage>,
}

impl Rehearsal {
    pub(super) fn new(lock: &LockConfig, names: &NamesConfig) -> Self {
        Self {
            // How long leases last is what a handler sees of it. The rest is about servers, and there is none.
            lock: LockConfig {
                lease: lock.lease,
                max_hold: lock.max_hold,
                max_wait: lock.max_wait,
                ..LockConfig::default()
            },
            names: names.clone(),
            empty: OnceCell::new(),
        }
    }

    /// Tries a component.
    pub(super) async fn run(&self, plan: &Plan, handler: &Handler) -> Result<(), TenantError> {
        let empty = self.empty.get_or_try_init(|| self.stage()).await?;
        let start = || async {
            let context = Context::new(REQUEST_ID);
            handler.instantiate(&empty.powers, &plan.tenant, &context).await
        };
        patiently(start).await.map_err(TenantError::Start)?;
        let Some(rehearsed) = &plan.canary.request else {
            return Ok(());
        };
        let stage = self.stage().await?;
        let call = || async {
            let context = Context::new(REQUEST_ID);
            let registered = handler.register(&stage.powers, &plan.tenant, &context, rehearsed.request(), None);
            registered.await.map(drop)
        };
        let (code, detail) = match patiently(call).await.map_err(Problem::from) {
            Ok(()) => (Outcome::Ok.label(), String::new()),
            Err(problem) => (problem.kind().label(), format!(": {}", problem.detail())),
        };
        if code == rehearsed.expect {
            return Ok(());
        }
        Err(TenantError::Canary {
            expected: rehearsed.expect.clone(),
            came: format!("{code}{detail}"),
        })
    }

    async fn stage(&self) -> Result<Stage, TenantError> {
        let failed = |error: &dyn std::error::Error| TenantError::Rehearsal(chain(error));
        let folder = tempfile::tempdir().map_err(|error| failed(&error))?;
        let names = NamesUrl::Sqlite(folder.path().join("names.db"));
        let names = namelock_names::open(&names, self.names.clone());
        let locks = Locks::open_with(&LockUrl::Memory, self.lock.clone(), Arc::<OwnEpochs>::default());
        Ok(Stage {
            powers: Powers {
                locks: locks.map_err(|error| failed(&error))?,
                names: names.await.map_err(|error| failed(&error))?,
            },
            _folder: folder,
        })
    }
}

/// Makes a call again while the host is full: that says nothing about the component.
async fn patiently<F>(call: impl Fn() -> F) -> Result<(), CallError>
where
    F: Future<Output = Result<(), CallError>>,
{
    for _ in 1..TRIES {
        match call().await {
            Err(CallError::Overloaded) => tokio::time::sleep(TRY_AGAIN).await,
            done => return done,
        }
    }
    call().await
}
