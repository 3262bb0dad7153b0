//! `namelock run`: one call of a component against locks and names in this process, and what it took.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use namelock_account::{Account, Counter, Level, Limit};
use namelock_names::Registration;
use namelock_sandbox::{CallError, Context, Handler, Powers, Request, Tape};
use serde_json::{Value, json};

use super::command;
use super::faults::{Asked, Faults};
use super::given::Given;
use super::replay::{self, RECORDING_MAX};
use super::subject::{self, Subject};
use super::workshop::{self, Services};
use crate::config::Config;
use crate::config::source::ConfigError;
use crate::error::Problem;
use crate::http::wire;
use crate::lifecycle::RunError;
use crate::output::print;
use crate::recordings;
use crate::tenants::plan::Plan;

/// Who has a name that is said to be taken, unless the command says who.
const SOMEBODY: &str = "somebody";

/// From which share of a limit on it is listed, in thousandths.
const LISTED: u64 = 1;

/// What to call, and in which circumstances.
#[derive(Args, Debug)]
pub struct RunFlags {
    /// A component, or the directory of a tenant with its handler.wasm; the settings and limits of a tenant.toml beside it count
    #[arg(value_name = "FILE|DIR")]
    path: PathBuf,
    /// The name
    #[arg(
        long,
        value_name = "NAME",
        required_unless_present = "replay",
        default_value = "",
        hide_default_value = true
    )]
    name: String,
    /// The owner
    #[arg(
        long,
        value_name = "OWNER",
        required_unless_present = "replay",
        default_value = "",
        hide_default_value = true
    )]
    owner: String,
    /// Frees the name
    #[arg(long, conflicts_with = "update")]
    free: bool,
    /// Changes the registration: an object with new_owner, lifetime_ms or attributes, as the body of PATCH has them
    #[arg(long, value_name = "JSON")]
    update: Option<String>,
    /// How long it is to last, in milliseconds
    #[arg(long, value_name = "MS", conflicts_with_all = ["free", "update"])]
    lifetime_ms: Option<u64>,
    /// An attribute; may be given several times
    #[arg(long = "attribute", value_name = "KEY=VALUE", value_parser = key_and_value, conflicts_with_all = ["free", "update"])]
    attributes: Vec<(String, String)>,
    /// Somebody has a registration of this name [default owner: somebody]
    #[arg(long, value_name = "OWNER", num_args = 0..=1, default_missing_value = SOMEBODY)]
    taken: Option<String>,
    /// The name that --taken and --held mean, where the handler brings NAME into another form
    #[arg(long, value_name = "NAME")]
    canonical: Option<String>,
    /// Another call holds the lock on the name all the time
    #[arg(long)]
    held: bool,
    /// A lease is lost after this many milliseconds
    #[arg(long, value_name = "MS")]
    lose_lease_after: Option<NonZeroU64>,
    /// The lock service does not answer
    #[arg(long)]
    lock_down: bool,
    /// The names database does not answer
    #[arg(long)]
    names_down: bool,
    /// Each request to the names database takes this many milliseconds longer
    #[arg(long, value_name = "MS", default_value_t = 0)]
    latency: u64,
    /// Keeps what happens in this file, with owners and attributes as they are
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Runs the call in this file again, with the answers that it was given, and compares; no tenant.toml counts
    #[arg(long, value_name = "FILE", conflicts_with_all = [
        "name", "owner", "free", "update", "lifetime_ms", "attributes", "taken", "canonical", "held", "lose_lease_after",
        "lock_down", "names_down", "latency", "record", "config",
    ])]
    replay: Option<PathBuf>,
    /// The configuration of the host, for its limits [default: those of a host without one]
    #[arg(long, value_name = "FILE")]
    config: Option<OsString>,
    /// Where compiled components are kept [default: namelock in the user's cache directory]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("an attribute is KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Calls a component once, and prints what came of it.
///
/// # Errors
///
/// [`RunError::Call`] if the call did not do what it was asked for; of a recorded one, [`RunError::Differs`] if it did something
/// else than then.
pub fn run(flags: &RunFlags) -> Result<(), RunError> {
    subject::exists(&flags.path)?;
    command::log()?;
    if let Some(path) = &flags.record {
        // Not after the call, whose outcome would be lost.
        recordings::check(path).map_err(|error| cannot_write(path, &error))?;
    }
    if let Some(recording) = &flags.replay {
        return run_again(flags, recording);
    }
    let (text, failed) = command::run(flags.config.as_ref(), async |config| call(flags, config).await)?;
    print(&text)?;
    failed.map_or(Ok(()), |code| Err(RunError::Call { code }))
}

