//! What a loader asks of the versions that are kept.

use std::sync::Arc;
use std::time::Duration;

use namelock_names::catalog::{CatalogError, Put};
use namelock_sandbox::Digest;

use super::super::id::TenantId;
use super::super::table::{self, ToLoad};
use super::Loader;
use super::components::blocking;
use super::queue::Job;

impl Loader {
    /// Serves the last good version of a tenant that nothing serves, if it need not be compiled, while what its directory has is
    /// compiled and tried.
    pub(super) async fn serve_last_version(&self, job: &Job) {
        let Some(digest) = self.components.instead(&job.id).await else {
            return;
        };
        let Some(ToLoad { plan, .. }) = self.table.to_load(&job.id, &job.account) else {
            return;
        };
        if let Ok(Some(loaded)) = self.sandbox.load_compiled(digest, plan.artifact_max).await {
            let put = table::Put {
                loaded,
                instead_of: None,
                is_new: false,
                tried_for: Duration::ZERO,
            };
            self.table.finish(&job.id, &job.account, Ok(put));
        }
    }

    /// Whether what serves a tenant is one that an operator has left for another.
    pub(super) async fn serves_what_was_left(&self, job: &Job) -> bool {
        let serving = self.table.to_load(&job.id, &job.account).and_then(|now| now.serving);
        let (versions, id) = (Arc::clone(&self.components.versions), job.id.clone());
        let left = blocking(move || versions.is_left(&id, serving?.digest).then_some(()));
        left.await.is_some()
    }

    /// Makes a version that is kept what the fleet has of a tenant, so that hosts that come later serve it, too; does nothing if the
    /// fleet has it already, or `instead_of` is some and it has another one than this.
    pub(in super::super) async fn put_back(
        &self,
        id: &TenantId,
        to: Digest,
        instead_of: Option<Digest>,
    ) -> Result<(), CatalogError> {
        let Some(catalog) = &self.components.catalog else {
            return Ok(());
        };
        let all = catalog.tenants().await?;
        let Some(now) = all.into_iter().find(|tenant| tenant.id == id.as_str()) else {
            return Ok(());
        };
        let has = Digest::from(now.sha256);
        if has == to || instead_of.is_some_and(|other| other != has) {
            return Ok(());
        }
        let versions = Arc::clone(&self.components.versions);
        let Some(wasm) = blocking(move || versions.read(to)).await else {
            return Ok(());
        };
        let put = Put {
            settings: None,
            component: Some((to.into(), wasm.as_bytes().to_vec())),
            if_revision: Some(now.revision),
        };
        catalog.put(id.as_str(), put).await.map(drop)
    }

    /// For how long a version of a tenant has been tried.
    pub(super) async fn tried_for(&self, id: &TenantId, digest: Digest) -> Duration {
        let (versions, id) = (Arc::clone(&self.components.versions), id.clone());
        let tried_for = blocking(move || versions.tried_for(&id, digest));
        tried_for.await.unwrap_or_default()
    }
}
