//! The names database in a file of this machine.
//!
//! One thread writes: it takes what has queued, runs it in one transaction, and commits once, so that many writes share one
//! flush to the disk. Readers have connections and threads of their own; in WAL mode they neither wait for the writer nor make it
//! wait. Several processes may share the file: whoever writes first takes SQLite's write lock (`BEGIN IMMEDIATE`), the others
//! wait for it, for at most `busy_timeout`.
//!
//! `synchronous=FULL` flushes the log before a commit returns, so what was answered is found after a power cut.

mod reader;
mod schema;
mod writer;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use self::reader::{Find, Readers};
use self::writer::Write;
use crate::error::{NamesError, OpenError, SaveError};
use crate::names::{Names, NamesConfig};
use crate::registration::{Free, Registration, Save};

/// Names in an SQLite file.
pub(crate) struct Sqlite {
    config: NamesConfig,
    /// None once it is closed. Its threads end when their queues do.
    queues: Mutex<Option<Queues>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Clone)]
struct Queues {
    writes: mpsc::Sender<Write>,
    finds: mpsc::Sender<Find>,
}

impl Sqlite {
    /// Opens the file; what may wait for a disk or for another process is done on a thread for such work.
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
        let queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        queues.clone().ok_or_else(|| unavailable("it is closed"))
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
            .unwrap_or_else(|_| Err(unavailable("its writer has stopped").into()))
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
            .unwrap_or_else(|_| Err(unavailable("its reader has stopped")))
    }

    async fn save(&self, save: Save) -> Result<Registration, SaveError> {
        save.check(&self.config)?;
        self.write(|reply| Write::Save(save, reply)).await
    }

    async fn free(&self, free: Free) -> Result<bool, SaveError> {
        self.write(|reply| Write::Free(free, reply)).await
    }

    async fn ready(&self) -> Result<(), NamesError> {
        if self.queues()?.writes.is_closed() {
            return Err(unavailable("its writer has stopped"));
        }
        // A name that is never saved: it is shorter than any may be.
        self.find("", "").await.map(|_| ())
    }

    fn deadline(&self) -> Duration {
        self.config.busy_timeout
    }

    async fn close(&self) {
        drop(self.queues.lock().unwrap_or_else(PoisonError::into_inner).take());
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let joined = tokio::task::spawn_blocking(move || threads.into_iter().all(|thread| thread.join().is_ok()));
        if !matches!(joined.await, Ok(true)) {
            tracing::error!("a thread of the names database had panicked");
        }
    }
}

fn spawn(name: &str, path: &Path, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, OpenError> {
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run);
    thread.map_err(|source| OpenError::File {
        path: path.display().to_string(),
        hint: "this machine gives no thread for it".to_owned(),
        source: source.into(),
    })
}

/// Tells why a queue took nothing more: it is full, or nobody takes from it any longer.
fn refused<T>(error: &TrySendError<T>, full: &str, closed: &str) -> NamesError {
    unavailable(match error {
        TrySendError::Full(_) => full,
        TrySendError::Closed(_) => closed,
    })
}

fn unavailable(reason: &str) -> NamesError {
    NamesError::Unavailable {
        reason: reason.to_owned(),
    }
}

impl From<rusqlite::Error> for NamesError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Unavailable {
            reason: error.to_string(),
        }
    }
}

impl From<rusqlite::Error> for SaveError {
    fn from(error: rusqlite::Error) -> Self {
        NamesError::from(error).into()
    }
}
