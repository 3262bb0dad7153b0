//! What can go wrong with a file.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use namelock_names::{
    FencingToken, Free, Keep, Names, NamesConfig, NamesUrl, OpenError, Quota, Save, SaveError, Seen, Usage, open,
};
use rusqlite::Connection;

async fn open_file(path: &Path) -> Result<Arc<dyn Names>, OpenError> {
    let config = NamesConfig {
        busy_timeout: Duration::from_millis(100),
        ..NamesConfig::default()
    };
    open(&NamesUrl::Sqlite(path.to_owned()), config).await
}

/// As if database time had been seen to pass since 1970.
const OBSERVED: &str = "UPDATE clock SET steady_since_ms = 0, jumped_ms = 0";

fn save(name: &str) -> Save {
    Save {
        tenant: "t".to_owned(),
        name: name.to_owned(),
        owner: "ann".to_owned(),
        lifetime: None,
        attributes: Vec::new(),
        fencing_token: FencingToken::new(1),
        deadline: tokio::time::Instant::now() + Duration::from_secs(10),
        keep: Keep::default(),
        quota: Quota::default(),
        hold: Duration::ZERO,
        request: None,
    }
}

fn free(name: &str) -> Free {
    Free {
        tenant: "t".to_owned(),
        name: name.to_owned(),
        fencing_token: FencingToken::new(1),
        deadline: tokio::time::Instant::now() + Duration::from_secs(10),
        seen: Seen::Unread,
        keep: Keep::default(),
    }
}

/// Checks that the file is refused with a message that contains `expect`, and left unchanged.
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
async fn a_file_that_is_no_names_database_is_refused_and_left_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let garbage = folder.path().join("garbage");
    std::fs::write(
        &garbage,
        "this is not a database, and it is longer than a header ".repeat(100),
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
    check_refused(folder.path(), "may not create or open").await;
}

#[tokio::test]
async fn a_database_in_memory_is_refused() {
    for path in [":memory:", "file:names?mode=memory"] {
        check_refused(Path::new(path), "write-ahead log").await;
    }
}

#[tokio::test]
async fn an_empty_file_becomes_a_names_database() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("names.db");
    std::fs::write(&path, "").unwrap();
    let names = open_file(&path).await.unwrap();
    names.save(save("a")).await.unwrap();
    let raw = Connection::open(&path).unwrap();
    let pragma = |name| raw.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!((pragma("user_version"), pragma("application_id")), (4, 0x6e6d_6c6b));
}

#[cfg(unix)]
#[tokio::test]
async fn a_file_without_write_permission_is_refused() {
    use std::os::unix::fs::PermissionsExt;

    if unprivileged::runs_instead("a_file_without_write_permission_is_refused") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("names.db");
    let forbid = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    open_file(&path).await.unwrap().close().await;
    forbid(&path, 0o400);
    check_refused(&path, "may not write it").await;
    forbid(&path, 0o600);
    forbid(folder.path(), 0o500);
    check_refused(&folder.path().join("new.db"), "may not create or open").await;
    forbid(folder.path(), 0o700);
    open_file(&path).await.unwrap().save(save("a")).await.unwrap();
}

#[tokio::test]
async fn opening_a_locked_file_fails_with_a_hint() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("names.db");
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let begin = Instant::now();
    check_refused(&path, "another process keeps it locked").await;
    assert!(begin.elapsed() >= Duration::from_secs(1), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn opening_waits_longer_for_other_processes_than_a_write_does() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("names.db");
    let config = NamesConfig {
        busy_timeout: Duration::from_secs(2),
        ..NamesConfig::default()
    };
    // There are tables to be made.
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let url = NamesUrl::Sqlite(path);
    let mut opening = std::pin::pin!(open(&url, config));
    // As long as a write would wait, and longer.
    let early = tokio::time::timeout(Duration::from_secs(3), &mut opening).await;
    assert!(early.is_err(), "it did not wait");
    other.execute_batch("COMMIT").unwrap();
    opening.await.unwrap().save(save("a")).await.unwrap();
}

