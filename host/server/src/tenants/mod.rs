//! The tenants of this host: which exist, and which of them can be served.
//!
//! The directory is read at the start and again at every SIGHUP ([`Tenants::load`]). One tenant never stops another:
//! each is loaded separately and swapped in once it is good. A bad version leaves the good one before it in place, and
//! the reason goes to the log and the answer of `/tenants`; a tenant that was never good stays in the table with the
//! reason, so that its callers get `tenant_unavailable` and not `unknown_tenant`. A tenant whose directory is gone is
//! unknown. Calls in progress keep the version that they began with.
//!
//! A component that the compiler has refused is not compiled again until it changes, so a bomb costs its time once. A
//! good one that many tenants bring is compiled once.
//!
//! Components are read one after another, each into memory of its own length, and what waits for the compiler holds
//! none: otherwise a directory full of long components, read at a SIGHUP, would take processors and memory from the
//! tenants that are being served.

pub mod directory;
mod error;
mod id;
mod plan;
pub mod tokens;

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use namelock_sandbox::{Digest, Handler, LoadError, Loaded, Sandbox, Tenant};
use parking_lot::RwLock;
use serde::Serialize;
use tokio::sync::Semaphore;

pub use self::error::TenantError;
pub use self::id::{InvalidTenantId, TenantId};
#[cfg(fuzzing)]
pub use self::plan::fuzz_tenant_toml;

use self::directory::Candidate;
use self::plan::Plan;
use self::tokens::Tokens;
use crate::admission::Admission;
use crate::text::{chain, one_line};

/// Longest reason that is kept for a tenant that is not served, in bytes.
const REASON_MAX: usize = 4096;

/// A tenant that can be served.
pub struct Ready {
    /// Its id, settings and limits.
    pub tenant: Arc<Tenant>,
    /// Its compiled component.
    pub handler: Handler,
    /// Which component that is, and what keeps its artifact.
    loaded: Loaded,
    /// What it uses of the host, and how much it may use. A tenant that is loaded again keeps its state
    /// ([`Admission::merge_into`]): a new one would forget the calls that run.
    pub admission: Arc<Admission>,
    /// Who may call it.
    pub tokens: Tokens,
}

/// Why the contents of a tenant's directory are not served.
#[derive(Clone, Debug)]
pub struct NotServed {
    /// The reason that callers see.
    pub public_reason: String,
    /// The chain of causes, for the log and the operator.
    pub reason: String,
    /// The component, if it would be refused again.
    digest: Option<Digest>,
}

/// One tenant in the table.
#[derive(Default)]
struct Entry {
    serving: Option<Arc<Ready>>,
    refused: Option<NotServed>,
}

/// The state of a tenant, for an operator.
#[derive(Debug, Serialize)]
pub struct Status {
    tenant: String,
    /// The SHA-256 of the component that is served.
    #[serde(skip_serializing_if = "Option::is_none")]
    component: Option<String>,
    /// Why the contents of the directory are not served.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
}

/// All tenants of this host.
pub struct Tenants {
    sandbox: Sandbox,
    entries: RwLock<HashMap<TenantId, Entry>>,
    /// Held while a component is read.
    reading: Semaphore,
}

impl Tenants {
    /// Creates a table with no tenants.
    pub fn new(sandbox: Sandbox) -> Self {
        Self {
            sandbox,
            entries: RwLock::default(),
            reading: Semaphore::new(1),
        }
    }

    /// The tenant with this id, or why it cannot be served; none if there is no such tenant.
    pub fn get(&self, id: &str) -> Option<Result<Arc<Ready>, NotServed>> {
        let entries = self.entries.read();
        let entry = entries.get(id)?;
        let ready = entry.serving.clone();
        Some(ready.ok_or_else(|| entry.refused.clone().unwrap_or_else(NotServed::loading)))
    }

