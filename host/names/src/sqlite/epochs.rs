//! Epochs of lock servers in the file: see the crate's `epoch`.

use rusqlite::{Connection, OptionalExtension, named_params};

use crate::epoch::{EPOCH_STEP, EpochStanding, Epochs, NewEpoch};

/// Gives a server an epoch, in a transaction that writes.
pub(super) fn begin(transaction: &Connection, server: &str, now_ms: i64) -> rusqlite::Result<NewEpoch> {
    let known = read(transaction, server)?;
    let greatest = known.unwrap_or(of_all(transaction)?).greatest;
    let epoch = now_ms
        .saturating_mul(1_000_000)
        .max(greatest.saturating_add(EPOCH_STEP));
    record(transaction, server, epoch, epoch, 0)?;
    Ok(NewEpoch {
        epoch: epoch.cast_unsigned(),
        is_first: known.is_none(),
    })
}

/// Judges an epoch that a server has, in a transaction that writes, and records it where it is known.
pub(super) fn check(
    transaction: &Connection,
    server: &str,
    epoch: u64,
    now_ms: i64,
) -> rusqlite::Result<EpochStanding> {
    let known = read(transaction, server)?.unwrap_or(of_all(transaction)?);
    let standing = known.judge(epoch, now_ms);
    if let (EpochStanding::Known { .. }, Ok(epoch)) = (standing, i64::try_from(epoch)) {
        record(transaction, server, 0, epoch, epoch)?;
    }
    Ok(standing)
}

fn read(connection: &Connection, server: &str) -> rusqlite::Result<Option<Epochs>> {
    let row = "SELECT (SELECT max(last) FROM lock_epochs), first, placed FROM lock_epochs WHERE server = ?";
    let mut statement = connection.prepare_cached(row)?;
    let known = statement.query_row([server], |row| {
        Ok(Epochs {
            greatest: row.get(0)?,
            first: row.get(1)?,
            placed: row.get(2)?,
        })
    });
    known.optional()
}

/// What is known of a server that has had no epoch.
fn of_all(connection: &Connection) -> rusqlite::Result<Epochs> {
    let greatest = "SELECT coalesce(max(last), 0) FROM lock_epochs";
    Ok(Epochs {
        greatest: connection.prepare_cached(greatest)?.query_row([], |row| row.get(0))?,
        ..Epochs::default()
    })
}

fn record(connection: &Connection, server: &str, first: i64, last: i64, placed: i64) -> rusqlite::Result<()> {
    let row = "INSERT INTO lock_epochs (server, first, last, placed) VALUES (:server, :first, :last, :placed)
        ON CONFLICT (server) DO UPDATE SET last = max(last, excluded.last), placed = max(placed, excluded.placed)";
    connection.prepare_cached(row)?.execute(named_params! {
        ":server": server,
        ":first": first,
        ":last": last,
        ":placed": placed,
    })?;
    Ok(())
}
