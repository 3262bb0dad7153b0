//! Why a tenant cannot be served: in full for the operator, and in a public form for its callers.

use std::io;
use std::path::PathBuf;

use namelock_names::catalog::CatalogError;
use namelock_oci::{PullError, Reference};
use namelock_sandbox::{CallError, Digest, LoadError};

use crate::config::source::ConfigError;

/// Most imports that are listed to a caller.
const IMPORTS_LISTED_MAX: usize = 8;

/// Why a tenant cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TenantError {
    /// Its `tenant.toml` is invalid, for each of these reasons.
    #[error("{}", list(.0))]
    Config(Vec<ConfigError>),
    /// A file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// What should be a file is a link, a directory or a device; reading it could hang, or leave the tenant's
    /// directory.
    #[error("{0} is not a regular file; put a file there")]
    NotAFile(PathBuf),
    /// The component is too large.
    #[error("{path} is longer than {max} bytes; make it smaller or raise limits.component")]
    TooLarge {
        /// The component.
        path: PathBuf,
        /// The limit.
        max: usize,
    },
    /// The component cannot be had from its registry.
    #[error("cannot pull {reference}")]
    Pull {
        /// Where it should be.
        reference: Box<Reference>,
        /// The cause.
        #[source]
        source: Box<PullError>,
    },
    /// The component is in a registry, and a command looks for it in a directory.
    #[error(
        "{path} has its component in a registry, {reference}; get it with `wkg oci pull`, and name the file that it writes"
    )]
    Elsewhere {
        /// The `tenant.toml`.
        path: PathBuf,
        /// Where it is.
        reference: Box<Reference>,
    },
    /// The sandbox refuses the component.
    #[error("cannot load {path}")]
    Load {
        /// The component.
        path: PathBuf,
        /// The cause.
        #[source]
        source: LoadError,
    },
    /// The database of the fleet does not give it.
    #[error("cannot read {path}")]
    Stored {
        /// The component, as the database has it.
        path: PathBuf,
        /// The cause.
        #[source]
        source: CatalogError,
    },
    /// What the database of the fleet has is not what it says.
    #[error("{path} is not in the database, or is not what its SHA-256 says; deploy it again")]
    Lost {
        /// The component.
        path: PathBuf,
    },
    /// The component is another one than its `tenant.toml` names.
    #[error(
        "{path} has the SHA-256 {found}, and `sha256` in its tenant.toml is {pinned}; put that component, or change the other"
    )]
    Pinned {
        /// The component.
        path: PathBuf,
        /// Its digest.
        found: Digest,
        /// The one that it should have.
        pinned: Digest,
    },
    /// The component was served before, and taken back.
    #[error(
        "version {component} was taken back: {why}; put another component, or serve this one again with \
         `namelock admin rollback TENANT --to {component}`"
    )]
    TakenBack {
        /// Its digest.
        component: Digest,
        /// Why.
        why: String,
    },
    /// The component breaks down when it is instantiated.
    #[error("its component does not start")]
    Start(#[source] CallError),
    /// The component does not answer the request of `[canary.request]` as it should.
    #[error("its component answers [canary.request] with {came}, where {expected} is expected")]
    Canary {
        /// The code that is expected, or `ok`.
        expected: String,
        /// The code that came, and what it says.
        came: String,
    },
    /// The component could not be tried, because of the host.
    #[error("cannot try its component: {0}")]
    Rehearsal(String),
    /// Anybody on the network could call it.
    #[error(
        "{0} has no tokens, and other machines can reach this host; make one with `namelock token new`, \
         or start with --open"
    )]
    Open(PathBuf),
}

/// Puts everything that is wrong on one line.
fn list(errors: &[ConfigError]) -> String {
    let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
    errors.join("; ")
}

impl From<ConfigError> for TenantError {
    fn from(error: ConfigError) -> Self {
        Self::Config(vec![error])
    }
}

impl TenantError {
    /// Whether the component is longer than its tenant may have it.
    pub(super) fn is_too_large(&self) -> bool {
        match self {
            Self::TooLarge { .. } => true,
            Self::Pull { source, .. } => matches!(**source, PullError::TooLarge { .. }),
            _ => false,
        }
    }

    /// The reason that callers see: it describes the component and reveals nothing about the host.
    pub(super) fn public_reason(&self) -> String {
        match self {
            Self::Config(_) => "its tenant.toml is not valid".into(),
            Self::Open(_) => "it has no tokens".into(),
            Self::Read { path, .. } | Self::NotAFile(path) if path.ends_with("tenant.toml") => {
                "its tenant.toml cannot be read".into()
            }
            Self::Read { .. } | Self::NotAFile(_) | Self::Stored { .. } | Self::Lost { .. } => {
                "its component cannot be read".into()
            }
            Self::Pull { .. } if self.is_too_large() => "its component is too long".into(),
            Self::Pull { .. } | Self::Elsewhere { .. } => "its component cannot be pulled now".into(),
            Self::TooLarge { max, .. } => format!("its component is longer than {max} bytes"),
            Self::Pinned { .. } => "its component is not the one that its tenant.toml names".into(),
            Self::TakenBack { .. } => "its component was taken back".into(),
            Self::Start(_) => "its component does not start".into(),
            Self::Canary { .. } => "its component does not answer its canary request as expected".into(),
            Self::Rehearsal(_) => "its component could not be tried now".into(),
            Self::Load { source, .. } => match source {
                LoadError::Compile(_) => "its component is not valid".into(),
                LoadError::TooMuch { limit, most } => {
                    let what = limit.split_once('.').map_or(*limit, |(_, name)| name);
                    format!("compiling its component takes more than {most} ({what})")
                }
                LoadError::Crashed { .. } => "the compiler crashes on its component".into(),
                LoadError::TakesLong | LoadError::Compiler(_) => "its component could not be compiled now".into(),
                LoadError::Unfit(unfit) => format!("its component {}", unfit.describe(IMPORTS_LISTED_MAX)),
                LoadError::World(_) => "its component does not fit the world of a handler".into(),
            },
        }
    }
}
