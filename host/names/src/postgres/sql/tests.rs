//! Plans of the statements whose cost must not grow with the table.

use namelock_test_servers::Postgres;
use tokio_postgres::NoTls;

use super::*;
use crate::config::NamesConfig;

/// Returns the plans of statements, with and without statistics, for values that are known and for any, with this many rows.
async fn plans(rows: u32, statements: &[(&str, &str)]) -> Vec<String> {
    let server = Postgres::start();
    drop(
        crate::postgres::Postgres::open(&server.url(), "", NamesConfig::default(), crate::postgres::Role::Alone)
            .await
            .unwrap(),
    );
    let mut session: tokio_postgres::Config = server.url().parse().unwrap();
    let (client, connection) = session.options(PLANNING).connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    let fill = format!(
        "INSERT INTO namelock_registrations
        SELECT 't', n::text::bytea, ('owner ' || n % 3)::bytea, 1, n, 1, '[]' FROM generate_series(1, {rows}) AS n"
    );
    client.execute(&fill, &[]).await.unwrap();
    for (number, (sql, _)) in statements.iter().enumerate() {
        client
            .batch_execute(&format!("PREPARE asked_{number} AS {sql}"))
            .await
            .unwrap();
    }
    let mut plans = Vec::new();
    for statistics in ["", "ANALYZE namelock_registrations"] {
        client.batch_execute(statistics).await.unwrap();
        for mode in ["force_generic_plan", "force_custom_plan"] {
            let mode = format!("SET plan_cache_mode = {mode}");
            client.batch_execute(&mode).await.unwrap();
            for (number, (_, arguments)) in statements.iter().enumerate() {
                let explain = format!("EXPLAIN EXECUTE asked_{number} ({arguments})");
                let plan = client.simple_query(&explain).await.unwrap();
                let lines = plan.iter().filter_map(|message| match message {
                    tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
                    _ => None,
                });
                plans.push(lines.collect::<Vec<_>>().join("\n"));
            }
        }
    }
    plans
}

#[tokio::test]
async fn the_purge_reads_only_the_rows_that_it_deletes_whatever_is_prepared() {
    for plan in plans(50_000, &[(&Sql::new(2000).purge, "0, 500, 500, 1000")]).await {
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
        for plan in plans(50_000, &[(sql, arguments)]).await {
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

// A plan that is made while there are few rows is kept when there are many.
#[tokio::test]
async fn a_name_is_found_by_the_primary_key_whatever_is_prepared_and_however_few_rows_there_are() {
    let sql = Sql::new(2000);
    let statements: [(&str, &str); 6] = [
        (&sql.row, "'t', '1', 9"),
        (&sql.rows, "'t', '{1,2,3}', 9"),
        (&sql.lock, "'t', '1'"),
        (&sql.free, "'t', '1', 1, 9, 9, 1"),
        (&sql.update, "'t', '1', 1, 9, 9, 'o', '[]', true, 9, 9, NULL, NULL, 1"),
        (&sql.save, "'t', '1', 'o', 9, 1, '[]', 9, 9, 9, 9, 9"),
    ];
    for rows in [0, 10, 50_000] {
        for plan in plans(rows, &statements).await {
            let by_name = plan
                .lines()
                .find_map(|line| line.trim().strip_prefix("Index Cond: ((tenant = "));
            assert!(
                by_name.is_some_and(|rest| rest.contains(" AND (name = ") && !rest.contains("ANY")),
                "{plan}"
            );
            assert!(plan.contains("namelock_registrations_pkey"), "{plan}");
            let others = ["_of_owner", "Seq Scan on namelock_registrations"];
            assert!(!others.iter().any(|other| plan.contains(other)), "{plan}");
        }
    }
}
