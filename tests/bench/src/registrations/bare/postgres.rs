//! Names in PostgreSQL: a statement and a commit for each, sent without waiting for the answers to those before.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use anyhow::Context;
use tokio_postgres::{Client, NoTls, Statement};

/// They take turns, so that commits on several of them share a flush. More of them did less on two processors, where
/// they wake each other, and one has no flush to share.
const CONNECTIONS: usize = 4;

/// As durable as the host's.
const OPTIONS: &str = "-c synchronous_commit=on -c jit=off";

const TABLE: &str = "CREATE TABLE names (name text PRIMARY KEY COLLATE \"C\", owner text NOT NULL)";
const INSERT: &str = "INSERT INTO names VALUES ($1, $2) ON CONFLICT DO NOTHING";

/// Connections, each with the statement prepared.
pub(super) struct Names {
    connections: Vec<(Client, Statement)>,
    next: AtomicUsize,
}

impl Names {
    /// Makes the table, and connects.
    pub(super) async fn open(url: &str) -> anyhow::Result<Self> {
        let mut config: tokio_postgres::Config = url.parse()?;
        config.options(OPTIONS);
        let mut connections = Vec::new();
        for number in 0..CONNECTIONS {
            let (client, connection) = config.connect(NoTls).await.context("cannot connect to PostgreSQL")?;
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    eprintln!("a connection to PostgreSQL has ended: {error}");
                }
            });
            if number == 0 {
                client.batch_execute(TABLE).await?;
            }
            let statement = client.prepare(INSERT).await?;
            connections.push((client, statement));
        }
        Ok(Self {
            connections,
            next: AtomicUsize::new(0),
        })
    }

    /// Inserts a name and waits until it is durable. False: it is there already.
    pub(super) async fn insert(&self, name: &str, owner: &str) -> anyhow::Result<bool> {
        let number = self.next.fetch_add(1, Relaxed) % self.connections.len();
        let (client, statement) = &self.connections[number];
        Ok(client.execute(statement, &[&name, &owner]).await? > 0)
    }
}
