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

/// The queue that all readers take from.
pub(super) struct Readers(Mutex<mpsc::Receiver<Find>>);

impl Readers {
    pub(super) fn new(queue: mpsc::Receiver<Find>) -> Arc<Self> {
        Arc::new(Self(Mutex::new(queue)))
    }

    /// Answers reads until nobody can ask any more.
    pub(super) fn run(&self, connection: &Connection) {
        loop {
            // One reader waits for the next read, the others wait for that reader; the read itself is done by each alone.
            let next = self.0.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
            let Some(find) = next else { return };
            if !find.reply.is_closed() {
                let found = look_up(connection, &find).map_err(NamesError::from);
                // A caller that is gone meanwhile need not know.
                let _ = find.reply.send(found);
            }
        }
    }
}

fn look_up(connection: &Connection, find: &Find) -> rusqlite::Result<Option<Registration>> {
    let now = connection.prepare_cached(NOW)?.query_row([], |row| row.get(0))?;
    active(connection, &find.tenant, &find.name, now)
}
