//! Which fault raises which alert, and that the documents say the same.

use std::collections::{BTreeMap, BTreeSet};

use crate::monitoring::ALERTS;

const OPERATIONS: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operations.md"));

/// Makes the list of faults. One that no test induces is a variant that is never made, and the compiler refuses that.
macro_rules! faults {
    ($($fault:ident: $row:literal raises $alert:ident),* $(,)?) => {
        /// A fault that a test induces.
        #[derive(Debug, Clone, Copy)]
        pub(super) enum Fault {
            $($fault),*
        }

        /// For each fault, how its row begins in the table of faults, and the alert that it raises.
        const FAULTS: &[(&str, &str)] = &[$(($row, stringify!($alert))),*];
    };
}

faults! {
    HostDies: "a host dies" raises NamelockHostDown,
    HostStandsStill: "a host stands still" raises NamelockHostDown,
    AllHostsAreGone: "no host is there" raises NamelockAbsent,
    FileIsHeld: "a host that shares an SQLite file" raises NamelockBackendDown,
    FileCannotGrow: "the disk of SQLite is full" raises NamelockBackendDown,
    MemcachedDies: "a memcached dies" raises NamelockMemcachedDown,
    LastMemcachedDies: "a memcached dies" raises NamelockBackendDown,
    NamesAreRefused: "a memcached dies" raises NamelockUnavailable,
    PasswordIsWrong: "the certificate or the password of a memcached" raises NamelockMemcachedDown,
    PasswordOfTheOnlyOneIsWrong: "the certificate or the password of a memcached" raises NamelockBackendDown,
    MemcachedIsRestarted: "a memcached is restarted or flushed" raises NamelockMemcachedLostLocks,
    MemcachedIsFlushed: "a memcached is restarted or flushed" raises NamelockMemcachedLostLocks,
    MemcachedStandsStill: "a memcached stands still" raises NamelockMemcachedDown,
    ClockOfMemcachedStandsStill: "a memcached stands still" raises NamelockMemcachedStalls,
    MemcachedIsFull: "a memcached is full" raises NamelockMemcachedFull,
    MemcachedEvicts: "a memcached is full" raises NamelockMemcachedEvicts,
    MemcachedEvictsLocks: "a memcached is full" raises NamelockMemcachedLostLocks,
    SettingsDiffer: "a host has another list of servers" raises NamelockSettingsDiffer,
    EpochIsFromTheFuture: "the epoch of a memcached is from the future" raises NamelockEpochFromFuture,
    NetworkBreaks: "the network between them breaks" raises NamelockMemcachedDown,
    ConnectionsBreak: "the network between them breaks" raises NamelockReconnects,
    PostgresDies: "PostgreSQL is down or slow" raises NamelockBackendDown,
    PostgresStandsStill: "PostgreSQL is down or slow" raises NamelockBackendDown,
    StandbyIsGone: "PostgreSQL's synchronous standby is gone" raises NamelockWritesUnanswered,
    StandbyIsNotWaitedFor: "PostgreSQL has several addresses" raises NamelockNoStandby,
    ClockOfPostgresIsWrong: "the clock of PostgreSQL's server" raises NamelockClockOff,
    NobodyKeptTime: "that clock is wrong when nobody was there" raises NamelockTimeJumped,
    TimeCannotBeKept: "database time cannot be kept" raises NamelockTimeNotKept,
    RowsCannotBeDeleted: "rows cannot be deleted" raises NamelockPurgeFails,
    CertificateEndsSoon: "the certificate of a listener ends soon" raises NamelockCertificateEndsSoon,
    CertificateHasExpired: "the certificate of a listener has expired" raises NamelockCertificateExpired,
    TokensAreTried: "somebody tries tokens" raises NamelockAdminStrangers,
    ComponentIsRefused: "what is in a tenant's directory is refused" raises NamelockTenantRefused,
    HandlerTraps: "a handler breaks down" raises NamelockHandlerBroken,
    NameIsHot: "many want one name" raises NamelockLocksWait,
    HandlersTakeLong: "handlers take long" raises NamelockSlow,
    HostIsFull: "more calls come than" raises NamelockFull,
    NobodyReadsTheLog: "nobody reads the log" raises NamelockLogDropped,
}

impl Fault {
    /// The alert that it raises.
    pub(super) fn alert(self) -> &'static str {
        FAULTS[self as usize].1
    }
}

/// The first column of the table of faults, and the one of alerts.
fn table() -> BTreeMap<&'static str, &'static str> {
    let lines = OPERATIONS.lines().skip_while(|line| *line != "## Faults");
    let mut rows = lines.skip_while(|line| !line.starts_with('|')).map_while(cells);
    let head = rows.next().unwrap();
    assert_eq!((head[0], head[4]), ("what happens", "alert"));
    rows.skip(1).map(|cells| (cells[0], cells[4])).collect()
}

fn cells(line: &'static str) -> Option<Vec<&'static str>> {
    let inner = line.strip_prefix('|')?.strip_suffix('|')?;
    Some(inner.split('|').map(str::trim).collect())
}

/// The names of alerts in a text.
fn alerts(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    words
        .filter(|word| word.starts_with("Namelock") && word.len() > "Namelock".len())
        .collect()
}

#[test]
fn the_table_of_faults_names_the_alerts_that_the_tests_raise_or_says_why_there_is_none() {
    let table = table();
    let mut raised: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (begin, alert) in FAULTS {
        let rows: Vec<_> = table.keys().filter(|row| row.starts_with(begin)).collect();
        assert_eq!(rows.len(), 1, "rows that begin with {begin:?}: {rows:?}");
        raised.entry(*rows[0]).or_default().insert(*alert);
    }
    for (row, said) in table {
        match raised.get(row) {
            Some(raised) => assert_eq!(alerts(said), *raised, "the alerts of {row:?}"),
            None => assert!(
                said.strip_prefix("none: ").is_some_and(|reason| reason.len() > 10),
                "{row:?} has no alert that a test raises, and does not say why: {said:?}"
            ),
        }
    }
}

#[test]
fn every_rule_is_raised_by_a_test_and_explained() {
    let rules = std::fs::read_to_string(ALERTS).unwrap();
    let rules: BTreeSet<_> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    let raised: BTreeSet<_> = FAULTS.iter().map(|(_, alert)| *alert).collect();
    assert_eq!(rules, raised);
    let section = OPERATIONS.split("\n## Alerts\n").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let explained: BTreeSet<_> = section
        .lines()
        .filter_map(cells)
        .flat_map(|cells| alerts(cells[0]))
        .collect();
    assert_eq!(explained, rules);
}
