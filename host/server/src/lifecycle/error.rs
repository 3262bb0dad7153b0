//! Why the process failed, and the exit code that says so.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use namelock_sandbox::SandboxError;
use namelock_sandbox::compiler::ChildError;

use crate::backup::BackupError;
use crate::config::source::ConfigError;
use crate::tenants::TenantError;
use crate::text::chain;

/// Why the process did not do what the command line asked for.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The arguments or the configuration are invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The lock service cannot be used as it is configured; the start does not ask whether it answers.
    #[error("cannot open the lock service {url}; check --lock and the section lock")]
    Locks {
        /// The lock service.
        url: String,
        /// The cause.
        #[source]
        source: namelock_lock::OpenError,
    },
    /// The names database cannot be used.
    #[error("cannot open the names database {url}; check --names")]
    Names {
        /// The database.
        url: String,
        /// The cause.
        #[source]
        source: namelock_names::OpenError,
    },
    /// Traces cannot be sent to the collector, whatever it answers.
    #[error("cannot send traces to {url}; check trace.otlp")]
    Trace {
        /// The collector.
        url: String,
        /// The cause.
        #[source]
        source: crate::trace::OpenError,
    },
    /// The sandbox for handlers cannot be created.
    #[error("cannot run handlers on this machine")]
    Sandbox(#[source] SandboxError),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}; stop what uses it or pass another address with {flag}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The flag that sets it.
        flag: &'static str,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// This process was started as a compiler and could not do its work.
    #[error("cannot compile a component")]
    Compile(#[source] ChildError),
    /// A component cannot be called.
    #[error("a host would not serve this component; `namelock check` says all that is wrong with it")]
    Tenant(#[source] TenantError),
    /// A call of `namelock run` did not do what it was asked for; what was printed says why.
    #[error("the call ended with {code}")]
    Call {
        /// The code that a caller would be answered.
        code: &'static str,
    },
    /// Scenarios of `namelock test` did not go as expected; what was printed says how.
    #[error("{failed} of {all} scenarios did not go as expected")]
    Scenarios {
        /// How many did not.
        failed: usize,
        /// How many there are.
        all: usize,
    },
    /// Several things are wrong with files that the command line names.
    #[error("{}", .0.iter().map(|error| chain(error)).collect::<Vec<_>>().join("; "))]
    Many(Vec<RunError>),
    /// A replayed call did something else than was recorded; what was printed says what.
    #[error("the replay is not as recorded")]
    Differs,
    /// A host would refuse a component; what was printed says for what.
    #[error("{} would be refused, for {problems} reason{}", .component.display(), if *.problems == 1 { "" } else { "s" })]
    Refused {
        /// The component.
        component: PathBuf,
        /// How many reasons there are.
        problems: usize,
    },
    /// A project could not be built; what its tools have printed may say more.
    #[error("cannot build: {0}")]
    Build(String),
    /// A file of a project cannot be written.
    #[error("cannot write {}", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The admin listener of a host does not answer.
    #[error("no host answers at {admin}; pass the address of its admin listener with --admin")]
    Admin {
        /// The address.
        admin: SocketAddr,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A host answered an operator that it cannot do what was asked for.
    #[error("the host at {admin} says: {said}")]
    Answered {
        /// The host.
        admin: SocketAddr,
        /// What it says.
        said: String,
    },
    /// Several hosts did not do what an operator asked for.
    #[error("{} hosts did not do it: {}", .0.len(), .0.iter().map(|error| chain(error)).collect::<Vec<_>>().join("; "))]
    Hosts(Vec<RunError>),
    /// Not every host serves what was deployed.
    #[error("it is deployed, but not every host serves it: {}", .0.join("; "))]
    NotServed(Vec<String>),
    /// Names could not be exported or imported.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// A tenant could not be moved between databases.
    #[error(transparent)]
    Move(#[from] namelock_names::placed::MoveError),
    /// The requested output could not be written.
    #[error("cannot write to standard output")]
    Print(#[source] io::Error),
    /// The terminal cannot be drawn on, or keys cannot be read from it.
    #[error("cannot use this terminal; `--once` needs none")]
    Screen(#[source] io::Error),
    /// The operating system refuses what every server needs.
    #[error("cannot start")]
    Runtime(#[source] io::Error),
}

impl RunError {
    /// The exit code of the process: 2 if other arguments would help, 1 if the machine must change.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Many(_) | Self::Locks { .. } | Self::Sandbox(SandboxError::Cache(_)) => 2,
            Self::Names { source, .. } => {
                use namelock_names::OpenError::{Config, File, Foreign, Newer, Server, Tls, Url};
                match source {
                    Url { .. } | Tls(_) | Config(_) => 2,
                    Server { .. } | File { .. } | Foreign { .. } | Newer { .. } => 1,
                }
            }
            Self::Sandbox(SandboxError::Engine(_) | SandboxError::Clock(_))
            | Self::Trace { .. }
            | Self::Bind { .. }
            | Self::Compile(_)
            | Self::Refused { .. }
            | Self::Tenant(_)
            | Self::Call { .. }
            | Self::Scenarios { .. }
            | Self::Build(_)
            | Self::Write { .. }
            | Self::Differs
            | Self::Admin { .. }
            | Self::Answered { .. }
            | Self::Hosts(_)
            | Self::NotServed(_)
            | Self::Backup(_)
            | Self::Move(_)
            | Self::Print(_)
            | Self::Screen(_)
            | Self::Runtime(_) => 1,
        }
    }
}
