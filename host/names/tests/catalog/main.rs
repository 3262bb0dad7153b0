//! The catalog of a fleet's tenants, in a real PostgreSQL.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod changes;
mod puts;
mod server;
mod together;

use std::time::Duration;

use namelock_names::catalog::{Catalog, CatalogConfig, Put};
use namelock_test_servers::Postgres;
use tokio_postgres::{Client, NoTls};

/// How long something may take that is done at once, on a machine that is slow and busy.
const SOON: Duration = Duration::from_secs(60);

/// A catalog that waits for as long as a busy machine takes, and hears of no change but by being told.
fn config() -> CatalogConfig {
    CatalogConfig {
        connect_timeout: SOON,
        timeout: SOON,
        poll: 10 * SOON,
        ..CatalogConfig::default()
    }
}

fn catalog(server: &Postgres) -> Catalog {
    Catalog::new(&server.url().parse().unwrap(), config()).unwrap()
}

/// A component that is told from others by its number.
fn component(number: u8) -> ([u8; 32], Vec<u8>) {
    ([number; 32], vec![number; 100_000])
}

fn new_component(number: u8) -> Put {
    Put {
        component: Some(component(number)),
        ..Put::default()
    }
}

fn new_settings(settings: &str) -> Put {
    Put {
        settings: Some(settings.to_owned()),
        ..Put::default()
    }
}

/// Connects to the server directly, as an operator does.
async fn client(server: &Postgres) -> Client {
    let (client, connection) = tokio_postgres::connect(&server.url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// The numbers of the components that there are.
async fn stored_components(operator: &Client) -> Vec<u8> {
    let numbers = "SELECT sha256 FROM namelock_components ORDER BY sha256";
    let rows = operator.query(numbers, &[]).await.unwrap();
    rows.iter().map(|row| row.get::<_, &[u8]>(0)[0]).collect()
}

/// Which tenant has which component.
async fn uses(catalog: &Catalog) -> Vec<(String, u8)> {
    let tenants = catalog.tenants().await.unwrap();
    tenants
        .into_iter()
        .map(|tenant| (tenant.id, tenant.sha256[0]))
        .collect()
}

/// Waits until a query of one number gives this one.
async fn until(operator: &Client, query: &str, number: i64) {
    soon(async { while operator.query_one(query, &[]).await.unwrap().get::<_, i64>(0) != number {} }).await;
}

async fn soon<T>(done: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, done).await.unwrap()
}
