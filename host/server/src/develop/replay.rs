//! `namelock run --replay`: runs a recorded call again, with the answers that it was given then.
//!
//! No service is asked, so it may be run on any machine, and what it needs is in the recording: the request, the settings and the
//! limits. A `tenant.toml` is not read. A call of the same component is given more time than it may have had, because this
//! machine may be slower; it ends where the recorded one was ended all the same.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use namelock_account::{Account, Budgets};
use namelock_sandbox::recording::Replayed;
use namelock_sandbox::{CallError, CallLimits, Recording, Settings, Tape, Tenant, Written};

use super::faults::Faults;
use super::workshop::{self, Services};
use crate::config::source::{ConfigError, Source};
use crate::config::{Config, Limits, LimitsSection, STACK_BYTES};
use crate::error::Problem;
use crate::lifecycle::RunError;
use crate::tenants::plan::Plan;
use crate::tenants::{Rules, TenantId};

/// The longest recording, in bytes: what a host may be told to keep (`record.size`).
pub(super) const RECORDING_MAX: usize = 16 << 20;

/// How much more time a replayed call has than the recorded one may have had.
const PATIENCE: u32 = 20;

/// What came of a replay.
pub(super) struct Played {
    pub(super) outcome: Result<Option<Written>, CallError>,
    pub(super) took: Duration,
    /// What it was booked to.
    pub(super) account: Arc<Account>,
    /// The digest of the component, if it is another one than was recorded.
    pub(super) other_component: Option<String>,
    /// The first thing that is not as recorded.
    pub(super) difference: Option<String>,
}

/// Reads a recording.
pub(super) fn read(path: &Path) -> Result<Recording, RunError> {
    let wrong = |problem: String| ConfigError::new("--replay", format!("cannot use {}: {problem}", path.display()));
    let mut text = Vec::new();
    // It need not be a file, nor end.
    let file = File::open(path).map(|file| file.take(RECORDING_MAX as u64 + 1));
    file.and_then(|mut file| file.read_to_end(&mut text))
        .map_err(|error| wrong(error.to_string()))?;
    if text.len() > RECORDING_MAX {
        let problem = format!("it is longer than {RECORDING_MAX} bytes, the longest recording");
        return Err(wrong(problem).into());
    }
    Ok(Recording::read(&text).map_err(|error| wrong(error.to_string()))?)
}

/// Runs a recorded call of the component at `path`, whose compiled form is kept in `cache`.
pub(super) async fn play(recording: Recording, path: &Path, cache: &Path, config: &Config) -> Result<Played, RunError> {
    let recording = Arc::new(recording);
    let limits = limits(config, &recording)?;
    let config = able(config, &recording, &limits);
    let plan = plan(path, &config).map_err(RunError::Tenant)?;
    let sandbox = workshop::sandbox(&config, cache, 1)?;
    let (loaded, _) = workshop::load_plan(&sandbox, plan).await?;
    let digest = loaded.digest.to_string();
    let is_same = digest == recording.component;
    let tape = Tape::replaying(Arc::clone(&recording), is_same).ok_or_else(|| {
        ConfigError::new(
            "--replay",
            "its seed is not 64 hexadecimal digits; record the call again",
        )
    })?;
    // Only so that there are some: the tape answers.
    let services = Services::open(&config).await?;
    let powers = services.under(&config, Faults::default())?.powers();
    let tenant = Arc::new(tenant(&recording, limits.call, is_same));
    let began = Instant::now();
    let handler = loaded.handler.taped(&tape);
    let outcome = handler.replay(&powers, &tenant, &recording).await;
    let took = began.elapsed();
    let replayed = tape.replayed().unwrap_or_default();
    Ok(Played {
        difference: first_difference(&recording, &outcome, replayed),
        outcome,
        took,
        account: Arc::clone(&tenant.account),
        other_component: (!is_same).then_some(digest),
    })
}