#[tokio::test]
async fn a_file_that_is_up_to_date_is_opened_while_another_process_stands_still_in_a_write() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("names.db");
    let before = open_file(&path).await.unwrap();
    before.save(save("a")).await.unwrap();
    before.close().await;
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    // Whoever waits, waits for ever.
    let config = NamesConfig {
        busy_timeout: Duration::MAX,
        ..NamesConfig::default()
    };
    let names = open(&NamesUrl::Sqlite(path), config).await.unwrap();
    assert!(names.find("t", "a").await.unwrap().is_some());
    other.execute_batch("COMMIT").unwrap();
    names.save(save("b")).await.unwrap();
}

#[tokio::test]
async fn while_another_process_stands_still_in_a_write_the_database_is_not_ready() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("names.db");
    let config = NamesConfig {
        busy_timeout: Duration::from_millis(50),
        ..NamesConfig::default()
    };
    let names = open(&NamesUrl::Sqlite(path.clone()), config).await.unwrap();
    names.save(save("a")).await.unwrap();
    names.ready().await.unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = names.ready().await.unwrap_err().to_string();
    assert_eq!(error, "the names database cannot be used: database is locked");
    assert!(names.find("t", "a").await.unwrap().is_some(), "it can be read");
    other.execute_batch("COMMIT").unwrap();
    names.ready().await.unwrap();
}

#[tokio::test]
async fn the_busy_timeout_may_be_endless() {
    let folder = tempfile::tempdir().unwrap();
    let config = NamesConfig {
        busy_timeout: Duration::MAX,
        ..NamesConfig::default()
    };
    let names = open(&NamesUrl::Sqlite(folder.path().join("names.db")), config)
        .await
        .unwrap();
    names.save(save("a")).await.unwrap();
}

#[tokio::test]
async fn a_file_of_a_newer_version_is_refused_and_left_unchanged() {
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
        "a writer does not keep others from reading"
    );
    other.execute_batch("ROLLBACK").unwrap();
    names.save(save("a")).await.unwrap();
}

#[tokio::test]
async fn a_full_queue_refuses_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("names.db");
    let config = NamesConfig {
        queue: 2,
        batch: 1,
        ..NamesConfig::default()
    };
    let names = open(&NamesUrl::Sqlite(path.clone()), config).await.unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    // At most one write is running and two are queued, and none of them can finish.
    let begin = Instant::now();
    let mut saves = tokio::task::JoinSet::new();
    for number in 0..10 {
        let names = Arc::clone(&names);
        saves.spawn(async move { names.save(save(&number.to_string())).await });
    }
    for _ in 0..7 {
        let error = saves.join_next().await.unwrap().unwrap().unwrap_err();
        assert!(error.to_string().contains("names.queue"), "{error}");
    }
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    other.execute_batch("ROLLBACK").unwrap();
    while let Some(saved) = saves.join_next().await {
        let _ = saved.unwrap();
    }
    names.save(save("after")).await.unwrap();
}

// Shows P5: a lease that ends during the wait for the write lock writes nothing.
#[tokio::test]
async fn a_lease_that_ends_while_the_file_is_locked_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("names.db");
    let config = NamesConfig {
        busy_timeout: Duration::from_secs(60),
        ..NamesConfig::default()
    };
    let names = open(&NamesUrl::Sqlite(path.clone()), config).await.unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut late = save("a");
    late.deadline = tokio::time::Instant::now() + Duration::from_millis(50);
    let until = late.deadline;
    let (saved, ()) = tokio::join!(names.save(late), async {
        tokio::time::sleep_until(until).await;
        other.execute_batch("ROLLBACK").unwrap();
    });
    assert_eq!(saved, Err(SaveError::LeaseLost));
    assert_eq!(names.find("t", "a").await.unwrap(), None);
}

