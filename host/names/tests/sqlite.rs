//! What can be the matter with a file.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use namelock_names::{Names, NamesConfig, OpenError, Save, SaveError, open};
use rusqlite::Connection;

async fn open_file(path: &Path) -> Result<Arc<dyn Names>, OpenError> {
    let config = NamesConfig {
        busy_timeout: Duration::from_millis(100),
        ..NamesConfig::default()
    };
    open(&format!("sqlite:{}", path.display()).parse().unwrap(), config).await
}

fn save(name: &str) -> Save {
    Save {
        tenant: "t".to_owned(),
        name: name.to_owned(),
        owner: "ann".to_owned(),
        lifetime: None,
        attributes: Vec::new(),
        fencing_token: 1,
        deadline: tokio::time::Instant::now() + Duration::from_secs(10),
    }
}

/// Checks that the file is refused in these words, and left as it is.
async fn check_refused(path: &Path, expect: &str) {
    let before = std::fs::read(path).ok();
    let error = open_file(path).await.err().unwrap();
    let mut text = error.to_string();
    if let Some(source) = std::error::Error::source(&error) {
        text = format!("{text}: {source}");
    }
    assert!(text.contains(expect), "{text}");
    assert!(text.contains(path.to_str().unwrap()), "{text}");
    assert_eq!(std::fs::read(path).ok(), before);
}

#[tokio::test]
async fn a_file_that_is_no_names_database_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let garbage = folder.path().join("garbage");
    std::fs::write(
        &garbage,
        "this is no database, and it is longer than a header ".repeat(100),
    )
    .unwrap();
    check_refused(&garbage, "no database").await;

    let foreign = folder.path().join("foreign.db");
    Connection::open(&foreign)
        .unwrap()
        .execute_batch("CREATE TABLE recipes (name TEXT)")
        .unwrap();
    check_refused(&foreign, "another program").await;

    check_refused(&folder.path().join("missing/names.db"), "folder does not exist").await;
    check_refused(folder.path(), "may not make or open").await;
}

#[tokio::test]
async fn a_file_of_a_newer_version_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("names.db");
    open_file(&path).await.unwrap().close().await;
    let raw = Connection::open(&path).unwrap();
    raw.pragma_update(None, "user_version", 99).unwrap();
    raw.close().unwrap();
    check_refused(&path, "has version 99").await;
}

#[tokio::test]
async fn a_locked_file_is_refused_in_time_and_used_again_when_it_is_free() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("names.db");
    let names = open_file(&path).await.unwrap();
    names.save(save("before")).await.unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let begin = Instant::now();
    let error = names.save(save("a")).await.unwrap_err();
    assert!(
        matches!(&error, SaveError::Unavailable { reason } if reason.contains("locked")),
        "{error}"
    );
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    assert!(
        names.find("t", "before").await.unwrap().is_some(),
        "a writer keeps nobody from reading"
    );
    other.execute_batch("ROLLBACK").unwrap();
    names.save(save("a")).await.unwrap();
}

#[tokio::test]
async fn a_write_that_fails_leaves_the_others_of_its_batch_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("names.db");
    let names = open_file(&path).await.unwrap();
    let raw = Connection::open(&path).unwrap();
    raw.execute_batch(
        "CREATE TRIGGER refuse BEFORE INSERT ON registrations WHEN new.name = 'poison'
         BEGIN SELECT raise(ABORT, 'refused by the test'); END",
    )
    .unwrap();
    let saves = ["a", "poison", "b"].map(|name| names.save(save(name)));
    let [a, poison, b] = saves;
    let (a, poison, b) = tokio::join!(a, poison, b);
    assert!(a.is_ok() && b.is_ok(), "{a:?} {b:?}");
    assert!(matches!(&poison, Err(SaveError::Unavailable { reason }) if reason.contains("refused by the test")));
}

#[tokio::test]
async fn two_processes_may_make_the_file_at_once() {
    for _ in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("names.db");
        let opened = tokio::join!(open_file(&path), open_file(&path), open_file(&path));
        let names = [opened.0.unwrap(), opened.1.unwrap(), opened.2.unwrap()];
        for (number, names) in names.iter().enumerate() {
            names.save(save(&number.to_string())).await.unwrap();
        }
    }
}

#[tokio::test]
async fn what_was_saved_is_there_after_the_file_was_closed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("names.db");
    let names = open_file(&path).await.unwrap();
    let saved = names.save(save("a")).await.unwrap();
    names.close().await;
    let names = open_file(&path).await.unwrap();
    assert_eq!(names.find("t", "a").await.unwrap(), Some(saved));
}

#[tokio::test]
async fn rows_that_nobody_needs_are_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("names.db");
    open_file(&path).await.unwrap().close().await;
    let raw = Connection::open(&path).unwrap();
    raw.execute_batch(
        "INSERT INTO registrations VALUES ('t', 'old', 'ann', 1, 2, 1, '[]');
         INSERT INTO registrations VALUES ('t', 'endless', 'ann', 1, NULL, 1, '[]');
         INSERT INTO registrations VALUES ('t', 'late', 'ann', 1, unixepoch() * 1000 - 1000, 1, '[]')",
    )
    .unwrap();
    let names = open_file(&path).await.unwrap();
    names.save(save("new")).await.unwrap();
    let mut statement = raw.prepare("SELECT name FROM registrations ORDER BY name").unwrap();
    let left: Vec<String> = statement
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(left, ["endless", "late", "new"]);
}

#[tokio::test]
async fn postgresql_is_refused_in_words() {
    let url = "postgres://db/names".parse().unwrap();
    let error = open(&url, NamesConfig::default()).await.err().unwrap();
    assert!(error.to_string().contains("PostgreSQL is not supported"), "{error}");
}
