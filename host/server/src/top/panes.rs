//! The four tables: what each shows, in which columns, and what is worth a warning.

use std::time::Instant;

use namelock_types::milliseconds;

use super::answer::{Minute, Overview, Plain};
use super::figures::{NONE, age, count, rate, took};
use super::grid::{Cell, Column, Content, Grid, Row, Tone, Width};
use super::model::{Host, Model, Pane, Standing};
use super::rows::{Fault, Lock, Tenant};

/// From this share of a limit on a tenant is near to it.
const NEAR_PERCENT: u64 = 80;

/// By how much clocks may differ, in milliseconds; the alert `NamelockClockOff` begins there.
const CLOCK_OFF_MS: u64 = 1000;

pub(super) fn grid(pane: Pane, model: &Model, now: Instant) -> Grid {
    match pane {
        Pane::Hosts => hosts(model, now),
        Pane::Tenants => tenants(model, now),
        Pane::Locks => locks(model, now),
        Pane::Faults => faults(model, now),
    }
}

/// What a lock is called while it moves.
pub(super) fn key_of(lock: &Lock) -> String {
    format!("{}/{}", lock.host, lock.id)
}

fn share(title: &'static str, parts: u16) -> Column {
    Column {
        title,
        width: Width::Share(parts),
    }
}

fn text(title: &'static str, cells: u16) -> Column {
    Column {
        title,
        width: Width::Text(cells),
    }
}

fn figure(title: &'static str, cells: u16) -> Column {
    Column {
        title,
        width: Width::Figure(cells),
    }
}

fn row(key: impl Into<String>, cells: Vec<Cell>) -> Row {
    Row {
        key: key.into(),
        content: Content::Cells(cells),
    }
}

fn line(key: impl Into<String>, text: String, tone: Tone) -> Row {
    Row {
        key: key.into(),
        content: Content::Line(Cell::new(text, tone)),
    }
}

fn errors(minute: &Minute) -> Cell {
    let tone = if minute.faults > 0 { Tone::Bad } else { Tone::Plain };
    Cell::new(count(minute.faults), tone)
}

fn times(minute: &Minute) -> [Cell; 2] {
    [minute.p50_ms, minute.p99_ms].map(|ms| Cell::plain(took(ms)))
}

/// Hosts, and beneath each the services that it needs.
fn hosts(model: &Model, now: Instant) -> Grid {
    let mut rows = Vec::new();
    for (at, (host, standing)) in model.standings(now).enumerate() {
        match standing {
            Standing::Asked => rows.push(row(at.to_string(), without_figures(host, "asking", Tone::Faint))),
            Standing::Silent { since, reason } => {
                rows.push(row(at.to_string(), without_figures(host, "NO ANSWER", Tone::Bad)));
                let told = format!("  for {}: {reason}", age(milliseconds(since)));
                rows.push(line(format!("{at} why"), told, Tone::Bad));
            }
            Standing::Live(overview) => live(at, host, overview, &mut rows),
        }
    }
    Grid {
        title: format!("Hosts: {} of {} answer", model.live(now).count(), model.hosts.len()),
        columns: vec![
            share("host", 1),
            text("state", 15),
            figure("req/s", 7),
            figure("errors", 6),
            figure("p50", 7),
            figure("p99", 7),
            figure("calls/max", 13),
        ],
        rows,
        nothing: "no host",
    }
}

fn without_figures(host: &Host, state: &str, tone: Tone) -> Vec<Cell> {
    let mut cells = vec![Cell::plain(host.address), Cell::new(state, tone)];
    cells.extend((0..5).map(|_| Cell::plain(NONE)));
    cells
}

fn live(at: usize, host: &Host, overview: &Overview, rows: &mut Vec<Row>) {
    let of = &overview.host;
    let (state, tone) = match of.state.as_str() {
        "ready" => ("ready", Tone::Good),
        "not_ready" => ("NOT READY", Tone::Bad),
        "stopping" => ("STOPPING", Tone::Warn),
        other => (other, Tone::Warn),
    };
    let calls = format!(
        "{}+{}/{}",
        count(of.calls_running),
        count(of.calls_waiting),
        count(of.calls_max)
    );
    let [p50, p99] = times(&of.minute);
    rows.push(row(
        at.to_string(),
        vec![
            Cell::plain(host.address),
            Cell::new(format!("{state} {}", of.version), tone),
            Cell::plain(rate(of.minute.rate)),
            errors(&of.minute),
            p50,
            p99,
            Cell::plain(calls),
        ],
    ));
    let mut service = |name: &Plain, state: &str, tone, minute: &Minute, queued: Option<u64>| {
        let [p50, p99] = times(minute);
        let queued = queued.filter(|queued| *queued > 0);
        let cells = vec![
            Cell::plain(format!("  {name}")),
            Cell::new(state, tone),
            Cell::plain(rate(minute.rate)),
            Cell::default(),
            p50,
            p99,
            Cell::plain(queued.map_or_else(String::new, |queued| format!("{} queued", count(queued)))),
        ];
        rows.push(row(format!("{at} {name}"), cells));
    };
    for server in &overview.lock.servers {
        let (state, tone) = if server.up {
            ("memcached up", Tone::Good)
        } else {
            ("memcached DOWN", Tone::Bad)
        };
        service(&server.server, state, tone, &server.minute, Some(server.queued));
    }
    let database = &overview.database;
    let (state, tone) = if database.refused.is_none() {
        ("database up", Tone::Good)
    } else {
        ("database DOWN", Tone::Bad)
    };
    service(&database.kind, state, tone, &database.minute, None);
    for (what, refused) in [("locks", &overview.lock.refused), ("names", &database.refused)] {
        if let Some(reason) = refused {
            rows.push(line(format!("{at} {what}"), format!("  {what}: {reason}"), Tone::Bad));
        }
    }
    let off = database.clock_off_ms.unsigned_abs();
    if off > CLOCK_OFF_MS {
        let told = format!("  database time and its clock differ by {}", age(off));
        rows.push(line(format!("{at} clock"), told, Tone::Warn));
    }
}

