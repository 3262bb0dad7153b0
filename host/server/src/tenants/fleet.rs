//! The tenants of a fleet, which are in the database that its hosts share, and in no directory.
//!
//! With `--tenants postgres:` a host reads which tenants there are, their settings and their components from the PostgreSQL of
//! `--names`, and reads again what has changed when it is told so, or at the latest a second later (`namelock_names::catalog`). So what
//! is put once is served by every host, and a token that is removed is refused by every host.
//!
//! Whatever is put is tried first by the host that is asked ([`Fleet::deploy`]): it reads the settings, compiles the component and
//! tries it as it would before it serves it. What it refuses is not put, so no host hears of it. Each host tries it again before it
//! serves it: it may have other limits.
//!
//! While the database is down hosts serve what they have read. A host that starts then knows no tenant, and says to callers that it
//! does not know yet, rather than that there is none.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use namelock_names::catalog::{Catalog, CatalogConfig, CatalogError, CatalogTenant, Put};
use namelock_sandbox::{Digest, Wasm};

use super::Tenants;
use super::directory::{Candidate, refuse_open};
use super::error::TenantError;
use super::id::TenantId;
use super::plan::{Plan, Rules};
use crate::config::Config;
use crate::config::source::{ConfigError, Source};

/// What is written in place of a directory.
pub const DATABASE: &str = "postgres:";

/// How often something is put that another deployment has changed meanwhile.
const TRIES: usize = 5;

/// The tenants of a fleet.
pub struct Fleet {
    catalog: Catalog,
    config: Config,
    /// Whether a tenant without tokens may be served.
    open: bool,
}

/// What has changed since tenants were read before.
pub struct Changes {
    /// The tenants that have.
    pub tenants: BTreeSet<TenantId>,
    /// Those of them that are there.
    pub candidates: Vec<Candidate>,
}

/// What is deployed of a tenant; what is left out stays as it is.
#[derive(Debug, Default)]
pub struct Deploy {
    /// Its settings: the text of a `tenant.toml`.
    pub settings: Option<String>,
    /// Its component.
    pub component: Option<Vec<u8>>,
}

/// What was deployed.
#[derive(Debug, PartialEq, Eq)]
pub struct Deployed {
    /// The component that the tenant has now.
    pub component: Digest,
    /// Grows with everything that is deployed.
    pub revision: u64,
}

