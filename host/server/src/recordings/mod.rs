//! Recordings of calls that failed, for `namelock run --replay`.
//!
//! A tenant that has `record = "failures"` in its `tenant.toml` has its calls recorded while they run. Those that end with a code
//! that is the handler's doing ([`is_of_handler`]) are written to a directory of the host, if it has one (`record.dir`). The
//! others are forgotten when they end.
//!
//! # What it may cost
//!
//! - A recording takes `record.size` at most, in memory and as a file; what would be longer is dropped while the call runs.
//! - Of a tenant `record.rate` recordings are kept in a second. While it has none left, its calls are not recorded at all, so one
//!   that always fails is soon as cheap as any other.
//! - Turning a recording into a file is work for the tenant: it is booked, and waits for a permit where the tenant needs one.
//! - One recording of a tenant is kept at a time, and a few of all tenants; one more is dropped. Callers wait for none of them,
//!   also where the disk stands still.
//! - What a tenant may keep is bounded in number, bytes and age. The oldest go first, and only its own (`directory`).
//!
//! # Whose data is in it
//!
//! Names stay, as they do in the tenant's log. Owners and attributes of callers are replaced by pseudonyms, unless the operator
//! consents (`record.owners`). What the handler has said of them may be anything, so its call is run once more with the
//! pseudonyms, by its tape alone, and what it says then is kept. That is work for the tenant too.

mod directory;
mod file;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use namelock_account::Bucket;
use namelock_sandbox::{CallError, Handler, Powers, Recording, Tape};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

pub use self::file::{check, write};

use self::directory::Bounds;
use crate::config::RecordConfig;
use crate::config::source::ConfigError;
use crate::error::{ErrorKind, Problem};
use crate::tenants::Ready;
use crate::text::chain;

/// How many files are written at once.
const WRITERS: usize = 4;

/// How often recordings are removed that are too old.
const SWEEP_EVERY: Duration = Duration::from_hours(1);

/// Keeps recordings of failed calls.
pub struct Recorder {
    dir: PathBuf,
    config: RecordConfig,
    writers: Arc<Semaphore>,
    /// Of each tenant that was recorded, how many more may be.
    tenants: Mutex<HashMap<Arc<str>, Arc<Budget>>>,
}

/// What a tenant may have recorded now.
struct Budget {
    left: Mutex<Bucket>,
    /// Held while a file of it is written.
    writes: Arc<Semaphore>,
}

/// A handler for one call, which may be recorded.
pub struct Taped<'a> {
    ready: &'a Arc<Ready>,
    powers: &'a Powers,
    on: Option<On<'a>>,
}

struct On<'a> {
    recorder: &'a Arc<Recorder>,
    budget: Arc<Budget>,
    tape: Tape,
    handler: Handler,
}

/// Whether a call that ends with this code is recorded: where the handler is the reason, or may be, and the host failed at
/// nothing that it was asked for.
///
/// A lost lease is among them, because most are lost by handlers that take long.
pub fn is_of_handler(kind: ErrorKind) -> bool {
    kind.status().is_server_error()
        && match kind {
            ErrorKind::HandlerTrapped
            | ErrorKind::HandlerOutOfMemory
            | ErrorKind::HandlerDeadline
            | ErrorKind::LeaseLost
            | ErrorKind::TenantUnavailable => true,
            ErrorKind::LockUnavailable
            | ErrorKind::NamesUnavailable
            | ErrorKind::Overloaded
            | ErrorKind::Internal
            | ErrorKind::InvalidRequest
            | ErrorKind::Unauthorized
            | ErrorKind::Forbidden
            | ErrorKind::UnknownTenant
            | ErrorKind::NotFound
            | ErrorKind::Unsupported
            | ErrorKind::NameTaken
            | ErrorKind::PayloadTooLarge
            | ErrorKind::NameInvalid
            | ErrorKind::IdempotencyKeyReused
            | ErrorKind::NameBusy
            | ErrorKind::TenantLimit => false,
        }
}

