//! Increments the engine's epoch once a tick while calls are running.
//!
//! At every tick a running guest yields to others, and its running time is checked. While nothing runs, nothing ticks.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::thread::Thread;
use std::time::Duration;

use wasmtime::Engine;

use crate::error::SandboxError;

/// A thread that ticks.
pub(crate) struct EpochTicker {
    running: AtomicUsize,
    ticks: AtomicU64,
    thread: OnceLock<Thread>,
}

/// A call for which the epoch ticks until this is dropped.
pub(crate) struct Ticking(Arc<EpochTicker>);

impl EpochTicker {
    pub(crate) fn start(engine: &Engine, tick: Duration) -> Result<Arc<Self>, SandboxError> {
        let ticker = Arc::new(Self {
            running: AtomicUsize::new(0),
            ticks: AtomicU64::new(0),
            thread: OnceLock::new(),
        });
        let (weak, engine) = (Arc::downgrade(&ticker), engine.weak());
        let thread = std::thread::Builder::new().name("epoch".to_owned()).spawn(move || {
            while let Some(ticker) = Weak::upgrade(&weak) {
                let idle = ticker.running.load(Ordering::SeqCst) == 0;
                ticker.ticks.fetch_add(1, Ordering::Relaxed);
                drop(ticker);
                if idle {
                    // Woken by the first call that runs, or by the end of the sandbox.
                    std::thread::park();
                } else {
                    std::thread::sleep(tick);
                    if let Some(engine) = engine.upgrade() {
                        engine.increment_epoch();
                    }
                }
            }
        });
        let thread = thread.map_err(SandboxError::Clock)?;
        let _ = ticker.thread.set(thread.thread().clone());
        Ok(ticker)
    }

    /// How often it has ticked, or was about to.
    pub(crate) fn ticks(&self) -> u64 {
        self.ticks.load(Ordering::Relaxed)
    }

    /// Ticks for one more call.
    pub(crate) fn tick(self: &Arc<Self>) -> Ticking {
        if self.running.fetch_add(1, Ordering::SeqCst) == 0 {
            self.wake();
        }
        Ticking(Arc::clone(self))
    }

    fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}

impl Drop for EpochTicker {
    fn drop(&mut self) {
        self.wake();
    }
}

impl Drop for Ticking {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}
