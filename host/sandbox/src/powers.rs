//! The two powers that a handler is given.

use std::sync::Arc;

use namelock_lock::Locks;
use namelock_names::Names;

/// Locks on names, and the names themselves. Clones share both.
#[derive(Clone)]
pub struct Powers {
    /// Locks on names.
    pub locks: Locks,
    /// The names themselves.
    pub names: Arc<dyn Names>,
}
