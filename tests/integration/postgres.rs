//! Hosts of a fleet that share one PostgreSQL.

use namelock_test_servers::{Memcached, Postgres};

use crate::fixture::{Builder, Host, eventually};

fn host(memcached: &Memcached, postgres: &Postgres) -> Host {
    let builder = Builder::new().lock(memcached).names_url(&postgres.url());
    builder.demo().start()
}

#[tokio::test]
async fn what_one_host_saves_another_one_finds() {
    let (memcached, postgres) = (Memcached::start(), Postgres::start());
    let (one, two) = (host(&memcached, &postgres), host(&memcached, &postgres));
    assert_eq!(one.post("demo", "blue", "ann").await.status, 201);
    two.post("demo", "blue", "bob").await.is_problem(409, "name_taken");
    assert_eq!(two.get("demo", "blue").await.body["owner"], "ann");
    assert_eq!(two.delete("demo", "blue", "ann").await.status, 204);
    assert_eq!(one.post("demo", "blue", "bob").await.status, 201);
}

// Shows P2: what was answered 201 survives a crash of the database too.
// Shows P7: without the database every request is refused.
#[tokio::test]
async fn requests_are_refused_while_the_database_is_down_and_nothing_is_lost() {
    let (memcached, mut postgres) = (Memcached::start(), Postgres::start());
    let host = host(&memcached, &postgres);
    assert_eq!(host.post("demo", "before", "ann").await.status, 201);
    postgres.kill();
    host.post("demo", "a", "ann").await.is_problem(503, "names_unavailable");
    host.get("demo", "before").await.is_problem(503, "names_unavailable");
    assert_eq!(host.admin("/readyz").await.status, 503);

    postgres.restart();
    let ready = async || host.admin("/readyz").await.status == 200;
    eventually("the host is ready again", ready).await;
    assert_eq!(host.get("demo", "before").await.body["owner"], "ann");
    assert_eq!(host.post("demo", "a", "ann").await.status, 201);
}

#[tokio::test]
async fn a_host_starts_while_the_database_is_down() {
    let (memcached, mut postgres) = (Memcached::start(), Postgres::start());
    postgres.kill();
    let host = host(&memcached, &postgres);
    host.post("demo", "a", "ann").await.is_problem(503, "names_unavailable");
    postgres.restart();
    let registered = async || host.post("demo", "a", "ann").await.status == 201;
    eventually("the database is used", registered).await;
}
