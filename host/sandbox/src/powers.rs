//! The two powers that a handler is given.

use std::sync::Arc;

use namelock_lock::Locks;
use namelock_lock::held::Holder;
use namelock_names::Names;

use crate::config::Tenant;
use crate::request::Context;

/// Locks on names, and the names themselves. Clones share both.
#[derive(Clone)]
pub struct Powers {
    /// Locks on names.
    pub locks: Locks,
    /// The names themselves.
    pub names: Arc<dyn Names>,
}

impl Powers {
    /// The same powers for one call; an operator sees its leases as this tenant's, of this request.
    pub(crate) fn acting_for(&self, tenant: &Tenant, context: &Context) -> Self {
        let holder = Holder {
            client: Arc::clone(&tenant.id),
            request: Arc::clone(&context.request_id),
        };
        Self {
            locks: self.locks.acting_for(holder),
            names: Arc::clone(&self.names),
        }
    }
}
