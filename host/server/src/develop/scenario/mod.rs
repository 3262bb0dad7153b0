//! `namelock test`: plays scenarios that its author has written for a component, and tells where it does something else.
//!
//! - `file`: how scenarios are written;
//! - `callers`: what each of several callers sends;
//! - `stage`: the host on which one is played;
//! - `judge`: compares what was answered with what was expected;
//! - `report`: for people, and as JUnit XML.

mod callers;
mod file;
mod judge;
mod report;
mod stage;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;

use self::file::{Ask, Scenario, Step};
use self::judge::Difference;
use self::report::{Failure, Played, Report};
use self::stage::{Play, Stage};
use super::command;
use super::subject::{self, Subject};
use super::workshop;
use crate::config::Config;
use crate::config::source::ConfigError;
use crate::lifecycle::RunError;
use crate::output::print;
use crate::tenants::Tenants;
use crate::text;

/// The directory of scenarios, beside the component.
const SCENARIOS: &str = "scenarios";

/// What to test.
#[derive(Args, Debug)]
pub struct TestFlags {
    /// The directory of a tenant with its handler.wasm, or a component; the settings and limits of a tenant.toml beside it count
    #[arg(value_name = "DIR|FILE", default_value = ".")]
    path: PathBuf,
    /// A file of scenarios, or a directory of such files; may be given several times [default: scenarios beside the component]
    #[arg(long = "scenarios", value_name = "FILE|DIR")]
    scenarios: Vec<PathBuf>,
    /// Plays the scenarios whose name contains this
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Writes the results to this file too, as JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// The configuration of the host, for its limits [default: those of a host without one]
    #[arg(long, value_name = "FILE")]
    config: Option<OsString>,
    /// Where compiled components are kept [default: namelock in the user's cache directory]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
}

/// Plays scenarios, and prints what came of each.
///
/// # Errors
///
/// [`RunError::Scenarios`] if one did not go as expected.
pub fn run(flags: &TestFlags) -> Result<(), RunError> {
    let chosen = choose(flags)?;
    command::log()?;
    let report = command::run(flags.config.as_ref(), async |config| {
        play_all(flags, config, &chosen).await
    })?;
    if let Some(path) = &flags.junit {
        let failed =
            |error: std::io::Error| ConfigError::new("--junit", format!("cannot write {}: {error}", path.display()));
        report
            .junit()
            .and_then(|xml| std::fs::write(path, xml))
            .map_err(failed)?;
    }
    print(&report.text())?;
    match report.failed() {
        0 => Ok(()),
        failed => Err(RunError::Scenarios {
            failed,
            all: report.played.len(),
        }),
    }
}

/// The scenarios of the files that were named, or of those beside the component.
fn choose(flags: &TestFlags) -> Result<Vec<(PathBuf, Scenario)>, RunError> {
    subject::exists(&flags.path)?;
    let beside = if flags.path.is_dir() {
        &flags.path
    } else {
        flags.path.parent().unwrap_or(Path::new(""))
    };
    let named = match flags.scenarios.as_slice() {
        [] if !beside.join(SCENARIOS).exists() => {
            let problem = format!(
                "there is no directory {SCENARIOS} here; write one into a file {SCENARIOS}/*.toml, as docs/scenarios.md shows, or name one \
                 with --scenarios"
            );
            return Err(ConfigError::new(beside.display().to_string(), problem).into());
        }
        [] => vec![beside.join(SCENARIOS)],
        named => named.to_vec(),
    };
    let (mut chosen, mut wrong) = (Vec::new(), Vec::new());
    for path in files(&named)? {
        match file::read(&path) {
            Ok(scenarios) => chosen.extend(scenarios.into_iter().map(|scenario| (path.clone(), scenario))),
            Err(errors) => wrong.extend(errors),
        }
    }
    if !wrong.is_empty() {
        return Err(RunError::Many(wrong.into_iter().map(RunError::from).collect()));
    }
    if let Some(text) = &flags.filter {
        chosen.retain(|(_, scenario)| scenario.name.contains(text));
    }
    if chosen.is_empty() {
        let place = named
            .iter()
            .map(|path| path.display().to_string())
            .collect::<Vec<_>>()
            .join(", ");
        let problem = match &flags.filter {
            Some(text) => format!("no scenario has {text:?} in its name"),
            None => "there is no scenario here; write one into a file *.toml, as docs/scenarios.md shows".to_owned(),
        };
        return Err(ConfigError::new(place, problem).into());
    }
    Ok(chosen)
}

