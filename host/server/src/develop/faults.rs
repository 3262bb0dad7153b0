//! Faults of the services, and a names database that is slow or down and tells what it was asked.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use namelock_names::{
    ApplyError, EpochStanding, Figures, Free, ListQuery, Names, NamesError, NewEpoch, Page, PastRequest, Registration,
    RequestKey, Save, SaveError, Update, Usage, WriteOne,
};
use parking_lot::Mutex;
use serde::Deserialize;

/// What is simulated of the lock service and the names database.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::develop) struct Faults {
    /// The lock service does not answer.
    pub(in crate::develop) lock_down: bool,
    /// The names database does not answer.
    pub(in crate::develop) names_down: bool,
    /// How many milliseconds each request to the names database takes longer.
    pub(in crate::develop) latency_ms: u64,
    /// After how many milliseconds a lease is lost; none: as by default.
    pub(in crate::develop) lose_lease_after_ms: Option<NonZeroU64>,
}

/// What a handler has asked, and how long the answer took.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) what: &'static str,
    pub(super) took: Duration,
}

/// The database. What the host asks for itself has no faults.
pub(super) struct FaultyNames {
    inner: Arc<dyn Names>,
    faults: Faults,
    asked: Mutex<Vec<Asked>>,
}

impl FaultyNames {
    pub(super) fn new(inner: Arc<dyn Names>, faults: Faults) -> Self {
        Self {
            inner,
            faults,
            asked: Mutex::default(),
        }
    }

    /// What was asked since this was called last.
    pub(super) fn take_asked(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.asked.lock())
    }

    /// Runs a request of a handler with the faults.
    async fn ask<T, E: From<NamesError>>(
        &self,
        what: &'static str,
        answer: impl Future<Output = Result<T, E>> + Send,
    ) -> Result<T, E> {
        let began = Instant::now();
        tokio::time::sleep(Duration::from_millis(self.faults.latency_ms)).await;
        let answer = if self.faults.names_down {
            Err(NamesError::unavailable("it is said to be down").into())
        } else {
            answer.await
        };
        self.asked.lock().push(Asked {
            what,
            took: began.elapsed(),
        });
        answer
    }
}

#[async_trait]
impl Names for FaultyNames {
    async fn find(&self, tenant: &str, name: &str) -> Result<Option<Registration>, NamesError> {
        self.ask("find", self.inner.find(tenant, name)).await
    }

    async fn save(&self, save: Save) -> Result<Registration, SaveError> {
        self.ask("save", self.inner.save(save)).await
    }

    async fn update(&self, update: Update) -> Result<Option<Registration>, SaveError> {
        self.ask("update", self.inner.update(update)).await
    }

    async fn free(&self, free: Free) -> Result<bool, SaveError> {
        self.ask("free", self.inner.free(free)).await
    }

    async fn apply(&self, tenant: &str, writes: Vec<WriteOne>) -> Result<Vec<Option<Registration>>, ApplyError> {
        let answer = async { self.inner.apply(tenant, writes).await.map_err(All) };
        self.ask("apply", answer).await.map_err(|All(error)| error)
    }

    async fn list(&self, query: ListQuery) -> Result<Page, NamesError> {
        self.ask("list", self.inner.list(query)).await
    }

    async fn find_request(&self, tenant: &str, request: RequestKey) -> Result<PastRequest, NamesError> {
        self.inner.find_request(tenant, request).await
    }

    async fn usage(&self, tenant: &str) -> Result<Usage, NamesError> {
        self.inner.usage(tenant).await
    }

    async fn begin_epoch(&self, server: &str) -> Result<NewEpoch, NamesError> {
        self.inner.begin_epoch(server).await
    }

    async fn check_epoch(&self, server: &str, epoch: u64) -> Result<EpochStanding, NamesError> {
        self.inner.check_epoch(server, epoch).await
    }

    fn clock_off_ms(&self) -> i64 {
        self.inner.clock_off_ms()
    }

    fn figures(&self) -> Figures {
        self.inner.figures()
    }

    async fn ready(&self) -> Result<(), NamesError> {
        self.inner.ready().await
    }

    fn deadline(&self) -> Duration {
        self.inner.deadline()
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

/// The error of several writes, as [`FaultyNames::ask`] wants one.
struct All(ApplyError);

impl From<NamesError> for All {
    fn from(error: NamesError) -> Self {
        Self(ApplyError::All(error.into()))
    }
}
