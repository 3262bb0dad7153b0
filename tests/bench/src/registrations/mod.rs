//! Registrations over HTTP, each of a name that nobody else wants, and durable before it is answered: by this project
//! and by what else one could pick.
//!
//! Every peer has its own memcached and its own database, so that nobody works in another one's rounds but for what it
//! does by itself. With a lock in memcached, a database and an answer each does the same for its callers as far as they
//! see; what else this project does for them (a sandbox for each call, quotas, fencing tokens, names that end), the
//! *bare ceiling* leaves out, and the *native ceiling* (`tests/native`) the sandbox alone. The bare one has the lock lane of this project and commits in groups, so it is about what these two
//! allow.

mod bare;
mod peers;

use namelock_test_servers::Memcached;

use self::bare::Bare;
use self::peers::{Database, Django, SERVER, Service, namelock, native};
use crate::contest::{self, Entry};
use crate::load::Load;
use crate::pace::Pace;
use crate::python;
use crate::report::{AtRate, Report, Row, Target, locked};

pub(crate) use self::bare::{BARE, run as bare};

pub(crate) const ID: &str = "registrations";

/// How many connections register names at once.
const CONNECTIONS: [usize; 3] = [1, 64, 256];

const NAMELOCK: &str = "namelock, SQLite";
const NATIVE: &str = "native ceiling, SQLite";
const CEILING: &str = "bare ceiling, SQLite";
const NAMELOCK_POSTGRES: &str = "namelock, PostgreSQL";
const NATIVE_POSTGRES: &str = "native ceiling, PostgreSQL";
const CEILING_POSTGRES: &str = "bare ceiling, PostgreSQL";
const DJANGO: &str = "Django, SQLite";
const DJANGO_POSTGRES: &str = "Django, PostgreSQL";

/// Who is measured at fixed rates too.
const AT_RATES: [&str; 3] = [NAMELOCK, NATIVE, CEILING];

/// How many connections there are for a fixed rate. More requests at once have to wait for one, which counts.
const CONNECTIONS_AT_RATE: usize = 256;

/// The fixed rates, as shares of what [`NAMELOCK`] does with 64 connections in this run.
const SHARES: [f64; 4] = [0.25, 0.5, 0.75, 0.9];

/// How much more CPU the host may need for a registration than the bare server: 60 µs where that one needs 29.
const MOST_CPU: f64 = 2.07;

/// Names of the processes whose CPU time is told, beside those of the servers.
const BENCH: &str = "bench";

pub(crate) async fn run(report: &mut Report, pace: Pace) -> anyhow::Result<()> {
    let django = Django::versions().await;
    for (name, version) in [
        ("axum", locked("axum")),
        ("Django", django.as_ref().map(|[django, _, _]| django.as_str())),
        ("gunicorn", django.as_ref().map(|[_, gunicorn, _]| gunicorn.as_str())),
        ("Python", django.as_ref().map(|[_, _, python]| python.as_str())),
    ] {
        if let Some(version) = version {
            report.environment.version(name, version);
        }
    }
    let row = report.row(ID, "Registration over HTTP", "registrations");
    row.notes.extend([
        peers::where_the_data_is().await,
        "A component under `wasmtime serve` is not measured yet: that takes the command line of wasmtime 48, and a \
         component that speaks to memcached over WASI sockets."
            .to_owned(),
    ]);
    if django.is_none() {
        for peer in [DJANGO, DJANGO_POSTGRES] {
            row.missing(peer, python::INSTALL);
        }
    }
    let services = start(django.is_some())?;
    for service in &services {
        service.answers().await?;
    }

    row.measurements = contest::alternate(pace, closed_loop(&services)?).await?;
    let rate = row
        .find((NAMELOCK, 64))
        .and_then(|found| found.median(|round| round.per_second));
    let rates = SHARES.map(|share| share * rate.unwrap_or_default());
    let (due, entries): (Vec<_>, Vec<_>) = at_rates(&services, rates)?.into_iter().unzip();
    let measured = contest::alternate(pace, entries).await?.into_iter().zip(due);
    row.at_rates
        .extend(measured.map(|(measurement, due_per_second)| AtRate {
            due_per_second,
            measurement,
        }));
    add_targets(row);
    Ok(())
}

/// Starts everything, in the order of the report.
fn start(has_django: bool) -> anyhow::Result<Vec<Service>> {
    let mut services = Vec::new();
    let databases: [(fn() -> _, _); 2] = [
        (Database::sqlite, [NAMELOCK, NATIVE, CEILING, DJANGO]),
        (
            Database::postgres,
            [NAMELOCK_POSTGRES, NATIVE_POSTGRES, CEILING_POSTGRES, DJANGO_POSTGRES],
        ),
    ];
    for (database, [ours, without_sandbox, ceiling, django]) in databases {
        services.push(namelock(ours, database()?)?);
        services.push(native(without_sandbox, Memcached::as_recommended(), database()?)?);
        services.push(Bare::start(ceiling, Memcached::as_recommended(), database()?)?);
        if has_django {
            services.push(Django::start(django, Memcached::as_recommended(), database()?)?);
        }
    }
    Ok(services)
}

fn closed_loop(services: &[Service]) -> anyhow::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for service in services {
        for connections in CONNECTIONS {
            let load = Load::closed_loop(service.address, service.path, connections)?;
            entries.push(entry(service, connections, load));
        }
    }
    Ok(entries)
}

/// This project and its ceiling, at each of the rates.
fn at_rates(services: &[Service], rates: [f64; SHARES.len()]) -> anyhow::Result<Vec<(f64, Entry)>> {
    let mut entries = Vec::new();
    for rate in rates {
        for service in services.iter().filter(|service| AT_RATES.contains(&service.peer)) {
            let load = Load::at_rate(service.address, service.path, CONNECTIONS_AT_RATE, rate)?;
            entries.push((rate, entry(service, CONNECTIONS_AT_RATE, load)));
        }
    }
    Ok(entries)
}

fn entry(service: &Service, callers: usize, load: Load) -> Entry {
    let mut processes = vec![(BENCH, std::process::id())];
    processes.extend(service.processes());
    Entry {
        peer: service.peer,
        size: callers,
        processes,
        contestant: Box::new(load),
    }
}

fn add_targets(row: &mut Row) {
    let best = |peer| CONNECTIONS.map(|connections| (peer, connections));
    let (ours, without_sandbox, ceiling) = ((NAMELOCK, 64), (NATIVE, 64), (CEILING, 64));
    let targets = [
        Target::at_least(
            "64 connections, SQLite: namelock / native ceiling",
            0.85,
            row.ratio(ours, &[without_sandbox]),
        ),
        Target::at_most(
            "the same: p99 of namelock / p99 of the native ceiling",
            1.3,
            row.p99_ratio(ours, without_sandbox),
        ),
        Target::at_least(
            "64 connections, SQLite: namelock / bare ceiling",
            0.5,
            row.ratio(ours, &[ceiling]),
        ),
        Target::at_most(
            "the same: CPU of the host for a registration / of the bare server",
            MOST_CPU,
            row.cpu_ratio(SERVER, ours, ceiling),
        ),
        Target::at_least(
            "64 connections, SQLite: namelock / the best of Django",
            40.0,
            row.ratio(ours, &best(DJANGO)),
        ),
        Target::at_least(
            "64 connections: namelock with SQLite / the best of Django with PostgreSQL",
            40.0,
            row.ratio(ours, &best(DJANGO_POSTGRES)),
        ),
        Target::at_least("64 connections, SQLite: namelock / `wasmtime serve`", 5.0, None),
    ];
    row.targets.extend(targets);
}
