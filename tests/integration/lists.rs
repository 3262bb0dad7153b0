//! Lists of registrations, page by page.

use namelock_test_artifacts::guests;
use namelock_test_servers::{Memcached, Postgres};
use serde_json::json;

use crate::fixture::{Builder, Host, LONG_CALLS};

/// Reads one page: its names, and where the next one begins.
async fn page(host: &Host, query: &str) -> (Vec<String>, Option<String>) {
    let answer = host.list("t", query).await;
    assert_eq!(answer.status, 200, "{query}: {:?}", answer.body);
    assert_eq!(answer.headers["content-type"], "application/json");
    let members: Vec<_> = answer.body.as_object().unwrap().keys().collect();
    assert_eq!(members, ["names", "next"]);
    let names = answer.body["names"].as_array().unwrap();
    let names = names.iter().map(|found| found["name"].as_str().unwrap().to_owned());
    (names.collect(), answer.body["next"].as_str().map(str::to_owned))
}

/// Reads all pages of a list, none of which has more names than `limit`.
async fn pages(host: &Host, query: &str, limit: usize) -> Vec<String> {
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let (names, next) = page(host, &format!("{query}&limit={limit}{after}")).await;
        assert!(names.len() <= limit, "{names:?}");
        all.extend(names);
        match next {
            Some(next) => after = format!("&after={next}"),
            None => return all,
        }
    }
}

fn plain() -> Builder {
    Builder::new()
        .tenant("t", guests::PLAIN, LONG_CALLS)
        .config("[limits.max]\ncpu_time = '30s'\nwall_time = '5m'\n")
}

async fn a_list_has_the_active_names_in_the_order_of_their_bytes(host: &Host) {
    assert_eq!(page(host, "").await, (Vec::new(), None));
    let long = "z".repeat(255);
    let names = [
        "b",
        "a10",
        "A",
        "a2",
        "a",
        "ä",
        "a b",
        "\u{1d11e}",
        "\u{ffff}",
        "%",
        &long,
    ];
    for (number, name) in names.iter().enumerate() {
        let owner = if number.is_multiple_of(2) { "ann" } else { "bob" };
        assert_eq!(host.post("t", name, owner).await.status, 201);
    }
    let ended = json!({ "name": "a1", "owner": "ann", "lifetime_ms": 1 });
    assert_eq!(host.post_json("t", &ended).await.status, 201);
    assert_eq!(host.post("t", "a3", "ann").await.status, 201);
    assert_eq!(host.delete("t", "a3", "ann").await.status, 204);
    crate::fixture::eventually("it has ended", async || host.get("t", "a1").await.status == 404).await;

    let mut sorted = names;
    sorted.sort_unstable();
    let of = |owner: &str| {
        let parity = usize::from(owner == "bob");
        let of_owner = |name: &&&str| names.iter().position(|other| other == *name).unwrap() % 2 == parity;
        sorted.iter().filter(of_owner).copied().collect::<Vec<_>>()
    };
    for limit in [1, 2, 3, 1000] {
        assert_eq!(pages(host, "", limit).await, sorted);
        assert_eq!(pages(host, "owner=ann", limit).await, of("ann"));
        assert_eq!(pages(host, "owner=bob", limit).await, of("bob"));
        assert_eq!(pages(host, "prefix=a", limit).await, ["a", "a b", "a10", "a2"]);
        assert_eq!(pages(host, "prefix=a&owner=bob", limit).await, ["a10", "a2"]);
        assert_eq!(pages(host, "prefix=%C3%A4", limit).await, ["ä"]);
        assert_eq!(pages(host, "prefix=a+b", limit).await, ["a b"]);
        assert_eq!(pages(host, "prefix=%25", limit).await, ["%"]);
        assert_eq!(pages(host, &format!("prefix={long}"), limit).await, [long.as_str()]);
        assert_eq!(pages(host, "prefix=x", limit).await, Vec::<String>::new());
        assert_eq!(pages(host, "owner=eve", limit).await, Vec::<String>::new());
    }
    // Each is listed as it is found.
    let listed = host.list("t", "prefix=a10").await.body["names"][0].clone();
    assert_eq!(listed, host.get("t", "a10").await.body);
}

#[tokio::test]
async fn a_list_of_sqlite_has_the_active_names_in_order() {
    a_list_has_the_active_names_in_the_order_of_their_bytes(&plain().start()).await;
}

#[tokio::test]
async fn a_list_of_postgresql_has_the_active_names_in_order() {
    let (memcached, postgres) = (Memcached::start(), Postgres::start());
    let host = plain().lock(&memcached).names_url(&postgres.url()).start();
    a_list_has_the_active_names_in_the_order_of_their_bytes(&host).await;
}

