//! The lock alone: a lock on a name that nobody else wants is acquired and released, by this project and by what else one
//! could pick.
//!
//! All that speak to memcached in the clear speak to the same one; namelock over TLS speaks to one of its own, which asks for
//! a password too. All locks end by themselves after about ten seconds. A release is
//! done when the server has said so. Everybody's keys are as long as this project's.

mod memcache;
mod ours;
mod raw;
mod redis;

use namelock_lock::{LockConfig, TlsFiles};
use namelock_test_servers::{Authority, Memcached, Protection, Redis};

use crate::contest::{self, Contestant, Entry};
use crate::idiom::{self, IDIOM};
use crate::pace::Pace;
use crate::python;
use crate::report::{Report, Row, Target, locked};

pub(crate) const ID: &str = "lock";

/// How many tasks of this process ask for locks at once.
const TASKS: [usize; 3] = [1, 64, 1000];

/// One thread for each caller: more than 64 of them measure the scheduler.
const THREADS: [usize; 2] = [1, 64];

/// One Python process is one caller.
const PROCESSES: [usize; 3] = [1, 2, 8];

const OURS: &str = "namelock";
const OURS_OVER_TLS: &str = "namelock over TLS";
const MEMCACHE: &str = "crate memcache, one exchange each";
const REDIS: &str = "Redis, multiplexed";
const RAW: &str = "prepared batches (the limit)";

/// How long a lock of a peer lasts, in seconds.
const EXPIRY_SECONDS: u32 = 10;

/// Names of the processes whose CPU time is told.
const BENCH: &str = "bench";
const MEMCACHED: &str = "memcached";

pub(crate) async fn run(report: &mut Report, pace: Pace) -> anyhow::Result<()> {
    let memcached = Memcached::as_recommended();
    let redis = Redis::is_installed().then(Redis::start);
    let has_idiom = idiom::is_installed(report).await;
    for (name, version) in [("crate memcache", locked("memcache")), ("crate redis", locked("redis"))] {
        if let Some(version) = version {
            report.environment.version(name, version);
        }
    }
    let row = report.row(ID, "Lock alone", "lock cycles");

    let mut entries = Vec::new();
    let server = memcached.id();
    let locks = crate::cycles::open(&memcached).await?;
    for tasks in TASKS {
        entries.push(entry(OURS, tasks, MEMCACHED, server, ours::Ours::new(&locks, tasks)));
    }
    let authority = Authority::new();
    let protected = Memcached::protected(&Protection {
        tls: Some(&authority.sign(&["127.0.0.1"])),
        clients: None,
        login: Some(("bench", "bench")),
    });
    let files = TlsFiles {
        ca: Some(authority.file()),
        ..TlsFiles::default()
    };
    let config = LockConfig {
        tls: files,
        ..LockConfig::default()
    };
    let over_tls = crate::cycles::open_with(&protected.url(), config).await?;
    for tasks in TASKS {
        let contestant = ours::Ours::new(&over_tls, tasks);
        entries.push(entry(OURS_OVER_TLS, tasks, MEMCACHED, protected.id(), contestant));
    }
    if let Some(redis) = &redis {
        for tasks in TASKS {
            let contestant = redis::Tasks::connect(&redis.url(), tasks).await?;
            entries.push(entry(REDIS, tasks, "redis", redis.id(), contestant));
        }
    } else {
        row.missing(REDIS, "make setup-redis");
    }
    for threads in THREADS {
        let contestant = memcache::Threads::connect(memcached.address(), threads)?;
        entries.push(entry(MEMCACHE, threads, MEMCACHED, server, contestant));
    }
    if has_idiom {
        for processes in PROCESSES {
            let contestant = idiom::Processes::of_own_names(memcached.address(), processes).await?;
            let mut processes_of: Vec<_> = contestant.ids().map(|id| ("python", id)).collect();
            processes_of.push((MEMCACHED, server));
            entries.push(Entry {
                peer: IDIOM,
                size: processes,
                processes: processes_of,
                contestant: Box::new(contestant),
            });
        }
    } else {
        row.missing(IDIOM, python::INSTALL);
    }
    for tasks in TASKS {
        let contestant = raw::Batches::connect(memcached.address(), tasks)?;
        entries.push(entry(RAW, tasks, MEMCACHED, server, contestant));
    }

    row.measurements = contest::alternate(pace, entries).await?;
    add_targets(row);
    Ok(())
}

/// A peer whose callers are in this process.
fn entry(
    peer: &'static str,
    callers: usize,
    server: &'static str,
    server_id: u32,
    contestant: impl Contestant + 'static,
) -> Entry {
    Entry {
        peer,
        size: callers,
        processes: vec![(BENCH, std::process::id()), (server, server_id)],
        contestant: Box::new(contestant),
    }
}

fn add_targets(row: &mut Row) {
    let idiom = PROCESSES.map(|processes| (IDIOM, processes));
    let targets = [
        ("64 tasks: namelock / Redis", 1.5, row.ratio((OURS, 64), &[(REDIS, 64)])),
        (
            "64 tasks: namelock / the best of the Python idiom",
            4.0,
            row.ratio((OURS, 64), &idiom),
        ),
        (
            "1,000 tasks: namelock / the limit",
            0.5,
            row.ratio((OURS, 1000), &[(RAW, 1000)]),
        ),
        (
            "one caller alone: namelock / crate memcache",
            1.0,
            row.ratio((OURS, 1), &[(MEMCACHE, 1)]),
        ),
    ];
    row.targets
        .extend(targets.map(|(what, bound, measured)| Target::at_least(what, bound, measured)));
}
