//! What several do at once.

use namelock_names::catalog::{Catalog, CatalogError, Put};
use namelock_test_servers::Postgres;
use tokio::task::JoinSet;
use tokio_postgres::Client;

use crate::{catalog, client, component, new_component, new_settings, soon, stored_components, until, uses};

/// How many wait for an advisory lock.
const WAITING: &str = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";

/// A server in which transactions stop after what they have done to a table, such as `DELETE ON namelock_tenants`, for
/// as long as the operator holds them up.
async fn held_up_after(done: &str, server: &Postgres) -> Client {
    let operator = client(server).await;
    operator
        .batch_execute(&format!(
            "CREATE FUNCTION hold_up() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN PERFORM pg_advisory_xact_lock_shared(42); RETURN NULL; END $$;
             CREATE TRIGGER hold_up AFTER {done} FOR EACH ROW EXECUTE FUNCTION hold_up();
             SELECT pg_advisory_lock(42)"
        ))
        .await
        .unwrap();
    operator
}

async fn let_go(operator: &Client) {
    operator.batch_execute("SELECT pg_advisory_unlock(42)").await.unwrap();
}

fn spawn_put(catalog: &Catalog, tenant: &'static str, put: Put) -> tokio::task::JoinHandle<Result<u64, CatalogError>> {
    let catalog = catalog.clone();
    tokio::spawn(async move { catalog.put(tenant, put).await })
}

fn spawn_remove(catalog: &Catalog, tenant: &'static str) -> tokio::task::JoinHandle<Result<bool, CatalogError>> {
    let catalog = catalog.clone();
    tokio::spawn(async move { catalog.remove(tenant).await })
}

#[tokio::test]
async fn of_two_puts_at_once_that_expect_the_same_revision_one_is_done() {
    let server = Postgres::start();
    let hosts = [catalog(&server), catalog(&server)];
    let mut revision = 0;
    // The first round adds the tenant.
    for round in 0..20 {
        let puts = hosts.each_ref().map(|host| {
            let put = Put {
                settings: Some(round.to_string()),
                if_revision: Some(revision),
                ..new_component(1)
            };
            spawn_put(host, "demo", put)
        });
        let mut done = Vec::new();
        let mut refused = Vec::new();
        for put in puts {
            match soon(put).await.unwrap() {
                Ok(new) => done.push(new),
                Err(CatalogError::Changed { revision, .. }) => refused.push(revision),
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!((done.len(), &refused), (1, &done), "round {round}");
        revision = done[0];
    }
}

#[tokio::test]
async fn two_puts_at_once_are_done_one_after_the_other() {
    let server = Postgres::start();
    let hosts = [catalog(&server), catalog(&server)];
    hosts[0].put("demo", new_component(1)).await.unwrap();
    let operator = held_up_after("UPDATE ON namelock_tenants", &server).await;
    let puts = [
        spawn_put(&hosts[0], "demo", new_settings("x")),
        spawn_put(&hosts[1], "demo", new_component(2)),
    ];
    until(&client(&server).await, WAITING, 2).await;
    let_go(&operator).await;
    for put in puts {
        soon(put).await.unwrap().unwrap();
    }
    // Each has left what the other has put.
    let tenant = hosts[0].tenants().await.unwrap().remove(0);
    assert_eq!((&*tenant.settings, tenant.sha256), ("x", [2; 32]));
    assert_eq!(stored_components(&operator).await, [2]);
}

#[tokio::test]
async fn a_component_that_is_put_while_its_last_use_is_removed_is_put_anew() {
    let server = Postgres::start();
    let hosts = [catalog(&server), catalog(&server)];
    hosts[0].put("a", new_component(1)).await.unwrap();
    let operator = held_up_after("DELETE ON namelock_components", &server).await;
    let watcher = client(&server).await;
    let removed = spawn_remove(&hosts[0], "a");
    until(&watcher, WAITING, 1).await;
    let put = spawn_put(&hosts[1], "b", new_component(1));
    until(&watcher, WAITING, 2).await;
    let_go(&operator).await;
    assert!(soon(removed).await.unwrap().unwrap());
    soon(put).await.unwrap().unwrap();
    assert_eq!(uses(&hosts[0]).await, [("b".to_owned(), 1)]);
    let (sha256, wasm) = component(1);
    assert_eq!(hosts[0].component(sha256).await.unwrap(), Some(wasm));
}

#[tokio::test]
async fn a_component_that_is_being_put_stays_when_its_last_use_is_removed() {
    let server = Postgres::start();
    let hosts = [catalog(&server), catalog(&server)];
    hosts[0].put("a", new_component(1)).await.unwrap();
    let operator = held_up_after("INSERT ON namelock_tenants", &server).await;
    let watcher = client(&server).await;
    let put = spawn_put(&hosts[1], "b", new_component(1));
    until(&watcher, WAITING, 1).await;
    let removed = spawn_remove(&hosts[0], "a");
    until(&watcher, WAITING, 2).await;
    let_go(&operator).await;
    soon(put).await.unwrap().unwrap();
    assert!(soon(removed).await.unwrap().unwrap());
    assert_eq!(uses(&hosts[0]).await, [("b".to_owned(), 1)]);
    assert_eq!(stored_components(&operator).await, [1]);
}

#[tokio::test]
async fn a_component_whose_last_two_uses_end_at_once_goes() {
    let server = Postgres::start();
    let hosts = [catalog(&server), catalog(&server)];
    for tenant in ["a", "b"] {
        hosts[0].put(tenant, new_component(1)).await.unwrap();
    }
    let operator = held_up_after("DELETE ON namelock_tenants", &server).await;
    let watcher = client(&server).await;
    let removed = spawn_remove(&hosts[0], "a");
    until(&watcher, WAITING, 1).await;
    // Before the other has committed, each sees that the other's tenant still uses it.
    let put = spawn_put(&hosts[1], "b", new_component(2));
    until(&watcher, WAITING, 2).await;
    let_go(&operator).await;
    soon(removed).await.unwrap().unwrap();
    soon(put).await.unwrap().unwrap();
    assert_eq!(stored_components(&operator).await, [2]);
}

#[tokio::test]
async fn puts_and_removes_at_once_leave_each_component_that_is_used_and_no_other() {
    const TENANTS: [&str; 3] = ["a", "b", "c"];
    let server = Postgres::start();
    let hosts = [catalog(&server), catalog(&server)];
    let operator = client(&server).await;
    let mut tasks = JoinSet::new();
    for task in 0..6_u8 {
        let host = hosts[usize::from(task % 2)].clone();
        tasks.spawn(async move {
            for step in 0..40_u8 {
                // Tenants exchange their components in all orders.
                let tenant = TENANTS[usize::from((task + step) % 3)];
                if (step + task) % 5 == 4 {
                    host.remove(tenant).await.unwrap();
                } else {
                    host.put(tenant, new_component(1 + step.wrapping_mul(7 + task) % 3))
                        .await
                        .unwrap();
                }
            }
        });
    }
    soon(tasks.join_all()).await;
    let mut used: Vec<_> = uses(&hosts[0]).await.into_iter().map(|(_, number)| number).collect();
    used.sort_unstable();
    used.dedup();
    assert_eq!(stored_components(&operator).await, used);
    for tenant in TENANTS {
        hosts[1].remove(tenant).await.unwrap();
    }
    assert!(stored_components(&operator).await.is_empty());
}
