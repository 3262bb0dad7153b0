//! The names database in a file on this machine.
//!
//! One thread writes: it takes the writes that are queued, runs them in one transaction and commits once, so that many
//! writes share one flush to the disk. Readers have connections and threads of their own; in WAL mode they neither wait
//! for the writer nor make it wait. Several processes may share the file: the one that writes first takes SQLite's
//! write lock (`BEGIN IMMEDIATE`), and the others wait for it, for at most `busy_timeout`.

mod reader;
mod rows;
mod schema;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use self::reader::{Find, Readers};
use self::writer::Write;
use crate::config::NamesConfig;
use crate::error::{NamesError, OpenError, SaveError};
use crate::names::Names;
use crate::registration::{Free, Registration, Save};
use crate::rules::check_save;

/// Names in an SQLite file.
pub(crate) struct Sqlite {
    config: NamesConfig,
    /// None once the database is closed. A thread ends when its queue is closed and empty.
    queues: Mutex<Option<Queues>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Clone)]
struct Queues {
    writes: mpsc::Sender<Write>,
    finds: mpsc::Sender<Find>,
}

impl Sqlite {
    /// Opens the file, on a thread for blocking work: it may wait for the disk or for another process.
    pub(crate) async fn open(path: &Path, config: NamesConfig) -> Result<Self, OpenError> {
        let path = path.to_owned();
        let opened = tokio::task::spawn_blocking(move || Self::open_blocking(&path, config)).await;
        opened.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }

    fn open_blocking(path: &Path, config: NamesConfig) -> Result<Self, OpenError> {
        let connection = schema::open(path, &config)?;
        let (writes, queued_writes) = mpsc::channel(config.queue);
        let (finds, queued_finds) = mpsc::channel(config.queue);
        let readers = Readers::new(queued_finds);
        let mut threads = vec![spawn("names writer", path, {
            let config = config.clone();
            move || writer::run(connection, queued_writes, &config)
        })?];
        for _ in 0..config.readers {
            let connection = schema::open_reader(path, &config)?;
            let readers = Arc::clone(&readers);
            threads.push(spawn("names reader", path, move || readers.run(&connection))?);
        }
        Ok(Self {
            config,
            queues: Mutex::new(Some(Queues { writes, finds })),
            threads: Mutex::new(threads),
        })
    }

    fn queues(&self) -> Result<Queues, NamesError> {
        let queues = self.queues.lock().clone();
        queues.ok_or_else(|| NamesError::unavailable("it is closed"))
    }

    async fn write<T>(
        &self,
        write: impl FnOnce(oneshot::Sender<Result<T, SaveError>>) -> Write,
    ) -> Result<T, SaveError> {
        let (reply, answer) = oneshot::channel();
        let queued = self.queues()?.writes.try_send(write(reply));
        queued.map_err(|error| {
            refused(
                &error,
                "too many writes are queued (names.queue)",
                "its writer has stopped",
            )
        })?;
        answer
            .await
            .unwrap_or_else(|_| Err(NamesError::unavailable("its writer has stopped").into()))
    }
}

#[async_trait]
impl Names for Sqlite {
    async fn find(&self, tenant: &str, name: &str) -> Result<Option<Registration>, NamesError> {
        let (reply, answer) = oneshot::channel();
        let find = Find {
            tenant: tenant.to_owned(),
            name: name.to_owned(),
            reply,
        };
        let queued = self.queues()?.finds.try_send(find);
        queued.map_err(|error| {
            refused(
                &error,
                "too many reads are queued (names.queue)",
                "its readers have stopped",
            )
        })?;
        answer
            .await
            .unwrap_or_else(|_| Err(NamesError::unavailable("its reader has stopped")))
    }

    async fn save(&self, save: Save) -> Result<Registration, SaveError> {
        check_save(&save, &self.config)?;
        self.write(|reply| Write::Save(save, reply)).await
    }

    async fn free(&self, free: Free) -> Result<bool, SaveError> {
        self.write(|reply| Write::Free(free, reply)).await
    }

    async fn ready(&self) -> Result<(), NamesError> {
        if self.queues()?.writes.is_closed() {
            return Err(NamesError::unavailable("its writer has stopped"));
        }
        // No name is empty, so this finds nothing.
        self.find("", "").await.map(|_| ())
    }

    fn deadline(&self) -> Duration {
        self.config.busy_timeout
    }

    async fn close(&self) {
        drop(self.queues.lock().take());
        let threads = std::mem::take(&mut *self.threads.lock());
        let joined = tokio::task::spawn_blocking(move || threads.into_iter().all(|thread| thread.join().is_ok()));
        if !matches!(joined.await, Ok(true)) {
            tracing::error!("a thread of the names database panicked");
        }
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

/// Returns why a queue refused an entry: it is full, or its thread has ended.
// Keeps P7: a read or write that the queue has no room for is refused at once instead of waiting.
fn refused<T>(error: &TrySendError<T>, full: &str, closed: &str) -> NamesError {
    NamesError::unavailable(match error {
        TrySendError::Full(_) => full,
        TrySendError::Closed(_) => closed,
    })
}
