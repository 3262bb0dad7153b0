//! Contention: many callers want one name, on one host and on two.
//!
//! It is the lock by itself, without HTTP and a sandbox, so that what a host does with those who wait is all there is. Who
//! waits has its turn; who tries once has an answer at once, and comes again. What the fairness between hosts costs shows
//! where two of them share the name.

mod callers;
mod operations;

use std::time::Duration;

use namelock_lock::Locks;
use namelock_test_servers::Memcached;

use self::callers::Callers;
use self::operations::Counter;
use crate::contest::{self, Entry};
use crate::cycles;
use crate::idiom::{self, IDIOM};
use crate::pace::Pace;
use crate::python;
use crate::report::{Report, Row, Target};

pub(crate) const ID: &str = "contention";

/// How many callers want the name, on all hosts together.
const CALLERS: usize = 64;

/// One Python process is one caller.
const PROCESSES: usize = 8;

/// The name that all of them want.
const NAME: &str = "hot";

/// As long as a host lets a caller wait by default.
const WAIT: Duration = Duration::from_secs(30);

const WAITING: &str = "one host, waiting";
const WAITING_2: &str = "two hosts, waiting";
const TRYING: &str = "one host, trying once";
const TRYING_2: &str = "two hosts, trying once";

/// The ways to want a name: how many hosts, and how long each caller waits.
const WAYS: [(&str, usize, Duration); 4] = [
    (WAITING, 1, WAIT),
    (WAITING_2, 2, WAIT),
    (TRYING, 1, Duration::ZERO),
    (TRYING_2, 2, Duration::ZERO),
];

/// How many hosts there are at most.
const HOSTS: usize = 2;

/// How many commands memcached may be sent for a grant where one host has all callers.
const MOST_OPERATIONS: f64 = 1.5;

/// The column of the commands that memcached was sent.
const OPERATIONS: &str = "operations of memcached/grant";

/// Names of the processes whose CPU time is told.
const BENCH: &str = "bench";
const MEMCACHED: &str = "memcached";

pub(crate) async fn run(report: &mut Report, pace: Pace) -> anyhow::Result<()> {
    let memcached = Memcached::as_recommended();
    let server = memcached.id();
    let has_idiom = idiom::is_installed(report).await;
    let row = report.row(ID, "Contention", "grants");

    let hosts = open(&memcached).await?;
    let mut entries = Vec::new();
    for (peer, count, wait) in WAYS {
        entries.push(Entry {
            peer,
            size: CALLERS,
            processes: vec![(BENCH, std::process::id()), (MEMCACHED, server)],
            contestant: Box::new(Callers::of(&hosts[..count], wait)),
        });
    }
    if has_idiom {
        let contestant = idiom::Processes::of_one_name(memcached.address(), PROCESSES, NAME).await?;
        let mut processes: Vec<_> = contestant.ids().map(|id| ("python", id)).collect();
        processes.push((MEMCACHED, server));
        entries.push(Entry {
            peer: IDIOM,
            size: PROCESSES,
            processes,
            contestant: Box::new(contestant),
        });
    } else {
        row.missing(IDIOM, python::INSTALL);
    }
    row.measurements = contest::alternate(pace, entries).await?;
    count_operations(row, pace).await?;
    add_targets(row);
    Ok(())
}

/// The lock service of each host.
async fn open(memcached: &Memcached) -> anyhow::Result<Vec<Locks>> {
    let mut hosts = Vec::new();
    for _ in 0..HOSTS {
        hosts.push(cycles::open(memcached).await?);
    }
    Ok(hosts)
}

/// Does the same once more with a memcached that writes down what it is sent, which is slower.
async fn count_operations(row: &mut Row, pace: Pace) -> anyhow::Result<()> {
    let counter = Counter::start()?;
    let hosts = open(&counter.memcached).await?;
    for (peer, count, wait) in WAYS {
        let mut callers = Callers::of(&hosts[..count], wait);
        let measured = row
            .measurements
            .iter_mut()
            .filter(|measurement| measurement.peer == peer);
        for round in measured.flat_map(|measurement| &mut measurement.rounds) {
            let operations = counter.for_each_grant(&mut callers, pace.round).await?;
            round.also.insert(OPERATIONS.to_owned(), operations);
        }
    }
    Ok(())
}

fn add_targets(row: &mut Row) {
    let operations = row
        .find((WAITING, CALLERS))
        .and_then(|measurement| measurement.also(OPERATIONS));
    row.targets.push(Target::at_most(
        "one host, 64 callers that wait: operations of memcached for a grant",
        MOST_OPERATIONS,
        operations,
    ));
}
