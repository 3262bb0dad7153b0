//! Whether tenants may have been moved away from this database, so that reads have to look.
//!
//! The gates themselves are in the database, and no write needs to know of them here (see migration 6). A read does: it would find
//! what a tenant has left behind, or nothing. Where there is one database there are no gates, and reads do not pay for a second
//! statement. A host that knows of one database looks each second whether there are any; it may not have been told yet that there are
//! others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Whether there may be gates. Once there are, this is asked no more.
#[derive(Debug, Clone, Default)]
pub(super) struct Gates(Arc<AtomicBool>);

impl Gates {
    /// Of one of several databases.
    pub(super) fn expected() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }

    pub(super) fn are_there(&self) -> bool {
        self.0.load(Relaxed)
    }

    pub(super) fn note(&self) {
        self.0.store(true, Relaxed);
    }
}
