//! What can go wrong with a server.

use std::time::Duration;

use namelock_names::catalog::{Catalog, CatalogConfig, CatalogError, CatalogTenant, Put};
use namelock_names::{Keep, NamesConfig, Quota, Save, open};
use namelock_test_servers::{Authority, Postgres, PostgresPair};

use crate::{SOON, catalog, client, config, new_component, new_settings, soon, until, uses};

/// Waits until the catalog can be read.
async fn until_read(catalog: &Catalog) -> Vec<CatalogTenant> {
    soon(async {
        loop {
            if let Ok(tenants) = catalog.tenants().await {
                break tenants;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
}

fn unavailable_text<T: std::fmt::Debug>(done: Result<T, CatalogError>) -> String {
    match done {
        Err(error @ CatalogError::Unavailable { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

fn refused_text(url: &str, config: CatalogConfig) -> String {
    Catalog::new(&url.parse().unwrap(), config).unwrap_err().to_string()
}

#[tokio::test]
async fn a_server_that_is_down_is_reported_and_used_once_it_is_back() {
    let mut server = Postgres::start();
    server.kill();
    let catalog = catalog(&server);
    let address = server.address().to_string();
    for text in [
        unavailable_text(catalog.tenants().await),
        unavailable_text(catalog.put("demo", new_component(1)).await),
        unavailable_text(catalog.remove("demo").await),
        unavailable_text(catalog.component([1; 32]).await),
    ] {
        assert!(text.contains(&address) && text.contains("cannot be reached"), "{text}");
    }
    server.restart();
    assert_eq!(until_read(&catalog).await, []);
}

#[tokio::test]
async fn tenants_and_changes_are_found_after_a_failover() {
    let mut pair = PostgresPair::start(&[]);
    let catalog = Catalog::new(&pair.url().parse().unwrap(), config()).unwrap();
    catalog.put("demo", new_component(1)).await.unwrap();
    soon(catalog.changed()).await;
    pair.fail_over();
    assert_eq!(until_read(&catalog).await[0].sha256, [1; 32]);
    soon(catalog.changed()).await;
    let listening = "SELECT count(*) FROM pg_stat_activity WHERE query = 'LISTEN namelock_catalog'";
    until(&client(&pair.primary).await, listening, 1).await;
    catalog.put("demo", new_component(2)).await.unwrap();
    soon(catalog.changed()).await;
    assert_eq!(uses(&catalog).await, [("demo".to_owned(), 2)]);
}

#[tokio::test]
async fn tenants_and_changes_are_found_after_the_server_was_killed_and_started() {
    let mut server = Postgres::start();
    let catalog = catalog(&server);
    catalog.put("demo", new_component(1)).await.unwrap();
    soon(catalog.changed()).await;
    server.restart();
    assert_eq!(until_read(&catalog).await[0].sha256, [1; 32]);
    // It was not listened to for a while.
    soon(catalog.changed()).await;
    let listening = "SELECT count(*) FROM pg_stat_activity WHERE query = 'LISTEN namelock_catalog'";
    until(&client(&server).await, listening, 1).await;
    catalog.put("demo", new_component(2)).await.unwrap();
    soon(catalog.changed()).await;
    assert_eq!(uses(&catalog).await, [("demo".to_owned(), 2)]);
}

#[tokio::test]
async fn a_hanging_server_is_given_up_and_used_once_it_goes_on() {
    let server = Postgres::start();
    // However long it takes to create the tables.
    catalog(&server).tenants().await.unwrap();
    let config = CatalogConfig {
        timeout: Duration::from_millis(500),
        ..config()
    };
    let catalog = Catalog::new(&server.url().parse().unwrap(), config).unwrap();
    until_read(&catalog).await;
    server.signal("STOP");
    let text = unavailable_text(soon(catalog.tenants()).await);
    assert!(text.contains("not answered within 500ms"), "{text}");
    server.signal("CONT");
    until_read(&catalog).await;
}

#[tokio::test]
async fn tables_of_a_newer_version_are_refused_with_a_hint() {
    let server = Postgres::start();
    catalog(&server).tenants().await.unwrap();
    let newer = "INSERT INTO namelock_catalog_schema VALUES (99)";
    client(&server).await.execute(newer, &[]).await.unwrap();
    let text = unavailable_text(catalog(&server).tenants().await);
    assert!(
        text.contains("version 99") && text.contains("use a newer namelock"),
        "{text}"
    );
}

#[tokio::test]
async fn hosts_that_start_together_create_the_tables_once() {
    let server = Postgres::start();
    let reads: Vec<_> = (0..8)
        .map(|_| {
            let catalog = catalog(&server);
            tokio::spawn(async move { catalog.tenants().await })
        })
        .collect();
    for read in reads {
        assert_eq!(soon(read).await.unwrap().unwrap(), []);
    }
    let versions = "SELECT count(*) FROM namelock_catalog_schema";
    until(&client(&server).await, versions, 1).await;
}

#[tokio::test]
async fn whoever_may_only_read_and_write_the_tables_can_use_them() {
    let server = Postgres::start();
    catalog(&server).tenants().await.unwrap();
    let rights = "REVOKE CREATE ON SCHEMA public FROM public;
        CREATE ROLE host LOGIN;
        GRANT SELECT ON namelock_catalog_schema TO host;
        GRANT SELECT, INSERT, UPDATE, DELETE ON namelock_tenants, namelock_components TO host;
        GRANT USAGE ON namelock_tenant_revisions TO host;";
    client(&server).await.batch_execute(rights).await.unwrap();
    let url = server.url().replace("nobody@", "host@");
    let host = Catalog::new(&url.parse().unwrap(), config()).unwrap();
    host.put("demo", new_component(1)).await.unwrap();
    soon(host.changed()).await;
    assert!(host.remove("demo").await.unwrap());
}

#[tokio::test]
async fn a_names_database_whose_connections_are_all_in_use_delays_no_catalog() {
    let server = Postgres::start();
    let names_config = NamesConfig {
        connections: 1,
        connect_timeout: SOON,
        timeout: SOON,
        ..NamesConfig::default()
    };
    let names = open(&server.url().parse().unwrap(), names_config).await.unwrap();
    let save = || Save {
        tenant: "t".to_owned(),
        name: "a".to_owned(),
        owner: "ann".to_owned(),
        lifetime: None,
        attributes: Vec::new(),
        fencing_token: namelock_names::FencingToken::new(1),
        deadline: tokio::time::Instant::now() + SOON,
        keep: Keep::default(),
        quota: Quota::default(),
        hold: Duration::ZERO,
        request: None,
    };
    names.save(save()).await.unwrap();
    let mut operator = client(&server).await;
    let transaction = operator.transaction().await.unwrap();
    let hold = "UPDATE namelock_registrations SET owner = 'x'";
    transaction.execute(hold, &[]).await.unwrap();
    let waits = tokio::spawn(async move { names.save(save()).await });
    let waiting = "SELECT count(*) FROM pg_stat_activity
        WHERE application_name = 'namelock' AND wait_event_type = 'Lock'";
    until(&client(&server).await, waiting, 1).await;
    let catalog = catalog(&server);
    catalog.put("demo", new_component(1)).await.unwrap();
    assert_eq!(uses(&catalog).await, [("demo".to_owned(), 1)]);
    assert!(!waits.is_finished());
    transaction.rollback().await.unwrap();
    soon(waits).await.unwrap().unwrap_err();
}

/// A catalog that soon gives up, in a server with one tenant whose commits wait for a standby that is not there.
async fn without_standby(server: &Postgres) -> Catalog {
    catalog(server).put("demo", new_component(1)).await.unwrap();
    set_standby(server, "gone").await;
    let config = CatalogConfig {
        timeout: Duration::from_secs(1),
        ..config()
    };
    Catalog::new(&server.url().parse().unwrap(), config).unwrap()
}

async fn set_standby(server: &Postgres, name: &str) {
    let operator = client(server).await;
    let set = format!("ALTER SYSTEM SET synchronous_standby_names = '{name}'");
    operator.batch_execute(&set).await.unwrap();
    operator.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    let is_set =
        format!("SELECT count(*) FROM pg_settings WHERE name = 'synchronous_standby_names' AND setting = '{name}'");
    until(&operator, &is_set, 1).await;
}

#[tokio::test]
async fn a_put_whose_commit_is_not_answered_is_unknown_and_may_be_repeated() {
    let server = Postgres::start();
    let catalog = without_standby(&server).await;
    let before = until_read(&catalog).await[0].revision;
    let put = || catalog.put("demo", new_settings("x"));
    let unknown = async {
        let mut last = before;
        loop {
            match put().await {
                Err(error @ CatalogError::Unknown { .. }) => break (last, error.to_string()),
                // The standby is not waited for yet.
                Ok(revision) => last = revision,
                // A busy machine.
                Err(CatalogError::Unavailable { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    };
    let (last, text) = soon(unknown).await;
    assert!(
        text.contains("unknown") && text.contains("put tenant \"demo\"") && text.contains("again is safe"),
        "{text}"
    );
    set_standby(&server, "").await;
    // It was done, as the server still worked on it.
    let done = async {
        loop {
            let tenant = until_read(&catalog).await.remove(0);
            if tenant.revision > last {
                break tenant.revision;
            }
        }
    };
    let revision = soon(done).await;
    let again = async {
        loop {
            if let Ok(revision) = put().await {
                break revision;
            }
        }
    };
    assert!(soon(again).await > revision);
}

#[tokio::test]
async fn a_put_whose_connection_breaks_during_the_commit_is_unknown_and_may_be_repeated() {
    let server = Postgres::start();
    let catalog = catalog(&server);
    catalog.put("demo", new_component(1)).await.unwrap();
    let (operator, watcher) = (client(&server).await, client(&server).await);
    // A commit that waits for the operator.
    let hold_up = "CREATE FUNCTION hold_up() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN PERFORM pg_advisory_xact_lock(42); RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER hold_up AFTER UPDATE ON namelock_tenants
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION hold_up();
        SELECT pg_advisory_lock(42)";
    operator.batch_execute(hold_up).await.unwrap();
    let put = tokio::spawn({
        let catalog = catalog.clone();
        async move { catalog.put("demo", new_settings("x")).await }
    });
    let committing = "SELECT count(*) FROM pg_stat_activity
        WHERE application_name = 'namelock-catalog' AND query = 'COMMIT' AND wait_event = 'advisory'";
    until(&watcher, committing, 1).await;
    let end = committing.replace("count(*)", "pg_terminate_backend(pid)");
    watcher.execute(&*end, &[]).await.unwrap();
    match soon(put).await.unwrap() {
        Err(CatalogError::Unknown { .. }) => {}
        other => panic!("{other:?}"),
    }
    operator.batch_execute("SELECT pg_advisory_unlock(42)").await.unwrap();
    catalog.put("demo", new_settings("x")).await.unwrap();
}

#[tokio::test]
async fn a_put_that_is_given_up_before_its_commit_is_not_done_later() {
    let server = Postgres::start();
    catalog(&server).put("demo", new_component(1)).await.unwrap();
    let mut operator = client(&server).await;
    let transaction = operator.transaction().await.unwrap();
    let hold = "UPDATE namelock_tenants SET settings = settings";
    transaction.execute(hold, &[]).await.unwrap();
    let config = CatalogConfig {
        timeout: Duration::from_millis(500),
        ..config()
    };
    let hasty = Catalog::new(&server.url().parse().unwrap(), config).unwrap();
    unavailable_text(soon(hasty.put("demo", new_settings("x"))).await);
    transaction.rollback().await.unwrap();
    let put = Put {
        if_revision: Some(until_read(&hasty).await[0].revision),
        ..new_component(2)
    };
    catalog(&server).put("demo", put).await.unwrap();
    assert_eq!(catalog(&server).tenants().await.unwrap()[0].settings, "");
}

#[test]
fn what_could_not_work_is_refused_with_its_reason() {
    let text = refused_text("sqlite:names.db", config());
    assert!(
        text.contains("sqlite:names.db") && text.contains("give postgres://"),
        "{text}"
    );
    let no_timeout = CatalogConfig {
        timeout: Duration::ZERO,
        ..config()
    };
    let text = refused_text("postgres://db/names", no_timeout);
    assert!(text.contains("its timeout is 0 ms"), "{text}");
    let no_roots = CatalogConfig {
        tls_roots: Some("/nowhere/roots.pem".into()),
        ..config()
    };
    let text = refused_text("postgres://ann:s3cret@db/names", no_roots);
    assert!(
        text.contains("/nowhere/roots.pem") && text.contains("root certificates") && !text.contains("s3cret"),
        "{text}"
    );
}

#[tokio::test]
async fn a_password_is_in_no_error() {
    let mut server = Postgres::start();
    let url = server.url().replace("nobody@", "ann:s3cret@");
    let catalog = Catalog::new(&url.parse().unwrap(), config()).unwrap();
    let refused = unavailable_text(catalog.tenants().await);
    assert!(refused.contains("ann"), "{refused}");
    server.kill();
    let down = unavailable_text(catalog.put("demo", new_component(1)).await);
    let url = "postgres://ann:s3cret@db/names".parse().unwrap();
    let shown = format!("{:?}", Catalog::new(&url, config()).unwrap());
    assert_eq!(shown, "Catalog(postgres://db/names)");
    assert!(
        !refused.contains("s3cret") && !down.contains("s3cret"),
        "{refused} {down}"
    );
}

#[tokio::test]
async fn a_server_is_trusted_only_with_a_certificate_signed_by_a_root() {
    let authority = Authority::new();
    let identity = authority.sign(&["localhost"]);
    let server = Postgres::with_tls(&identity.certificate, &identity.key);
    let port = server.address().port();
    let url = format!("postgres://nobody@localhost:{port}/postgres?sslmode=require");
    let trusting = CatalogConfig {
        tls_roots: Some(authority.file()),
        ..config()
    };
    let host = Catalog::new(&url.parse().unwrap(), trusting).unwrap();
    host.put("demo", new_component(1)).await.unwrap();
    soon(host.changed()).await;
    let stranger = Catalog::new(&url.parse().unwrap(), config()).unwrap();
    let text = unavailable_text(stranger.tenants().await);
    assert!(text.contains("certificate"), "{text}");
}