    /// The state of every tenant, ordered by id.
    pub fn status(&self) -> Vec<Status> {
        let entries = self.entries.read();
        let mut all: Vec<_> = entries
            .iter()
            .map(|(id, entry)| Status {
                tenant: id.to_string(),
                component: entry.serving.as_ref().map(|ready| ready.loaded.digest.to_string()),
                refused: entry.refused.as_ref().map(|refused| refused.reason.clone()),
            })
            .collect();
        drop(entries);
        all.sort_by(|a, b| a.tenant.cmp(&b.tenant));
        all
    }

    /// Makes the table match these candidates: each tenant is served as soon as it is loaded, whatever becomes of the
    /// others.
    pub async fn load(&self, candidates: Vec<Candidate>) {
        self.match_ids(&candidates);
        let mut all: FuturesUnordered<_> = candidates
            .into_iter()
            .map(|candidate| self.load_one(candidate))
            .collect();
        while let Some(()) = all.next().await {}
    }

    /// Removes the tenants that are gone, and adds those that are new.
    fn match_ids(&self, candidates: &[Candidate]) {
        let mut entries = self.entries.write();
        entries.retain(|id, _| {
            let stays = candidates.iter().any(|candidate| candidate.id == *id);
            if !stays {
                tracing::info!(tenant = %id, "tenant removed");
            }
            stays
        });
        for Candidate { id, .. } in candidates {
            entries.entry(id.clone()).or_insert_with(|| Entry {
                serving: None,
                refused: Some(NotServed::loading()),
            });
        }
    }

    async fn load_one(&self, Candidate { id, plan }: Candidate) {
        let (before, refused) = self.current(&id);
        let loaded = match plan {
            Ok(plan) => self.prepare(plan, before.as_deref(), refused).await,
            Err(error) => Err(NotServed::because(&error, None)),
        };
        let entry = match loaded {
            Ok(mut ready) => {
                if let Some(before) = &before {
                    ready.admission = ready.admission.merge_into(&before.admission);
                }
                tracing::info!(tenant = %id, component = %ready.loaded.digest, "tenant loaded");
                Entry {
                    serving: Some(Arc::new(ready)),
                    refused: None,
                }
            }
            Err(refused) => {
                let served = if before.is_some() {
                    "it is served as it was"
                } else {
                    "it cannot be served"
                };
                tracing::error!(tenant = %id, error = %refused.reason, "tenant refused; {served}");
                Entry {
                    serving: before,
                    refused: Some(refused),
                }
            }
        };
        self.entries.write().insert(id, entry);
    }

    /// Prepares a tenant for serving; compiles its component unless it is served, refused or compiled already.
    async fn prepare(
        &self,
        plan: Plan,
        before: Option<&Ready>,
        refused: Option<NotServed>,
    ) -> Result<Ready, NotServed> {
        let mut plan = plan;
        // What a tenant has used is not forgotten when it is loaded again.
        if let Some(before) = before {
            let account = Arc::clone(&before.tenant.account);
            account.update(&plan.budgets);
            Arc::make_mut(&mut plan.tenant).account = account;
        }
        let plan = Arc::new(plan);
        let compiled = self.look_up(&plan, before, refused).await?;
        let loaded = match compiled {
            Some(loaded) => loaded,
            // Many may wait here, so the component is not kept meanwhile: each is read again when its turn comes.
            None => {
                let compiler = self.sandbox.compiler().await;
                let wasm = plan.read_component().await;
                let wasm = wasm.map_err(|error| NotServed::because(&error, None))?;
                let account = &plan.tenant.account;
                let compiled = self.sandbox.compile(compiler, &wasm, usize::MAX, account).await;
                compiled.map_err(|error| NotServed::because_of_load(&plan, error, wasm.digest()))?
            }
        };
        Ok(Ready {
            tenant: Arc::clone(&plan.tenant),
            handler: loaded.handler.clone(),
            loaded,
            admission: Arc::new(Admission::new(&plan.admission)),
            tokens: plan.tokens.clone(),
        })
    }

