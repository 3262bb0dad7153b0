//! The names database in a file on this machine.
//!
//! One thread writes: it takes the writes that are queued, runs them in one transaction and commits once, so that many
//! writes share one flush to the disk. Readers have connections and threads of their own; in WAL mode they neither wait
//! for the writer nor make it wait. Tenants take turns in both queues (see `fair`). Several processes may share the file:
//! the one that writes first takes SQLite's write lock (`BEGIN IMMEDIATE`), and the others wait for it, for at most
//! `busy_timeout`. What time it is, `clock` says.

mod apply;
mod clock;
mod epochs;
mod list;
mod reader;
mod rows;
mod schema;
mod statements;
mod told;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use self::clock::Clock;
pub(crate) use self::clock::Machine;
use self::reader::Read;
pub(crate) use self::rows::usage;
pub(crate) use self::schema::open as open_file;
use self::told::Told;
use self::writer::{Write, Writer};
use crate::config::NamesConfig;
use crate::epoch::{EpochStanding, NewEpoch};
use crate::error::{ApplyError, NamesError, OpenError, SaveError};
use crate::fair::{FairQueue, NO_TENANT, Refused, Taker};
use crate::figures::Figures;
use crate::list::{ListQuery, Page};
use crate::manual_time::ManualTime;
use crate::names::Names;
use crate::past_request::PastRequest;
use crate::quota::Usage;
use crate::registration::{Free, Registration, Save, Update};
use crate::request::RequestKey;
use crate::rules::{check_save, check_update};
use crate::transaction::{WriteOne, Writes};

/// The reason to give when nobody takes from a queue any longer.
const CLOSED: &str = "it is closed, or has stopped";

/// Names in an SQLite file.
pub(crate) struct Sqlite {
    config: NamesConfig,
    /// A thread ends when its queue is closed and empty.
    writes: Arc<FairQueue<Write>>,
    reads: Arc<FairQueue<Read>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    told: Arc<Told>,
}

impl Sqlite {
    /// Opens the file, on a thread for blocking work: it may wait for the disk or for another process. Without a time, that of
    /// this machine counts.
    pub(crate) async fn open(path: &Path, config: NamesConfig, time: Option<ManualTime>) -> Result<Self, OpenError> {
        let path = path.to_owned();
        let machine = time.map_or_else(Machine::this, Machine::manual);
        let opened = tokio::task::spawn_blocking(move || Self::open_blocking(&path, config, machine)).await;
        opened.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }

    fn open_blocking(path: &Path, config: NamesConfig, machine: Machine) -> Result<Self, OpenError> {
        let mut connection = schema::open(path, &config)?;
        let told = Arc::<Told>::default();
        let mut clock = Clock::new(machine.clone(), config.retention, Arc::clone(&told));
        schema::begin_time(path, &mut connection, &mut clock, &config)?;
        // From here on whatever returns early closes the queues, and with them ends the threads.
        let opened = Self {
            writes: Arc::new(FairQueue::new(config.queue)),
            reads: Arc::new(FairQueue::new(config.queue)),
            threads: Mutex::default(),
            told,
            config,
        };
        let mut threads = vec![spawn("names writer", path, {
            let (queue, batch) = (Taker(Arc::clone(&opened.writes)), opened.config.batch);
            let writer = Writer::new(connection, clock, &opened.config);
            move || writer.run(&queue, batch)
        })?];
        let readers = Arc::new(Taker(Arc::clone(&opened.reads)));
        for _ in 0..opened.config.readers {
            let connection = schema::open_reader(path, &opened.config)?;
            let (readers, machine, writes) = (Arc::clone(&readers), machine.clone(), Arc::clone(&opened.writes));
            // A full queue has writes in it, which keep the time too.
            let keep_time = move || _ = writes.push(NO_TENANT, Write::KeepTime);
            threads.push(spawn("names reader", path, move || {
                reader::run(&readers, &connection, &machine, keep_time);
            })?);
        }
        *opened.threads.lock() = threads;
        Ok(opened)
    }

    async fn write<T, E: From<NamesError>>(
        &self,
        write: impl FnOnce(oneshot::Sender<Result<T, E>>) -> Write,
    ) -> Result<T, E> {
        let (reply, answer) = oneshot::channel();
        let write = write(reply);
        let tenant = write.tenant().to_owned();
        let queued = self.writes.push(&tenant, write);
        queued.map_err(|refused| unavailable(refused, "too many writes are queued (names.queue)"))?;
        answer
            .await
            .unwrap_or_else(|_| Err(NamesError::unavailable("its writer has stopped").into()))
    }

