//! Processes of version 3 beside those of this one.

use namelock_types::FencingToken;

use super::*;
use crate::keep::Keep;
use crate::seen::Seen;
use crate::{Free, NamesUrl, PastRequest, Quota, RequestKey, Save, SaveError};

/// As version 3 saves: name, owner, time, lifetime, token.
const OLD_SAVE: &str = "
    INSERT INTO registrations (tenant, name, owner, created_ms, expires_ms, fencing_token, attributes)
    VALUES ('t', ?1, ?2, ?3, ?3 + ?4, ?5, '[]')
    ON CONFLICT (tenant, name) DO UPDATE SET
        owner = excluded.owner, created_ms = max(registrations.expires_ms, ?3),
        expires_ms = max(registrations.expires_ms, ?3) + ?4, fencing_token = excluded.fencing_token,
        freed_token = NULL, attributes = excluded.attributes
    WHERE (registrations.freed_token IS registrations.fencing_token
            OR registrations.expires_ms <= max(registrations.created_ms, ?3))
        AND registrations.fencing_token <= excluded.fencing_token";

/// As version 3 frees: name, time, token.
const OLD_FREE: &str = "
    UPDATE registrations SET expires_ms = max(created_ms, ?2), fencing_token = ?3, freed_token = ?3
    WHERE tenant = 't' AND name = ?1 AND freed_token IS NOT fencing_token AND fencing_token <= ?3";

/// A file that version 3 has made, opened as by a process of it.
fn version_3(path: &Path) -> Connection {
    let old = Connection::open(path).unwrap();
    for migration in &MIGRATIONS[..3] {
        for (column, kind) in migration.columns {
            let add = format!("ALTER TABLE registrations ADD COLUMN {column} {kind}");
            old.execute_batch(&add).unwrap();
        }
        old.execute_batch(migration.sql).unwrap();
    }
    old.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
    old.pragma_update(None, "user_version", 3).unwrap();
    old.pragma_update(None, "journal_mode", "wal").unwrap();
    old.busy_timeout(Duration::from_secs(60)).unwrap();
    old
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
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("names.db");
    let old = version_3(&path);
    let mut old_save = old.prepare(OLD_SAVE).unwrap();
    let mut old_free = old.prepare(OLD_FREE).unwrap();
    let names = crate::open(&NamesUrl::Sqlite(path), NamesConfig::default())
        .await
        .unwrap();
    let saved = names.save(save("ann", 1, Some("k"))).await.unwrap();
    let now = saved.created_ms.cast_signed() + 1;
    // Freed by the old process: it stays known, and held.
    assert_eq!(old_free.execute(("a", now, 2)).unwrap(), 1);
    match names.find_request("t", request("k")).await.unwrap() {
        PastRequest::Replayed(ended) => assert_eq!(ended.created_ms, saved.created_ms),
        other => panic!("{other:?}"),
    }
    let held = names.save(save("bob", 3, None)).await;
    assert!(matches!(held, Err(SaveError::Held { .. })), "{held:?}");
    // Saved by the old process, also with an owner that is as long, and freed by either.
    for (token, frees_old) in [(4_i64, true), (14, false)] {
        let owner = if frees_old { "bob" } else { "robert" };
        assert_eq!(old_save.execute(("a", owner, now, None::<i64>, token)).unwrap(), 1);
        let forgotten = names.find_request("t", request("k")).await.unwrap();
        assert_eq!(forgotten, PastRequest::Unknown);
        if frees_old {
            assert_eq!(old_free.execute(("a", now, token + 1)).unwrap(), 1);
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
        let known = names.find_request("t", request("k")).await.unwrap();
        assert!(matches!(known, PastRequest::Replayed(_)), "{known:?}");
        assert!(names.free(free(token.unsigned_abs() + 3)).await.unwrap());
    }
    assert_eq!(
        old_save.execute(("a", "bob", now + 60_000, None::<i64>, 20)).unwrap(),
        1
    );
    assert_eq!(names.find("t", "a").await.unwrap().unwrap().owner, "bob");
    let usage = "SELECT bytes - 128 - 1 - length(name) - length(owner) - length(attributes) FROM usage, registrations";
    assert_eq!(old.query_row(usage, [], |row| row.get::<_, i64>(0)).unwrap(), 0);
}

#[tokio::test]
async fn a_file_that_was_marked_as_of_version_3_again_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("names.db");
    let old = version_3(&path);
    let url = NamesUrl::Sqlite(path);
    let names = crate::open(&url, NamesConfig::default()).await.unwrap();
    let saved = names.save(save("ann", 1, Some("k"))).await.unwrap();
    names.close().await;
    old.pragma_update(None, "user_version", 3).unwrap();
    let names = crate::open(&url, NamesConfig::default()).await.unwrap();
    let known = names.find_request("t", request("k")).await.unwrap();
    assert_eq!(known, PastRequest::Replayed(Box::new(saved)));
}
