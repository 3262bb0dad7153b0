//! Implements the interface `locks`: leases on names.

use std::time::Duration;

use namelock_account::Limit;
use namelock_lock::Locks;
use wasmtime::component::{Resource, ResourceTable};
use wasmtime::{Result, error::Context as _};

use crate::config::Tenant;
use crate::error::Cause;
use crate::leases::{LeaseHandle, Leases};
use crate::milliseconds::milliseconds;
use crate::service::Service;
use crate::wit::bindings::namelock::registration::locks::{AcquireError, Host, HostLease, Lost};

/// What the interface needs of a call.
pub(crate) struct LocksView<'a> {
    pub(crate) locks: &'a Locks,
    pub(crate) service: &'a Service,
    pub(crate) tenant: &'a Tenant,
    pub(crate) leases: &'a mut Leases,
    /// The handles of the guest.
    pub(crate) table: &'a mut ResourceTable,
    /// Where the cause of a failure is left for whoever renders the call's outcome.
    pub(crate) cause: &'a mut Option<Cause>,
}

impl Host for LocksView<'_> {
    async fn acquire(&mut self, name: String, wait_ms: u32) -> Result<Result<Resource<LeaseHandle>, AcquireError>> {
        let Some(handle) = self.leases.reserve() else {
            return Ok(Err(self.too_many()));
        };
        let wait = Duration::from_millis(wait_ms.into());
        let lease = match self.locks.acquire(&self.tenant.namespace, &name, wait).await {
            Ok(lease) => {
                self.service.answered();
                lease
            }
            Err(error) => return Ok(Err(self.acquire_error(error))),
        };
        self.leases.insert(&handle, lease);
        Ok(Ok(self.table.push(handle)?))
    }

    async fn acquire_all(
        &mut self,
        names: Vec<String>,
        wait_ms: u32,
    ) -> Result<Result<Vec<Resource<LeaseHandle>>, AcquireError>> {
        if names.is_empty() {
            return Ok(Err(AcquireError::InvalidName("no name was given".to_owned())));
        }
        if names.len() > self.leases.room() {
            return Ok(Err(self.too_many()));
        }
        if let Some(held) = names.iter().find(|name| self.leases.has(name)) {
            // Waiting for it would not help, as it would with a single one.
            return Ok(Err(AcquireError::InvalidName(format!(
                "this call holds {held:?} already"
            ))));
        }
        let wait = Duration::from_millis(wait_ms.into());
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let leases = match self.locks.acquire_all(&self.tenant.namespace, &names, wait).await {
            Ok(leases) => {
                self.service.answered();
                leases
            }
            Err(error) => return Ok(Err(self.acquire_error(error))),
        };
        let mut handles = Vec::with_capacity(leases.len());
        for lease in leases {
            let handle = self.leases.reserve().context("there was room for the leases")?;
            self.leases.insert(&handle, lease);
            handles.push(self.table.push(handle)?);
        }
        Ok(Ok(handles))
    }

    async fn release(&mut self, handle: Resource<LeaseHandle>) -> Result<Result<(), Lost>> {
        let handle = self.table.delete(handle)?;
        let released = match self.leases.take(&handle) {
            Some(lease) => lease.release().await,
            None => Err(namelock_lock::Lost::Gone),
        };
        Ok(released.map_err(|lost| self.lost(lost)))
    }
}

impl HostLease for LocksView<'_> {
    fn name(&mut self, handle: Resource<LeaseHandle>) -> Result<String> {
        let lease = self.leases.get(self.table.get(&handle)?);
        Ok(lease.map(|lease| lease.name().to_owned()).unwrap_or_default())
    }

    fn fencing_token(&mut self, handle: Resource<LeaseHandle>) -> Result<u64> {
        let lease = self.leases.get(self.table.get(&handle)?);
        Ok(lease.map_or(0, |lease| lease.fencing_token().get()))
    }

    fn remaining_ms(&mut self, handle: Resource<LeaseHandle>) -> Result<u64> {
        let lease = self.leases.get(self.table.get(&handle)?);
        Ok(lease.map_or(0, |lease| milliseconds(lease.remaining())))
    }

    async fn renew(&mut self, handle: Resource<LeaseHandle>) -> Result<Result<(), Lost>> {
        let renewed = match self.leases.get_mut(self.table.get(&handle)?) {
            Some(lease) => lease.renew().await,
            None => Err(namelock_lock::Lost::Gone),
        };
        Ok(renewed.map_err(|lost| self.lost(lost)))
    }

    async fn drop(&mut self, handle: Resource<LeaseHandle>) -> Result<()> {
        let handle = self.table.delete(handle)?;
        if let Some(lease) = self.leases.take(&handle) {
            // A guest that only drops its lease does not ask whether it was still held.
            let _ = lease.release().await;
        }
        Ok(())
    }
}

impl LocksView<'_> {
    fn too_many(&mut self) -> AcquireError {
        self.tenant.account.refuse(Limit::Leases);
        *self.cause = Some(Cause::Limit(Limit::Leases, None));
        AcquireError::Limit(format!("a call holds at most {} leases at once", self.leases.limit()))
    }

    /// Turns a failed acquire into what the guest is told: enough to act on, nothing about the host.
    fn acquire_error(&mut self, error: namelock_lock::AcquireError) -> AcquireError {
        match error {
            namelock_lock::AcquireError::Busy { retry_after } => AcquireError::Busy(milliseconds(retry_after)),
            namelock_lock::AcquireError::InvalidName(_) | namelock_lock::AcquireError::Doubled { .. } => {
                AcquireError::InvalidName(error.to_string())
            }
            // Who gives epochs is the names database.
            namelock_lock::AcquireError::NoEpoch { reason } => {
                *self.cause = Some(Cause::NamesUnavailable);
                self.service.failed(&reason);
                AcquireError::Unavailable("the lock service cannot grant now".to_owned())
            }
            namelock_lock::AcquireError::Unavailable { reason, retry_after } => {
                *self.cause = Some(Cause::LockUnavailable(retry_after));
                self.service.failed(&reason);
                AcquireError::Unavailable("the lock service cannot grant now".to_owned())
            }
        }
    }

    fn lost(&mut self, lost: namelock_lock::Lost) -> Lost {
        *self.cause = Some(Cause::LeaseLost);
        lost.into()
    }
}
