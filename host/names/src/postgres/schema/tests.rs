//! Hosts of version 3 beside hosts of this one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use namelock_test_servers::Postgres;
use namelock_types::FencingToken;
use tokio_postgres::NoTls;

use super::*;
use crate::keep::Keep;
use crate::seen::Seen;
use crate::{Free, Names, NamesConfig, PastRequest, Quota, RequestKey, Save, SaveError};

/// As version 3 saves: owner, token, and for how long.
const OLD_SAVE: &str = "
    INSERT INTO namelock_registrations AS r (tenant, name, owner, created_ms, expires_ms, fencing_token, attributes)
    SELECT 't', $1, $2, clock.now, clock.now + $4::bigint, $3, '[]'
        FROM (SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now) AS clock
    ON CONFLICT (tenant, name) DO UPDATE SET
        owner = excluded.owner, fencing_token = excluded.fencing_token, freed_token = NULL,
        attributes = excluded.attributes, created_ms = excluded.created_ms, expires_ms = excluded.expires_ms
    WHERE (r.freed_token IS NOT DISTINCT FROM r.fencing_token OR r.expires_ms <= excluded.created_ms)
        AND r.fencing_token <= $3
    RETURNING created_ms";

/// As version 3 frees.
const OLD_FREE: &str = "
    UPDATE namelock_registrations AS r SET fencing_token = $2, freed_token = $2,
        expires_ms = greatest(created_ms, floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint)
    WHERE tenant = 't' AND name = $1 AND fencing_token <= $2 AND r.freed_token IS DISTINCT FROM r.fencing_token
    RETURNING true";

