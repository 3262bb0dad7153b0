//! Database time in the file: see the crate's `clock`.
//!
//! The row holds a course of database time, and the boot of the machine whose `CLOCK_BOOTTIME` it counts. Whoever reads
//! the row in a snapshot knows what time it is; whoever writes keeps the time about once a second, in the transaction that
//! it commits anyway. So a file that nobody writes is not flushed for its clock's sake, except that a reader that finds
//! the time kept long ago asks the writer to keep it: what has been seen to end must not come back after a restart.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, named_params};

use crate::clock::{Course, KEPT_EVERY_MS, Steady, Watch, boottime_ms, wall_ms};
use crate::manual_time::ManualTime;
use crate::rules::stored_ms;
use crate::sqlite::told::Told;

/// How long ago the time may have been kept before a reader has it kept anew.
const OLD_MS: i64 = 10_000;

/// The clocks of this machine.
#[derive(Clone)]
pub(crate) struct Machine {
    /// Which boot of which machine it is.
    boot: Arc<str>,
    /// Reads `CLOCK_BOOTTIME` and the wall clock, in milliseconds.
    read: Arc<dyn Fn() -> (i64, i64) + Send + Sync>,
}

/// What the row says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Kept {
    boot: String,
    course: Course,
    steady: Steady,
}

/// The time in one transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Time {
    pub(super) now_ms: i64,
    /// Rows that ended then or earlier may be purged.
    pub(super) purge_before_ms: i64,
}

/// Keeps the time in the transactions that write.
pub(super) struct Clock {
    machine: Machine,
    retention_ms: i64,
    watch: Watch,
    pub(super) told: Arc<Told>,
}

impl Machine {
    /// This machine, as it is now.
    pub(crate) fn this() -> Self {
        // Not to be had only where /proc is not: then no other process's time is gone on from.
        let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .unwrap_or_else(|_| format!("process {} at {}", std::process::id(), wall_ms()));
        // Containers with a time namespace of their own have another CLOCK_BOOTTIME.
        let namespace = std::fs::read_link(Path::new("/proc/self/ns/time")).unwrap_or_default();
        Self::new(&format!("{} {}", id.trim(), namespace.display()), || {
            (boottime_ms(), wall_ms())
        })
    }

    /// One on which time passes as it is told to.
    pub(super) fn manual(time: ManualTime) -> Self {
        Self::new("manual", move || (time.read(), time.read()))
    }

    pub(super) fn new(boot: &str, read: impl Fn() -> (i64, i64) + Send + Sync + 'static) -> Self {
        Self {
            boot: boot.into(),
            read: Arc::new(read),
        }
    }

    /// Reads the time in a snapshot, and whether it was kept long ago.
    pub(crate) fn time_ms(&self, connection: &Connection) -> rusqlite::Result<(i64, bool)> {
        let kept = read(connection)?;
        let (boottime_ms, wall_ms) = (self.read)();
        Ok(match kept {
            Some(kept) if *kept.boot == *self.boot => {
                let old = boottime_ms.saturating_sub(kept.course.boottime_ms) > OLD_MS;
                (kept.course.time_ms(boottime_ms), old)
            }
            Some(kept) => (kept.course.time_ms.max(wall_ms), true),
            None => (wall_ms, true),
        })
    }
}

impl Clock {
    pub(super) fn new(machine: Machine, retention: Duration, told: Arc<Told>) -> Self {
        Self {
            machine,
            retention_ms: stored_ms(retention),
            watch: Watch::default(),
            told,
        }
    }

    /// Whether a time is kept that goes on in this boot of the machine.
    pub(super) fn is_kept(&self, connection: &Connection) -> rusqlite::Result<bool> {
        Ok(read(connection)?.is_some_and(|kept| *kept.boot == *self.machine.boot))
    }

    /// Reads the time in a transaction that writes, and keeps it there if it was kept long enough ago.
    pub(super) fn time(&mut self, transaction: &Connection) -> rusqlite::Result<Time> {
        let kept = read(transaction)?;
        let (boottime_ms, wall_ms) = (self.machine.read)();
        let (mut course, steady) = match &kept {
            Some(kept) if *kept.boot == *self.machine.boot => (kept.course, kept.steady),
            Some(kept) => self.after_boot(kept, boottime_ms, wall_ms),
            None => (Course::from(boottime_ms, wall_ms), Steady::since(wall_ms)),
        };
        let now_ms = course.time_ms(boottime_ms);
        let off_ms = wall_ms.saturating_sub(now_ms);
        let is_due = boottime_ms.saturating_sub(course.boottime_ms) >= KEPT_EVERY_MS
            || kept.is_none_or(|kept| *kept.boot != *self.machine.boot);
        if is_due {
            course = course.towards(boottime_ms, off_ms);
            keep(transaction, &self.machine.boot, &course, &steady)?;
        }
        self.told.off_ms.store(off_ms, Ordering::Relaxed);
        self.watch.saw(off_ms, "this machine's clock");
        Ok(Time {
            now_ms: course.time_ms(boottime_ms),
            purge_before_ms: steady.purge_before_ms(now_ms, self.retention_ms),
        })
    }

    /// Goes on from the time that another boot has kept: nothing but the wall clock says how long ago that was.
    fn after_boot(&self, kept: &Kept, boottime_ms: i64, wall_ms: i64) -> (Course, Steady) {
        let from_ms = kept.course.time_ms;
        let jump_ms = wall_ms.saturating_sub(from_ms);
        tracing::info!(
            jump_ms,
            believed = jump_ms > 0,
            "the machine was started since the time of the names database was kept; only its clock says how long ago that was"
        );
        self.told.jumped_ms.store(jump_ms.max(0), Ordering::Relaxed);
        let now_ms = wall_ms.max(from_ms);
        let steady = kept.steady.after_jump(from_ms, now_ms, self.retention_ms);
        (Course::from(boottime_ms, now_ms), steady)
    }
}

fn read(connection: &Connection) -> rusqlite::Result<Option<Kept>> {
    let row = "SELECT boot, boottime_ms, time_ms, correction_ms, steady_since_ms, jumped_ms FROM clock";
    let mut statement = connection.prepare_cached(row)?;
    let kept = statement.query_row([], |row| {
        Ok(Kept {
            boot: row.get(0)?,
            course: Course {
                boottime_ms: row.get(1)?,
                time_ms: row.get(2)?,
                correction_ms: row.get(3)?,
            },
            steady: Steady {
                since_ms: row.get(4)?,
                jumped_ms: row.get(5)?,
            },
        })
    });
    kept.optional()
}

fn keep(connection: &Connection, boot: &str, course: &Course, steady: &Steady) -> rusqlite::Result<()> {
    let row = "INSERT OR REPLACE INTO clock
        VALUES (1, :boot, :boottime_ms, :time_ms, :correction_ms, :steady_since_ms, :jumped_ms)";
    connection.prepare_cached(row)?.execute(named_params! {
        ":boot": boot,
        ":boottime_ms": course.boottime_ms,
        ":time_ms": course.time_ms,
        ":correction_ms": course.correction_ms,
        ":steady_since_ms": steady.since_ms,
        ":jumped_ms": steady.jumped_ms,
    })?;
    Ok(())
}
