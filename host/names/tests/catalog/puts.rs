//! What is put, read and removed.

use namelock_names::catalog::{Catalog, CatalogConfig, CatalogError, CatalogTenant, Put};
use namelock_test_servers::Postgres;

use crate::{catalog, client, component, config, new_component, new_settings, stored_components, uses};

fn if_revision(revision: u64, put: Put) -> Put {
    Put {
        if_revision: Some(revision),
        ..put
    }
}

#[tokio::test]
async fn a_tenant_is_found_as_it_was_put_until_it_is_removed() {
    let server = Postgres::start();
    let catalog = catalog(&server);
    assert_eq!(catalog.tenants().await.unwrap(), []);
    let (sha256, wasm) = component(1);
    let put = Put {
        settings: Some("a = 'ä'\n".to_owned()),
        ..new_component(1)
    };
    let revision = catalog.put("demo", put).await.unwrap();
    let tenant = CatalogTenant {
        id: "demo".to_owned(),
        revision,
        settings: "a = 'ä'\n".to_owned(),
        sha256,
    };
    assert_eq!(catalog.tenants().await.unwrap(), [tenant]);
    assert_eq!(catalog.component(sha256).await.unwrap(), Some(wasm));
    assert_eq!(catalog.component([2; 32]).await.unwrap(), None);
    assert!(catalog.remove("demo").await.unwrap());
    assert!(!catalog.remove("demo").await.unwrap());
    assert_eq!(catalog.tenants().await.unwrap(), []);
    assert_eq!(catalog.component(sha256).await.unwrap(), None);
}

#[tokio::test]
async fn what_a_put_leaves_out_stays_as_it_is() {
    let server = Postgres::start();
    let catalog = catalog(&server);
    catalog.put("demo", new_component(1)).await.unwrap();
    let state = || async {
        let tenant = catalog.tenants().await.unwrap().remove(0);
        (tenant.settings, tenant.sha256[0])
    };
    assert_eq!(state().await, (String::new(), 1));
    catalog.put("demo", new_settings("x")).await.unwrap();
    assert_eq!(state().await, ("x".to_owned(), 1));
    catalog.put("demo", new_component(2)).await.unwrap();
    assert_eq!(state().await, ("x".to_owned(), 2));
    catalog.put("demo", Put::default()).await.unwrap();
    assert_eq!(state().await, ("x".to_owned(), 2));
    catalog.put("demo", new_settings("")).await.unwrap();
    assert_eq!(state().await, (String::new(), 2));
}

#[tokio::test]
async fn a_new_tenant_without_a_component_is_refused() {
    let server = Postgres::start();
    let catalog = catalog(&server);
    let error = catalog.put("demo", new_settings("x")).await.unwrap_err();
    let tenant = "demo".to_owned();
    assert_eq!(error, CatalogError::NoComponent { tenant });
    assert_eq!(catalog.tenants().await.unwrap(), []);
}

#[tokio::test]
async fn a_put_that_expects_another_revision_changes_nothing() {
    let server = Postgres::start();
    let catalog = catalog(&server);
    let changed = |expected, revision| {
        let tenant = "demo".to_owned();
        Err(CatalogError::Changed {
            tenant,
            expected,
            revision,
        })
    };
    // There is no such tenant yet.
    let put = catalog.put("demo", if_revision(7, new_component(1))).await;
    assert_eq!(put, changed(7, 0));
    let first = catalog.put("demo", if_revision(0, new_component(1))).await.unwrap();
    let put = catalog.put("demo", if_revision(0, new_component(2))).await;
    assert_eq!(put, changed(0, first));
    let second = catalog
        .put("demo", if_revision(first, new_settings("x")))
        .await
        .unwrap();
    let put = catalog.put("demo", if_revision(first, new_settings("y"))).await;
    assert_eq!(put, changed(first, second));
    let tenant = catalog.tenants().await.unwrap().remove(0);
    assert_eq!(
        (tenant.revision, &*tenant.settings, tenant.sha256),
        (second, "x", [1; 32])
    );
    assert_eq!(stored_components(&client(&server).await).await, [1]);
}

