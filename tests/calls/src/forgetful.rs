//! A names database that has no names, and keeps none: so a call costs what the sandbox costs.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use namelock_names::{
    ApplyError, EpochStanding, Figures, Free, ListQuery, Names, NamesError, NewEpoch, Page, PastRequest, Registration,
    RequestKey, Save, SaveError, Update, Usage, WriteOne,
};
use tokio::sync::{Semaphore, watch};

/// A fixed time, in milliseconds since 1970: when everything was registered.
pub const NOW_MS: u64 = 1_763_900_000_000;

/// See the module.
#[derive(Debug, Default)]
pub struct Forgetful {
    gate: Option<Arc<Gate>>,
}

/// Holds all who look for a name, until it is opened.
#[derive(Debug)]
pub struct Gate {
    waiting: watch::Sender<usize>,
    /// Has no permits until it is opened, and is closed then.
    closed: Semaphore,
}

impl Forgetful {
    /// Names that are looked for behind a gate.
    pub fn behind(gate: &Arc<Gate>) -> Self {
        Self {
            gate: Some(Arc::clone(gate)),
        }
    }
}

impl Gate {
    /// One that holds everybody.
    #[expect(clippy::new_without_default, reason = "it would not say that it is closed")]
    pub fn new() -> Self {
        Self {
            waiting: watch::Sender::new(0),
            closed: Semaphore::new(0),
        }
    }

    /// Waits until so many are held.
    pub async fn holds(&self, count: usize) {
        // Its sender is here.
        let _ = self.waiting.subscribe().wait_for(|waiting| *waiting >= count).await;
    }

    /// Lets everybody go on.
    pub fn open(&self) {
        self.closed.close();
    }

    async fn pass(&self) {
        self.waiting.send_modify(|waiting| *waiting += 1);
        // The error is that it was opened.
        let _ = self.closed.acquire().await;
        self.waiting.send_modify(|waiting| *waiting -= 1);
    }
}

/// The answer to what no call of a measurement asks for.
fn unable<E: From<NamesError>>() -> E {
    NamesError::unavailable("these names are made for register alone").into()
}

#[async_trait]
impl Names for Forgetful {
    async fn find(&self, _: &str, _: &str) -> Result<Option<Registration>, NamesError> {
        if let Some(gate) = &self.gate {
            gate.pass().await;
        }
        Ok(None)
    }

    async fn save(&self, save: Save) -> Result<Registration, SaveError> {
        let lifetime_ms = save
            .lifetime
            .and_then(|lifetime| u64::try_from(lifetime.as_millis()).ok());
        Ok(Registration {
            name: save.name,
            owner: save.owner,
            created_ms: NOW_MS,
            expires_ms: lifetime_ms.map(|lifetime_ms| NOW_MS + lifetime_ms),
            fencing_token: save.fencing_token,
            attributes: save.attributes,
        })
    }

    async fn update(&self, _: Update) -> Result<Option<Registration>, SaveError> {
        Err(unable())
    }

    async fn find_request(&self, _: &str, _: RequestKey) -> Result<PastRequest, NamesError> {
        Err(unable())
    }

    async fn free(&self, _: Free) -> Result<bool, SaveError> {
        Err(unable())
    }

    async fn apply(&self, _: &str, _: Vec<WriteOne>) -> Result<Vec<Option<Registration>>, ApplyError> {
        Err(unable())
    }

    async fn list(&self, _: ListQuery) -> Result<Page, NamesError> {
        Err(unable())
    }

    async fn usage(&self, _: &str) -> Result<Usage, NamesError> {
        Err(unable())
    }

    async fn begin_epoch(&self, _: &str) -> Result<NewEpoch, NamesError> {
        Err(unable())
    }

    async fn check_epoch(&self, _: &str, _: u64) -> Result<EpochStanding, NamesError> {
        Err(unable())
    }

    fn clock_off_ms(&self) -> i64 {
        0
    }

    fn figures(&self) -> Figures {
        Figures::default()
    }

    async fn ready(&self) -> Result<(), NamesError> {
        Ok(())
    }

    fn deadline(&self) -> Duration {
        Duration::from_secs(1)
    }

    async fn close(&self) {}
}
