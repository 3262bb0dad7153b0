//! Lets some calls run and some wait, and lets none wait for long.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::permits::{Permit, Permits};

/// Shortest retry time that a caller is given when a limit is reached: sooner, the same calls would still be there.
pub(super) const RETRY_MIN: Duration = Duration::from_millis(100);

/// A limit on calls that run, and on calls that wait for one of them to end.
#[derive(Debug)]
pub(super) struct Gate {
    /// As many as may run and wait together.
    admitted: Arc<Permits>,
    running: Arc<Permits>,
    /// How long a call waits to run.
    wait: Mutex<Duration>,
}

/// Nobody else can run or wait.
#[derive(Debug)]
pub(super) struct Full {
    /// When it is worth trying again.
    pub(super) after: Duration,
}

/// A call that runs; it still counts as admitted for as long as it is here.
#[derive(Debug)]
pub(super) struct Held {
    _running: Permit,
    _admitted: Permit,
}

impl Gate {
    /// Lets `running` calls run and `waiting` more wait for at most `wait`.
    pub(super) fn new(running: usize, waiting: usize, wait: Duration) -> Self {
        Self {
            admitted: Permits::new(running.saturating_add(waiting)),
            running: Permits::new(running),
            wait: Mutex::new(wait),
        }
    }

    /// How many may run, how many may wait, and for how long.
    pub(super) fn limits(&self) -> (usize, usize, Duration) {
        let running = self.running.max();
        (running, self.admitted.max().saturating_sub(running), *self.wait.lock())
    }

    /// Changes the limits; the calls that are here stay.
    pub(super) fn update(&self, running: usize, waiting: usize, wait: Duration) {
        self.admitted.resize(running.saturating_add(waiting));
        self.running.resize(running);
        *self.wait.lock() = wait;
    }

    /// Admits a call, or refuses it at once.
    // Keeps P7: a call that could neither run nor wait is refused without waiting.
    pub(super) fn admit(&self) -> Result<Permit, Full> {
        self.admitted.try_take().ok_or_else(|| self.full())
    }

    /// Waits until an admitted call may run.
    pub(super) async fn run(&self, admitted: Permit) -> Result<Held, Full> {
        let wait = *self.wait.lock();
        let running = tokio::time::timeout(wait, self.running.take()).await;
        Ok(Held {
            _running: running.ok().flatten().ok_or_else(|| self.full())?,
            _admitted: admitted,
        })
    }

    /// How many run now.
    pub(super) fn running(&self) -> usize {
        self.running.taken()
    }

    /// How many are admitted and do not run.
    pub(super) fn waiting(&self) -> usize {
        self.admitted.taken().saturating_sub(self.running.taken())
    }

    fn full(&self) -> Full {
        Full {
            after: (*self.wait.lock()).max(RETRY_MIN),
        }
    }
}