#[tokio::test]
async fn a_revision_grows_also_when_the_tenant_was_removed_in_between() {
    let server = Postgres::start();
    let catalog = catalog(&server);
    let mut last = 0;
    for _ in 0..3 {
        for put in [new_component(1), new_component(1), new_settings("x")] {
            let revision = catalog.put("demo", put).await.unwrap();
            assert!(revision > last, "{revision} after {last}");
            last = revision;
        }
        assert!(catalog.remove("demo").await.unwrap());
    }
}

#[tokio::test]
async fn tenants_are_in_order_of_their_ids() {
    let server = Postgres::start();
    let catalog = catalog(&server);
    for (number, id) in [(1, "b"), (2, "a0"), (3, "a-b"), (4, "a")] {
        catalog.put(id, new_component(number)).await.unwrap();
    }
    let expected = [("a", 4), ("a-b", 3), ("a0", 2), ("b", 1)];
    assert_eq!(
        uses(&catalog).await,
        expected.map(|(id, number)| (id.to_owned(), number))
    );
}

#[tokio::test]
async fn a_component_that_two_tenants_use_goes_with_its_last_use() {
    let server = Postgres::start();
    let (catalog, operator) = (catalog(&server), client(&server).await);
    for tenant in ["a", "b"] {
        catalog.put(tenant, new_component(1)).await.unwrap();
    }
    catalog.put("a", new_component(2)).await.unwrap();
    assert_eq!(stored_components(&operator).await, [1, 2]);
    catalog.put("b", new_component(2)).await.unwrap();
    assert_eq!(stored_components(&operator).await, [2]);
    catalog.remove("a").await.unwrap();
    assert_eq!(stored_components(&operator).await, [2]);
    catalog.remove("b").await.unwrap();
    assert!(stored_components(&operator).await.is_empty());
}

#[tokio::test]
async fn a_component_that_is_damaged_is_replaced_when_it_is_put_again() {
    let server = Postgres::start();
    let (catalog, operator) = (catalog(&server), client(&server).await);
    let (sha256, wasm) = component(1);
    catalog.put("a", new_component(1)).await.unwrap();
    let damage = "UPDATE namelock_components SET wasm = '\\x00'";
    assert_eq!(operator.execute(damage, &[]).await.unwrap(), 1);
    catalog.put("a", new_component(1)).await.unwrap();
    assert_eq!(catalog.component(sha256).await.unwrap(), Some(wasm));
}

#[tokio::test]
async fn a_component_that_is_too_long_is_refused_when_it_is_put_and_when_it_is_read() {
    let server = Postgres::start();
    let (sha256, wasm) = component(1);
    let catalog_for = |component_max| {
        let config = CatalogConfig {
            component_max,
            ..config()
        };
        Catalog::new(&server.url().parse().unwrap(), config).unwrap()
    };
    let (long, short) = (catalog_for(wasm.len()), catalog_for(wasm.len() - 1));
    let refused = CatalogError::TooLong {
        sha256: "01".repeat(32),
        bytes: wasm.len() as u64,
        max: wasm.len() as u64 - 1,
    };
    assert_eq!(short.put("demo", new_component(1)).await, Err(refused.clone()));
    assert_eq!(short.tenants().await.unwrap(), []);
    long.put("demo", new_component(1)).await.unwrap();
    assert_eq!(short.component(sha256).await, Err(refused.clone()));
    assert_eq!(long.component(sha256).await.unwrap(), Some(wasm));
    let text = refused.to_string();
    assert!(text.contains("100000") && text.contains("99999"), "{text}");
}

#[tokio::test]
async fn a_component_is_stored_as_it_is_and_not_compressed() {
    let server = Postgres::start();
    catalog(&server).put("demo", new_component(1)).await.unwrap();
    let stored = "SELECT pg_column_size(wasm)::bigint FROM namelock_components";
    let stored: i64 = client(&server).await.query_one(stored, &[]).await.unwrap().get(0);
    assert_eq!(stored, 100_000);
}

#[tokio::test]
async fn a_text_that_cannot_be_stored_is_refused_with_its_reason() {
    let server = Postgres::start();
    let catalog = catalog(&server);
    catalog.put("demo", new_component(1)).await.unwrap();
    for (tenant, settings) in [("demo", "a\0b"), ("de\0mo", "a")] {
        let error = catalog.put(tenant, new_settings(settings)).await.unwrap_err();
        assert!(error.to_string().contains("NUL"), "{error}");
    }
}
