//! The tables, and how they are migrated from one version to the next.

use std::ops::DerefMut;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio_postgres::{Client, Error};

/// The statements that migrate the database from version N to version N + 1, in order. A released migration is never
/// changed.
///
/// Version 2 counts what each tenant keeps. Triggers count, so a host of the version before, which has the database open,
/// goes on, and what it writes is counted too; only its writes wait while the rows that are there are counted, about a
/// second for a million. Once stopped it refuses the database as newer, as it does every version that it does not know.
///
/// Because `expires_ms` is in an index and every write changes it, no update of a row is a HOT one. Measured on rows that are
/// taken over at random: 340 bytes of log instead of 200, and about a fifth more of the server's CPU for the bare update.
/// Without the index the purge would have to read the whole table, so it stays.
///
/// Version 3 adds what hosts of the version before neither read nor write, so they go on too. It finds its own work where
/// an operator has gone back to version 2 in between.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE namelock_registrations (
        tenant        text   NOT NULL COLLATE \"C\",
        name          bytea  NOT NULL,
        owner         bytea  NOT NULL,
        created_ms    bigint NOT NULL,
        expires_ms    bigint,
        fencing_token bigint NOT NULL,
        attributes    text   NOT NULL,
        PRIMARY KEY (tenant, name)
    -- Free room in a page, so that a name that is taken over stays in its page. That adds an entry to each index all the same,
    -- because expires_ms is in one and changes: no such update is a HOT one.
    ) WITH (fillfactor = 70);
    COMMENT ON TABLE namelock_registrations IS
        'One row for each name: its current registration, or the last one, which remembers the greatest fencing token.';
    COMMENT ON COLUMN namelock_registrations.name IS 'convert_from(name, ''UTF8'') shows it';
    CREATE INDEX namelock_registrations_by_end ON namelock_registrations (expires_ms) WHERE expires_ms IS NOT NULL;
", "
    -- From the count to the commit nobody writes; the triggers count every write after it.
    LOCK TABLE namelock_registrations IN SHARE ROW EXCLUSIVE MODE;
    CREATE TABLE namelock_usage (
        tenant        text     NOT NULL COLLATE \"C\",
        slot          smallint NOT NULL,
        registrations bigint   NOT NULL,
        bytes         bigint   NOT NULL,
        PRIMARY KEY (tenant, slot)
    -- Each write changes a row in place, without touching the index.
    ) WITH (fillfactor = 50);
    COMMENT ON TABLE namelock_usage IS
        'What each tenant keeps in namelock_registrations, counted by its triggers: the sum of its rows.';
    INSERT INTO namelock_usage
        SELECT tenant, 0, count(*), sum(128 + octet_length(tenant) + octet_length(name) + octet_length(owner)
            + octet_length(attributes))
        FROM namelock_registrations GROUP BY tenant;

    -- One change for each statement and tenant: many changes of one row in one transaction, such as when rows are imported
    -- or purged, would take ever longer. Tenants are counted in one order, so no two statements wait for each other.
    CREATE FUNCTION namelock_count_insert() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO namelock_usage AS u
            SELECT tenant, pg_backend_pid() % 32, count(*), sum(128 + octet_length(tenant) + octet_length(name)
                + octet_length(owner) + octet_length(attributes))
            FROM inserted GROUP BY tenant ORDER BY tenant
        ON CONFLICT (tenant, slot) DO UPDATE SET
            registrations = u.registrations + excluded.registrations, bytes = u.bytes + excluded.bytes;
        RETURN NULL;
    END $$;
    CREATE TRIGGER namelock_count_insert AFTER INSERT ON namelock_registrations
        REFERENCING NEW TABLE AS inserted FOR EACH STATEMENT EXECUTE FUNCTION namelock_count_insert();

    CREATE FUNCTION namelock_count_delete() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO namelock_usage AS u
            SELECT tenant, pg_backend_pid() % 32, -count(*), -sum(128 + octet_length(tenant) + octet_length(name)
                + octet_length(owner) + octet_length(attributes))
            FROM deleted GROUP BY tenant ORDER BY tenant
        ON CONFLICT (tenant, slot) DO UPDATE SET
            registrations = u.registrations + excluded.registrations, bytes = u.bytes + excluded.bytes;
        RETURN NULL;
    END $$;
    CREATE TRIGGER namelock_count_delete AFTER DELETE ON namelock_registrations
        REFERENCING OLD TABLE AS deleted FOR EACH STATEMENT EXECUTE FUNCTION namelock_count_delete();

    -- No program changes the tenant of a row.
    -- For each row: such a trigger for each statement would also run for each save, which may be an update.
    CREATE FUNCTION namelock_count_update() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO namelock_usage AS u VALUES (OLD.tenant, pg_backend_pid() % 32, 0,
            octet_length(NEW.name) + octet_length(NEW.owner) + octet_length(NEW.attributes)
            - octet_length(OLD.name) - octet_length(OLD.owner) - octet_length(OLD.attributes))
        ON CONFLICT (tenant, slot) DO UPDATE SET bytes = u.bytes + excluded.bytes;
        RETURN NULL;
    END $$;
    CREATE TRIGGER namelock_count_update AFTER UPDATE ON namelock_registrations
        FOR EACH ROW WHEN (octet_length(NEW.name) + octet_length(NEW.owner) + octet_length(NEW.attributes)
            <> octet_length(OLD.name) + octet_length(OLD.owner) + octet_length(OLD.attributes))
        EXECUTE FUNCTION namelock_count_update();

    CREATE FUNCTION namelock_count_truncate() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        DELETE FROM namelock_usage;
        RETURN NULL;
    END $$;
    CREATE TRIGGER namelock_count_truncate AFTER TRUNCATE ON namelock_registrations
        FOR EACH STATEMENT EXECUTE FUNCTION namelock_count_truncate();
