//! What the one who writes the file tells others of it.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};
use std::time::Duration;

use crate::figures::Figures;

/// What is known of the file and of its time.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// How far this machine's clock is ahead of database time.
    pub(super) off_ms: AtomicI64,
    /// By how much time jumped when this process found that the machine had been started anew.
    pub(super) jumped_ms: AtomicI64,
    /// Whether the last purge failed.
    pub(super) purge_fails: AtomicBool,
}

impl Told {
    /// What an operator is told. A write that is not answered has failed here, and the time is kept by whoever writes.
    pub(super) fn figures(&self) -> Figures {
        let jumped_ms = self.jumped_ms.load(Relaxed);
        Figures {
            time_jumped: Duration::from_millis(jumped_ms.unsigned_abs()),
            purge_fails: self.purge_fails.load(Relaxed),
            ..Figures::default()
        }
    }
}
