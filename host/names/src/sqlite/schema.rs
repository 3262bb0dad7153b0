//! The file: how it is opened, its tables, and how it is migrated from one version to the next.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, MAIN_DB, OpenFlags, TransactionBehavior};

use crate::config::NamesConfig;
use crate::error::OpenError;
use crate::sqlite::clock::Clock;

/// Marks the file as ours (`PRAGMA application_id`): the letters `nmlk`.
const APPLICATION_ID: i64 = 0x6e6d_6c6b;

/// What migrates the file from one version to the next (`PRAGMA user_version`).
struct Migration {
    /// Columns of the registrations, which are added where they are missing: SQLite has no statement for that, and a file may
    /// have been marked as one of an earlier version again.
    columns: &'static [(&'static str, &'static str)],
    sql: &'static str,
}

/// The migrations from version N to version N + 1, in order. A released one is never changed.
const MIGRATIONS: &[Migration] = &[
    Migration {
        columns: &[],
        sql: VERSION_1,
    },
    Migration {
        columns: &[],
        sql: VERSION_2,
    },
    // A registration was freed if this is the row's fencing token. That outlasts whatever the clock does. A process of the
    // version before, which does not know the column, changes the fencing token when it saves, and with it what was freed.
    Migration {
        columns: &[("freed_token", "INTEGER")],
        sql: VERSION_3,
    },
    Migration {
        columns: &[
            ("extras_token", "INTEGER"),
            ("hold_ms", "INTEGER"),
            ("request_key", "BLOB"),
            ("request_fingerprint", "BLOB"),
            ("update_key", "BLOB"),
            ("update_fingerprint", "BLOB"),
        ],
        sql: VERSION_4,
    },
];

const VERSION_1: &str = "
    -- One row for each name: its current registration, or the last one, which remembers the greatest fencing token.
    CREATE TABLE registrations (
        tenant        TEXT    NOT NULL,
        name          TEXT    NOT NULL,
        owner         TEXT    NOT NULL,
        created_ms    INTEGER NOT NULL,
        expires_ms    INTEGER,
        fencing_token INTEGER NOT NULL,
        attributes    TEXT    NOT NULL,
        PRIMARY KEY (tenant, name)
    ) STRICT, WITHOUT ROWID;
    -- To find what has ended long ago.
    CREATE INDEX registrations_by_end ON registrations (expires_ms) WHERE expires_ms IS NOT NULL;
";