", "
    ALTER TABLE namelock_registrations ADD COLUMN IF NOT EXISTS freed_token bigint;
    COMMENT ON COLUMN namelock_registrations.freed_token IS
        'The registration was freed if this is its fencing_token, whatever the clock says of its end';

    CREATE TABLE IF NOT EXISTS namelock_clock (
        one             boolean NOT NULL DEFAULT true PRIMARY KEY CHECK (one),
        time_ms         bigint  NOT NULL,
        server_ms       bigint  NOT NULL,
        steady_since_ms bigint  NOT NULL,
        jumped_ms       bigint  NOT NULL
    );
    COMMENT ON TABLE namelock_clock IS
        'Database time: the greatest that a host has kept, the server''s clock then, and since when and up to what nobody has
        seen it pass. To have it start from the server''s clock, stop all hosts and delete the row.';

    CREATE TABLE IF NOT EXISTS namelock_lock_epochs (
        server text   NOT NULL COLLATE \"C\" PRIMARY KEY,
        first  bigint NOT NULL,
        last   bigint NOT NULL,
        placed bigint NOT NULL
    );
    COMMENT ON TABLE namelock_lock_epochs IS
        'Of each lock server the epoch that it was given first (0: none), the greatest that it was given or said to have, and
        the greatest that it was seen to have. The row of no server holds the greatest of all.';

    CREATE OR REPLACE FUNCTION namelock_refuse_late() RETURNS boolean LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'the lease of this write ended while it waited' USING ERRCODE = 'NL001';
    END $$;
"];

/// The version that this program writes.
const VERSION: i64 = MIGRATIONS.len() as i64;

/// The advisory lock that lets one of several hosts migrate while the others wait: a number that no other program is
/// likely to lock.
const MIGRATING: i64 = 0x6e61_6d65_6c6f_636b;

/// Why the tables cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum SchemaError {
    #[error(
        "it has version {0} of the names database, but this program knows only versions up to {VERSION}; \
         use a newer namelock"
    )]
    Newer(i64),
    #[error("its tables cannot be created or read")]
    Sql(#[from] Error),
    #[error("its tables are not migrated yet")]
    Unfinished,
}

impl SchemaError {
    /// Returns whether the problem stays until somebody fixes it, such as a missing privilege; a server that is busy or
    /// going down recovers by itself. Decided by the class of the SQLSTATE (PostgreSQL's documentation, appendix A).
    pub(super) fn is_lasting(&self) -> bool {
        match self {
            Self::Newer(_) => true,
            Self::Unfinished => false,
            Self::Sql(error) => error.code().is_some_and(|state| {
                let passing = ["08", "25", "40", "53", "55", "57", "58"];
                !passing.iter().any(|class| state.code().starts_with(class))
            }),
        }
    }
}

/// How long a migration may take: it reads all rows to count them.
const MIGRATION_MAX: Duration = Duration::from_secs(600);

/// Whether this process knows that the tables are up to date.
#[derive(Clone, Default)]
pub(super) struct Migrated {
    done: Arc<AtomicBool>,
    /// Held by the connection that migrates.
    running: Arc<Mutex<()>>,
}

impl Migrated {
    /// Migrates the tables, unless this process has done so; its first connection does it. A caller whose deadline passes
    /// leaves a migration that goes on without it: it may well take longer than a read or write may.
    pub(super) async fn ensure<C>(&self, mut client: C) -> Result<C, SchemaError>
    where
        C: DerefMut<Target: DerefMut<Target = Client>> + Send + 'static,
    {
        if self.done.load(Ordering::Acquire) {
            return Ok(client);
        }
        let running = Arc::clone(&self.running).lock_owned().await;
        if self.done.load(Ordering::Acquire) {
            return Ok(client);
        }
        let done = Arc::clone(&self.done);
        let task = tokio::spawn(async move {
            let migrated = tokio::time::timeout(MIGRATION_MAX, migrate(&mut client)).await;
            migrated.map_err(|_| SchemaError::Unfinished)??;
            done.store(true, Ordering::Release);
            drop(running);
            Ok(client)
        });
        task.await.unwrap_or(Err(SchemaError::Unfinished))
    }
}

/// Migrates in one transaction, which reads the version under a lock: another host may have been quicker.
async fn migrate(client: &mut Client) -> Result<(), SchemaError> {
    let transaction = client.transaction().await?;
    transaction
        .execute("SELECT pg_advisory_xact_lock($1)", &[&MIGRATING])
        .await?;
    transaction
        .batch_execute("CREATE TABLE IF NOT EXISTS namelock_schema (version bigint NOT NULL)")
        .await?;
    let row = transaction
        .query_one("SELECT max(version) FROM namelock_schema", &[])
        .await?;
    let version: i64 = row.try_get::<_, Option<i64>>(0)?.unwrap_or(0);
    let from = usize::try_from(version).ok().filter(|from| *from <= MIGRATIONS.len());
    let from = from.ok_or(SchemaError::Newer(version))?;
    if from < MIGRATIONS.len() {
        // Only what waits for others still has a deadline, the server's lock_timeout; and a host that stands still in the
        // middle of it, which the caller ends.
        let no_deadline = "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = '10min'";
        transaction.batch_execute(no_deadline).await?;
    }
    for (number, migration) in (1_i64..).zip(MIGRATIONS).skip(from) {
        transaction.batch_execute(migration).await?;
        transaction
            .execute("INSERT INTO namelock_schema VALUES ($1)", &[&number])
            .await?;
    }
    transaction.commit().await?;
    Ok(())
}
