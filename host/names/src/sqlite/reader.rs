//! The threads that read.

use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::writer::{NOW, active};
use crate::error::NamesError;
use crate::registration::Registration;

/// One read that has queued.
pub(super) struct Find {
    pub(super) tenant: String,
    pub(super) name: String,
    pub(super) reply: oneshot::Sender<Result<Option<Registration>, NamesError>>,
}

/// How many reads are answered at once.
const BATCH: usize = 64;

/// The queue that all readers take from.
pub(super) struct Readers(Mutex<mpsc::Receiver<Find>>);

impl Readers {
    pub(super) fn new(queue: mpsc::Receiver<Find>) -> Arc<Self> {
        Arc::new(Self(Mutex::new(queue)))
    }

    /// Answers reads until nobody can ask any more. What has queued is read in one transaction, so that a busy reader is woken and
    /// takes SQLite's locks once for many of them.
    pub(super) fn run(&self, connection: &Connection) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            // One reader waits for the next reads, the others wait for that reader; the reading is done by each alone.
            let queued = self
                .0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .blocking_recv_many(&mut batch, BATCH);
            if queued == 0 {
                return;
            }
            batch.retain(|find| !find.reply.is_closed());
            let found = look_up(connection, &batch);
            match found {
                Ok(found) => {
                    for (find, found) in batch.drain(..).zip(found) {
                        // A caller that is gone meanwhile need not know.
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

/// What one read found.
type Found = rusqlite::Result<Option<Registration>>;

/// Reads a batch from one state of the database, which is not older than any read of it.
fn look_up(connection: &Connection, batch: &[Find]) -> rusqlite::Result<Vec<Found>> {
    let transaction = connection.unchecked_transaction()?;
    let now = transaction.prepare_cached(NOW)?.query_row([], |row| row.get(0))?;
    let found = batch
        .iter()
        .map(|find| active(&transaction, &find.tenant, &find.name, now));
    Ok(found.collect())
}