impl Recorder {
    /// Opens the directory, and creates it if it does not exist; none: the host records nothing.
    ///
    /// # Errors
    ///
    /// The directory cannot be created.
    pub fn open(config: &RecordConfig) -> Result<Option<Arc<Self>>, ConfigError> {
        let Some(dir) = config.dir.clone() else {
            return Ok(None);
        };
        directory::create(&dir).map_err(|error| {
            let problem = format!("cannot create {}: {error}; choose another directory", dir.display());
            ConfigError::new("record.dir", problem)
        })?;
        Ok(Some(Arc::new(Self {
            dir,
            config: config.clone(),
            writers: Arc::new(Semaphore::new(WRITERS)),
            tenants: Mutex::default(),
        })))
    }

    /// Removes recordings that are too old, now and every hour; never ends.
    pub async fn keep_swept(recorder: Option<Arc<Self>>) {
        let Some(recorder) = recorder else {
            return std::future::pending().await;
        };
        loop {
            let (dir, age) = (recorder.dir.clone(), recorder.config.age);
            let swept = tokio::task::spawn_blocking(move || directory::sweep(&dir, age, SystemTime::now())).await;
            if let Ok(Err(error)) = swept {
                tracing::warn!(dir = %recorder.dir.display(), %error, "cannot remove old recordings");
            }
            tokio::time::sleep(SWEEP_EVERY).await;
        }
    }

    fn budget(&self, tenant: &Arc<str>) -> Arc<Budget> {
        let new = || {
            let rate = self.config.rate;
            Arc::new(Budget {
                left: Mutex::new(Bucket::new(rate, rate.saturating_mul(10), Instant::now())),
                writes: Arc::new(Semaphore::new(1)),
            })
        };
        let mut tenants = self.tenants.lock();
        Arc::clone(tenants.entry(Arc::clone(tenant)).or_insert_with(new))
    }

    /// Begins to record a call, if it may be kept.
    // Keeps P6: a tenant whose calls fail all the time has few of them recorded.
    fn begin<'a>(self: &'a Arc<Self>, ready: &Ready) -> Option<On<'a>> {
        let budget = self.budget(&ready.tenant.id);
        if budget.left.lock().left(Instant::now()) == 0 {
            return None;
        }
        let tape = Tape::recording(self.config.size).ok()?;
        let handler = ready.handler.taped(&tape);
        Some(On {
            recorder: self,
            budget,
            tape,
            handler,
        })
    }

    /// Keeps a recording, unless as many are being kept as may be. Nobody waits for it.
    fn keep(self: &Arc<Self>, taped: &Taped<'_>, budget: &Arc<Budget>, recording: Recording) {
        let (Ok(writer), Ok(own)) = (
            Arc::clone(&self.writers).try_acquire_owned(),
            Arc::clone(&budget.writes).try_acquire_owned(),
        ) else {
            return;
        };
        if budget.left.lock().take(Instant::now()).is_err() {
            return;
        }
        let (recorder, ready, powers) = (Arc::clone(self), Arc::clone(taped.ready), taped.powers.clone());
        tokio::spawn(async move {
            let name = directory::file_name(SystemTime::now(), &recording.outcome.code, &recording.request_id);
            if let Some(text) = recorder.text(&ready, &powers, recording).await {
                let written = tokio::task::spawn_blocking(move || {
                    // Until it is written, even if nobody waits for it any more.
                    let _permits = (writer, own);
                    recorder.write(&ready, &name, &text);
                });
                drop(written.await);
            }
        });
    }

    /// A recording as it is kept, if it can be.
    async fn text(&self, ready: &Ready, powers: &Powers, recording: Recording) -> Option<Vec<u8>> {
        let (tenant, account) = (&*ready.tenant.id, &ready.tenant.account);
        let recording = if self.config.owners {
            recording
        } else {
            let masked = ready.handler.on_behalf(account, || recording.without_owners());
            let said = said_of_pseudonyms(ready, powers, masked.await).await;
            if said.is_none() {
                tracing::warn!(
                    tenant,
                    "a failed call is not kept: with pseudonyms for owners and attributes its handler does something else; \
                     record.owners would keep it as it was"
                );
            }
            said?
        };
        match ready.handler.on_behalf(account, || recording.write()).await {
            Ok(text) if text.len() <= self.config.size => return Some(text),
            Ok(_) => too_large(ready, self.config.size),
            Err(error) => tracing::warn!(tenant, %error, "cannot write a recording"),
        }
        None
    }

    fn write(&self, ready: &Ready, name: &str, text: &[u8]) {
        let bounds = Bounds {
            files: self.config.files,
            bytes: self.config.bytes,
            age: self.config.age,
        };
        let dir = self.dir.join(&*ready.tenant.id);
        if let Err(error) = directory::add(&dir, name, text, bounds, SystemTime::now()) {
            tracing::warn!(tenant = %ready.tenant.id, error = %chain(&error), "cannot keep the recording of a failed call");
        }
    }
}