/// Why nothing was deployed.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// A host would refuse it.
    #[error("nothing was deployed, because hosts would refuse it")]
    Refused(#[source] TenantError),
    /// The database does not take it.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

impl Fleet {
    /// The tenants in the database of this host; none if its tenants are in a directory.
    ///
    /// # Errors
    ///
    /// The host has no database that a fleet could share.
    pub fn open(config: &Config, open: bool) -> Result<Option<Self>, ConfigError> {
        if config.tenants != Path::new(DATABASE) {
            return Ok(None);
        }
        let catalog = CatalogConfig {
            tls_roots: config.names.tls_roots.clone(),
            connect_timeout: config.names.connect_timeout,
            component_max: config.limits_max.component,
            ..CatalogConfig::default()
        };
        let catalog = Catalog::new(&config.names_url, catalog);
        Ok(Some(Self {
            catalog: catalog.map_err(|error| ConfigError::new("tenants.dir", error.to_string()))?,
            config: config.clone(),
            open,
        }))
    }

    /// Where its components are.
    pub fn catalog(&self) -> Catalog {
        self.catalog.clone()
    }

    /// The longest component, in bytes.
    pub fn component_max(&self) -> usize {
        self.config.limits_max.component
    }

    /// Waits until something may have changed.
    pub async fn changed(&self) {
        self.catalog.changed().await;
    }

    /// Reads what has changed since `known` was read, and makes that what it is now.
    ///
    /// # Errors
    ///
    /// The database does not answer; `known` is as it was.
    pub async fn read(&self, known: &mut BTreeMap<TenantId, u64>) -> Result<Changes, CatalogError> {
        let mut now = BTreeMap::new();
        let mut changes = Changes {
            tenants: BTreeSet::new(),
            candidates: Vec::new(),
        };
        for tenant in self.catalog.tenants().await? {
            let Ok(id) = tenant.id.parse::<TenantId>() else {
                tracing::warn!(tenant = ?tenant.id, "skipped: the database has a tenant whose id is none");
                continue;
            };
            if known.get(&id) != Some(&tenant.revision) {
                let plan = self.plan(&id, &tenant.settings, Digest::from(tenant.sha256));
                changes.candidates.push(Candidate::of(id.clone(), plan));
                changes.tenants.insert(id.clone());
            }
            now.insert(id, tenant.revision);
        }
        let gone = known.keys().filter(|id| !now.contains_key(*id));
        changes.tenants.extend(gone.cloned());
        if !self.open {
            refuse_open(&mut changes.candidates);
        }
        *known = now;
        Ok(changes)
    }

    /// Tries what is to be deployed of a tenant, and puts it for all hosts.
    ///
    /// # Errors
    ///
    /// See [`DeployError`].
    pub async fn deploy(&self, tenants: &Tenants, id: &TenantId, deploy: Deploy) -> Result<Deployed, DeployError> {
        let given = deploy.component.map(|bytes| Arc::new(Wasm::new(bytes)));
        let mut tries = 1..TRIES;
        loop {
            let before = self.tenant(id).await?;
            let kept = before.as_ref().map(|before| before.settings.as_str());
            let settings = deploy.settings.as_deref().or(kept).unwrap_or_default();
            let wasm = match (&given, &before) {
                (Some(given), _) => Arc::clone(given),
                (None, Some(before)) => Arc::new(self.component(id, before.sha256).await?),
                (None, None) => return Err(CatalogError::NoComponent { tenant: id.to_string() }.into()),
            };
            let plan = self
                .checked(id, settings, wasm.digest())
                .map_err(DeployError::Refused)?;
            tenants.try_out(&plan, &wasm).await.map_err(DeployError::Refused)?;
            let put = Put {
                settings: deploy.settings.clone(),
                component: given
                    .as_ref()
                    .map(|wasm| (wasm.digest().into(), wasm.as_bytes().to_vec())),
                // What was tried is what is put: not these settings with the component of somebody else.
                if_revision: Some(before.map_or(0, |before| before.revision)),
            };
            match self.catalog.put(id.as_str(), put).await {
                Err(CatalogError::Changed { .. }) if tries.next().is_some() => {}
                put => {
                    return Ok(Deployed {
                        component: wasm.digest(),
                        revision: put?,
                    });
                }
            }
        }
    }

    /// Removes a tenant from all hosts, and returns whether there was one.
    ///
    /// # Errors
    ///
    /// The database does not answer.
    pub async fn remove(&self, id: &TenantId) -> Result<bool, CatalogError> {
        self.catalog.remove(id.as_str()).await
    }

    async fn tenant(&self, id: &TenantId) -> Result<Option<CatalogTenant>, CatalogError> {
        let all = self.catalog.tenants().await?;
        Ok(all.into_iter().find(|tenant| tenant.id == id.as_str()))
    }

    async fn component(&self, id: &TenantId, sha256: [u8; 32]) -> Result<Wasm, DeployError> {
        let found = self.catalog.component(sha256).await?.map(Wasm::new);
        let found = found.filter(|wasm| wasm.digest() == Digest::from(sha256));
        let path = place(id).join("handler.wasm");
        found.ok_or(DeployError::Refused(TenantError::Lost { path }))
    }

    /// What these settings make of a tenant, if this host would serve it.
    fn checked(&self, id: &TenantId, settings: &str, component: Digest) -> Result<Plan, TenantError> {
        let mut candidate = [Candidate::of(id.clone(), self.plan(id, settings, component))];
        if !self.open {
            refuse_open(&mut candidate);
        }
        let [candidate] = candidate;
        candidate.plan
    }

    fn plan(&self, id: &TenantId, settings: &str, component: Digest) -> Result<Plan, TenantError> {
        let dir = place(id);
        let source = Source::at(&dir.join("tenant.toml"), settings);
        let plan = Plan::parse(id, &dir, &source, &Rules::of(&self.config))?;
        // One place for the components of a fleet: each host would pull it, some of them too late, or never.
        if plan.reference.is_some() {
            let place = dir.join("tenant.toml").display().to_string();
            let problem = "a fleet has its components in its database; leave this out, get the component with `wkg oci pull`, and \
                           deploy the file";
            return Err(ConfigError::new(format!("{place}, component"), problem).into());
        }
        Ok(Plan {
            stored: Some(component),
            ..plan
        })
    }
}

/// Where a tenant is, for messages.
fn place(id: &TenantId) -> PathBuf {
    Path::new(DATABASE).join(id.as_str())
}
