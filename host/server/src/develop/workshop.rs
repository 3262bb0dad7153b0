//! A sandbox for one component, with locks and names of its own in this process.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use namelock_lock::{LockConfig, LockUrl, Locks};
use namelock_names::{Keep, NamesConfig, NamesUrl, Save};
use namelock_sandbox::compiler::Effort;
use namelock_sandbox::{CacheConfig, CompilerConfig, Loaded, Powers, Sandbox, SandboxConfig, Tenant, Wasm};
use tempfile::TempDir;

use super::faults::{Faults, FaultyNames};
use crate::config::Config;
use crate::config::source::ConfigError;
use crate::lifecycle::RunError;
use crate::tenants::TenantError;
use crate::tenants::plan::Plan;

/// An address at which no memcached listens.
const NO_SERVER: &str = "memcached://127.0.0.1:1";

/// Sets up a sandbox for one call after the other, whose compiled components are kept in `cache`.
pub(super) fn sandbox(config: &Config, cache: &Path) -> Result<Sandbox, RunError> {
    let sandbox = SandboxConfig {
        instances: 1,
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

/// Compiles a component as a host would, unless it was compiled before.
pub(super) async fn load(sandbox: &Sandbox, wasm: &Wasm, plan: &Plan) -> Result<Loaded, TenantError> {
    let permit = sandbox.compiler().await;
    let loaded = sandbox
        .compile(permit, wasm, plan.artifact_max, &plan.tenant.account, Effort::Full)
        .await;
    loaded.map_err(|source| TenantError::Load {
        path: plan.component.clone(),
        source,
    })
}

/// Where compiled components are kept between commands: as the XDG base directory specification says.
pub(super) fn cache() -> PathBuf {
    let dir = |variable: &str| {
        std::env::var_os(variable)
            .filter(|dir| !dir.is_empty())
            .map(PathBuf::from)
    };
    let cache = dir("XDG_CACHE_HOME").or_else(|| Some(dir("HOME")?.join(".cache")));
    cache.unwrap_or_else(std::env::temp_dir).join("namelock")
}

/// What a lock service is to be.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct LockFaults {
    /// After how long a lease is lost; none: as by default.
    pub(super) lost_after: Option<Duration>,
    pub(super) is_down: bool,
}

/// Locks and names that begin empty and end with this.
pub(super) struct Services {
    pub(super) locks: Locks,
    pub(super) names: Arc<FaultyNames>,
    // Last, because the database is in it.
    _folder: TempDir,
}

impl Services {
    pub(super) async fn open(lock: LockFaults, faults: Faults) -> Result<Self, RunError> {
        let folder = tempfile::tempdir().map_err(RunError::Runtime)?;
        let url = NamesUrl::Sqlite(folder.path().join("names.db"));
        let opened = namelock_names::open(&url, NamesConfig::default()).await;
        let names = opened.map_err(|source| RunError::Names {
            url: url.to_string(),
            source,
        })?;
        let mut config = LockConfig::default();
        if let Some(lease) = lock.lost_after {
            config.lease = lease;
        }
        let url = if lock.is_down {
            NO_SERVER.parse().unwrap_or(LockUrl::Memory)
        } else {
            LockUrl::Memory
        };
        let locks = Locks::open(&url, config).map_err(|source| RunError::Locks {
            url: url.to_string(),
            source,
        })?;
        Ok(Self {
            locks,
            names: Arc::new(FaultyNames::new(names, faults)),
            _folder: folder,
        })
    }

    /// Adds a registration without end, as another call before would have.
    pub(super) async fn add(&self, tenant: &Tenant, name: &str, owner: &str) -> Result<(), RunError> {
        let failed = |error: &dyn std::error::Error| {
            let problem = format!("cannot register {name:?} for {owner:?} beforehand: {error}");
            RunError::Config(ConfigError::new("--taken", problem))
        };
        let lease = Locks::open(&LockUrl::Memory, LockConfig::default()).map_err(|error| failed(&error))?;
        let lease = lease.acquire(&tenant.namespace, name, Duration::ZERO).await;
        let lease = lease.map_err(|error| failed(&error))?;
        let save = Save {
            tenant: tenant.id.to_string(),
            name: name.to_owned(),
            owner: owner.to_owned(),
            lifetime: None,
            attributes: Vec::new(),
            fencing_token: lease.fencing_token(),
            deadline: lease.deadline(),
            quota: tenant.limits.quota,
            hold: tenant.hold,
            request: None,
            keep: Keep::default(),
        };
        let saved = self.names.without_faults().save(save).await;
        saved.map(drop).map_err(|error| failed(&error))
    }

    pub(super) fn powers(&self) -> Powers {
        Powers {
            locks: self.locks.clone(),
            names: Arc::clone(&self.names) as _,
        }
    }
}