#[tokio::test]
async fn several_processes_may_create_the_file_at_once() {
    for _ in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("names.db");
        // However long it takes on a busy machine.
        let open = || async {
            let config = NamesConfig {
                busy_timeout: Duration::from_secs(60),
                ..NamesConfig::default()
            };
            open(&NamesUrl::Sqlite(path.clone()), config).await
        };
        let opened = tokio::join!(open(), open(), open());
        let names = [opened.0.unwrap(), opened.1.unwrap(), opened.2.unwrap()];
        for (number, names) in names.iter().enumerate() {
            names.save(save(&number.to_string())).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_saved_registration_is_found_after_the_file_was_closed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("names.db");
    let names = open_file(&path).await.unwrap();
    let saved = names.save(save("a")).await.unwrap();
    names.close().await;
    let names = open_file(&path).await.unwrap();
    assert_eq!(names.find("t", "a").await.unwrap(), Some(saved));
}

// Shows P2: whatever was answered is in the file before anybody closes it.
#[tokio::test]
async fn answered_registrations_are_found_although_the_file_was_not_closed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("names.db");
    let names = open_file(&path).await.unwrap();
    let mut saves = tokio::task::JoinSet::new();
    for number in 0..200 {
        let names = Arc::clone(&names);
        saves.spawn(async move { names.save(save(&number.to_string())).await.unwrap() });
    }
    let saved = saves.join_all().await;
    drop(names);
    let names = open_file(&path).await.unwrap();
    for saved in saved {
        assert_eq!(names.find("t", &saved.name).await.unwrap(), Some(saved));
    }
}

#[tokio::test]
async fn a_registration_saved_by_a_later_clock_can_be_freed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("names.db");
    let names = open_file(&path).await.unwrap();
    Connection::open(&path)
        .unwrap()
        .execute_batch("INSERT INTO registrations (tenant, name, owner, created_ms, expires_ms, fencing_token, attributes) VALUES ('t', 'a', 'bob', (unixepoch() + 3600) * 1000, NULL, 1, '[]')")
        .unwrap();
    assert_eq!(names.find("t", "a").await.unwrap().unwrap().owner, "bob");
    assert_eq!(names.free(free("a")).await, Ok(true));
    assert_eq!(names.find("t", "a").await.unwrap(), None);
    assert_eq!(names.free(free("a")).await, Ok(false));
    assert_eq!(names.save(save("a")).await.unwrap().owner, "ann");
}

#[tokio::test]
async fn a_damaged_row_is_an_error_and_not_a_registration() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("names.db");
    let names = open_file(&path).await.unwrap();
    Connection::open(&path)
        .unwrap()
        .execute_batch(
            "INSERT INTO registrations (tenant, name, owner, created_ms, expires_ms, fencing_token, attributes) VALUES ('t', 'number', 'ann', 1, NULL, -1, '[]');
             INSERT INTO registrations (tenant, name, owner, created_ms, expires_ms, fencing_token, attributes) VALUES ('t', 'text', 'ann', 1, NULL, 1, '{')",
        )
        .unwrap();
    for name in ["number", "text"] {
        assert!(names.find("t", name).await.is_err(), "{name}");
        let refused = names.save(save(name)).await;
        assert!(matches!(refused, Err(SaveError::Unavailable { .. })), "{refused:?}");
    }
}

#[tokio::test]
async fn each_transaction_deletes_a_bounded_number_of_expired_rows() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("names.db");
    let names = open_file(&path).await.unwrap();
    let raw = Connection::open(&path).unwrap();
    raw.execute_batch(OBSERVED).unwrap();
    raw.execute_batch(
        "WITH RECURSIVE count(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM count WHERE n < 2500)
         INSERT INTO registrations (tenant, name, owner, created_ms, expires_ms, fencing_token, attributes) SELECT 'old', n, 'ann', 1, 2, 1, '[]' FROM count",
    )
    .unwrap();
    for expect in [1500, 500, 0] {
        names.save(save(&expect.to_string())).await.unwrap();
        let old = "SELECT count(*) FROM registrations WHERE tenant = 'old'";
        let left: i64 = raw.query_row(old, [], |row| row.get(0)).unwrap();
        assert_eq!(left, expect);
    }
}

