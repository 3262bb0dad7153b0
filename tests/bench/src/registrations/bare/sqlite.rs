//! Names in a file of SQLite: one thread commits all that has queued at once, as durably as the host does.

use std::thread;

use anyhow::{Context, ensure};
use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

/// How many inserts may queue, and how many one transaction commits: as many as in the host.
const QUEUE: usize = 1024;
const BATCH: usize = 256;

const TABLE: &str = "CREATE TABLE names (name TEXT NOT NULL PRIMARY KEY, owner TEXT NOT NULL) STRICT, WITHOUT ROWID";
const INSERT: &str = "INSERT INTO names VALUES (?, ?) ON CONFLICT DO NOTHING";

struct Insert {
    name: String,
    owner: String,
    reply: oneshot::Sender<bool>,
}

/// The queue of the thread, which ends when this is dropped.
pub(super) struct Names(mpsc::Sender<Insert>);

impl Names {
    /// Makes the file, and starts the thread.
    pub(super) fn open(path: &str) -> anyhow::Result<Self> {
        let connection = Connection::open(path)?;
        let mode: String = connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
        ensure!(mode == "wal", "SQLite kept the journal mode {mode:?}");
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.execute_batch(TABLE)?;
        let (queue, inserts) = mpsc::channel(QUEUE);
        thread::spawn(|| write(connection, inserts));
        Ok(Self(queue))
    }

    /// Inserts a name and waits until it is durable. False: it is there already.
    pub(super) async fn insert(&self, name: String, owner: String) -> anyhow::Result<bool> {
        let (reply, inserted) = oneshot::channel();
        let insert = Insert { name, owner, reply };
        self.0.send(insert).await.ok().context("the writer has ended")?;
        inserted.await.context("a transaction was not committed")
    }
}

fn write(mut connection: Connection, mut inserts: mpsc::Receiver<Insert>) {
    let mut batch = Vec::new();
    while inserts.blocking_recv_many(&mut batch, BATCH) > 0 {
        match commit(&mut connection, &batch) {
            Ok(inserted) => {
                for (insert, inserted) in batch.drain(..).zip(inserted) {
                    // Its caller may be gone.
                    let _ = insert.reply.send(inserted);
                }
            }
            Err(error) => {
                eprintln!("a transaction was not committed: {error}");
                batch.clear();
            }
        }
    }
}

fn commit(connection: &mut Connection, batch: &[Insert]) -> rusqlite::Result<Vec<bool>> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut inserted = Vec::with_capacity(batch.len());
    {
        let mut statement = transaction.prepare_cached(INSERT)?;
        for insert in batch {
            inserted.push(statement.execute((&insert.name, &insert.owner))? > 0);
        }
    }
    transaction.commit()?;
    Ok(inserted)
}
