//! This project's lock.

use std::time::Duration;

use async_trait::async_trait;
use namelock_lock::Locks;

use crate::closed_loop::Work;
use crate::contest::Contestant;
use crate::cycles;

/// Tasks that share the lock service of a process.
pub(super) struct Ours {
    locks: Locks,
    tasks: usize,
}

impl Ours {
    pub(super) fn new(locks: &Locks, tasks: usize) -> Self {
        Self {
            locks: locks.clone(),
            tasks,
        }
    }
}

#[async_trait]
impl Contestant for Ours {
    async fn work(&mut self, time: Duration) -> anyhow::Result<Work> {
        cycles::measure(&self.locks, self.tasks, time).await
    }
}
