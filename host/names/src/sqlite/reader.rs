//! The threads that read.

use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use crate::error::NamesError;
use crate::registration::Registration;
use crate::sqlite::rows::{active, now_ms};

/// One queued read.
pub(super) struct Find {
    pub(super) tenant: String,
    pub(super) name: String,
    pub(super) reply: oneshot::Sender<Result<Option<Registration>, NamesError>>,
}

/// How many reads one transaction answers at most.
const BATCH: usize = 64;

/// The queue that all readers take from, shared by their threads.
pub(super) struct Readers(Mutex<mpsc::Receiver<Find>>);

impl Readers {
    pub(super) fn new(queue: mpsc::Receiver<Find>) -> Arc<Self> {
        Arc::new(Self(Mutex::new(queue)))
    }

    /// Answers reads until the queue is closed. All queued reads share one transaction, so that a busy reader is woken,
    /// and takes SQLite's locks, once for many of them.
    pub(super) fn run(&self, connection: &Connection) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            // One reader waits for the queue while the others wait for the mutex; it is released before the reading
            // starts.
            let queued = self.0.lock().blocking_recv_many(&mut batch, BATCH);
            if queued == 0 {
                return;
            }
            batch.retain(|find| !find.reply.is_closed());
            match look_up(connection, &batch) {
                Ok(found) => {
                    for (find, found) in batch.drain(..).zip(found) {
                        // The caller may be gone by now; then nobody needs the answer.
                        let _ = find.reply.send(found.map_err(NamesError::from));
                    }
                }
                Err(error) => {
                    let error = NamesError::from(error);
                    for find in batch.drain(..) {
                        let _ = find.reply.send(Err(error.clone()));
                    }
                }
            }
        }
    }
}

/// Reads a batch from one snapshot of the database, which is no older than any read of the batch.
fn look_up(connection: &Connection, batch: &[Find]) -> rusqlite::Result<Vec<rusqlite::Result<Option<Registration>>>> {
    let transaction = connection.unchecked_transaction()?;
    let now = now_ms(&transaction)?;
    let found = batch
        .iter()
        .map(|find| active(&transaction, &find.tenant, &find.name, now));
    Ok(found.collect())
}