#[tokio::test]
async fn rows_are_deleted_once_their_retention_is_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("names.db");
    open_file(&path).await.unwrap().close().await;
    let raw = Connection::open(&path).unwrap();
    raw.execute_batch(OBSERVED).unwrap();
    raw.execute_batch(
        "INSERT INTO registrations (tenant, name, owner, created_ms, expires_ms, fencing_token, attributes) VALUES ('t', 'old', 'ann', 1, 2, 1, '[]');
         INSERT INTO registrations (tenant, name, owner, created_ms, expires_ms, fencing_token, attributes) VALUES ('t', 'endless', 'ann', 1, NULL, 1, '[]');
         INSERT INTO registrations (tenant, name, owner, created_ms, expires_ms, fencing_token, attributes) VALUES ('t', 'late', 'ann', 1, unixepoch() * 1000 - 1000, 1, '[]')",
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

/// The part of a test in which it runs as another process, with another clock, on this file.
const OTHER_PROCESS: &str = "NAMELOCK_TEST_OTHER_PROCESS";

/// Runs a test of this program once more, as a process whose wall clock is off, on the file at `path`.
fn run_with_clock(test: &str, path: &Path, off: &str) {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", test, "--nocapture"])
        .env(OTHER_PROCESS, path)
        .env("LD_PRELOAD", namelock_test_servers::faketime())
        .env("FAKETIME", off)
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{output:?}");
}

fn without_retention(path: &Path) -> (NamesUrl, NamesConfig) {
    let config = NamesConfig {
        retention: Duration::ZERO,
        busy_timeout: Duration::from_secs(60),
        ..NamesConfig::default()
    };
    (NamesUrl::Sqlite(path.to_owned()), config)
}

fn wall_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap().as_millis().try_into().unwrap()
}

// Shows P1: a clock that is wrong ends no registration, deletes none, and brings none back.
#[tokio::test]
async fn a_process_whose_clock_is_wrong_by_hours_changes_nothing_for_others() {
    let hour = Duration::from_secs(3600);
    if let Some(path) = std::env::var_os(OTHER_PROCESS) {
        let (url, config) = without_retention(Path::new(&path));
        let names = open(&url, config).await.unwrap();
        let wish = save("of the other process");
        let is_ahead = match names.save(wish.clone()).await {
            Ok(saved) => wall_ms() > saved.created_ms + 3_000_000,
            // The second time.
            Err(SaveError::Taken(taken)) => wall_ms() > taken.created_ms + 3_000_000,
            Err(error) => panic!("{error}"),
        };
        let off_ms = names.clock_off_ms();
        assert_eq!(off_ms > 3_000_000, is_ahead, "{off_ms}");
        assert!(off_ms.abs() > 3_000_000, "its clock is as right as any: {off_ms}");
        assert_eq!(names.find("t", "live").await.unwrap().unwrap().owner, "ann");
        if is_ahead {
            assert_eq!(names.free(free("freed")).await, Ok(true));
        }
        assert_eq!(names.find("t", "freed").await.unwrap(), None);
        names.close().await;
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("names.db");
    let (url, config) = without_retention(&path);
    let names = open(&url, config).await.unwrap();
    let mut lives = save("live");
    lives.lifetime = Some(hour);
    let lives = names.save(lives).await.unwrap();
    names.save(save("freed")).await.unwrap();
    for off in ["+3h", "-3h"] {
        run_with_clock(
            "a_process_whose_clock_is_wrong_by_hours_changes_nothing_for_others",
            &path,
            off,
        );
        assert_eq!(names.find("t", "live").await.unwrap().as_ref(), Some(&lives), "{off}");
        assert!(
            matches!(names.save(save("live")).await, Err(SaveError::Taken(_))),
            "{off}"
        );
        assert_eq!(names.find("t", "freed").await.unwrap(), None, "{off}");
        assert!(names.clock_off_ms().abs() < 60_000, "{off}: {}", names.clock_off_ms());
    }
    names.save(save("freed")).await.unwrap();
}

#[tokio::test]
async fn after_a_start_of_the_machine_its_clock_is_believed_only_ahead_and_what_it_ended_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("names.db");
    let names = open_file(&path).await.unwrap();
    let mut wish = save("a");
    wish.lifetime = Some(Duration::from_secs(3600));
    let saved = names.save(wish).await.unwrap();
    names.close().await;
    let raw = Connection::open(&path).unwrap();
    // Two hours ago another boot kept the time; it had been seen to pass for long.
    raw.execute_batch(
        "UPDATE clock SET boot = 'another', time_ms = time_ms - 7200000, steady_since_ms = 0, jumped_ms = 0;
         UPDATE registrations SET created_ms = created_ms - 7200000, expires_ms = expires_ms - 7200000",
    )
    .unwrap();
    let names = open_file(&path).await.unwrap();
    assert_eq!(names.find("t", "a").await.unwrap(), None, "its time has come");
    let mut wish = save("b");
    wish.fencing_token = FencingToken::new(2);
    names.save(wish).await.unwrap();
    names.close().await;
    let rows = "SELECT count(*) FROM registrations WHERE name = 'a'";
    let kept: i64 = raw.query_row(rows, [], |row| row.get(0)).unwrap();
    assert_eq!(kept, 1, "nobody has seen its retention pass");
    // The clock of the next boot is an hour behind the time that was kept.
    raw.execute_batch("UPDATE clock SET boot = 'yet another', time_ms = time_ms + 3600000")
        .unwrap();
    let names = open_file(&path).await.unwrap();
    let mut wish = save("c");
    wish.fencing_token = FencingToken::new(3);
    let created_ms = names.save(wish).await.unwrap().created_ms;
    assert!(
        created_ms >= saved.created_ms + 3_600_000,
        "time goes on from what was kept"
    );
    assert!(names.clock_off_ms() < -3_000_000, "{}", names.clock_off_ms());
}

