//! The sandbox alone: calls of a component in a fresh instance each, and in an instance that is reused, without HTTP, memcached and a
//! database.
//!
//! - `program`: the program of `tests/calls`, which calls components: this one shall not have to be built with wasmtime.
//!
//! Beside how often and how fast a component is called, it is told how long a first answer takes, and what memory calls have that
//! are held in their middle.

mod program;

use std::path::{Path, PathBuf};
use std::time::Duration;

use namelock_test_artifacts::{ROOMS, guests};

use self::program::{Program, Way, hold};
use crate::component::component;
use crate::contest::{self, Contestant as _, Entry};
use crate::memory;
use crate::pace::Pace;
use crate::report::{Measurement, Report, Row, Target, locked};

pub(crate) const ID: &str = "sandbox";

/// How many call at once.
const CALLERS: [usize; 2] = [1, 64];

/// The size that is compared.
const MANY: usize = 64;

/// The process whose CPU time is told.
const CALLS: &str = "calls";

const ROOMS_FRESH: &str = "rooms, fresh instance";
const ROOMS_REUSED: &str = "rooms, instance reused";
const EMPTY_FRESH: &str = "empty, fresh instance";
const EMPTY_REUSED: &str = "empty, instance reused";
const PYTHON_FRESH: &str = "Python, fresh instance";
const PYTHON_REUSED: &str = "Python, instance reused";
const JS_FRESH: &str = "JavaScript, fresh instance";
const JS_REUSED: &str = "JavaScript, instance reused";

/// How long instances that are reused are called before it is looked what memory they have.
const WARM_UP: Duration = Duration::from_millis(500);

/// Titles of what else is told.
const COMPILED: &str = "first answer, ms";
const KEPT: &str = "the same, compiled before, ms";
const OWN: &str = "memory of the guest, KiB";
const ABOVE: &str = "above it, KiB";
const GREW: &str = "grew by, MiB";

/// A component, and how it is measured.
struct Subject {
    component: PathBuf,
    fresh: &'static str,
    reused: &'static str,
    /// What it answers, as the program has it.
    answer: &'static str,
    /// How many calls of it are held at once. None: it does not look for a name.
    held: Option<usize>,
    /// The command that builds it.
    build: &'static str,
}