/// The limits of the recorded call, if they are some that a host can have.
fn limits(config: &Config, recording: &Recording) -> Result<Limits, ConfigError> {
    let limits = &recording.limits;
    let text = format!(
        "memory = '{}B'\ncpu_time = '{}ms'\nwall_time = '{}ms'\nhost_calls = {}\nhost_bytes = '{}B'\nhandles = {}\n\
         random_bytes = '{}B'\nlog_bytes = '{}B'\n",
        limits.memory,
        limits.cpu_time_ms,
        limits.wall_time_ms,
        limits.host_calls,
        limits.host_bytes,
        limits.handles,
        limits.random_bytes,
        limits.log_bytes
    );
    let wrong = |error: String| ConfigError::new("--replay", format!("its limits are not those of a host: {error}"));
    let section: LimitsSection = Source::of(&text).parse().map_err(|error| wrong(error.to_string()))?;
    if !STACK_BYTES.contains(&limits.stack) {
        let (least, most) = (STACK_BYTES.start(), STACK_BYTES.end());
        return Err(wrong(format!(
            "a stack has {least} to {most} bytes, and not {}",
            limits.stack
        )));
    }
    Ok(section.over(&config.limits))
}

/// The configuration of a host that could have run the recorded call.
fn able(config: &Config, recording: &Recording, limits: &Limits) -> Config {
    let mut config = config.clone();
    config.limits.component = usize::MAX >> 1;
    config.limits.artifact = config.compiler.artifact;
    config.limits_max = config.limits.clone();
    config.limits_max.call.memory = limits.call.memory.max(config.limits.call.memory);
    config.stack = usize::try_from(recording.limits.stack).unwrap_or(usize::MAX);
    config
}

fn plan(path: &Path, config: &Config) -> Result<Plan, crate::tenants::TenantError> {
    let mut plan = Plan::parse(
        &TenantId::somebody(),
        Path::new("."),
        &Source::default(),
        &Rules::of(config),
    )?;
    plan.component = if path.is_dir() {
        path.join("handler.wasm")
    } else {
        PathBuf::from(path)
    };
    Ok(plan)
}

/// The tenant of the recorded call.
fn tenant(recording: &Recording, limits: CallLimits, is_same_component: bool) -> Tenant {
    let patience = if is_same_component { PATIENCE } else { 1 };
    // What the tenant had left of its log by time is not the call's.
    let budgets = Budgets {
        log_rate: u32::MAX,
        ..Budgets::default()
    };
    let id: Arc<str> = recording.tenant.as_str().into();
    Tenant {
        namespace: Arc::clone(&id),
        hold: Duration::ZERO,
        settings: recording.settings.iter().cloned().collect::<Settings>(),
        limits: CallLimits {
            cpu_time: limits.cpu_time.saturating_mul(patience),
            wall_time: limits.wall_time.saturating_mul(patience),
            ..limits
        },
        account: Arc::new(Account::new(Arc::clone(&id), &budgets)),
        feed: Arc::default(),
        id,
    }
}

/// The first thing that is not as recorded; none: the outcome and the log are the same.
fn first_difference(
    recording: &Recording,
    outcome: &Result<Option<Written>, CallError>,
    replayed: Replayed,
) -> Option<String> {
    if replayed.difference.is_some() {
        return replayed.difference;
    }
    let code = outcome
        .as_ref()
        .map_or_else(|error| Problem::of_call(error).kind().label(), |_| "ok");
    let recorded = &recording.outcome;
    if code != recorded.code {
        return Some(format!(
            "the call ended with {code}, and the recorded one with {}",
            recorded.code.escape_debug()
        ));
    }
    // How long it took is told by the text of a call that was ended.
    if recording.ended.is_none() && replayed.text != recorded.text {
        return Some(differs("what was said of the call", &replayed.text, &recorded.text));
    }
    if replayed.registration != recorded.registration {
        return Some(differs(
            "the registration",
            &replayed.registration,
            &recorded.registration,
        ));
    }
    let lines = replayed.log.len().max(recording.log.len());
    let line = (0..lines).find(|line| replayed.log.get(*line) != recording.log.get(*line));
    if let Some(line) = line {
        let what = format!("line {} of the log", line + 1);
        return Some(differs(&what, &replayed.log.get(line), &recording.log.get(line)));
    }
    if replayed.broke_down != recording.broke_down {
        return Some(differs(
            "where it broke down",
            &replayed.broke_down,
            &recording.broke_down,
        ));
    }
    None
}

fn differs<T: std::fmt::Debug>(what: &str, is: &Option<T>, was: &Option<T>) -> String {
    let text = |value: &Option<T>| {
        value
            .as_ref()
            .map_or("nothing".to_owned(), |value| format!("{value:?}"))
    };
    format!("{what} is {}, and {} was recorded", text(is), text(was))
}
