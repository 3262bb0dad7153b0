//! Asks the services whether they are ready, once a second at most, however many look.

use std::time::{Duration, Instant};

use namelock_lock::Locks;
use namelock_names::Names;
use tokio::sync::Mutex;

use crate::readiness::backends;

/// How old an answer may be.
const FRESH: Duration = Duration::from_secs(1);

/// The last answers of the services.
#[derive(Debug, Default)]
pub(super) struct Health {
    last: Mutex<Option<(Instant, Ready)>>,
}

/// Of each service, why it is not ready.
#[derive(Clone, Debug)]
pub(super) struct Ready {
    pub(super) lock: Result<(), String>,
    pub(super) names: Result<(), String>,
}

impl Health {
    /// What they answered within the last second; otherwise they are asked, and whoever comes meanwhile waits for the same answer.
    pub(super) async fn look(&self, locks: &Locks, names: &dyn Names) -> Ready {
        let mut last = self.last.lock().await;
        match &*last {
            Some((at, ready)) if at.elapsed() < FRESH => ready.clone(),
            _ => {
                let [(_, lock), (_, names)] = backends(locks, names).await;
                let ready = Ready { lock, names };
                *last = Some((Instant::now(), ready.clone()));
                ready
            }
        }
    }
}