const VERSION_2: &str = "
    -- What each tenant keeps. Triggers count, so that the count is right whoever writes: a process of the version before,
    -- which has the file open while this one migrates it, goes on and is counted. Once stopped, it refuses the file as
    -- newer, as it does every version that it does not know; after PRAGMA user_version = 1 it opens it, and is counted
    -- too. So this migration may find its own work, and counts anew.
    -- length() of a text ends at its first NUL, that of a blob does not.
    CREATE TABLE IF NOT EXISTS usage (
        tenant        TEXT    NOT NULL PRIMARY KEY,
        registrations INTEGER NOT NULL,
        bytes         INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    DELETE FROM usage;
    INSERT INTO usage
        SELECT tenant, count(*), sum(128 + length(CAST(tenant AS BLOB)) + length(CAST(name AS BLOB))
            + length(CAST(owner AS BLOB)) + length(CAST(attributes AS BLOB)))
        FROM registrations GROUP BY tenant;
    CREATE TRIGGER IF NOT EXISTS usage_insert AFTER INSERT ON registrations BEGIN
        INSERT INTO usage VALUES (new.tenant, 1, 128 + length(CAST(new.tenant AS BLOB)) + length(CAST(new.name AS BLOB))
            + length(CAST(new.owner AS BLOB)) + length(CAST(new.attributes AS BLOB)))
        ON CONFLICT DO UPDATE SET registrations = registrations + 1, bytes = bytes + excluded.bytes;
    END;
    CREATE TRIGGER IF NOT EXISTS usage_delete AFTER DELETE ON registrations BEGIN
        UPDATE usage SET registrations = registrations - 1, bytes = bytes - (128
            + length(CAST(old.tenant AS BLOB)) + length(CAST(old.name AS BLOB))
            + length(CAST(old.owner AS BLOB)) + length(CAST(old.attributes AS BLOB)))
        WHERE tenant = old.tenant;
    END;
    CREATE TRIGGER IF NOT EXISTS usage_update AFTER UPDATE OF tenant, name, owner, attributes ON registrations BEGIN
        UPDATE usage SET registrations = registrations - 1, bytes = bytes - (128
            + length(CAST(old.tenant AS BLOB)) + length(CAST(old.name AS BLOB))
            + length(CAST(old.owner AS BLOB)) + length(CAST(old.attributes AS BLOB)))
        WHERE tenant = old.tenant;
        INSERT INTO usage VALUES (new.tenant, 1, 128 + length(CAST(new.tenant AS BLOB)) + length(CAST(new.name AS BLOB))
            + length(CAST(new.owner AS BLOB)) + length(CAST(new.attributes AS BLOB)))
        ON CONFLICT DO UPDATE SET registrations = registrations + 1, bytes = bytes + excluded.bytes;
    END;
";

const VERSION_3: &str = "
    -- Database time, in one row: a course of it, which boot of the machine counts its boottime, and since when and up to
    -- what nobody has seen it pass. Without the row the machine's clock is believed once.
    CREATE TABLE IF NOT EXISTS clock (
        one             INTEGER PRIMARY KEY CHECK (one = 1),
        boot            TEXT    NOT NULL,
        boottime_ms     INTEGER NOT NULL,
        time_ms         INTEGER NOT NULL,
        correction_ms   INTEGER NOT NULL,
        steady_since_ms INTEGER NOT NULL,
        jumped_ms       INTEGER NOT NULL
    ) STRICT;
    -- Of each lock server the epoch that it was given first (0: none), the greatest that it was given or said to have, and
    -- the greatest that it was seen to have.
    CREATE TABLE IF NOT EXISTS lock_epochs (
        server TEXT    NOT NULL PRIMARY KEY,
        first  INTEGER NOT NULL,
        last   INTEGER NOT NULL,
        placed INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
";

/// A process of version 3 goes on with what it does not know: the triggers count what it saves, and forget the extras of the
/// registration that it saves over.
const VERSION_4: &str = "
    -- A saved row that is no longer or shorter than the one before changes no count. Nobody changes the tenant of a row but
    -- an operator.
    DROP TRIGGER IF EXISTS usage_update;
    CREATE TRIGGER IF NOT EXISTS usage_move AFTER UPDATE OF tenant ON registrations WHEN new.tenant <> old.tenant BEGIN
        UPDATE usage SET registrations = registrations - 1, bytes = bytes - (128
            + length(CAST(old.tenant AS BLOB)) + length(CAST(old.name AS BLOB))
            + length(CAST(old.owner AS BLOB)) + length(CAST(old.attributes AS BLOB)))
        WHERE tenant = old.tenant;
        INSERT INTO usage VALUES (new.tenant, 1, 128 + length(CAST(new.tenant AS BLOB)) + length(CAST(new.name AS BLOB))
            + length(CAST(new.owner AS BLOB)) + length(CAST(new.attributes AS BLOB)))
        ON CONFLICT DO UPDATE SET registrations = registrations + 1, bytes = bytes + excluded.bytes;
    END;
    CREATE TRIGGER usage_update AFTER UPDATE OF name, owner, attributes ON registrations
        WHEN new.tenant = old.tenant AND (length(CAST(new.name AS BLOB)) + length(CAST(new.owner AS BLOB))
                + length(CAST(new.attributes AS BLOB)) <> length(CAST(old.name AS BLOB))
                + length(CAST(old.owner AS BLOB)) + length(CAST(old.attributes AS BLOB))
            OR new.extras_token <> new.fencing_token AND new.freed_token IS NOT new.fencing_token)
    BEGIN
        UPDATE usage SET bytes = bytes + length(CAST(new.name AS BLOB)) + length(CAST(new.owner AS BLOB))
                + length(CAST(new.attributes AS BLOB)) - length(CAST(old.name AS BLOB))
                - length(CAST(old.owner AS BLOB)) - length(CAST(old.attributes AS BLOB))
            WHERE tenant = new.tenant;
        -- Who has saved this registration has not set these: they are of the one before.
        UPDATE registrations SET extras_token = NULL, hold_ms = NULL, request_key = NULL, request_fingerprint = NULL,
                update_key = NULL, update_fingerprint = NULL
            WHERE new.extras_token <> new.fencing_token AND new.freed_token IS NOT new.fencing_token
                AND tenant = new.tenant AND name = new.name;
    END;

    -- One key, one registration. Rows without a key are in neither index.
    CREATE UNIQUE INDEX IF NOT EXISTS registrations_by_request ON registrations (request_key)
        WHERE request_key IS NOT NULL;
    CREATE UNIQUE INDEX IF NOT EXISTS registrations_by_update ON registrations (update_key)
        WHERE update_key IS NOT NULL;
    -- To list what one owner has.
    CREATE INDEX IF NOT EXISTS registrations_by_owner ON registrations (tenant, owner, name);
";

/// How many times as long as a write of a host that serves the opening waits for other processes. A host that starts has
/// nobody waiting for it yet, and the others write all the time.
const OPENING_FACTOR: u32 = 10;

/// The version that this program writes.
const VERSION: i64 = MIGRATIONS.len() as i64;

/// Opens the file for writing, creates it if it does not exist, and migrates it to the current version. Its connection waits
/// long for other processes, until [`begin_time`].
pub(crate) fn open(path: &Path, config: &NamesConfig) -> Result<Connection, OpenError> {
    // A file of another program is left untouched: nothing is set before it is known whose file it is.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(|error| failed(path, error))?;
    refuse_read_only(path, &connection)?;
    let patience = config.busy_timeout.saturating_mul(OPENING_FACTOR);
    set_busy_timeout(&connection, patience).map_err(|error| failed(path, error))?;
    let from = check(path, version(path, &connection)?)?;
    set_wal(path, &connection, patience)?;
    // Where there is nothing to migrate, nothing is waited for: others may write without a pause, or stand still in a write.
    if from < MIGRATIONS.len() {
        migrate(path, &mut connection)?;
    }
    Ok(connection)
}

/// Opens the file, which is migrated already, for reading.
pub(super) fn open_reader(path: &Path, config: &NamesConfig) -> Result<Connection, OpenError> {
    // Not SQLITE_OPEN_READ_ONLY: in WAL mode a reader may have to rebuild the index of the log.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|error| failed(path, error))?;
    let set = || {
        set_busy_timeout(&connection, config.busy_timeout)?;
        connection.pragma_update(None, "query_only", true)
    };
    set().map_err(|error| failed(path, error))?;
    Ok(connection)
}

/// Whose file it is, and its version.
enum Version {
    Empty,
    Ours(i64),
    Foreign,
}

fn version(path: &Path, connection: &Connection) -> Result<Version, OpenError> {
    let number = |pragma: &str| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let read = || -> rusqlite::Result<Version> {
        let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        Ok(match (number("application_id")?, tables) {
            (APPLICATION_ID, _) => Version::Ours(number("user_version")?),
            (0, 0) => Version::Empty,
            _ => Version::Foreign,
        })
    };
    read().map_err(|error| failed(path, error))
}

/// Returns the version to migrate from.
fn check(path: &Path, version: Version) -> Result<usize, OpenError> {
    match version {
        Version::Empty => Ok(0),
        Version::Ours(found) => match usize::try_from(found) {
            Ok(from) if found <= VERSION => Ok(from),
            _ => Err(OpenError::Newer {
                path: path.display().to_string(),
                found,
                known: VERSION,
            }),
        },
        Version::Foreign => Err(OpenError::Foreign {
            path: path.display().to_string(),
        }),
    }
}

/// Refuses a file that SQLite could open only for reading. SQLite does that silently, and `BEGIN IMMEDIATE` then begins
/// a read. This check comes before the first read, which would leave a log that nobody may write, even after the
/// permissions of the file are fixed.
fn refuse_read_only(path: &Path, connection: &Connection) -> Result<(), OpenError> {
    let code = match connection.is_readonly(MAIN_DB) {
        Ok(false) => return Ok(()),
        Ok(true) => rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_READONLY),
        Err(error) => return Err(failed(path, error)),
    };
    Err(failed(path, rusqlite::Error::SqliteFailure(code, None)))
}

/// Sets the journal mode, and `synchronous=FULL`, which flushes the log before a commit returns. SQLite does not wait
/// for other processes here, so the mode is tried again.
// Keeps P2: a commit that has returned is found after a power cut.
fn set_wal(path: &Path, connection: &Connection, patience: Duration) -> Result<(), OpenError> {
    let begin = Instant::now();
    let mode = loop {
        match connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get::<_, String>(0)) {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && begin.elapsed() < patience => {
                std::thread::sleep(Duration::from_millis(5));
            }
            mode => break mode.map_err(|error| failed(path, error))?,
        }
    };
    // SQLite reports a failure only by returning the mode that it kept. Without the log a commit is not what this crate
    // promises.
    if mode != "wal" {
        return Err(OpenError::File {
            path: path.display().to_string(),
            hint: "it cannot have a write-ahead log there; choose a file on a local disk".to_owned(),
            source: format!("SQLite kept the journal mode {mode:?}").into(),
        });
    }
    let set = connection.pragma_update(None, "synchronous", "FULL");
    set.map_err(|error| failed(path, error))
}

