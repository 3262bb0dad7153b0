//! Where components are had: a tenant's directory, the database of a fleet, what was pulled from a registry, and the versions that
//! were served.

use std::sync::Arc;

use namelock_account::Limit;
use namelock_names::catalog::Catalog;
use namelock_oci::Cache;
use namelock_sandbox::{Digest, Wasm};

use super::super::error::TenantError;
use super::super::id::TenantId;
use super::super::plan::Plan;
use super::super::state::Refused;
use super::super::versions::{Standing, Versions};
use super::queue::Job;

/// What a job is to load.
pub(super) struct Wanted {
    pub(super) wasm: Wasm,
    /// Why it is not what the directory has.
    pub(super) instead_of: Option<Refused>,
}

/// Where components are had.
pub(super) struct Components {
    pub(super) versions: Arc<Versions>,
    pub(super) catalog: Option<Catalog>,
    pub(super) pulled: Cache,
}

impl Components {
    /// Reads what is to be served: what the directory has, or a version that was kept; none: it is to be pulled first.
    pub(super) async fn wanted(&self, job: &Job, plan: &Arc<Plan>) -> Result<Option<Wanted>, Refused> {
        let (versions, id) = (Arc::clone(&self.versions), job.id.clone());
        if let Some(refused) = &job.instead_of {
            let kept = blocking(move || versions.read(versions.instead(&id)?)).await;
            return match kept {
                Some(wasm) => Ok(Some(Wanted {
                    wasm,
                    instead_of: Some(refused.clone()),
                })),
                None => Err(refused.clone()),
            };
        }
        let refused = |error: TenantError| Refused::because(&error);
        let Some(wasm) = self.component(plan).await.map_err(refused)? else {
            return Ok(None);
        };
        let found = wasm.digest();
        let limit = plan.component_max as u64;
        job.account.note(Limit::Component, wasm.bytes() as u64, limit);
        plan.check_digest(found).map_err(refused)?;
        let taken_back = blocking(move || {
            let (why, instead) = versions.taken_back(&id, found)?;
            Some((why, instead.and_then(|instead| versions.read(instead))))
        });
        match taken_back.await {
            None => Ok(Some(Wanted { wasm, instead_of: None })),
            Some((why, instead)) => {
                let refused = refused(TenantError::TakenBack { component: found, why });
                let wasm = instead.ok_or_else(|| refused.clone())?;
                Ok(Some(Wanted {
                    wasm,
                    instead_of: Some(refused),
                }))
            }
        }
    }

    /// Reads the component that a tenant has: its file, what was pulled from its registry, or what the database of the fleet has,
    /// which is kept here once it was served; none: it is to be pulled first.
    async fn component(&self, plan: &Arc<Plan>) -> Result<Option<Wasm>, TenantError> {
        if let Some(reference) = &plan.reference {
            let (pulled, manifest, max) = (self.pulled.clone(), reference.digest(), plan.component_max as u64);
            return Ok(blocking(move || pulled.read(manifest, max).map(Wasm::new)).await);
        }
        let (Some(digest), Some(catalog)) = (plan.stored, &self.catalog) else {
            return plan.read_component().await.map(Some);
        };
        let path = || plan.component.clone();
        let versions = Arc::clone(&self.versions);
        let wasm = match blocking(move || versions.read(digest)).await {
            Some(kept) => kept,
            None => {
                let found = catalog.component(digest.into()).await;
                let found = found.map_err(|source| TenantError::Stored { path: path(), source })?;
                let bytes = found.ok_or_else(|| TenantError::Lost { path: path() })?;
                blocking(move || Some(Wasm::new(bytes)))
                    .await
                    .filter(|wasm| wasm.digest() == digest)
                    .ok_or_else(|| TenantError::Lost { path: path() })?
            }
        };
        plan.check_length(&wasm)?;
        Ok(Some(wasm))
    }

    /// The version that is served in place of what a tenant has: the newest that was served, and not taken back.
    pub(super) async fn instead(&self, id: &TenantId) -> Option<Digest> {
        let (versions, id) = (Arc::clone(&self.versions), id.clone());
        blocking(move || versions.instead(&id)).await
    }

    /// Whether a tenant was served a version, and it was not taken back.
    pub(super) async fn was_good(&self, id: &TenantId, digest: Digest) -> bool {
        let (versions, id) = (Arc::clone(&self.versions), id.clone());
        blocking(move || versions.is_good(&id, digest).then_some(()))
            .await
            .is_some()
    }

    /// Keeps a version of a tenant.
    pub(super) async fn keep(&self, id: &TenantId, wasm: Wasm, standing: Standing) {
        let (versions, id) = (Arc::clone(&self.versions), id.clone());
        let kept = blocking(move || {
            versions.keep(&id, &wasm, standing);
            Some(())
        });
        kept.await;
    }
}

/// Reads or writes what is kept on a thread that may block; a panic there finds nothing.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Option<T> + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok().flatten()
}
