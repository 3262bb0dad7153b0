//! More names in the database, of the tenant that registers others among them.

use std::path::Path;
use std::time::{Duration, SystemTime};

use namelock_test_artifacts::ROOMS;
use rusqlite::Connection;

use super::{CONNECTIONS, HOST, entry};
use crate::contest;
use crate::host::{Host, Site, UNLIMITED};
use crate::load::{Load, OWNERS, SPREAD_DIGITS};
use crate::pace::Pace;
use crate::report::{Row, Target};

const NAMES: &str = "names in the database";

const TENANT: &str = "rooms";

/// What the largest size is compared with.
const FEW: usize = 10_000;

/// The largest size.
const MANY: usize = 5_000_000;

/// All of them, and fewer where there is less time.
const SIZES: [usize; 4] = [1_000, FEW, 1_000_000, MANY];

/// How much more CPU a registration may need among many names.
const MOST_CPU: f64 = 1.2;

/// The column of what a start takes.
const START: &str = "ready after, ms";

/// How much of the file is kept in memory while it is filled, in KiB.
const FILLING_CACHE_KIB: u32 = 512 << 10;

pub(super) async fn measure(row: &mut Row, pace: Pace) -> anyhow::Result<()> {
    let sizes = if pace == Pace::FULL { &SIZES[..] } else { &SIZES[..3] };
    let mut hosts = Vec::new();
    for size in sizes {
        println!("{size} names are put into a database");
        let host = start(*size)?;
        host.grants(TENANT).await?;
        hosts.push((*size, host));
    }
    let mut entries = Vec::new();
    for (size, host) in &hosts {
        let load = Load::closed_loop(host.address, "/v1/rooms/names", CONNECTIONS)?.spread();
        entries.push(entry(NAMES, *size, host, load));
    }
    row.measurements.extend(contest::alternate(pace, entries).await?);
    for (size, host) in &hosts {
        row.tell((NAMES, *size), &[(START, host.ready_after.as_secs_f64() * 1e3)]);
    }
    row.targets.push(Target::at_most(
        "5,000,000 names: CPU of the host for a registration / with 10,000 names",
        MOST_CPU,
        row.cpu_ratio(HOST, (NAMES, MANY), (NAMES, FEW)),
    ));
    Ok(())
}

/// A host with so many names in its database, which it made itself.
fn start(names: usize) -> anyhow::Result<Host> {
    let site = Site::new("")?;
    site.add(TENANT, &std::fs::read(ROOMS)?, UNLIMITED)?;
    let site = site.start()?.stop()?;
    fill(&site.folder().join("namelock.db"), names)?;
    site.start()
}

/// Writes names that lie as far from each other as those that are registered, and end in a day.
fn fill(file: &Path, names: usize) -> anyhow::Result<()> {
    let connection = Connection::open(file)?;
    connection.pragma_update(None, "synchronous", "OFF")?;
    connection.pragma_update(None, "cache_size", -i64::from(FILLING_CACHE_KIB))?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let [now, end] = [now, now + Duration::from_secs(24 * 3600)].map(|time| time.as_millis());
    let apart = (1_u64 << (4 * SPREAD_DIGITS)) / names as u64;
    connection.execute_batch(&format!(
        "BEGIN;
         WITH RECURSIVE count(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM count WHERE n + 1 < {names})
         INSERT INTO registrations (tenant, name, owner, created_ms, expires_ms, fencing_token, attributes)
         SELECT '{TENANT}', format('%0{SPREAD_DIGITS}x', n * {apart}), 'owner ' || (n % {OWNERS}), {now}, {end} + n,
             1, '[]' FROM count;
         COMMIT;
         PRAGMA wal_checkpoint(TRUNCATE);"
    ))?;
    Ok(())
}