/// Lets a connection wait for other processes. SQLite counts the wait in milliseconds, in 31 bits: at most 24 days.
fn set_busy_timeout(connection: &Connection, wait: Duration) -> rusqlite::Result<()> {
    connection.busy_timeout(wait.min(Duration::from_millis(i32::MAX as u64)))
}

/// Migrates in one transaction, which reads the version again: another process may have been quicker.
fn migrate(path: &Path, connection: &mut Connection) -> Result<(), OpenError> {
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(|error| failed(path, error))?;
    let from = check(path, version(path, &transaction)?)?;
    let run = || -> rusqlite::Result<()> {
        for migration in &MIGRATIONS[from..] {
            for (column, kind) in migration.columns {
                if !transaction.column_exists(None, "registrations", column)? {
                    transaction.execute_batch(&format!("ALTER TABLE registrations ADD COLUMN {column} {kind}"))?;
                }
            }
            transaction.execute_batch(migration.sql)?;
        }
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", VERSION)
    };
    if from < MIGRATIONS.len() {
        run().map_err(|error| failed(path, error))?;
    }
    transaction.commit().map_err(|error| failed(path, error))
}

/// Keeps database time, unless this boot of the machine has, so that a time is kept before anything is read or written. From then on the connection waits for
/// other processes as long as a write may.
pub(super) fn begin_time(
    path: &Path,
    connection: &mut Connection,
    clock: &mut Clock,
    config: &NamesConfig,
) -> Result<(), OpenError> {
    let mut begin = || {
        if !clock.is_kept(connection)? {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            clock.time(&transaction)?;
            transaction.commit()?;
        }
        set_busy_timeout(connection, config.busy_timeout)
    };
    begin().map_err(|error| failed(path, error))
}

/// Explains an error of SQLite, with a hint how to fix it.
fn failed(path: &Path, error: rusqlite::Error) -> OpenError {
    let folder = || path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let hint = match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            "it is no database, or a damaged one; choose another file"
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "another process keeps it locked; stop that process, or wait until it is done"
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            "this user may not write it; change its owner or its permissions"
        }
        Some(ErrorCode::CannotOpen) if folder().is_some_and(|folder| !folder.is_dir()) => {
            "its folder does not exist; create it"
        }
        Some(ErrorCode::CannotOpen) => {
            "this user may not create or open it there; change the permissions of the folder"
        }
        Some(ErrorCode::DiskFull) => "the disk is full; free some space",
        _ => "SQLite cannot use it",
    };
    OpenError::File {
        path: path.display().to_string(),
        hint: hint.to_owned(),
        source: error.into(),
    }
}

#[cfg(test)]
mod tests;