/// A program that calls a component, and what is known of it.
struct Running {
    peer: &'static str,
    program: Program,
    /// Its own memory before the first round, in MiB.
    memory_mib: f64,
    figures: Vec<(&'static str, f64)>,
}

pub(crate) async fn run(report: &mut Report, pace: Pace) -> anyhow::Result<()> {
    if let Some(version) = locked("wasmtime") {
        report.environment.version("wasmtime", version);
    }
    let row = report.row(ID, "Sandbox alone", "calls");
    // Where they keep what is compiled. Each component has a folder of its own.
    let folder = tempfile::tempdir()?;
    let mut all = Vec::new();
    for (number, subject) in subjects().into_iter().enumerate() {
        if subject.component.is_file() {
            all.extend(start(row, &subject, &folder.path().join(number.to_string())).await?);
        } else {
            for peer in [subject.fresh, subject.reused] {
                row.missing(peer, subject.build);
            }
        }
    }
    row.measurements = contest::alternate(pace, entries(&all)).await?;
    for running in all {
        let mut figures = running.figures;
        if running.program.way == Way::Reused {
            let grew = memory::resident(running.program.id)?.own - running.memory_mib;
            figures.push((GREW, grew));
        }
        row.tell((running.peer, MANY), &figures);
    }
    row.notes.push(
        "Bounds in calls, µs and KiB are those of one machine and only illustrate; what is claimed are the ratios."
            .to_owned(),
    );
    add_targets(row);
    Ok(())
}

fn subjects() -> [Subject; 4] {
    [
        Subject {
            component: ROOMS.into(),
            fresh: ROOMS_FRESH,
            reused: ROOMS_REUSED,
            answer: "saved",
            held: Some(800),
            build: "make build",
        },
        Subject {
            component: guests::FORGE_REGISTRATION.into(),
            fresh: EMPTY_FRESH,
            reused: EMPTY_REUSED,
            answer: "made-up",
            held: None,
            build: "make build",
        },
        Subject {
            component: component("rooms-python"),
            fresh: PYTHON_FRESH,
            reused: PYTHON_REUSED,
            answer: "saved",
            held: Some(64),
            build: "make python",
        },
        Subject {
            component: component("rooms-js"),
            fresh: JS_FRESH,
            reused: JS_REUSED,
            answer: "saved",
            held: Some(64),
            build: "make js",
        },
    ]
}

/// Starts both ways of one component. One that cannot be reused is told.
async fn start(row: &mut Row, subject: &Subject, folder: &Path) -> anyhow::Result<Vec<Running>> {
    println!("{} is compiled", subject.component.display());
    std::fs::create_dir(folder)?;
    let (program, first) = Program::start(Way::Fresh, &subject.component, &[subject.answer.as_ref(), folder]).await?;
    let mut figures = vec![(COMPILED, first.compiled_ms)];
    figures.extend(first.kept_ms.map(|ms| (KEPT, ms)));
    if let Some(count) = subject.held {
        let held = hold(&subject.component, folder, count).await?;
        figures.extend([(OWN, held.own_kib), (ABOVE, held.above_kib)]);
    }
    let mut all = vec![Running::new(subject.fresh, program, figures)?];
    match start_reused(subject).await {
        Ok(running) => all.push(running),
        Err(error) => row
            .notes
            .push(format!("{} was not measured: {error:#}.", subject.reused)),
    }
    Ok(all)
}

/// One whose callers all have their instances, and have called them.
async fn start_reused(subject: &Subject) -> anyhow::Result<Running> {
    let (program, first) = Program::start(Way::Reused, &subject.component, &[]).await?;
    program.with(MANY).work(WARM_UP).await?;
    Running::new(subject.reused, program, vec![(COMPILED, first.compiled_ms)])
}

impl Running {
    fn new(peer: &'static str, program: Program, figures: Vec<(&'static str, f64)>) -> anyhow::Result<Self> {
        Ok(Self {
            peer,
            memory_mib: memory::resident(program.id)?.own,
            program,
            figures,
        })
    }
}

fn entries(all: &[Running]) -> Vec<Entry> {
    let entry = |running: &Running, callers| Entry {
        peer: running.peer,
        size: callers,
        processes: vec![(CALLS, running.program.id)],
        contestant: Box::new(running.program.with(callers)),
    };
    all.iter()
        .flat_map(|running| CALLERS.map(|callers| entry(running, callers)))
        .collect()
}

fn add_targets(row: &mut Row) {
    let per_second = |peer| row.find((peer, MANY))?.median(|round| round.per_second);
    // Seconds for a thousand calls are milliseconds for one.
    let cpu_us = row.find((ROOMS_FRESH, MANY)).and_then(|found| found.cpu(CALLS));
    let cpu_us = cpu_us.map(|ms| ms * 1e3);
    let above = row
        .find((ROOMS_FRESH, MANY))
        .and_then(|found: &Measurement| found.also(ABOVE));
    let targets = [
        Target::at_most("64 callers, rooms in Rust: µs of CPU for a call", 12.0, cpu_us),
        Target::at_least("the same: calls/s", 85_000.0, per_second(ROOMS_FRESH)),
        Target::at_least(
            "the same: a fresh instance / one that is reused",
            0.8,
            row.ratio((ROOMS_FRESH, MANY), &[(ROOMS_REUSED, MANY)]),
        ),
        Target::at_least(
            "64 callers, empty: a fresh instance / one that is reused",
            0.8,
            row.ratio((EMPTY_FRESH, MANY), &[(EMPTY_REUSED, MANY)]),
        ),
        Target::at_most("a live instance of rooms: KiB above its own memory", 200.0, above),
        Target::at_least(
            "64 callers, rooms in Python: calls/s",
            1_000.0,
            per_second(PYTHON_FRESH),
        ),
        Target::at_least(
            "64 callers, rooms in JavaScript: calls/s",
            2_500.0,
            per_second(JS_FRESH),
        ),
    ];
    row.targets.extend(targets);
}