    /// Reads the component, one tenant at a time; returns it if it need not be compiled.
    async fn look_up(
        &self,
        plan: &Arc<Plan>,
        before: Option<&Ready>,
        refused: Option<NotServed>,
    ) -> Result<Option<Loaded>, NotServed> {
        // Nobody closes the semaphore.
        let _turn = self.reading.acquire().await.ok();
        let wasm = plan.read_component().await;
        let digest = wasm.map_err(|error| NotServed::because(&error, None))?.digest();
        // Keeps P6: a component that the compiler has refused costs its time once.
        if let Some(refused) = refused.filter(|refused| refused.digest == Some(digest)) {
            return Err(refused);
        }
        if let Some(before) = before.filter(|before| before.loaded.digest == digest) {
            return Ok(Some(before.loaded.clone()));
        }
        let compiled = self.sandbox.load_compiled(digest, usize::MAX).await;
        compiled.map_err(|error| NotServed::because_of_load(plan, error, digest))
    }

    fn current(&self, id: &TenantId) -> (Option<Arc<Ready>>, Option<NotServed>) {
        let entries = self.entries.read();
        entries
            .get(id)
            .map_or((None, None), |entry| (entry.serving.clone(), entry.refused.clone()))
    }
}

impl NotServed {
    fn because(error: &TenantError, digest: Option<Digest>) -> Self {
        Self {
            public_reason: error.public_reason(),
            reason: one_line(&chain(error), REASON_MAX),
            digest,
        }
    }

    /// The sandbox refused the component; the digest is remembered only if it would refuse it again.
    fn because_of_load(plan: &Plan, source: LoadError, digest: Digest) -> Self {
        let digest = source.is_final().then_some(digest);
        let path = plan.component.clone();
        Self::because(&TenantError::Load { path, source }, digest)
    }

    fn loading() -> Self {
        Self {
            public_reason: "its component is being loaded; try again soon".into(),
            reason: "its component is being loaded".into(),
            digest: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use namelock_sandbox::{CacheConfig, CompilerConfig, SandboxConfig};

    use super::*;
    use crate::config::Limits;

    #[tokio::test]
    async fn a_tenant_that_cannot_be_loaded_keeps_its_reason() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).join("handler.wasm");
        for name in ["none", "garbage", "long", "link", "folder", "toml"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        fs::write(at("garbage"), "no component").unwrap();
        fs::write(at("long"), vec![0; 1025]).unwrap();
        std::os::unix::fs::symlink(at("garbage"), at("link")).unwrap();
        fs::create_dir(at("folder")).unwrap();
        fs::write(dir.path().join("toml/tenant.toml"), "x = 1").unwrap();

        let limits = Limits {
            component: 1024,
            ..Limits::default()
        };
        let elsewhere = tempfile::tempdir().unwrap();
        let config = SandboxConfig {
            instances: 1,
            ..SandboxConfig::default()
        };
        let compiler = CompilerConfig {
            cache: CacheConfig {
                dir: elsewhere.path().join("cache"),
                files: 1,
                bytes: 1,
            },
            // This test is not the program that has the command `compile`.
            program: "/no/such/program".into(),
            ..CompilerConfig::default()
        };
        let tenants = Tenants::new(Sandbox::new(&config, compiler).unwrap());
        tenants
            .load(directory::scan(dir.path(), &limits, &limits).unwrap())
            .await;
        let check = |name: &str, expect: &str| match tenants.get(name) {
            Some(Err(refused)) => assert!(refused.reason.contains(expect), "{}", refused.reason),
            Some(Ok(_)) | None => panic!("{name} is not unavailable"),
        };
        check("none", "handler.wasm: No such file");
        check("garbage", "the compiler could not be run: No such file");
        check("long", "is longer than 1024 bytes");
        check("link", "is not a regular file");
        check("folder", "is not a regular file");
        check("toml", "unknown field `x`");
        assert!(tenants.get("other").is_none());

        tenants.load(Vec::new()).await;
        assert!(
            tenants.get("none").is_none(),
            "a tenant whose directory is gone is unknown"
        );
    }
}
