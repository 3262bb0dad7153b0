//! What migrates the tables from one version to the next.

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
///
/// Version 4 adds columns, which takes no time, and indexes ([`INDEXES`]), each of which takes about a second for a million rows.
/// They are made `CONCURRENTLY` where there may be rows, in no transaction, so that hosts of the version before go on meanwhile;
/// the host that makes them, and all that start with it, serve from when they are there. If that fails half-way the next host
/// begins anew.
///
/// Version 5 makes the index that lists what an owner has anew, with a condition that is always true and that only lists state.
/// PostgreSQL plans a statement when a session prepares it, and keeps the plan until the table is analyzed. While a table is
/// small all of its indexes cost the same, and then it takes the last that was made: to find one name it read all names of its
/// tenant, in the first minute of a new database. Hosts of version 4 list what an owner has without an index meanwhile.
///
/// Version 6 adds what several databases need (see `placed`): tables that are empty and functions that are not called where there
/// is one.
pub(super) const MIGRATIONS: &[&str] = &["
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
", "
    ALTER TABLE namelock_registrations
        ADD COLUMN IF NOT EXISTS extras_token bigint, ADD COLUMN IF NOT EXISTS hold_ms bigint,
        ADD COLUMN IF NOT EXISTS request_key bytea, ADD COLUMN IF NOT EXISTS request_fingerprint bytea,
        ADD COLUMN IF NOT EXISTS update_key bytea, ADD COLUMN IF NOT EXISTS update_fingerprint bytea;
    COMMENT ON COLUMN namelock_registrations.extras_token IS
        'The fencing token of who has set the columns after it last. A save under another one forgets them';

    -- A host of version 3 saves a registration without changing what it does not know. It says something of the registration
    -- before, so it is forgotten.
    CREATE OR REPLACE FUNCTION namelock_forget_extras() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        UPDATE namelock_registrations SET extras_token = NULL, hold_ms = NULL, request_key = NULL,
                request_fingerprint = NULL, update_key = NULL, update_fingerprint = NULL
            WHERE tenant = NEW.tenant AND name = NEW.name;
        RETURN NULL;
    END $$;
    DROP TRIGGER IF EXISTS namelock_forget_extras ON namelock_registrations;
    CREATE TRIGGER namelock_forget_extras AFTER UPDATE ON namelock_registrations
        FOR EACH ROW WHEN (NEW.extras_token <> NEW.fencing_token
            AND NEW.freed_token IS DISTINCT FROM NEW.fencing_token)
        EXECUTE FUNCTION namelock_forget_extras();
", "", SEVERAL_DATABASES];

/// Who of several databases this one is, where each tenant is, and what keeps its writes from where it is not.
const SEVERAL_DATABASES: &str = "
    CREATE TABLE IF NOT EXISTS namelock_database (
        one   boolean NOT NULL DEFAULT true PRIMARY KEY CHECK (one),
        id    text    NOT NULL,
        first text
    );
    COMMENT ON TABLE namelock_database IS
        'Which database this is, and to which first one of several it belongs: none if it is the first, or alone';
    INSERT INTO namelock_database (id) VALUES (md5(random()::text || clock_timestamp()::text || pg_backend_pid()))
        ON CONFLICT DO NOTHING;

    CREATE TABLE IF NOT EXISTS namelock_placement (
        tenant     text   NOT NULL COLLATE \"C\" PRIMARY KEY,
        database   text   NOT NULL,
        moving_to  text,
        moved_from text,
        attempt    bigint NOT NULL DEFAULT 0
    );
    COMMENT ON TABLE namelock_placement IS
        'In the first of several databases: which has the names of each tenant, by its id, and how far a move is';

    CREATE TABLE IF NOT EXISTS namelock_moved (
        tenant text   NOT NULL COLLATE \"C\" PRIMARY KEY,
        mover  bigint NOT NULL,
        open   boolean NOT NULL DEFAULT false
    );
    COMMENT ON TABLE namelock_moved IS
        'The tenants whose names only a mover may write here: the last attempt to move it. One whose gate is open stays, so that no
        earlier attempt closes it';

    -- For each row that is written, once a tenant was gated. What others delete of a gated tenant, which is what a purge does, is
    -- left instead of being refused: a purge is of all tenants.
    CREATE OR REPLACE FUNCTION namelock_refuse_moved() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
        whose text;
        may   text := nullif(current_setting('namelock.mover', true), '');
    BEGIN
        IF TG_OP = 'DELETE' THEN whose := OLD.tenant; ELSE whose := NEW.tenant; END IF;
        IF may IS NULL AND NOT EXISTS (SELECT FROM namelock_moved WHERE tenant = whose AND NOT open)
            OR may IS NOT NULL AND EXISTS (SELECT FROM namelock_moved WHERE tenant = whose AND mover = may::bigint AND NOT open)
        THEN
            IF TG_OP = 'DELETE' THEN RETURN OLD; ELSE RETURN NEW; END IF;
        END IF;
        IF TG_OP = 'DELETE' AND may IS NULL THEN RETURN NULL; END IF;
        RAISE EXCEPTION 'the names of tenant % are not to be written in this database', whose USING ERRCODE = 'NL002';
    END $$;

    -- The lock waits until every write has ended that has not seen the gate, and lets no other begin before it is there. It waits for
    -- longer than a server takes to end an autovacuum that is in the way (deadlock_timeout, a second). Returns whether the attempt
    -- is the last one.
    CREATE OR REPLACE FUNCTION namelock_gate(whose text, attempt bigint) RETURNS boolean
    LANGUAGE plpgsql SET lock_timeout = '1500ms' AS $$
    BEGIN
        LOCK TABLE namelock_registrations IN SHARE ROW EXCLUSIVE MODE;
        IF NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = 'namelock_registrations'::regclass
            AND tgname = 'namelock_refuse_moved')
        THEN
            CREATE TRIGGER namelock_refuse_moved BEFORE INSERT OR UPDATE OR DELETE ON namelock_registrations
                FOR EACH ROW EXECUTE FUNCTION namelock_refuse_moved();
        END IF;
        INSERT INTO namelock_moved AS m VALUES (whose, attempt)
            ON CONFLICT (tenant) DO UPDATE SET mover = excluded.mover, open = false WHERE m.mover <= excluded.mover;
        RETURN FOUND;
    END $$;

    -- Returns the placement of a tenant, which gets one if it has none: here if there are rows of it already, otherwise in that of
    -- the candidates which has the fewest tenants.
    CREATE OR REPLACE FUNCTION namelock_place(whose text, candidates text[]) RETURNS SETOF namelock_placement
    LANGUAGE plpgsql SET lock_timeout = '1500ms' AS $$
    DECLARE
        here   text;
        chosen text;
    BEGIN
        PERFORM pg_advisory_xact_lock(7953758699291370350);
        IF NOT EXISTS (SELECT FROM namelock_placement AS p WHERE p.tenant = whose) THEN
            SELECT d.id INTO STRICT here FROM namelock_database AS d;
            SELECT c.id INTO chosen FROM unnest(candidates) WITH ORDINALITY AS c (id, place)
                LEFT JOIN (SELECT coalesce(p.moving_to, p.database) AS id, count(*) AS tenants
                    FROM namelock_placement AS p GROUP BY 1) AS used ON used.id = c.id
                ORDER BY coalesce(used.tenants, 0), c.place LIMIT 1;
            IF chosen <> here AND NOT EXISTS (SELECT FROM namelock_registrations AS r WHERE r.tenant = whose) THEN
                PERFORM namelock_gate(whose, 0);
            END IF;
            -- Looked at again now that nobody writes.
            IF chosen IS NULL OR EXISTS (SELECT FROM namelock_registrations AS r WHERE r.tenant = whose) THEN
                chosen := here;
                DELETE FROM namelock_moved AS m WHERE m.tenant = whose;
            END IF;
            INSERT INTO namelock_placement (tenant, database) VALUES (whose, chosen);
        END IF;
        RETURN QUERY SELECT p.* FROM namelock_placement AS p WHERE p.tenant = whose;
    END $$;
";

/// An index that a version makes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Index {
    pub(super) version: i64,
    pub(super) name: &'static str,
    pub(super) columns: &'static str,
    pub(super) unique: bool,
    /// The one in whose place it comes.
    pub(super) replaces: Option<&'static str>,
}

/// The indexes that are made where there may be rows. One key has one registration, and rows without a key are in neither index of
/// keys; the third lists what one owner has.
pub(super) const INDEXES: [Index; 3] = [
    Index {
        version: 4,
        name: "namelock_registrations_by_request",
        columns: "(request_key) WHERE request_key IS NOT NULL",
        unique: true,
        replaces: None,
    },
    Index {
        version: 4,
        name: "namelock_registrations_by_update",
        columns: "(update_key) WHERE update_key IS NOT NULL",
        unique: true,
        replaces: None,
    },
    Index {
        version: 5,
        name: "namelock_registrations_of_owner",
        columns: "(tenant, owner, name) WHERE octet_length(owner) > 0",
        unique: false,
        replaces: Some("namelock_registrations_by_owner"),
    },
];
