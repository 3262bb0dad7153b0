//! What a guest can do with locks.

use std::time::Duration;

use wasmtime::Result;
use wasmtime::component::Resource;

use crate::bindings::namelock::registration::locks::{AcquireError, Host, HostLease, Lost};
use crate::error::Cause;
use crate::state::{LeaseHandle, State};

impl Host for State {
    async fn acquire(&mut self, name: String, wait_ms: u32) -> Result<Result<Resource<LeaseHandle>, AcquireError>> {
        let Some(place) = self.leases.place() else {
            self.cause = Some(Cause::LeaseLimit);
            let limit = format!("a call holds at most {} leases at once", self.leases.limit());
            return Ok(Err(AcquireError::Limit(limit)));
        };
        let wait = Duration::from_millis(wait_ms.into());
        let lease = match self.locks.acquire(&self.tenant.namespace, &name, wait).await {
            Ok(lease) => lease,
            Err(error) => return Ok(Err(self.acquire_error(error))),
        };
        self.leases.put(&place, lease);
        Ok(Ok(self.table.push(place)?))
    }

    async fn release(&mut self, handle: Resource<LeaseHandle>) -> Result<Result<(), Lost>> {
        let handle = self.table.delete(handle)?;
        let released = match self.leases.take(&handle) {
            Some(lease) => lease.release().await,
            None => Err(namelock_lock::Lost::Gone),
        };
        Ok(released.map_err(|error| self.lost(error)))
    }
}

impl HostLease for State {
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
        Ok(renewed.map_err(|error| self.lost(error)))
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

impl State {
    /// What the guest is told of an acquire that failed: enough to act on, nothing of the host.
    fn acquire_error(&mut self, error: namelock_lock::AcquireError) -> AcquireError {
        match error {
            namelock_lock::AcquireError::Busy { retry_after } => AcquireError::Busy(milliseconds(retry_after)),
            namelock_lock::AcquireError::InvalidName(error) => AcquireError::InvalidName(error.to_string()),
            namelock_lock::AcquireError::Unavailable { reason, retry_after } => {
                self.cause = Some(Cause::LockUnavailable(retry_after));
                tracing::warn!(tenant = &*self.tenant.id, reason, "a lock could not be granted");
                AcquireError::Unavailable("the lock service cannot grant now".to_owned())
            }
        }
    }

    fn lost(&mut self, error: namelock_lock::Lost) -> Lost {
        self.cause = Some(Cause::LeaseLost);
        match error {
            namelock_lock::Lost::Gone => Lost::Gone,
            namelock_lock::Lost::Unknown => Lost::Unknown,
        }
    }
}

/// Whole milliseconds, rounded up, so that a moment is never told as none.
pub(crate) fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}
