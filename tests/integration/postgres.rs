//! Hosts of a fleet with one PostgreSQL behind them.

use std::time::{Duration, Instant};

use namelock_test_servers::{Memcached, Postgres};

use crate::fixture::{Builder, Host};

/// How much later than its deadline an answer may come on a machine that is busy.
const SLACK: Duration = Duration::from_secs(5);

fn host(memcached: &Memcached, postgres: &Postgres) -> Host {
    let config = "[names]\ntimeout = \"500ms\"\n";
    let builder = Builder::new().config(config).lock(memcached).names_url(&postgres.url());
    builder.demo().start()
}

#[tokio::test]
async fn what_one_host_has_saved_another_one_finds() {
    let (memcached, postgres) = (Memcached::start(), Postgres::start());
    let (one, two) = (host(&memcached, &postgres), host(&memcached, &postgres));
    assert_eq!(one.post("demo", "blue", "ann").await.status, 201);
    two.post("demo", "blue", "bob").await.is_problem(409, "name_taken");
    assert_eq!(two.get("demo", "blue").await.body["owner"], "ann");
    assert_eq!(two.delete("demo", "blue", "ann").await.status, 204);
    assert_eq!(one.post("demo", "blue", "bob").await.status, 201);
}

#[tokio::test]
async fn a_database_that_is_down_is_told_at_once_and_nothing_is_lost() {
    let (memcached, mut postgres) = (Memcached::start(), Postgres::start());
    let host = host(&memcached, &postgres);
    assert_eq!(host.post("demo", "before", "ann").await.status, 201);
    postgres.kill();
    let begin = Instant::now();
    host.post("demo", "a", "ann").await.is_problem(503, "names_unavailable");
    host.get("demo", "before").await.is_problem(503, "names_unavailable");
    assert_eq!(host.admin("/readyz").await.status, 503);
    assert!(begin.elapsed() < SLACK, "{:?}", begin.elapsed());

    postgres.restart();
    let back = async { while host.admin("/readyz").await.status != 200 {} };
    assert!(tokio::time::timeout(Duration::from_secs(30), back).await.is_ok());
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
    let back = async { while host.post("demo", "a", "ann").await.status != 201 {} };
    assert!(tokio::time::timeout(Duration::from_secs(30), back).await.is_ok());
}