#[tokio::test]
async fn what_was_freed_stays_free_and_a_process_of_version_2_sees_it_and_may_save_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("names.db");
    let names = open_file(&path).await.unwrap();
    let saved = names.save(save("a")).await.unwrap();
    assert_eq!(names.free(free("a")).await, Ok(true));
    let raw = Connection::open(&path).unwrap();
    let ends = "SELECT expires_ms FROM registrations";
    let ended: i64 = raw.query_row(ends, [], |row| row.get(0)).unwrap();
    let ended = ended.cast_unsigned();
    assert!(
        (saved.created_ms..saved.created_ms + 60_000).contains(&ended),
        "version 2 sees it ended"
    );
    // As if the clock had been 50 minutes ahead when it was freed.
    raw.execute_batch("UPDATE registrations SET expires_ms = expires_ms + 3000000")
        .unwrap();
    assert_eq!(names.find("t", "a").await.unwrap(), None);
    assert_eq!(names.free(free("a")).await, Ok(false));
    // As version 2 saves: it does not know what was freed.
    raw.execute_batch("UPDATE registrations SET owner = 'bob', expires_ms = NULL, fencing_token = 2")
        .unwrap();
    assert_eq!(names.find("t", "a").await.unwrap().unwrap().owner, "bob");
}

/// A file as version 1 left it, with a row.
const VERSION_1: &str = "
    CREATE TABLE registrations (
        tenant TEXT NOT NULL, name TEXT NOT NULL, owner TEXT NOT NULL, created_ms INTEGER NOT NULL, expires_ms INTEGER,
        fencing_token INTEGER NOT NULL, attributes TEXT NOT NULL, PRIMARY KEY (tenant, name)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX registrations_by_end ON registrations (expires_ms) WHERE expires_ms IS NOT NULL;
    INSERT INTO registrations VALUES ('t', 'a' || char(0) || 'ü', 'ann', 1, NULL, 1, '[]');
    PRAGMA application_id = 0x6e6d6c6b;
    PRAGMA user_version = 1;
";

#[tokio::test]
async fn a_file_of_version_1_is_counted_and_who_writes_it_still_is_counted_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("names.db");
    // A process of version 1, whose statements are prepared before the file is migrated.
    let raw = Connection::open(&path).unwrap();
    raw.execute_batch(VERSION_1).unwrap();
    raw.pragma_update(None, "journal_mode", "wal").unwrap();
    let insert = "INSERT INTO registrations
            (tenant, name, owner, created_ms, expires_ms, fencing_token, attributes)
        VALUES ('t', ?, 'ann', 1, NULL, 1, '[]')
        ON CONFLICT (tenant, name) DO UPDATE SET owner = 'anna'";
    let mut old = raw.prepare(insert).unwrap();
    old.execute(["b"]).unwrap();
    let usage = |registrations, bytes| Usage { registrations, bytes };
    let row = 128 + 1 + 1 + 3 + 2;

    let names = open_file(&path).await.unwrap();
    assert_eq!(names.usage("t").await.unwrap(), usage(2, 2 * row + 3));
    old.execute(["c"]).unwrap();
    old.execute(["c"]).unwrap();
    raw.execute("UPDATE registrations SET tenant = 'u' WHERE name = 'b'", [])
        .unwrap();
    raw.execute("DELETE FROM registrations WHERE name > 'a' AND name < 'b'", [])
        .unwrap();
    assert_eq!(names.usage("t").await.unwrap(), usage(1, row + 1));
    assert_eq!(names.usage("u").await.unwrap(), usage(1, row));
    names.close().await;

    // Back to version 1, and on again.
    raw.pragma_update(None, "user_version", 1).unwrap();
    old.execute(["d"]).unwrap();
    let names = open_file(&path).await.unwrap();
    assert_eq!(names.usage("t").await.unwrap(), usage(2, 2 * row + 1));
    names.save(save("e")).await.unwrap();
    assert_eq!(names.usage("t").await.unwrap(), usage(3, 3 * row + 1));
}

