//! The *bare ceiling*: a server in one process that takes the lock, saves the name unless it is taken, releases the
//! lock and answers. It has no sandbox, no tenants, no limits and no names that end, and checks nothing.
//!
//! It uses this project's lock and commits as the host does, so that what is between it and the host is what all the
//! rest costs. `namelock-bench bare MEMCACHED DATABASE` starts it; it says where it listens on a line of standard
//! output.

mod postgres;
mod sqlite;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::serve::ListenerExt;
use namelock_lock::{AcquireError, Locks};
use namelock_test_servers::{Memcached, Process};
use serde::Deserialize;
use tokio::net::TcpListener;

use super::peers::{Database, Service};
use crate::cycles::{self, NAMESPACE};

/// The subcommand.
pub(crate) const BARE: &str = "bare";

/// Starts the server as a process of its own.
pub(super) struct Bare;

impl Bare {
    pub(super) fn start(peer: &'static str, memcached: Memcached, database: Database) -> anyhow::Result<Service> {
        let mut command = Process::command(std::env::current_exe()?, "it is this program");
        command.args([BARE, &memcached.url(), &database.url()]);
        Service::start(peer, "/", &mut command, memcached, database)
    }
}

#[derive(Deserialize)]
struct Wish {
    name: String,
    owner: String,
}

struct Server {
    locks: Locks,
    names: Names,
}

enum Names {
    Sqlite(sqlite::Names),
    Postgres(postgres::Names),
}

/// Serves until it is killed.
pub(crate) async fn run(arguments: &[String]) -> anyhow::Result<()> {
    let [memcached, database] = arguments else {
        bail!("usage: {BARE} MEMCACHED DATABASE");
    };
    let names = match database.strip_prefix("sqlite:") {
        Some(path) => Names::Sqlite(sqlite::Names::open(path)?),
        None => Names::Postgres(postgres::Names::open(database).await?),
    };
    let locks = cycles::open_at(memcached).await?;
    let server = Arc::new(Server { locks, names });
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on http://{}", listener.local_addr()?);
    let listener = listener.tap_io(|stream| {
        // Without it an answer may come later, and no less.
        let _ = stream.set_nodelay(true);
    });
    let router = Router::new().route("/", post(register)).with_state(server);
    axum::serve(listener, router).await.context("the bare server has ended")
}

async fn register(State(server): State<Arc<Server>>, body: Bytes) -> (StatusCode, String) {
    match server.register(&body).await {
        Ok(status) => (status, String::new()),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}")),
    }
}

impl Server {
    async fn register(&self, body: &[u8]) -> anyhow::Result<StatusCode> {
        let Wish { name, owner } = serde_json::from_slice(body)?;
        let lease = match self.locks.acquire(NAMESPACE, &name, Duration::ZERO).await {
            Ok(lease) => lease,
            Err(AcquireError::Busy { .. }) => return Ok(StatusCode::LOCKED),
            Err(error) => return Err(error.into()),
        };
        let inserted = match &self.names {
            Names::Sqlite(names) => names.insert(name, owner).await?,
            Names::Postgres(names) => names.insert(&name, &owner).await?,
        };
        lease.release().await?;
        Ok(if inserted {
            StatusCode::CREATED
        } else {
            StatusCode::CONFLICT
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_name_is_registered_once_and_not_while_it_is_locked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("names.db");
        let server = Server {
            locks: cycles::open_at("memory:").await.unwrap(),
            names: Names::Sqlite(sqlite::Names::open(path.to_str().unwrap()).unwrap()),
        };
        let register = async |owner: &str| {
            let body = format!("{{\"name\":\"blue room\",\"owner\":\"{owner}\"}}");
            server.register(body.as_bytes()).await.unwrap()
        };
        let lease = server
            .locks
            .acquire(NAMESPACE, "blue room", Duration::ZERO)
            .await
            .unwrap();
        assert_eq!(register("ann").await, StatusCode::LOCKED);
        lease.release().await.unwrap();
        assert_eq!(register("ann").await, StatusCode::CREATED);
        assert_eq!(register("bob").await, StatusCode::CONFLICT);
        assert!(server.register(b"{}").await.is_err());
    }
}
