//! `namelock admin`: asks the admin listeners of running hosts, and prints what they say. `namelock top` asks in the same way.
//!
//! - `hosts`: which hosts, and what an operator has to be let in;
//! - `client`: one question over HTTP; `token`: the secret that goes with it; `tls`: what it is encrypted with;
//! - `table`: the answers as people read them.

mod client;
pub mod deploy;
mod hosts;
mod table;
mod tls;
mod token;

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

pub(crate) use self::client::{Access, AskError, Question, ask};
pub use self::hosts::AdminEnv;
pub(crate) use self::hosts::HostFlags;

use self::table::{Asked, Shown};
use crate::config::source::ConfigError;
use crate::config::units;
use crate::lifecycle::RunError;
use crate::output::print;

/// The arguments of `namelock admin`.
#[derive(Args, Debug)]
pub struct AdminFlags {
    #[command(flatten)]
    hosts: HostFlags,
    /// Prints what the host answers, as JSON; of several hosts, an object with an answer for each
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: AdminCommand,
}

#[derive(Debug, Subcommand)]
enum AdminCommand {
    /// Lists the locks that calls on the hosts hold, the oldest first, and how many calls wait for each [right: read]
    ///
    /// Hosts of a fleet do not know each other: each tells of the locks that its own calls hold, and of those of its calls that wait.
    /// So name all of them, as in `namelock admin locks --admin 10.0.0.1:8081,10.0.0.2:8081`.
    Locks {
        /// How many are listed of each host
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: usize,
        /// Shows the names, too, and not only their digests [right: names]
        #[arg(long)]
        names: bool,
    },
    /// Ends a lease: its call hears `lease_lost` and writes nothing more, and the lock is given back [right: write]
    EndLease {
        /// The number that `locks` shows; it is that of one host
        id: u64,
    },
    /// Lists the tenants with their states, and why what stands in a directory is refused [right: read]
    Tenants {
        /// How many are listed of each host
        #[arg(long, value_name = "N", default_value_t = 1000)]
        limit: usize,
        /// Lists those whose ids come after this one
        #[arg(long, value_name = "TENANT", default_value = "", hide_default_value = true)]
        after: String,
    },
    /// Has the calls of a tenant refused from now on [right: write]
    ///
    /// They are answered `tenant_unavailable`; those that were admitted before end as they would. It holds until `enable`, or until
    /// the host stops: it is forgotten with the host. Name all hosts of a fleet.
    Disable {
        /// The tenant
        tenant: String,
    },
    /// Has the calls of a tenant answered again [right: write]
    Enable {
        /// The tenant
        tenant: String,
    },
    /// Lists the versions of a tenant's component that are kept, the newest first [right: read]
    Versions {
        /// The tenant
        tenant: String,
    },
    /// Serves an earlier version of a tenant's component, and takes back what was put after it [right: write]
    ///
    /// It holds, also after a restart, until another component is put into the directory of the tenant: what was taken back is not
    /// served although it may still lie there. Name all hosts of a fleet.
    Rollback {
        /// The tenant
        tenant: String,
        /// The SHA-256 of the version, as `versions` lists it; a later one, too [default: the version before]
        #[arg(long, value_name = "SHA256")]
        to: Option<String>,
    },
    /// Serves all calls of a tenant with the version that is tried by its `[canary]` [right: write]
    Promote {
        /// The tenant
        tenant: String,
    },
    /// Has the hosts read the directory of tenants again, as SIGHUP does [right: write]
    Reload,
    /// Lists the tenants whose components are being read, compiled, or wait for that [right: read]
    Compiling {
        /// How many are listed of each host
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: usize,
    },
    /// Shows what the hosts log, or changes it [right: read; to change it: write]
    ///
    /// What operators do is logged whatever the filter says.
    Log {
        /// What is to be logged, as in NAMELOCK_LOG: `info`, or `info,namelock=debug`
        filter: Option<String>,
        /// For how long, up to 24h; then it is as before [default: until the host stops]
        #[arg(long = "for", value_name = "TIME", value_parser = units::time_of_text, requires = "filter")]
        time: Option<Duration>,
    },
    /// Has the hosts stop as SIGTERM does: they serve on for http.lame_duck and are not ready, then they finish what runs [right: write]
    Drain,
    /// Says whether the hosts are ready, and why not.
    Ready,
}

