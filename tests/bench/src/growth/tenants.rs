//! More tenants, each of which has a component of its own.

use std::path::Path;
use std::thread;
use std::time::Duration;

use namelock_test_artifacts::{ROOMS, numbered};

use super::cache::Cache;
use super::{CONNECTIONS, entry};
use crate::contest;
use crate::host::{Host, Site, UNLIMITED};
use crate::load::Load;
use crate::memory::{self, Resident};
use crate::pace::Pace;
use crate::report::{Row, Target};

const TENANTS: &str = "tenants";

/// How many there are, and how many at most where there is less time.
const SIZES: [usize; 4] = [1, 100, 1_000, 5_000];
const FEW: usize = 100;
const MANY: usize = 5_000;

/// How many are compiled to see how long that takes: no more, because each takes a good part of a second.
const COMPILED: usize = 20;

/// How long a host rests after its start before its memory is read.
const REST: Duration = Duration::from_secs(1);

/// What a tenant may need while it is idle, in KiB.
const MOST_KIB: f64 = 150.0;

/// How long a start may take, in seconds.
const LONGEST_START_OF_MANY: f64 = 10.0;
const LONGEST_START_OF_FEW: f64 = 0.3;

/// How much of the throughput of one tenant is to be left.
const THROUGHPUT: f64 = 0.9;

/// Titles of what else is told.
const MEMORY: &str = "idle, MiB";
const OWN_MEMORY: &str = "of it no file, MiB";
const LISTENS: &str = "listens after, ms";
const READY: &str = "ready after, ms";

/// A host that is ready, and what it needed for that.
struct Started {
    size: usize,
    host: Host,
    idle: Resident,
}

pub(super) async fn measure(row: &mut Row, pace: Pace) -> anyhow::Result<()> {
    let sizes = if pace == Pace::FULL { &SIZES[..] } else { &SIZES[..2] };
    let component = std::fs::read(ROOMS)?;
    compile_some(row, &component)?;

    // The host makes it, such that nobody else may enter it.
    let parent = tempfile::tempdir()?;
    let folder = parent.path().join("cache");
    let cache = fill_cache(&folder, &component, sizes)?;
    let mut all = Vec::new();
    for size in sizes {
        println!("a host with {size} tenants is started");
        let started = start(&folder, &component, *size)?;
        started.host.grants(&id(0)).await?;
        all.push(started);
    }
    let mut entries = Vec::new();
    for Started { size, host, .. } in &all {
        let paths = (0..*size).map(|number| format!("/v1/{}/names", id(number)));
        let load = Load::closed_loop(host.address, "", CONNECTIONS)?.through(paths);
        entries.push(entry(TENANTS, *size, host, load));
    }
    row.measurements.extend(contest::alternate(pace, entries).await?);
    for Started { size, host, idle } in &all {
        let figures = [
            (MEMORY, idle.all),
            (OWN_MEMORY, idle.own),
            (LISTENS, host.listens_after.as_secs_f64() * 1e3),
            (READY, host.ready_after.as_secs_f64() * 1e3),
        ];
        row.tell((TENANTS, *size), &figures);
    }
    row.notes.push(format!(
        "What `rooms` is compiled to has {} KiB.",
        cache.artifact_bytes() / 1024
    ));
    add_targets(row, &all);
    Ok(())
}

/// Tells how long a first start takes, when all is still to be compiled.
fn compile_some(row: &mut Row, component: &[u8]) -> anyhow::Result<()> {
    let site = site(Path::new("namelock-cache"), component, COMPILED)?;
    let took = site.start()?.ready_after;
    row.notes.push(format!(
        "A first start with {COMPILED} tenants, which compiles all of them one after another, took {:.1} s, so {:.0} ms for each.",
        took.as_secs_f64(),
        took.as_secs_f64() * 1e3 / COMPILED as f64
    ));
    Ok(())
}

/// A folder of compiled components for as many tenants as there are in the largest host.
fn fill_cache(folder: &Path, component: &[u8], sizes: &[usize]) -> anyhow::Result<Cache> {
    site(folder, component, 1)?.start()?.stop()?;
    let cache = Cache::of_one(folder, &numbered(component, 0))?;
    for number in 1..sizes.iter().copied().max().unwrap_or_default() {
        cache.keep_for(&numbered(component, u32::try_from(number)?))?;
    }
    Ok(cache)
}

/// Starts a host with so many tenants, all of which are compiled already.
fn start(cache: &Path, component: &[u8], size: usize) -> anyhow::Result<Started> {
    let host = site(cache, component, size)?.start()?;
    thread::sleep(REST);
    Ok(Started {
        size,
        idle: memory::resident(host.process.id())?,
        host,
    })
}

fn site(cache: &Path, component: &[u8], tenants: usize) -> anyhow::Result<Site> {
    let config = format!(
        "[compiler]\ncache = \"{}\"\ncache_files = 100000\ncache_bytes = \"1024GiB\"\n[tenants]\nwait = \"10m\"\n",
        cache.display()
    );
    let site = Site::new(&config)?;
    for number in 0..tenants {
        site.add(&id(number), &numbered(component, u32::try_from(number)?), UNLIMITED)?;
    }
    Ok(site)
}

fn id(number: usize) -> String {
    format!("t{number}")
}

fn add_targets(row: &mut Row, all: &[Started]) {
    let find = |size| all.iter().find(|started| started.size == size);
    let seconds = |size| find(size).map(|started| started.host.ready_after.as_secs_f64());
    // Two starts of one host differ by some 20 MiB, which says nothing of tenants, and among few is most of what they have.
    let kib_each = find(MANY)
        .zip(find(1))
        .map(|(many, one)| (many.idle.all - one.idle.all) * 1024.0 / (MANY - 1) as f64);
    let throughput = |size| row.ratio((TENANTS, size), &[(TENANTS, 1)]);
    let targets = [
        Target::at_most("5,000 tenants: KiB of an idle host for each", MOST_KIB, kib_each),
        Target::at_most(
            "5,000 tenants, compiled before: s until ready",
            LONGEST_START_OF_MANY,
            seconds(MANY),
        ),
        Target::at_most(
            "100 tenants, compiled before: s until ready",
            LONGEST_START_OF_FEW,
            seconds(FEW),
        ),
        Target::at_least(
            "a load that goes round 100 tenants / one tenant",
            THROUGHPUT,
            throughput(FEW),
        ),
        Target::at_least(
            "a load that goes round 5,000 tenants / one tenant",
            THROUGHPUT,
            throughput(MANY),
        ),
    ];
    row.targets.extend(targets);
}
