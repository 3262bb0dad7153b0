//! What every names database does: the same tests for each implementation.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use namelock_names::{
    Change, FencingToken, Free, Keep, Names, NamesConfig, NamesUrl, Quota, Registration, Save, SaveError, Seen, Update,
    Usage, open,
};
use namelock_test_servers::Postgres;
use tokio::time::Instant;

/// Makes each test also for several databases.
macro_rules! suite {
    ($($test:ident)*) => {
        suite_of_one!($($test)*);

        mod placed {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(crate::placed().await).await;
            })*
        }
    };
}

/// Makes each test twice, once for each database.
macro_rules! suite_of_one {
    ($($test:ident)*) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(crate::sqlite().await).await;
            })*
        }

        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(crate::postgres().await).await;
            })*
        }
    };
}

mod basics;
mod epochs;
mod holds;
mod lists;
mod quota;
mod records;
mod requests;
mod seen;
mod transactions;
mod updates;

/// A database for one test, opened twice, as by two processes.
struct Database {
    names: Arc<dyn Names>,
    other: Arc<dyn Names>,
    url: NamesUrl,
    _server: Box<dyn std::any::Any>,
}

async fn sqlite() -> Database {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("names.db").display());
    Database::at(&url, folder).await
}

async fn postgres() -> Database {
    let server = Postgres::start();
    Database::at(&server.url(), server).await
}

/// Two databases, of which the second has the tenant.
async fn placed() -> Database {
    let server = Postgres::start();
    let (raw, connection) = tokio_postgres::connect(&server.url(), tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    raw.batch_execute("CREATE DATABASE second").await.unwrap();
    let second = server.url().replace("/postgres", "/second");
    assert_ne!(second, server.url());
    let database = Database::at(&format!("{},{second}", server.url()), server).await;
    // The first tenant comes to the first one.
    eventually(async || database.names.find("other", "a").await.is_ok()).await;
    eventually(async || database.names.find("t", "a").await.is_ok()).await;
    let places = "SELECT count(DISTINCT database) FROM namelock_placement";
    assert_eq!(raw.query_one(places, &[]).await.unwrap().get::<_, i64>(0), 2);
    database
}

impl Database {
    /// Waits until a registration has ended by the time of both processes, which may be a round trip apart.
    async fn until_ended(&self, name: &str) {
        eventually(async || {
            let found = [self.names.find("t", name).await, self.other.find("t", name).await];
            found.into_iter().all(|found| found.unwrap().is_none())
        })
        .await;
    }

    async fn at(url: &str, server: impl std::any::Any) -> Self {
        let url: NamesUrl = url.parse().unwrap();
        Self {
            names: open(&url, NamesConfig::default()).await.unwrap(),
            other: open(&url, NamesConfig::default()).await.unwrap(),
            url,
            _server: Box::new(server),
        }
    }

    /// Opens it once more, with a process that deletes rows as soon as their registrations have ended.
    async fn without_retention(&self) -> Arc<dyn Names> {
        let config = NamesConfig {
            retention: Duration::ZERO,
            ..NamesConfig::default()
        };
        open(&self.url, config).await.unwrap()
    }

    /// Counts the rows of a tenant, as an operator could.
    async fn recount(&self, tenant: &str) -> Usage {
        let (registrations, bytes): (i64, i64) = match &self.url {
            NamesUrl::Sqlite(path) => {
                let sql = "SELECT count(*), coalesce(sum(128 + octet_length(tenant) + octet_length(name)
                    + octet_length(owner) + octet_length(attributes)), 0) FROM registrations WHERE tenant = ?";
                let raw = rusqlite::Connection::open(path).unwrap();
                raw.query_row(sql, [tenant], |row| Ok((row.get(0)?, row.get(1)?)))
                    .unwrap()
            }
            NamesUrl::Postgres(url) => rows_in_server(url, tenant).await,
            NamesUrl::Several(urls) => {
                let (mut registrations, mut bytes) = (0, 0);
                for url in urls {
                    let NamesUrl::Postgres(url) = url else { panic!("{url}") };
                    let rows = rows_in_server(url, tenant).await;
                    (registrations, bytes) = (registrations + rows.0, bytes + rows.1);
                }
                (registrations, bytes)
            }
        };
        Usage {
            registrations: registrations.try_into().unwrap(),
            bytes: bytes.try_into().unwrap(),
        }
    }
}

async fn rows_in_server(url: &str, tenant: &str) -> (i64, i64) {
    let sql = "SELECT count(*), coalesce(sum(128 + octet_length(tenant) + octet_length(name)
        + octet_length(owner) + octet_length(attributes)), 0)
        FROM namelock_registrations WHERE tenant = $1";
    let (raw, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let row = raw.query_one(sql, &[&tenant]).await.unwrap();
    (row.get(0), row.get(1))
}

fn save(name: &str, owner: &str, fencing_token: u64) -> Save {
    Save {
        tenant: "t".to_owned(),
        name: name.to_owned(),
        owner: owner.to_owned(),
        lifetime: Some(Duration::from_secs(60)),
        attributes: Vec::new(),
        fencing_token: FencingToken::new(fencing_token),
        deadline: Instant::now() + Duration::from_secs(10),
        keep: Keep::default(),
        quota: Quota::default(),
        hold: Duration::ZERO,
        request: None,
    }
}

/// A change of nothing.
fn update(name: &str, fencing_token: u64) -> Update {
    Update {
        tenant: "t".to_owned(),
        name: name.to_owned(),
        change: Change::default(),
        fencing_token: FencingToken::new(fencing_token),
        deadline: Instant::now() + Duration::from_secs(10),
        seen: Seen::Unread,
        keep: Keep::default(),
        quota: Quota::default(),
        request: None,
    }
}

fn free(name: &str, fencing_token: u64) -> Free {
    Free {
        tenant: "t".to_owned(),
        name: name.to_owned(),
        fencing_token: FencingToken::new(fencing_token),
        deadline: Instant::now() + Duration::from_secs(10),
        seen: Seen::Unread,
        keep: Keep::default(),
    }
}

#[track_caller]
fn is_taken_by(result: Result<Registration, SaveError>, owner: &str) {
    match result {
        Err(SaveError::Taken(registration)) => assert_eq!(registration.owner, owner),
        other => panic!("{other:?}"),
    }
}

/// Tries until something is so.
async fn eventually(mut is_so: impl AsyncFnMut() -> bool) {
    let tries = async { while !is_so().await {} };
    tokio::time::timeout(Duration::from_secs(60), tries).await.unwrap();
}

fn quota(registrations: u64, bytes: u64) -> Quota {
    Quota { registrations, bytes }
}
