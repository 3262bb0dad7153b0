//! Plans of the statements whose cost must not grow with the table.

use namelock_test_servers::Postgres;
use tokio_postgres::NoTls;

use super::*;
use crate::config::NamesConfig;

/// Returns the plans of a statement, with and without statistics, for values that are known and for any, with 50,000 rows.
async fn plans(sql: &str, arguments: &str) -> Vec<String> {
    let server = Postgres::start();
    drop(
        crate::postgres::Postgres::open(&server.url(), "", NamesConfig::default())
            .await
            .unwrap(),
    );
    let mut session: tokio_postgres::Config = server.url().parse().unwrap();
    let (client, connection) = session.options(PLANNING).connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    let fill = "INSERT INTO namelock_registrations
        SELECT 't', n::text::bytea, ('owner ' || n % 3)::bytea, 1, n, 1, '[]' FROM generate_series(1, 50000) AS n";
    client.execute(fill, &[]).await.unwrap();
    client.batch_execute(&format!("PREPARE asked AS {sql}")).await.unwrap();
    let mut plans = Vec::new();
    for statistics in ["", "ANALYZE namelock_registrations"] {
        client.batch_execute(statistics).await.unwrap();
        for mode in ["force_generic_plan", "force_custom_plan"] {
            client
                .batch_execute(&format!("SET plan_cache_mode = {mode}"))
                .await
                .unwrap();
            let plan = client
                .simple_query(&format!("EXPLAIN EXECUTE asked ({arguments})"))
                .await;
            let plan = plan.unwrap();
            let lines = plan.iter().filter_map(|message| match message {
                tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
                _ => None,
            });
            plans.push(lines.collect::<Vec<_>>().join("\n"));
        }
    }
    plans
}

#[tokio::test]
async fn the_purge_reads_only_the_rows_that_it_deletes_whatever_is_prepared() {
    for plan in plans(&Sql::new(2000).purge, "0, 500, 500, 1000").await {
        assert!(plan.contains("Index Cond: (expires_ms >= "), "{plan}");
        assert_eq!(plan.matches("Tid Scan").count(), 2, "{plan}");
        assert!(!plan.contains("Seq Scan") && !plan.contains("Bitmap"), "{plan}");
    }
}

#[tokio::test]
async fn a_page_reads_only_the_rows_of_its_range_whatever_is_prepared() {
    let sql = Sql::new(2000);
    let by_name = "((tenant = T) AND (name >= F) AND (name < E))";
    let by_owner = "((tenant = T) AND (ROW(owner, name) >= ROW(O, F)) AND (ROW(owner, name) < ROW(O, E)))";
    let lists = [
        (&sql.list, "'t', '1', '2', 9, 2000, 101, 1000000", by_name),
        (
            &sql.list_of_owner,
            "'t', '1', '2', 9, 2000, 101, 1000000, 'o'",
            by_owner,
        ),
    ];
    for (sql, arguments, condition) in lists {
        for plan in plans(sql, arguments).await {
            let mut values = plan.clone();
            for (value, letter) in [
                ("$1", "T"),
                ("'t'::text", "T"),
                ("$2", "F"),
                ("'\\x31'::bytea", "F"),
                ("$3", "E"),
                ("'\\x32'::bytea", "E"),
                ("$8", "O"),
                ("'\\x6f'::bytea", "O"),
            ] {
                values = values.replace(value, letter);
            }
            // For the registrations, and for how far was read.
            assert_eq!(
                values.matches(&format!("Index Cond: {condition}\n")).count(),
                2,
                "{plan}"
            );
            let sorts = ["Seq Scan", "Bitmap", "Sort"].iter().any(|step| plan.contains(step));
            assert!(!sorts, "{plan}");
        }
    }
}