/// Runs a recorded call, and prints what came of it and whether that is as recorded.
fn run_again(flags: &RunFlags, recording: &Path) -> Result<(), RunError> {
    let recording = replay::read(recording)?;
    let cache = flags.cache.clone().unwrap_or_else(workshop::cache);
    let name = recording.request.name().to_owned();
    let played = command::run(None, async |config| {
        replay::play(recording, &flags.path, &cache, config).await
    })?;
    let outcome = played.outcome.map_err(Problem::from).and_then(|written| match written {
        Some(written) => told(&written.registration),
        None => Ok(json!({ "freed": name })),
    });
    let mut text = said(&outcome);
    describe(&mut text, played.took, &[], &played.account);
    if let Some(digest) = played.other_component {
        let _ = writeln!(
            text,
            "component is another one than was recorded: its sha256 is {digest}"
        );
    }
    let difference = played.difference.as_deref();
    let _ = writeln!(
        text,
        "replayed  {}",
        difference.unwrap_or("outcome and log are as recorded")
    );
    print(&text)?;
    played.difference.map_or(Ok(()), |_| Err(RunError::Differs))
}

/// What the caller would be answered.
fn said(outcome: &Result<Value, Problem>) -> String {
    match outcome {
        Ok(said) => format!("{said}\n"),
        Err(problem) => {
            let code = problem.kind();
            format!("{} {}: {}\n", code.status().as_u16(), code.label(), problem.detail())
        }
    }
}

/// Writes what was recorded of a call into a file, or says why not.
fn keep(tape: &Tape, path: &Path, outcome: &Result<Value, Problem>) -> Result<String, RunError> {
    let failed = |error: &dyn std::error::Error| cannot_write(path, error);
    let code = outcome.as_ref().map_or_else(|problem| problem.kind().label(), |_| "ok");
    let recording = match tape.finish(code) {
        Ok(Some(recording)) => recording,
        Ok(None) => return Ok("recorded  nothing: the handler was not called\n".to_owned()),
        Err(error) => return Ok(format!("recorded  nothing: {error}\n")),
    };
    let text = recording.write().map_err(|error| failed(&error))?;
    if text.len() > RECORDING_MAX {
        return Ok(format!(
            "recorded  nothing: it would take {} bytes, and a recording has {RECORDING_MAX} at most\n",
            text.len()
        ));
    }
    recordings::write(path, &text).map_err(|error| failed(&error))?;
    Ok(format!("recorded  {}, {} bytes\n", path.display(), text.len()))
}

fn cannot_write(path: &Path, error: &dyn std::error::Error) -> ConfigError {
    ConfigError::new("--record", format!("cannot write {}: {error}", path.display()))
}

async fn call(flags: &RunFlags, config: &Config) -> Result<(String, Option<&'static str>), RunError> {
    let subject = Subject::read(&flags.path, config).map_err(RunError::Tenant)?;
    if let Some(refused) = subject.refused {
        return Err(RunError::Tenant(refused));
    }
    let cache = flags.cache.clone().unwrap_or_else(workshop::cache);
    let sandbox = workshop::sandbox(config, &cache, 1)?;
    let (loaded, plan) = workshop::load_plan(&sandbox, subject.plan).await?;
    let services = Services::open(config).await?;
    prepare(flags, &plan, &services).await?;
    let faults = Faults {
        lock_down: flags.lock_down,
        names_down: flags.names_down,
        latency_ms: flags.latency,
        lose_lease_after_ms: flags.lose_lease_after,
    };
    let circumstances = services.under(config, faults)?;
    let canonical = flags.canonical.as_deref().unwrap_or(&flags.name);
    let _held = match flags.held {
        true => circumstances
            .locks
            .acquire(&plan.tenant.namespace, canonical, Duration::ZERO)
            .await
            .ok(),
        false => None,
    };
    let began = Instant::now();
    let tape = match &flags.record {
        Some(_) => Tape::recording(RECORDING_MAX).map_err(RunError::Runtime)?,
        None => Tape::default(),
    };
    let outcome = ask(flags, &loaded.handler.taped(&tape), &plan, circumstances.powers()).await?;
    let took = began.elapsed();
    let mut text = said(&outcome);
    describe(&mut text, took, &circumstances.names.take_asked(), &plan.tenant.account);
    if let Some(path) = &flags.record {
        text.push_str(&keep(&tape, path, &outcome)?);
    }
    Ok((text, outcome.err().map(|problem| problem.kind().label())))
}