    async fn read<T>(
        &self,
        tenant: &str,
        read: impl FnOnce(oneshot::Sender<Result<T, NamesError>>) -> Read,
    ) -> Result<T, NamesError> {
        let (reply, answer) = oneshot::channel();
        let queued = self.reads.push(tenant, read(reply));
        queued.map_err(|refused| unavailable(refused, "too many reads are queued (names.queue)"))?;
        answer
            .await
            .unwrap_or_else(|_| Err(NamesError::unavailable("its reader has stopped")))
    }

    /// Lets the threads end once they have done what is queued.
    fn close_queues(&self) {
        self.writes.close();
        self.reads.close();
    }
}

#[async_trait]
impl Names for Sqlite {
    async fn find(&self, tenant: &str, name: &str) -> Result<Option<Registration>, NamesError> {
        self.read(tenant, |reply| Read::Find(tenant.to_owned(), name.to_owned(), reply))
            .await
    }

    async fn save(&self, save: Save) -> Result<Registration, SaveError> {
        check_save(&save, &self.config)?;
        self.write(|reply| Write::Save(save, reply)).await
    }

    async fn update(&self, update: Update) -> Result<Option<Registration>, SaveError> {
        check_update(&update, &self.config)?;
        self.write(|reply| Write::Update(update, reply)).await
    }

    async fn find_request(&self, tenant: &str, request: RequestKey) -> Result<PastRequest, NamesError> {
        self.read(tenant, |reply| Read::FindRequest(tenant.to_owned(), request, reply))
            .await
    }

    async fn free(&self, free: Free) -> Result<bool, SaveError> {
        self.write(|reply| Write::Free(free, reply)).await
    }

    async fn apply(&self, tenant: &str, writes: Vec<WriteOne>) -> Result<Vec<Option<Registration>>, ApplyError> {
        let writes = Writes::new(tenant, writes, &self.config)?;
        self.write(|reply| Write::Apply(tenant.to_owned(), writes, reply)).await
    }

    async fn list(&self, query: ListQuery) -> Result<Page, NamesError> {
        let limits = query.limits(&self.config);
        let tenant = query.tenant.clone();
        self.read(&tenant, |reply| Read::List(query, limits, reply)).await
    }

    async fn usage(&self, tenant: &str) -> Result<Usage, NamesError> {
        self.read(tenant, |reply| Read::Usage(tenant.to_owned(), reply)).await
    }

    async fn begin_epoch(&self, server: &str) -> Result<NewEpoch, NamesError> {
        self.write(|reply| Write::BeginEpoch(server.to_owned(), reply)).await
    }

    async fn check_epoch(&self, server: &str, epoch: u64) -> Result<EpochStanding, NamesError> {
        self.write(|reply| Write::CheckEpoch(server.to_owned(), epoch, reply))
            .await
    }

    fn clock_off_ms(&self) -> i64 {
        self.told.off_ms.load(Ordering::Relaxed)
    }

    fn figures(&self) -> Figures {
        self.told.figures()
    }

    async fn ready(&self) -> Result<(), NamesError> {
        // Reading alone shows nothing of another process that stands still in the middle of a write.
        self.write(Write::Try).await?;
        // No name is empty, so this finds nothing.
        self.find(NO_TENANT, "").await.map(|_| ())
    }

    fn deadline(&self) -> Duration {
        self.config.busy_timeout
    }

    async fn close(&self) {
        self.close_queues();
        let threads = std::mem::take(&mut *self.threads.lock());
        let joined = tokio::task::spawn_blocking(move || threads.into_iter().all(|thread| thread.join().is_ok()));
        if !matches!(joined.await, Ok(true)) {
            tracing::error!("a thread of the names database panicked");
        }
    }
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        self.close_queues();
    }
}

fn spawn(name: &str, path: &Path, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, OpenError> {
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run);
    thread.map_err(|source| OpenError::File {
        path: path.display().to_string(),
        hint: "this machine cannot start another thread; raise its limit of threads".to_owned(),
        source: source.into(),
    })
}

fn unavailable(refused: Refused, full: &str) -> NamesError {
    NamesError::unavailable(match refused {
        Refused::Full => full,
        Refused::Closed => CLOSED,
    })
}