/// The files that are named, and those of the directories that are, in their order.
fn files(named: &[PathBuf]) -> Result<Vec<PathBuf>, ConfigError> {
    let mut files = Vec::new();
    for path in named {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let failed = |error: std::io::Error| {
            ConfigError::new(
                path.display().to_string(),
                format!("cannot read this directory: {error}"),
            )
        };
        let entries = std::fs::read_dir(path)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(failed)?;
        let mut inside: Vec<_> = entries.into_iter().map(|entry| entry.path()).collect();
        inside.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
        inside.sort();
        files.append(&mut inside);
    }
    Ok(files)
}

async fn play_all(flags: &TestFlags, config: &Config, chosen: &[(PathBuf, Scenario)]) -> Result<Report, RunError> {
    let Subject { plan, refused, .. } = Subject::read(&flags.path, config).map_err(RunError::Tenant)?;
    if let Some(refused) = refused {
        return Err(RunError::Tenant(refused));
    }
    let cache = flags.cache.clone().unwrap_or_else(workshop::cache);
    let sandbox = workshop::sandbox(config, &cache, config.http.calls)?;
    // Compiled here, so that what is wrong with it is said as it is.
    workshop::load_plan(&sandbox, plan).await?;
    let stage = Stage {
        config,
        tenants: Tenants::new(sandbox).into(),
        path: &flags.path,
    };
    let mut report = Report::default();
    for (file, scenario) in chosen {
        let began = Instant::now();
        let failure = play(&stage, scenario).await;
        report.played.push(Played {
            file: file.clone(),
            name: scenario.name.clone(),
            steps: scenario.steps.len(),
            took: began.elapsed(),
            failure,
        });
    }
    Ok(report)
}

/// Plays a scenario up to the first step that does not go as expected. A setting of it that no call has read changes nothing, so
/// its key is misspelt, or it shows something else than its author believes.
async fn play(stage: &Stage<'_>, scenario: &Scenario) -> Option<Failure> {
    let cannot = |error: &RunError| {
        vec![Difference {
            expected: "something that can be played".to_owned(),
            got: text::chain(error),
        }]
    };
    let play = match Play::begin(stage, scenario).await {
        Ok(play) => play,
        Err(error) => {
            return Some(Failure {
                step: 0,
                what: "what is given".to_owned(),
                differences: cannot(&error),
            });
        }
    };
    for (at, step) in scenario.steps.iter().enumerate() {
        let ask = match step {
            Step::Advance(ms) => {
                play.advance(*ms);
                continue;
            }
            Step::Ask(ask) => ask,
        };
        let differences = ask_all(&play, ask).await.unwrap_or_else(|error| cannot(&error));
        if !differences.is_empty() {
            return Some(Failure {
                step: at + 1,
                what: format!("{} {:?}", ask.verb(), ask.name),
                differences,
            });
        }
    }
    let unread: Vec<_> = play.unread_settings().map(Difference::unread).collect();
    (!unread.is_empty()).then(|| Failure {
        step: 0,
        what: "settings".to_owned(),
        differences: unread,
    })
}

async fn ask_all(play: &Play<'_>, ask: &Ask) -> Result<Vec<Difference>, RunError> {
    let asks: Vec<_> = (1..=ask.callers.unwrap_or(1))
        .map(|number| ask.of_caller(number))
        .collect();
    let answers = play.answers(&asks).await?;
    let now_ms = play.now_ms();
    Ok(match (ask.callers, asks.as_slice(), answers.as_slice()) {
        (None, [ask], [answer]) => judge::one(ask, answer, now_ms),
        _ => judge::all(&asks, &answers, now_ms),
    })
}
