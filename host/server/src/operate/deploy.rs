//! `namelock deploy`: puts a tenant for all hosts of a fleet, and waits until they serve it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::Args;
use serde_json::{Map, Value};

use super::client::{Access, AskError, Question, ask, ask_patiently};
use super::hosts::{AdminEnv, HostFlags};
use super::{encoded, failure};
use crate::config::source::ConfigError;
use crate::config::units;
use crate::lifecycle::RunError;
use crate::output::print;

/// How long the host that is asked may take to compile and to try a component.
const COMPILES: Duration = Duration::from_secs(300);

/// How often hosts are asked whether they serve it.
const EVERY: Duration = Duration::from_millis(100);

/// How long a host may take to say whether it serves it: what is left of the wait, within these.
const ASKED_MIN: Duration = Duration::from_secs(1);
const ASKED_MAX: Duration = Duration::from_secs(10);

/// The arguments of `namelock deploy`.
#[derive(Args, Debug)]
pub struct DeployFlags {
    /// The tenant
    tenant: String,
    /// File of its component; left out: it stays as it is
    #[arg(value_name = "HANDLER.WASM")]
    component: Option<PathBuf>,
    /// File of its settings and tokens, a tenant.toml; left out: they stay as they are
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// Removes the tenant from all hosts; its registrations stay
    #[arg(long, conflicts_with_all = ["component", "settings"])]
    remove: bool,
    /// How long to wait until every host that is named serves it, which needs the right `read`; 0s: it does not wait
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = units::time_of_text)]
    wait: Duration,
    #[command(flatten)]
    hosts: HostFlags,
}

/// Deploys a tenant, or removes it.
///
/// # Errors
///
/// See [`RunError`]; [`RunError::NotServed`] if it was deployed, and some host does not serve it in time.
pub fn run(flags: &DeployFlags, env: AdminEnv) -> Result<(), RunError> {
    let (hosts, access) = flags.hosts.read(env)?;
    let Some(&first) = hosts.first() else {
        return Err(ConfigError::new("--admin", "name at least one host").into());
    };
    let path = format!("/tenants/{}", encoded(&flags.tenant));
    if flags.remove {
        let question = Question {
            method: "DELETE",
            path,
            body: None,
        };
        ask(first, &access, &question).map_err(|error| failure(first, error))?;
        return print(&format!("{} is removed\n", flags.tenant));
    }
    let question = Question {
        method: "PUT",
        path: path.clone(),
        body: Some(body(flags)?),
    };
    if !flags.wait.is_zero() {
        may_wait(first, &access)?;
    }
    let began = Instant::now();
    let answer = ask_patiently(first, &access, &question, COMPILES).map_err(|error| failure(first, error))?;
    let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
    let component = answer["component"].as_str().unwrap_or_default().to_owned();
    print(&format!(
        "{} has component {component}, revision {}, after {:.1} s\n",
        flags.tenant,
        answer["revision"],
        began.elapsed().as_secs_f64()
    ))?;
    let served = Served {
        access: &access,
        path,
        component,
    };
    if flags.wait.is_zero() {
        return Ok(());
    }
    served.by(&hosts, flags.wait)
}

/// Finds out whether the operator may look who serves it, before anything is put.
fn may_wait(first: SocketAddr, access: &Access) -> Result<(), RunError> {
    let question = Question {
        method: "GET",
        path: "/tenants?limit=1".to_owned(),
        body: None,
    };
    match ask(first, access, &question) {
        Ok(_) => Ok(()),
        Err(AskError::Refused(said)) => {
            let said = format!(
                "nothing was deployed: {said}; who waits for the hosts has to look at them, `--wait 0s` does not wait"
            );
            Err(failure(first, AskError::Refused(said)))
        }
        Err(error) => Err(failure(first, error)),
    }
}

fn body(flags: &DeployFlags) -> Result<Value, RunError> {
    let read = |path: &Path| {
        std::fs::read(path).map_err(|error| {
            let problem = format!("cannot read it: {error}");
            ConfigError::new(path.display().to_string(), problem)
        })
    };
    let mut body = Map::new();
    if let Some(path) = &flags.component {
        body.insert("component".to_owned(), BASE64.encode(read(path)?).into());
    }
    if let Some(path) = &flags.settings {
        let text = String::from_utf8(read(path)?);
        let text = text.map_err(|_| ConfigError::new(path.display().to_string(), "it is no text in UTF-8"))?;
        body.insert("settings".to_owned(), text.into());
    }
    if body.is_empty() {
        let problem = "there is nothing to deploy; name a component, --settings FILE, or both";
        return Err(ConfigError::new("deploy", problem).into());
    }
    Ok(Value::Object(body))
}

/// What hosts are to serve.
struct Served<'a> {
    access: &'a Access,
    path: String,
    component: String,
}

/// Why a host is not known to serve it.
enum NotYet {
    Missing(String),
    Output(RunError),
}

impl Served<'_> {
    /// Waits until all hosts serve it, and says when each did. Each is asked for itself: one that is silent hides nothing of the
    /// others.
    fn by(&self, hosts: &[SocketAddr], wait: Duration) -> Result<(), RunError> {
        let missing = std::thread::scope(|scope| {
            let waits: Vec<_> = hosts
                .iter()
                .map(|host| (host, scope.spawn(|| self.by_one(*host, wait))))
                .collect();
            let mut missing = Vec::new();
            for (host, waits) in waits {
                match waits.join() {
                    Ok(Ok(())) => {}
                    Ok(Err(NotYet::Missing(why))) => missing.push(format!("{host}: {why}")),
                    Ok(Err(NotYet::Output(error))) => return Err(error),
                    Err(_) => missing.push(format!("{host}: it could not be asked")),
                }
            }
            Ok(missing)
        })?;
        if missing.is_empty() {
            Ok(())
        } else {
            Err(RunError::NotServed(missing))
        }
    }

    fn by_one(&self, host: SocketAddr, wait: Duration) -> Result<(), NotYet> {
        let began = Instant::now();
        loop {
            let left = wait.saturating_sub(began.elapsed()).clamp(ASKED_MIN, ASKED_MAX);
            let why = match self.standing(host, left) {
                Ok(how) => {
                    let line = format!("{host} {how} after {:.1} s\n", began.elapsed().as_secs_f64());
                    return print(&line).map_err(NotYet::Output);
                }
                Err(why) => why,
            };
            if began.elapsed() >= wait {
                return Err(NotYet::Missing(why));
            }
            std::thread::sleep(EVERY);
        }
    }

    /// How a host serves it, or why not.
    fn standing(&self, host: SocketAddr, patience: Duration) -> Result<&'static str, String> {
        let question = Question {
            method: "GET",
            path: self.path.clone(),
            body: None,
        };
        let answer = ask_patiently(host, self.access, &question, patience).map_err(|error| match error {
            AskError::Unreached(error) => error.to_string(),
            AskError::Refused(said) => said,
        })?;
        let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
        let has = |value: &Value| value.as_str() == Some(&self.component);
        match (has(&answer["component"]), has(&answer["tried"]["component"])) {
            (true, _) => Ok("serves it"),
            (_, true) => Ok("tries it with a share of the calls"),
            _ => Err(answer["refused"]
                .as_str()
                .unwrap_or("it does not serve it yet")
                .to_owned()),
        }
    }
}