/// Runs a call again with pseudonyms, and returns the recording with what its handler says then; none: it does something else.
async fn said_of_pseudonyms(ready: &Ready, powers: &Powers, recording: Recording) -> Option<Recording> {
    let recording = Arc::new(recording);
    let tape = Tape::replaying_quietly(Arc::clone(&recording))?;
    let handler = ready.handler.taped(&tape);
    let outcome = handler.replay(powers, &ready.tenant, &recording).await;
    let kind = Problem::of_call(&outcome.err()?).kind();
    let replayed = tape.replayed().filter(|_| kind.label() == recording.outcome.code)?;
    drop((handler, tape));
    Arc::unwrap_or_clone(recording).as_replayed(replayed)
}

fn too_large(ready: &Ready, size: usize) {
    let tenant = &*ready.tenant.id;
    tracing::warn!(
        tenant,
        size,
        "a failed call is not kept: its recording is longer than record.size"
    );
}

impl<'a> Taped<'a> {
    /// The handler of a tenant, for one call.
    pub fn new(recorder: Option<&'a Arc<Recorder>>, ready: &'a Arc<Ready>, powers: &'a Powers) -> Self {
        let recorder = recorder.filter(|_| ready.records_failures);
        let on = recorder.and_then(|recorder| recorder.begin(ready));
        Self { ready, powers, on }
    }

    /// What to call.
    pub fn handler(&self) -> &Handler {
        self.on.as_ref().map_or(&self.ready.handler, |on| &on.handler)
    }

    /// Keeps the recording, if the call has failed because of its handler.
    pub fn end<T>(&self, outcome: Result<T, CallError>) -> Result<T, CallError> {
        let (Some(on), Err(error)) = (&self.on, &outcome) else {
            return outcome;
        };
        let kind = Problem::of_call(error).kind();
        if is_of_handler(kind) {
            match on.tape.finish(kind.label()) {
                Ok(Some(recording)) => on.recorder.keep(self, &on.budget, recording),
                Ok(None) => {}
                Err(namelock_sandbox::recording::TooLarge { bytes_max }) => {
                    // As often as it could be kept.
                    if on.budget.left.lock().take(Instant::now()).is_ok() {
                        too_large(self.ready, bytes_max);
                    }
                }
            }
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recorded_is_the_handlers_doing() {
        let recorded: Vec<_> = ErrorKind::ALL.into_iter().filter(|kind| is_of_handler(*kind)).collect();
        let labels: Vec<_> = recorded.iter().map(|kind| kind.label()).collect();
        assert_eq!(
            labels,
            [
                "handler_trapped",
                "handler_out_of_memory",
                "handler_deadline",
                "lease_lost",
                "tenant_unavailable"
            ]
        );
    }

    // Shows P6: however often the calls of a tenant fail, few of them are recorded.
    #[test]
    fn a_tenant_that_always_fails_is_recorded_now_and_then() {
        let folder = tempfile::tempdir().unwrap();
        let config = RecordConfig {
            dir: Some(folder.path().join("recordings")),
            ..RecordConfig::default()
        };
        let recorder = Recorder::open(&config).unwrap().unwrap();
        let (one, other) = ("one".into(), "other".into());
        recorder.budget(&one);
        let now = Instant::now();
        let taken = (0..1000).filter(|_| recorder.budget(&one).left.lock().take(now).is_ok());
        assert_eq!(taken.count(), 10);
        assert_eq!(recorder.budget(&one).left.lock().left(now), 0);
        assert_eq!(recorder.budget(&other).left.lock().left(now), 10);
    }
}