/// The tenants of all hosts.
fn tenants(model: &Model, now: Instant) -> Grid {
    let all = model.tenants(now);
    // Hosts of a fleet have the same tenants.
    let known = model.live(now).map(|(_, overview)| overview.tenants.matching);
    let known = known.max().unwrap_or_default().max(all.len() as u64);
    let filter = match model.filter.as_str() {
        "" => String::new(),
        filter => format!(" that begin with {filter}"),
    };
    Grid {
        title: format!(
            "Tenants: {} of {known}{filter}, {}",
            all.len(),
            model.tenant_sort.label()
        ),
        columns: vec![
            share("tenant", 1),
            figure("req/s", 7),
            figure("errors", 6),
            figure("p50", 7),
            figure("p99", 7),
            figure("run+wait", 8),
            figure("locks", 6),
            text("nearest limit", 16),
        ],
        rows: all.iter().map(tenant).collect(),
        nothing: "no tenant",
    }
}

fn tenant(tenant: &Tenant) -> Row {
    let [p50, p99] = times(&tenant.minute);
    let near = match (&tenant.state, &tenant.near) {
        (Some(state), _) => Cell::new(state.as_str().to_uppercase(), Tone::Bad),
        (None, None) => Cell::default(),
        (None, Some(near)) => {
            let tone = if near.percent >= NEAR_PERCENT {
                Tone::Warn
            } else {
                Tone::Plain
            };
            Cell::new(format!("{}% {}", count(near.percent), near.limit), tone)
        }
    };
    let cells = vec![
        Cell::plain(&tenant.tenant),
        Cell::plain(rate(tenant.minute.rate)),
        errors(&tenant.minute),
        p50,
        p99,
        Cell::plain(format!("{}+{}", count(tenant.running), count(tenant.waiting))),
        Cell::plain(count(tenant.held)),
        near,
    ];
    row(tenant.tenant.as_str(), cells)
}

/// The locks of all hosts.
fn locks(model: &Model, now: Instant) -> Grid {
    let all = model.locks(now);
    let sum = |of: fn(&Overview) -> u64| {
        let all = model.live(now);
        all.fold(0_u64, |sum, (_, overview)| sum.saturating_add(of(overview)))
    };
    let (held, waiting) = (
        sum(|overview| overview.locks.held),
        sum(|overview| overview.locks.waiting),
    );
    let several = model.hosts.len() > 1;
    let mut columns = vec![
        share("tenant", 2),
        share(
            if model.names {
                "name or its digest"
            } else {
                "digest of name"
            },
            3,
        ),
        figure("held", 7),
        figure("lasts", 7),
        figure("waiting", 7),
        figure("lease", 6),
    ];
    columns.extend(several.then(|| text("host", 21)));
    let mut rows: Vec<_> = all.iter().map(|lock| held_lock(lock, model, several)).collect();
    let nameless = model.live(now).find_map(|(_, overview)| overview.nameless.as_ref());
    rows.extend(nameless.map(|reason| line("nameless", format!("names are not shown: {reason}"), Tone::Warn)));
    Grid {
        title: format!(
            "Locks: {} held, {} wait, {}",
            count(held),
            count(waiting),
            model.lock_sort.label()
        ),
        columns,
        rows,
        nothing: "no lock is held",
    }
}

fn held_lock(lock: &Lock, model: &Model, several: bool) -> Row {
    let waiting = if lock.waiting > 0 { Tone::Warn } else { Tone::Plain };
    let mut cells = vec![
        Cell::plain(&lock.tenant),
        Cell::plain(lock.name.as_ref().unwrap_or(&lock.digest)),
        Cell::plain(age(lock.age_ms)),
        Cell::plain(age(lock.remaining_ms)),
        Cell::new(count(lock.waiting), waiting),
        Cell::plain(count(lock.id)),
    ];
    let host = model.hosts.get(lock.host).filter(|_| several);
    cells.extend(host.map(|host| Cell::plain(host.address)));
    row(key_of(lock), cells)
}

/// The faults of all hosts.
fn faults(model: &Model, now: Instant) -> Grid {
    Grid {
        title: "Faults of the last hour".to_owned(),
        columns: vec![
            share("code", 3),
            figure("hour", 7),
            figure("5 min", 7),
            figure("last", 7),
            share("of tenant", 2),
            share("request", 3),
        ],
        rows: model.faults(now).iter().map(fault).collect(),
        nothing: "none",
    }
}

fn fault(fault: &Fault) -> Row {
    let tone = if fault.lately > 0 { Tone::Bad } else { Tone::Plain };
    let mut cells = vec![
        Cell::new(&fault.code, tone),
        Cell::plain(count(fault.hour)),
        Cell::plain(count(fault.lately)),
    ];
    if let Some((ago_ms, tenant, request)) = &fault.last {
        cells.push(Cell::plain(age(*ago_ms)));
        cells.push(Cell::plain(tenant.as_ref().map_or(NONE, Plain::as_str)));
        cells.push(Cell::plain(request));
    }
    row(fault.code.as_str(), cells)
}