// Shows P6: of many saves at once no more are done than the quota has room for.
#[tokio::test]
async fn concurrent_saves_of_two_processes_do_not_go_beyond_the_quota() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("names.db");
    let processes = [open_file(&path).await.unwrap(), open_file(&path).await.unwrap()];
    let mut saves = tokio::task::JoinSet::new();
    for number in 0..100 {
        let names = Arc::clone(&processes[number % 2]);
        let mut wish = save(&number.to_string());
        wish.quota.registrations = 30;
        saves.spawn(async move { names.save(wish).await.is_ok() });
    }
    let saved = saves.join_all().await.into_iter().filter(|saved| *saved).count();
    let usage = processes[0].usage("t").await.unwrap();
    // Where the file was locked for too long, a save was refused for that.
    assert!(saved <= 30 && usage.registrations == saved as u64, "{saved} {usage:?}");
}

// Shows P6: a tenant that floods delays others by the batch that runs, and no more.
#[tokio::test]
async fn a_write_comes_in_the_next_batch_whatever_others_have_queued() {
    const BATCH: usize = 10;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("names.db");
    let config = NamesConfig {
        batch: BATCH,
        busy_timeout: Duration::from_secs(60),
        ..NamesConfig::default()
    };
    let names = open(&NamesUrl::Sqlite(path.clone()), config).await.unwrap();
    let other = Connection::open(&path).unwrap();
    // The order in which rows are written.
    other
        .execute_batch(
            "CREATE TABLE written (number INTEGER PRIMARY KEY, tenant TEXT);
             CREATE TRIGGER write AFTER INSERT ON registrations
                 BEGIN INSERT INTO written (tenant) VALUES (new.tenant); END;
             BEGIN IMMEDIATE",
        )
        .unwrap();
    let mut saves = tokio::task::JoinSet::new();
    for number in 0..300 {
        let (names, mut wish) = (Arc::clone(&names), save(&number.to_string()));
        wish.deadline += Duration::from_secs(60);
        saves.spawn(async move { names.save(wish).await });
    }
    tokio::task::yield_now().await;
    let mut wish = save("a");
    wish.tenant = "neighbour".to_owned();
    wish.deadline += Duration::from_secs(60);
    saves.spawn({
        let names = Arc::clone(&names);
        async move { names.save(wish).await }
    });
    tokio::task::yield_now().await;
    other.execute_batch("COMMIT").unwrap();
    for saved in saves.join_all().await {
        saved.unwrap();
    }
    let place = "SELECT number FROM written WHERE tenant = 'neighbour'";
    let place: i64 = other.query_row(place, [], |row| row.get(0)).unwrap();
    assert!(place <= 2 * BATCH as i64, "{place}");
}

/// Runs a test as a user whom file permissions bind: the superuser may write everything, so nothing would be refused.
#[cfg(unix)]
mod unprivileged {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    /// The user `nobody`, who owns nothing.
    const NOBODY: u32 = 65534;

    /// Runs a test as another user if permissions do not bind this one, and returns whether it did.
    pub(crate) fn runs_instead(test: &str) -> bool {
        let folder = tempfile::tempdir().unwrap();
        let probe = folder.path().join("probe");
        fs::write(&probe, "").unwrap();
        fs::set_permissions(&probe, fs::Permissions::from_mode(0o400)).unwrap();
        if fs::OpenOptions::new().write(true).open(&probe).is_err() {
            return false;
        }
        // The other user may have no access to the folder of this program.
        let program = folder.path().join("test");
        fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
        for path in [folder.path(), &program] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let mut command = Command::new(&program);
        command.args(["--exact", test, "--nocapture"]).current_dir("/");
        let output = command.uid(NOBODY).gid(NOBODY).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{output:?}");
        true
    }
}