async fn client(server: &Postgres) -> Client {
    let (client, connection) = tokio_postgres::connect(&server.url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// A server whose tables version 3 has made, with rows.
async fn version_3(rows: u32) -> (Postgres, Client) {
    let server = Postgres::start();
    let old = client(&server).await;
    old.batch_execute(
        "CREATE TABLE namelock_schema (version bigint NOT NULL); INSERT INTO namelock_schema VALUES (1), (2), (3)",
    )
    .await
    .unwrap();
    for migration in &MIGRATIONS[..3] {
        old.batch_execute(migration).await.unwrap();
    }
    let fill = format!(
        "INSERT INTO namelock_registrations
         SELECT 't', ('filled ' || n)::bytea, 'ann', 1, NULL, 1, '[]' FROM generate_series(1, {rows}) AS n"
    );
    old.batch_execute(&fill).await.unwrap();
    (server, old)
}

async fn open(server: &Postgres) -> Arc<dyn Names> {
    let url = server.url().parse().unwrap();
    let names = crate::open(&url, NamesConfig::default()).await.unwrap();
    let ready = async { while names.ready().await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(60), ready).await.unwrap();
    names
}

fn save(owner: &str, token: u64, key: Option<&str>) -> Save {
    Save {
        tenant: "t".to_owned(),
        name: "a".to_owned(),
        owner: owner.to_owned(),
        lifetime: None,
        attributes: Vec::new(),
        fencing_token: FencingToken::new(token),
        deadline: tokio::time::Instant::now() + Duration::from_secs(60),
        keep: Keep::default(),
        quota: Quota::default(),
        hold: Duration::from_secs(if key.is_some() { 3600 } else { 0 }),
        request: key.map(request),
    }
}

fn request(key: &str) -> RequestKey {
    RequestKey::new("t", key, &[b"a"])
}

fn free(token: u64) -> Free {
    Free {
        tenant: "t".to_owned(),
        name: "a".to_owned(),
        fencing_token: FencingToken::new(token),
        deadline: tokio::time::Instant::now() + Duration::from_secs(60),
        seen: Seen::Unread,
        keep: Keep::default(),
    }
}

#[tokio::test]
async fn a_key_and_a_hold_are_those_of_the_registration_whoever_else_saves_the_name() {
    let (server, old) = version_3(0).await;
    let (old_save, old_free) = (
        old.prepare(OLD_SAVE).await.unwrap(),
        old.prepare(OLD_FREE).await.unwrap(),
    );
    let names = open(&server).await;
    let saved = names.save(save("ann", 1, Some("k"))).await.unwrap();
    // Freed by the old host: it stays known, and held.
    old.query_one(&old_free, &[&b"a".as_slice(), &2_i64]).await.unwrap();
    match names.find_request("t", request("k")).await.unwrap() {
        PastRequest::Replayed(ended) => assert_eq!(ended.created_ms, saved.created_ms),
        other => panic!("{other:?}"),
    }
    let held = names.save(save("bob", 3, None)).await;
    assert!(matches!(held, Err(SaveError::Held { .. })), "{held:?}");
    // Saved by the old host, and freed by either.
    for (token, frees_old) in [(4_i64, true), (14, false)] {
        let bob = [b"a".as_slice(), b"bob".as_slice()];
        let saved = old
            .query_one(&old_save, &[&bob[0], &bob[1], &token, &None::<i64>])
            .await;
        saved.unwrap();
        let forgotten = names.find_request("t", request("k")).await.unwrap();
        assert_eq!(forgotten, PastRequest::Unknown);
        if frees_old {
            old.query_one(&old_free, &[&bob[0], &(token + 1)]).await.unwrap();
        } else {
            assert!(names.free(free(token.unsigned_abs() + 1)).await.unwrap());
        }
        let forgotten = names.find_request("t", request("k")).await.unwrap();
        assert_eq!(forgotten, PastRequest::Unknown);
        // Held for nobody, and the key blocks nothing.
        names
            .save(save("eve", token.unsigned_abs() + 2, Some("k")))
            .await
            .unwrap();
        assert!(matches!(
            names.find_request("t", request("k")).await.unwrap(),
            PastRequest::Replayed(_)
        ));
        assert!(names.free(free(token.unsigned_abs() + 3)).await.unwrap());
    }
    // It ended by itself.
    let mut short = save("eve", 20, Some("l"));
    short.lifetime = Some(Duration::from_millis(1));
    names.save(short).await.unwrap();
    let taken = async {
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 4] =
            [&b"a".as_slice(), &b"bob".as_slice(), &21_i64, &None::<i64>];
        while old.query_opt(&old_save, &parameters).await.unwrap().is_none() {}
    };
    tokio::time::timeout(Duration::from_secs(60), taken).await.unwrap();
    assert_eq!(
        names.find_request("t", request("l")).await.unwrap(),
        PastRequest::Unknown
    );
    assert_eq!(names.find("t", "a").await.unwrap().unwrap().owner, "bob");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_of_version_3_write_while_many_rows_are_migrated_and_one_of_several_hosts_does_it() {
    let (server, old) = version_3(200_000).await;
    // As sessions of that version are.
    old.batch_execute("SET statement_timeout = '10s'; SET lock_timeout = '10s'")
        .await
        .unwrap();
    let (done, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let writer = tokio::spawn({
        let (done, written) = (Arc::clone(&done), Arc::clone(&written));
        async move {
            let old_save = old.prepare(OLD_SAVE).await.unwrap();
            while !done.load(Ordering::Relaxed) {
                let number = written.fetch_add(1, Ordering::Relaxed);
                let name = format!("old {number}");
                let saved = old
                    .query_one(&old_save, &[&name.as_bytes(), &b"bob".as_slice(), &1_i64, &None::<i64>])
                    .await;
                saved.unwrap();
            }
        }
    });
    let opened = tokio::join!(open(&server), open(&server), open(&server));
    done.store(true, Ordering::Relaxed);
    writer.await.unwrap();
    let written = u64::from(written.load(Ordering::Relaxed));
    assert!(written > 0);
    for names in [&opened.0, &opened.1, &opened.2] {
        assert_eq!(names.usage("t").await.unwrap().registrations, 200_000 + written);
    }
    let watcher = client(&server).await;
    let versions = watcher.query_one("SELECT array_agg(version ORDER BY version) FROM namelock_schema", &[]);
    assert_eq!(versions.await.unwrap().get::<_, Vec<i64>>(0), [1, 2, 3, 4, 5, 6]);
    check_indexes(&watcher).await;
}

async fn check_indexes(watcher: &Client) {
    let valid =
        "SELECT array_agg(indexrelid::regclass::text ORDER BY indexrelid::regclass::text COLLATE \"C\") FROM pg_index
        WHERE indrelid = 'namelock_registrations'::regclass AND indisvalid";
    assert_eq!(
        watcher.query_one(valid, &[]).await.unwrap().get::<_, Vec<String>>(0),
        [
            "namelock_registrations_by_end",
            "namelock_registrations_by_request",
            "namelock_registrations_by_update",
            "namelock_registrations_of_owner",
            "namelock_registrations_pkey",
        ]
    );
}

#[tokio::test]
async fn a_migration_that_was_interrupted_is_begun_anew() {
    let (server, old) = version_3(1000).await;
    old.batch_execute(MIGRATIONS[3]).await.unwrap();
    // Two indexes are there, of which one was not completed.
    for index in &INDEXES[..2] {
        old.batch_execute(&create_index(*index, "CONCURRENTLY")).await.unwrap();
    }
    let broken = "UPDATE pg_index SET indisvalid = false WHERE indexrelid = to_regclass($1)";
    old.execute(broken, &[&INDEXES[0].name]).await.unwrap();
    let names = open(&server).await;
    check_indexes(&old).await;
    names.save(save("ann", 1, Some("k"))).await.unwrap();
}

#[tokio::test]
async fn the_index_of_owners_of_version_4_is_replaced_also_by_who_comes_after_an_interruption() {
    for is_half_made in [false, true] {
        let (server, old) = version_3(1000).await;
        let index_of_version_4 =
            "CREATE INDEX namelock_registrations_by_owner ON namelock_registrations (tenant, owner, name)";
        for statement in [
            MIGRATIONS[3],
            index_of_version_4,
            "INSERT INTO namelock_schema VALUES (4)",
        ] {
            old.batch_execute(statement).await.unwrap();
        }
        for index in indexes_of(4) {
            old.batch_execute(&create_index(index, "")).await.unwrap();
        }
        if is_half_made {
            for index in indexes_of(5) {
                old.batch_execute(&create_index(index, "")).await.unwrap();
            }
        }
        drop(open(&server).await);
        check_indexes(&old).await;
    }
}
