//! How changes are heard.

use std::time::Duration;

use namelock_names::catalog::{Catalog, CatalogConfig, Put};
use namelock_test_servers::Postgres;

use crate::{catalog, client, config, new_component, new_settings, soon, until, uses};

/// How many listen.
const LISTENING: &str = "SELECT count(*) FROM pg_stat_activity
    WHERE application_name = 'namelock-catalog' AND query = 'LISTEN namelock_catalog' AND state = 'idle'";

/// A catalog that listens, and knows of all that was changed before.
async fn listening(server: &Postgres) -> Catalog {
    let catalog = catalog(server);
    soon(catalog.changed()).await;
    catalog
}

#[tokio::test]
async fn a_put_and_a_remove_are_heard_long_before_the_poll() {
    let server = Postgres::start();
    let (host, operator) = (listening(&server).await, catalog(&server));
    operator.put("demo", new_component(1)).await.unwrap();
    soon(host.changed()).await;
    assert_eq!(uses(&host).await, [("demo".to_owned(), 1)]);
    operator.put("demo", new_settings("x")).await.unwrap();
    soon(host.changed()).await;
    operator.remove("demo").await.unwrap();
    soon(host.changed()).await;
    assert_eq!(uses(&host).await, []);
}

#[tokio::test]
async fn somebody_who_waits_already_hears_of_a_change() {
    let server = Postgres::start();
    let (host, operator) = (listening(&server).await, catalog(&server));
    let waits = tokio::spawn(async move { host.changed().await });
    tokio::task::yield_now().await;
    operator.put("demo", new_component(1)).await.unwrap();
    soon(waits).await.unwrap();
}

#[tokio::test]
async fn nobody_hears_of_what_was_not_changed() {
    let server = Postgres::start();
    let (host, operator) = (listening(&server).await, catalog(&server));
    operator.remove("nobody").await.unwrap();
    operator.put("nobody", new_settings("x")).await.unwrap_err();
    let refused = Put {
        if_revision: Some(7),
        ..new_component(1)
    };
    operator.put("nobody", refused).await.unwrap_err();
    let heard = tokio::time::timeout(Duration::from_millis(200), host.changed()).await;
    assert!(heard.is_err());
}

#[tokio::test]
async fn each_clone_hears_of_a_change() {
    let server = Postgres::start();
    let host = listening(&server).await;
    let other = host.clone();
    host.put("demo", new_component(1)).await.unwrap();
    soon(host.changed()).await;
    soon(other.changed()).await;
    until(&client(&server).await, LISTENING, 1).await;
}

#[tokio::test]
async fn what_changes_while_the_connection_is_broken_is_not_missed() {
    let server = Postgres::start();
    let (host, operator) = (listening(&server).await, client(&server).await);
    host.put("demo", new_component(1)).await.unwrap();
    soon(host.changed()).await;
    // The connections that are there stay, and there are no new ones.
    let accept = "UPDATE pg_database SET datallowconn = $1";
    operator.execute(accept, &[&false]).await.unwrap();
    let end = LISTENING.replace("count(*)", "pg_terminate_backend(pid)");
    operator.execute(&*end, &[]).await.unwrap();
    until(&operator, LISTENING, 0).await;
    host.put("demo", new_component(2)).await.unwrap();
    operator.execute(accept, &[&true]).await.unwrap();
    soon(host.changed()).await;
    assert_eq!(uses(&host).await, [("demo".to_owned(), 2)]);
    // It listens again.
    until(&operator, LISTENING, 1).await;
    host.put("demo", new_component(3)).await.unwrap();
    soon(host.changed()).await;
}

#[tokio::test]
async fn changes_are_looked_for_after_a_while_where_none_can_be_heard() {
    let mut server = Postgres::start();
    let config = CatalogConfig {
        poll: Duration::from_millis(50),
        ..config()
    };
    let host = Catalog::new(&server.url().parse().unwrap(), config).unwrap();
    for _ in 0..3 {
        soon(host.changed()).await;
    }
    server.kill();
    for _ in 0..3 {
        soon(host.changed()).await;
    }
}

#[tokio::test]
async fn a_catalog_that_is_dropped_listens_no_longer() {
    let server = Postgres::start();
    let host = listening(&server).await;
    let operator = client(&server).await;
    until(&operator, LISTENING, 1).await;
    drop(host);
    until(&operator, LISTENING, 0).await;
}