/// Makes what there is before the call.
async fn prepare(flags: &RunFlags, plan: &Plan, services: &Services) -> Result<(), RunError> {
    let Some(owner) = &flags.taken else {
        return Ok(());
    };
    let given = Given {
        name: flags.canonical.as_ref().unwrap_or(&flags.name).clone(),
        owner: owner.clone(),
        lifetime_ms: None,
        attributes: BTreeMap::new(),
    };
    services.add(&plan.tenant, &given).await
}

/// Calls the handler, and tells what its caller would be told.
async fn ask(
    flags: &RunFlags,
    handler: &Handler,
    plan: &Plan,
    powers: Powers,
) -> Result<Result<Value, Problem>, RunError> {
    let (tenant, context) = (&plan.tenant, &Context::new("run"));
    let (name, owner) = (flags.name.clone(), flags.owner.clone());
    let told = |outcome: Result<namelock_sandbox::Written, CallError>| {
        outcome
            .map_err(Problem::from)
            .and_then(|written| told(&written.registration))
    };
    if flags.free {
        let freed = handler.free(&powers, tenant, context, name, owner).await;
        return Ok(freed.map(|()| json!({ "freed": flags.name })).map_err(Problem::from));
    }
    if let Some(update) = &flags.update {
        let body = with_owner(update, &owner)?;
        let request = match wire::parse_update(name, body.as_bytes()) {
            Ok(request) => request,
            Err(problem) => return Ok(Err(problem)),
        };
        return Ok(told(handler.update(&powers, tenant, context, request, None).await));
    }
    let request = Request {
        name,
        owner,
        lifetime: flags.lifetime_ms.map(Duration::from_millis),
        attributes: flags.attributes.clone(),
    };
    Ok(told(handler.register(&powers, tenant, context, request, None).await))
}

/// A registration as callers see it.
fn told(registration: &Registration) -> Result<Value, Problem> {
    let text = wire::registration(registration)?;
    Ok(serde_json::from_slice(&text).unwrap_or_default())
}

/// The body of a PATCH, to which the command adds who asks.
fn with_owner(update: &str, owner: &str) -> Result<String, RunError> {
    let wrong = |problem: &str| ConfigError::new("--update", format!("{problem}; write {{\"new_owner\":\"bob\"}}"));
    let mut body = match serde_json::from_str(update) {
        Ok(Value::Object(body)) => body,
        Ok(_) => return Err(wrong("this is no JSON object").into()),
        Err(error) => return Err(wrong(&format!("this is no JSON: {error}")).into()),
    };
    body.insert("owner".to_owned(), owner.into());
    Ok(Value::Object(body).to_string())
}

/// Writes what the call took.
fn describe(text: &mut String, took: Duration, asked: &[Asked], account: &Account) {
    let ms = |time: Duration| format!("{:.3} ms", time.as_secs_f64() * 1000.0);
    let of = |nanoseconds: u64| ms(Duration::from_nanos(nanoseconds));
    let in_database: Duration = asked.iter().map(|asked| asked.took).sum();
    let _ = writeln!(text, "took      {}", ms(took));
    let _ = writeln!(
        text,
        "  guest   {}, the host functions that it called included",
        of(account.used(Counter::GuestNanos))
    );
    let _ = writeln!(text, "  names   {}", ms(in_database));
    for Asked { what, took } in asked {
        let _ = writeln!(text, "    {what:<7} {}", ms(*took));
    }
    let _ = writeln!(text, "memory    {} bytes", account.level(Level::MemoryPeak));
    for limit in Limit::ALL {
        let nearness = account.nearness(limit);
        if nearness >= LISTED {
            let (percent, tenth) = (nearness / 10, nearness % 10);
            let _ = writeln!(text, "{:<30} {percent:>3}.{tenth} %", format!("limits.{}", limit.key()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attribute_has_a_key_and_a_value() {
        assert_eq!(key_and_value("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert_eq!(key_and_value("a="), Ok(("a".to_owned(), String::new())));
        assert!(key_and_value("a").is_err());
    }

    #[test]
    fn the_owner_is_added_to_an_update() {
        assert_eq!(
            with_owner(r#"{"lifetime_ms":null}"#, "ann").unwrap(),
            r#"{"lifetime_ms":null,"owner":"ann"}"#
        );
        for wrong in ["[]", "7", "{"] {
            let error = with_owner(wrong, "ann").unwrap_err().to_string();
            assert!(error.starts_with("--update: this is no JSON"), "{error}");
        }
    }
}