#[tokio::test]
async fn a_page_has_a_hundred_names_unless_its_caller_says_otherwise() {
    let host = plain().start();
    for number in 0..101 {
        assert_eq!(host.post("t", &format!("{number:03}"), "ann").await.status, 201);
    }
    let (names, next) = page(&host, "").await;
    assert_eq!((names.len(), names[99].as_str()), (100, "099"));
    let (names, next) = page(&host, &format!("after={}", next.unwrap())).await;
    assert_eq!((names, next), (vec!["100".to_owned()], None));
    assert_eq!(page(&host, "limit=101").await.0.len(), 101);
}

#[tokio::test]
async fn a_question_that_breaks_a_rule_is_refused() {
    let host = plain().tenant("other", guests::PLAIN, "").start();
    for name in ["a", "b", "c"] {
        assert_eq!(host.post("t", name, "ann").await.status, 201);
    }
    let (_, next) = page(&host, "limit=1").await;
    let next = next.unwrap();
    for query in [
        "limit=0",
        "limit=1001",
        "limit=-1",
        "limit=ten",
        "limit=",
        "limit=1&limit=1",
        "prefix=%C3",
        "prefix=%f0%9d%84",
        "prefix=%zz",
        "owner=",
        &format!("owner={}", "x".repeat(256)),
        "colour=red",
        "Limit=1",
        "after=",
        "after=a",
        "after=%C3",
        &format!("after={}", &next[..next.len() - 2]),
        &format!("after={}", &next[2..]),
        &format!("after={next}00"),
        &format!("after={}62", &next[..next.len() - 2]),
        &format!("after={next}&prefix=a"),
        &format!("after={next}&owner=ann"),
    ] {
        let answer = host.list("t", query).await;
        assert_eq!(
            (answer.status.as_u16(), answer.code().as_str()),
            (400, "invalid_request"),
            "{query}"
        );
    }
    let of_another = host.list("other", &format!("after={next}")).await;
    of_another.is_problem(400, "invalid_request");
    host.list("t", &format!("prefix={}", "x".repeat(256)))
        .await
        .is_problem(422, "name_invalid");
    host.list("nobody", "").await.is_problem(404, "unknown_tenant");
    // How many are asked for may change from page to page.
    assert_eq!(page(&host, &format!("after={next}&limit=1000")).await.0, ["b", "c"]);
}

/// Registers and frees names around those that stay until `done`.
async fn write_meanwhile(host: &Host, round: usize, done: &tokio::sync::watch::Receiver<bool>) {
    for number in 0.. {
        if *done.borrow() {
            return;
        }
        let name = format!("{:02}-{round}-{number}", number % 60);
        assert_eq!(host.post("t", &name, "bob").await.status, 201);
        if number % 3 != 0 {
            assert_eq!(host.delete("t", &name, "bob").await.status, 204);
        }
    }
}

async fn a_name_that_stays_is_listed_once(host: &Host) {
    let stays: Vec<_> = (0..60).map(|number| format!("{number:02}")).collect();
    for name in &stays {
        assert_eq!(host.post("t", name, "ann").await.status, 201);
    }
    for round in 0..3 {
        let (end, done) = tokio::sync::watch::channel(false);
        let read = async {
            for limit in [1, 7, 1000] {
                let listed = pages(host, "", limit).await;
                assert!(listed.is_sorted(), "{listed:?}");
                let found: Vec<_> = listed.into_iter().filter(|name| stays.contains(name)).collect();
                assert_eq!(found, stays);
                assert_eq!(pages(host, "owner=ann", limit).await, stays);
            }
            end.send_replace(true);
        };
        tokio::join!(
            read,
            write_meanwhile(host, round, &done),
            write_meanwhile(host, round + 100, &done)
        );
    }
}

#[tokio::test]
async fn while_others_write_a_name_that_stays_is_listed_once() {
    a_name_that_stays_is_listed_once(&plain().start()).await;
}

#[tokio::test]
async fn while_others_write_a_name_that_stays_is_listed_once_in_postgresql() {
    let (memcached, postgres) = (Memcached::start(), Postgres::start());
    let host = plain().lock(&memcached).names_url(&postgres.url()).start();
    a_name_that_stays_is_listed_once(&host).await;
}

#[tokio::test]
async fn without_the_database_there_is_no_list() {
    let mut postgres = Postgres::start();
    let host = plain().names_url(&postgres.url()).start();
    assert_eq!(host.post("t", "a", "ann").await.status, 201);
    postgres.kill();
    host.list("t", "").await.is_problem(503, "names_unavailable");
    postgres.restart();
    crate::fixture::eventually("it is listed", async || {
        host.list("t", "").await.body["names"][0]["name"] == "a"
    })
    .await;
}
