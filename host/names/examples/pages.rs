//! Measures whether a page of a list costs the same however many names there are.
//!
//! ```sh
//! cargo run --release -p namelock-names --example pages -- sqlite:pages.db
//! cargo run --release -p namelock-names --example pages -- postgres://user@host/empty
//! ```
//!
//! It fills an empty database with 10,000 rows, and then with 5 million (or as many as a second argument says), and prints how
//! long pages of 100 take at each size: from all parts of the list, of one owner, and where all rows have ended.

#![expect(clippy::unwrap_used, reason = "a measurement fails by panicking")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use namelock_names::{ListQuery, Names, NamesConfig, NamesUrl, open};

/// How many pages each figure is of.
const PAGES: usize = 300;

/// Of so many rows that follow each other one is of the owner whose names are listed; of the first ones more, so that a page
/// is full among few rows too.
const OWNER: &str = "n % CASE WHEN n < 5000 THEN 10 ELSE 1000 END";

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let url: NamesUrl = arguments
        .next()
        .expect("the URL of an empty names database")
        .parse()
        .unwrap();
    let many = arguments.next().map_or(5_000_000, |rows| rows.parse().unwrap());
    let config = NamesConfig {
        timeout: Duration::from_secs(60),
        retention: Duration::from_secs(1_000_000),
        ..NamesConfig::default()
    };
    let names = open(&url, config).await.unwrap();
    names.ready().await.unwrap();
    let mut before = 0;
    for rows in [10_000, many] {
        let begin = Instant::now();
        fill(&url, before, rows).await;
        println!("{rows} rows, filled in {:.0?}", begin.elapsed());
        before = rows;
        measure(&names, "anywhere", rows, |place| query("", None, Some(place))).await;
        measure(&names, "of one owner", rows, |place| {
            query("", Some("owner 7"), Some(place))
        })
        .await;
        measure(&names, "with a prefix", rows, |place| query(&place[..11], None, None)).await;
        measure(&names, "all ended", rows, |place| {
            query("ended", None, Some(format!("ended {}", &place[6..])))
        })
        .await;
    }
}

fn query(prefix: &str, owner: Option<&str>, after: Option<String>) -> ListQuery {
    ListQuery {
        tenant: "t".to_owned(),
        prefix: prefix.to_owned(),
        owner: owner.map(str::to_owned),
        after,
        limit: 100,
    }
}

/// Asks for pages at places that are spread over the list, and prints how long they took.
async fn measure(names: &Arc<dyn Names>, what: &str, rows: u64, query: impl Fn(String) -> ListQuery) {
    let (mut took, mut listed) = (Vec::new(), 0);
    for number in 0..PAGES as u64 {
        let place = format!(
            "alive {:08}",
            (number * 7919) % PAGES as u64 * (rows / 2) / PAGES as u64
        );
        let begin = Instant::now();
        let page = names.list(query(place)).await.unwrap();
        took.push(begin.elapsed());
        listed += page.registrations.len();
    }
    took.sort_unstable();
    println!(
        "  {what}: median {:.2?}, 99 % {:.2?}, {} registrations a page",
        took[PAGES / 2],
        took[PAGES * 99 / 100],
        listed / PAGES
    );
}

/// Adds rows until there are so many: one half is active, and the other has ended.
async fn fill(url: &NamesUrl, from: u64, to: u64) {
    let columns = "(tenant, name, owner, created_ms, expires_ms, fencing_token, attributes)";
    match url {
        NamesUrl::Sqlite(path) => {
            let raw = rusqlite::Connection::open(path).unwrap();
            raw.busy_timeout(Duration::from_secs(60)).unwrap();
            let fill = format!(
                "WITH RECURSIVE count(n) AS (SELECT {from} / 2 UNION ALL SELECT n + 1 FROM count WHERE n + 1 < {to} / 2)
                 INSERT INTO registrations {columns}
                 SELECT 't', format('alive %08d', n), 'owner ' || ({OWNER}), 1, NULL, 1, '[]' FROM count
                 UNION ALL
                 SELECT 't', format('ended %08d', n), 'owner ' || ({OWNER}), 1, 2, 1, '[]' FROM count"
            );
            raw.execute_batch(&fill).unwrap();
        }
        NamesUrl::Several(_) => panic!("give one database"),
        NamesUrl::Postgres(url) => {
            let (raw, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
            tokio::spawn(connection);
            let fill = format!(
                "INSERT INTO namelock_registrations {columns}
                 SELECT 't', (kind || ' ' || lpad(n::text, 8, '0'))::bytea, ('owner ' || {OWNER})::bytea, 1,
                    CASE kind WHEN 'ended' THEN 2 END, 1, '[]'
                 FROM generate_series({from} / 2, {to} / 2 - 1) AS n, (VALUES ('alive'), ('ended')) AS kinds (kind)"
            );
            raw.batch_execute(&fill).await.unwrap();
        }
    }
}
