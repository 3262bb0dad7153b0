//! A sandbox for one component, with locks and names of its own in this process.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use namelock_lock::{LockConfig, LockUrl, Locks, OwnEpochs};
use namelock_names::{Keep, ManualTime, Names, NamesConfig, Save};
use namelock_sandbox::compiler::Effort;
use namelock_sandbox::{CacheConfig, CompilerConfig, Loaded, Powers, Sandbox, SandboxConfig, Tenant, Wasm};
use tempfile::TempDir;

use super::faults::{Faults, FaultyNames};
use super::given::Given;
use crate::config::Config;
use crate::config::source::ConfigError;
use crate::lifecycle::RunError;
use crate::tenants::TenantError;
use crate::tenants::plan::Plan;
use crate::text;

/// An address at which no memcached listens.
const NO_SERVER: &str = "memcached://127.0.0.1:1";

/// How long a component may be loaded before its author is told why.
const LOADS_SOON: Duration = Duration::from_secs(1);

/// Sets up a sandbox for so many calls at once, whose compiled components are kept in `cache`.
pub(super) fn sandbox(config: &Config, cache: &Path, calls: usize) -> Result<Sandbox, RunError> {
    let sandbox = SandboxConfig {
        instances: u32::try_from(calls).unwrap_or(u32::MAX),
        memory_max: config.limits_max.call.memory,
        stack: config.stack,
        ..SandboxConfig::default()
    };
    let compiler = CompilerConfig {
        cache: CacheConfig {
            dir: cache.to_owned(),
            ..config.compiler.cache.clone()
        },
        ..config.compiler.clone()
    };
    Sandbox::new(&sandbox, compiler).map_err(RunError::Sandbox)
}

/// Compiles a component as a host would, unless it was compiled before, and says so if that takes long.
pub(super) async fn load(sandbox: &Sandbox, wasm: &Wasm, plan: &Plan) -> Result<Loaded, TenantError> {
    let told = async {
        tokio::time::sleep(LOADS_SOON).await;
        tracing::warn!("compiling {}, which may take half a minute", plan.component.display());
        std::future::pending().await
    };
    let compiled = async {
        let permit = sandbox.compiler().await;
        let account = &plan.tenant.account;
        sandbox
            .compile(permit, wasm, plan.artifact_max, account, Effort::Full)
            .await
    };
    let loaded = tokio::select! {
        loaded = compiled => loaded,
        never = told => never,
    };
    loaded.map_err(|source| TenantError::Load {
        path: plan.component.clone(),
        source,
    })
}

/// Reads and compiles the component of a plan.
pub(super) async fn load_plan(sandbox: &Sandbox, plan: Plan) -> Result<(Loaded, Arc<Plan>), RunError> {
    let plan = Arc::new(plan);
    let wasm = plan.read_component().await.map_err(RunError::Tenant)?;
    let loaded = load(sandbox, &wasm, &plan).await.map_err(RunError::Tenant)?;
    Ok((loaded, plan))
}

/// Where compiled components are kept between commands: as the XDG base directory specification says.
pub(super) fn cache() -> PathBuf {
    let dir = |variable: &str| {
        std::env::var_os(variable)
            .filter(|dir| !dir.is_empty())
            .map(PathBuf::from)
    };
    let cache = dir("XDG_CACHE_HOME").or_else(|| Some(dir("HOME")?.join(".cache")));
    let cache = cache.unwrap_or_else(std::env::temp_dir);
    // A new user has none. Where it cannot be made, opening what is in it says so.
    let _ = DirBuilder::new().recursive(true).mode(0o700).create(&cache);
    cache.join("namelock")
}

/// Names that begin empty and end with this, at a time that stands still unless it is moved.
pub(super) struct Services {
    pub(super) time: ManualTime,
    names: Arc<dyn Names>,
    epochs: Arc<OwnEpochs>,
    // Last, because the database is in it.
    _folder: TempDir,
}

/// The services as they are for a call.
pub(super) struct Circumstances {
    pub(super) locks: Locks,
    pub(super) names: Arc<FaultyNames>,
}

impl Services {
    pub(super) async fn open(config: &Config) -> Result<Self, RunError> {
        let folder = tempfile::tempdir().map_err(RunError::Runtime)?;
        let (path, time) = (folder.path().join("names.db"), ManualTime::default());
        let names = NamesConfig {
            apply_max: config.limits_max.call.leases,
            ..config.names.clone()
        };
        let opened = namelock_names::open_with_time(&path, names, time.clone()).await;
        let names = opened.map_err(|source| RunError::Names {
            url: format!("sqlite:{}", path.display()),
            source,
        })?;
        Ok(Self {
            time,
            names,
            epochs: Arc::default(),
            _folder: folder,
        })
    }

    /// The services with these faults. Nobody holds a lock yet.
    pub(super) fn under(&self, config: &Config, faults: Faults) -> Result<Circumstances, RunError> {
        let mut lock = LockConfig {
            shared_with_idiom: false,
            ..config.lock.clone()
        };
        if let Some(ms) = faults.lose_lease_after_ms {
            lock.lease = Duration::from_millis(ms.get());
        }
        let url = if faults.lock_down {
            NO_SERVER.parse().unwrap_or(LockUrl::Memory)
        } else {
            LockUrl::Memory
        };
        let epochs = Arc::clone(&self.epochs) as _;
        let locks = Locks::open_with(&url, lock, epochs).map_err(|source| RunError::Locks {
            url: url.to_string(),
            source,
        })?;
        Ok(Circumstances {
            locks,
            names: Arc::new(FaultyNames::new(Arc::clone(&self.names), faults)),
        })
    }

    /// Adds a registration, as another call before would have.
    pub(super) async fn add(&self, tenant: &Tenant, given: &Given) -> Result<(), RunError> {
        let Given { name, owner, .. } = given;
        let failed = |error: &dyn std::error::Error| {
            let problem = format!(
                "cannot register {name:?} for {owner:?} beforehand: {}",
                text::chain(error)
            );
            RunError::Config(ConfigError::new("given", problem))
        };
        let locks = self.under(&Config::default(), Faults::default())?.locks;
        let lease = locks.acquire(&tenant.namespace, name, Duration::ZERO).await;
        let lease = lease.map_err(|error| failed(&error))?;
        let save = Save {
            tenant: tenant.id.to_string(),
            name: name.clone(),
            owner: owner.clone(),
            lifetime: given.lifetime_ms.map(Duration::from_millis),
            attributes: given.attributes.clone().into_iter().collect(),
            fencing_token: lease.fencing_token(),
            deadline: lease.deadline(),
            quota: tenant.limits.quota,
            hold: tenant.hold,
            request: None,
            keep: Keep::default(),
        };
        self.names.save(save).await.map(drop).map_err(|error| failed(&error))
    }
}

impl Circumstances {
    pub(super) fn powers(&self) -> Powers {
        Powers {
            locks: self.locks.clone(),
            names: Arc::clone(&self.names) as _,
        }
    }
}