impl AdminCommand {
    fn question(&self) -> Question {
        let (method, path, body) = match self {
            Self::Locks { limit, names } => ("GET", format!("/locks?limit={limit}&names={names}"), None),
            Self::EndLease { id } => ("DELETE", format!("/locks/{id}"), None),
            Self::Tenants { limit, after } => ("GET", format!("/tenants?limit={limit}&after={}", encoded(after)), None),
            Self::Disable { tenant } => ("POST", format!("/tenants/{}/disable", encoded(tenant)), None),
            Self::Enable { tenant } => ("POST", format!("/tenants/{}/enable", encoded(tenant)), None),
            Self::Versions { tenant } => ("GET", format!("/tenants/{}/versions", encoded(tenant)), None),
            Self::Rollback { tenant, to } => {
                let path = format!("/tenants/{}/rollback", encoded(tenant));
                ("POST", path, Some(json!({ "to": to })))
            }
            Self::Promote { tenant } => ("POST", format!("/tenants/{}/promote", encoded(tenant)), None),
            Self::Reload => ("POST", "/reload".to_owned(), None),
            Self::Compiling { limit } => ("GET", format!("/compiling?limit={limit}"), None),
            Self::Log { filter: None, .. } => ("GET", "/log".to_owned(), None),
            Self::Log { filter, time } => {
                let time = time.map(namelock_types::milliseconds);
                (
                    "PUT",
                    "/log".to_owned(),
                    Some(json!({ "filter": filter, "for_ms": time })),
                )
            }
            Self::Drain => ("POST", "/drain".to_owned(), None),
            Self::Ready => ("GET", "/readyz".to_owned(), None),
        };
        Question { method, path, body }
    }

    fn shown(&self, answer: &Value) -> Shown {
        match self {
            Self::Locks { .. } => table::locks(answer),
            Self::EndLease { id } => Shown::Line(format!("the lease {id} was ended")),
            Self::Tenants { .. } => table::tenants(answer),
            Self::Disable { .. } | Self::Enable { .. } => table::state(answer),
            Self::Versions { .. } => table::versions(answer),
            Self::Rollback { .. } | Self::Promote { .. } => table::serves(answer),
            Self::Reload => {
                Shown::Line("the tenants are read again; `namelock admin tenants` shows what came of it".to_owned())
            }
            Self::Compiling { .. } => table::compiling(answer),
            Self::Log { .. } => table::log(answer),
            Self::Drain => table::drain(answer),
            Self::Ready => Shown::Line("ready".to_owned()),
        }
    }
}

/// Does what an operator asks for: on every host, also where one before it cannot do it.
pub fn run(flags: &AdminFlags, env: AdminEnv) -> Result<(), RunError> {
    let (hosts, access) = flags.hosts.read(env)?;
    if let (AdminCommand::EndLease { .. }, [_, _, ..]) = (&flags.command, hosts.as_slice()) {
        let problem = "the number of a lease is that of one host; pass the address of that one";
        return Err(ConfigError::new("--admin", problem).into());
    }
    let (mut question, asked) = (flags.command.question(), Asked::of(&hosts));
    let (mut answers, mut failed) = (Vec::new(), Vec::new());
    for host in hosts {
        match ask(host, &access, &question) {
            Ok(answer) => {
                // What the first one returns to all do: one that has heard of it already would go back further.
                if let AdminCommand::Rollback { to: None, .. } = &flags.command
                    && let Ok(first) = serde_json::from_str::<Value>(&answer)
                {
                    question.body = Some(json!({ "to": first["component"] }));
                }
                answers.push((host.to_string(), answer));
            }
            Err(error) => failed.push(failure(host, error)),
        }
    }
    show(flags, asked, answers)?;
    all_did(failed)
}

/// Why a host did not do it.
pub(crate) fn failure(host: SocketAddr, error: AskError) -> RunError {
    match error {
        AskError::Unreached(source) => RunError::Admin { admin: host, source },
        AskError::Refused(said) => RunError::Answered { admin: host, said },
    }
}

/// Whether all hosts did it.
pub(crate) fn all_did(mut failed: Vec<RunError>) -> Result<(), RunError> {
    match failed.len() {
        0 => Ok(()),
        1 => Err(failed.swap_remove(0)),
        _ => Err(RunError::Hosts(failed)),
    }
}

/// Prints what hosts answer; where several were asked, which of them it was.
fn show(flags: &AdminFlags, asked: Asked, answers: Vec<(String, String)>) -> Result<(), RunError> {
    let parsed = |answer: &str| serde_json::from_str::<Value>(answer).unwrap_or_default();
    match answers.as_slice() {
        [] => Ok(()),
        [(_, answer)] if flags.json && asked == Asked::One => print(&format!("{}\n", answer.trim())),
        all if flags.json => {
            let all: Map<_, _> = all
                .iter()
                .map(|(host, answer)| (host.clone(), parsed(answer)))
                .collect();
            print(&format!("{}\n", Value::Object(all)))
        }
        all => {
            let shown = all
                .iter()
                .map(|(host, answer)| (host.clone(), flags.command.shown(&parsed(answer))));
            print(&Shown::text(&shown.collect::<Vec<_>>(), asked))
        }
    }
}

/// A part of a path as it is sent; a host says what is wrong with it.
pub(crate) fn encoded(part: &str) -> impl std::fmt::Display + '_ {
    percent_encoding::utf8_percent_encode(part, percent_encoding::NON_ALPHANUMERIC)
}
