//! What the sandbox sees of the interface `locks`, which `namelock-wasmtime` implements: causes, failures of the service, and
//! what the tenant's account counts.

use namelock_account::Limit;
use namelock_names::Seen;
use namelock_wasmtime::Observer;

use crate::config::Tenant;
use crate::error::Cause;
use crate::service::Service;

/// The interface for one call, which notes of each lease what the call has read of its name since.
pub(crate) type LocksView<'a> = namelock_wasmtime::LocksView<'a, LocksObserver<'a>>;

/// The leases of one call.
pub(crate) type Leases = namelock_wasmtime::Leases<Seen>;

/// Sees what a call is answered.
pub(crate) struct LocksObserver<'a> {
    pub(crate) service: &'a Service,
    pub(crate) tenant: &'a Tenant,
    /// Where the cause of a failure is left for whoever renders the call's outcome.
    pub(crate) cause: &'a mut Option<Cause>,
}

impl Observer for LocksObserver<'_> {
    type Note = Seen;

    fn granted(&mut self) {
        self.service.answered();
    }

    fn refused(&mut self, error: &namelock_lock::AcquireError) {
        let (cause, reason) = match error {
            // Who gives epochs is the names database.
            namelock_lock::AcquireError::NoEpoch { reason } => (Cause::NamesUnavailable, reason),
            namelock_lock::AcquireError::Unavailable { reason, retry_after } => {
                (Cause::LockUnavailable(*retry_after), reason)
            }
            namelock_lock::AcquireError::Busy { .. }
            | namelock_lock::AcquireError::InvalidName(_)
            | namelock_lock::AcquireError::Doubled { .. } => return,
        };
        *self.cause = Some(cause);
        self.service.failed(reason);
    }

    fn too_many(&mut self) {
        self.tenant.account.refuse(Limit::Leases);
        *self.cause = Some(Cause::Limit(Limit::Leases, None));
    }

    fn lost(&mut self) {
        *self.cause = Some(Cause::LeaseLost);
    }
}
