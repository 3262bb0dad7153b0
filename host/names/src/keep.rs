//! What has to last for as long as a write may still be done.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// Something that lasts until it is decided whether a write is done: also where its caller has hung up or given up, and the
/// write is still queued or the server has not answered. A caller keeps its lock like this, so that nobody else reads what the
/// write is about to change.
#[derive(Clone, Default)]
pub struct Keep(Vec<Arc<dyn Any + Send + Sync>>);

impl Keep {
    /// Keeps one thing more.
    pub fn add(&mut self, thing: impl Any + Send + Sync) {
        self.0.push(Arc::new(thing));
    }

    /// Keeps what another one keeps, too.
    pub fn extend(&mut self, other: &Self) {
        self.0.extend(other.0.iter().cloned());
    }
}

impl fmt::Debug for Keep {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Keep({})", self.0.len())
    }
}
