//! Why a component was not pulled.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::digest::Digest;
use crate::manifest::Unfit;

/// Why a component was not pulled. No message has a secret, or the text of an answer.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// It has taken too long as a whole.
    #[error("it took longer than {0:?}; raise oci.timeout if the registry is only slow")]
    TakesLong(Duration),
    /// Nothing came for too long.
    #[error("{host} sent nothing for {within:?}; raise oci.read_timeout if it is only slow")]
    Silent {
        /// Who was asked.
        host: String,
        /// The limit.
        within: Duration,
    },
    /// There is no connection.
    #[error("cannot reach {host}: {cause}")]
    Unreached {
        /// Who was asked.
        host: String,
        /// The cause.
        cause: String,
    },
    /// The answer breaks off.
    #[error("the {what} of {host} breaks off: {cause}")]
    Cut {
        /// What was read.
        what: &'static str,
        /// Who was asked.
        host: String,
        /// The cause.
        cause: String,
    },
    /// There is no such thing.
    #[error("{host} has no such {what}; push the component there, or correct `component`")]
    NotThere {
        /// What was asked for.
        what: &'static str,
        /// Who was asked.
        host: String,
    },
    /// Another answer that is no success.
    #[error("{host} answers {status} when it is asked for the {what}")]
    Status {
        /// What was asked for.
        what: &'static str,
        /// Who was asked.
        host: String,
        /// The answer.
        status: u16,
    },
    /// It wants credentials, and there are none.
    #[error(
        "{host} wants credentials, and {} has none for it; run `docker login {host}` as the user of this host, or set DOCKER_CONFIG",
        config.display()
    )]
    NoCredentials {
        /// Who was asked.
        host: String,
        /// The docker config.
        config: PathBuf,
    },
    /// It does not take the credentials that there are.
    #[error("{host} does not let these credentials pull; see what {} has for it", config.display())]
    Denied {
        /// Who was asked.
        host: String,
        /// The docker config.
        config: PathBuf,
    },
    /// It wants credentials in a way that is not used here.
    #[error("{host} wants credentials in a way that is refused: {problem}")]
    Challenge {
        /// Who was asked.
        host: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The credentials of this host cannot be read.
    #[error("cannot read credentials from {}: {problem}", config.display())]
    Credentials {
        /// The docker config.
        config: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// It sends the request elsewhere, where it does not go.
    #[error("{host} redirects the request for the {what}, which is not followed: {problem}")]
    Redirect {
        /// What was asked for.
        what: &'static str,
        /// Who was asked.
        host: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// It is longer than it may be.
    #[error("the {what} is longer than {max} bytes")]
    TooLong {
        /// What was read.
        what: &'static str,
        /// The limit.
        max: u64,
    },
    /// The component is longer than its tenant may have it.
    #[error("the component has {bytes} bytes, and may have {max}; make it smaller or raise limits.component")]
    TooLarge {
        /// What the manifest says.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// It has not the length that the manifest says.
    #[error("{host} sends {found} bytes as the component than the {expected} of its manifest; it is not used")]
    Length {
        /// Who was asked.
        host: String,
        /// What the manifest says.
        expected: u64,
        /// Whether `more` came, or `fewer`.
        found: &'static str,
    },
    /// It is not what was asked for.
    #[error("{host} sends a {what} with the digest {found} in place of {expected}; it is not used")]
    Digest {
        /// What was read.
        what: &'static str,
        /// Who was asked.
        host: String,
        /// What was asked for.
        expected: Digest,
        /// What came.
        found: Digest,
    },
    /// The manifest is not that of a component.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// There is nothing to check the certificate of a registry with.
    #[error("this machine trusts no certificate; install its ca-certificates, or set oci.roots")]
    NoRoots,
    /// TLS cannot be used.
    #[error("cannot use TLS: {0}")]
    Tls(String),
    /// It cannot be kept.
    #[error("cannot keep it in {}", dir.display())]
    Keep {
        /// The directory.
        dir: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

/// How a pull ended, for counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The component is there.
    Pulled,
    /// The registry did not answer, or not in time, or with a fault of its own.
    Unreachable,
    /// It has no such component, or gives it to nobody without other credentials.
    Denied,
    /// What it sent is not what was asked for, or no component that may be served.
    Refused,
    /// This host could not keep it, or not read its credentials.
    Failed,
}

impl Outcome {
    /// All of them, in the order of declaration.
    pub const ALL: [Self; 5] = [
        Self::Pulled,
        Self::Unreachable,
        Self::Denied,
        Self::Refused,
        Self::Failed,
    ];

    /// It as written in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Pulled => "pulled",
            Self::Unreachable => "unreachable",
            Self::Denied => "denied",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

impl PullError {
    /// What it is counted as.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::TakesLong(_)
            | Self::Silent { .. }
            | Self::Unreached { .. }
            | Self::Cut { .. }
            | Self::Status { .. } => Outcome::Unreachable,
            Self::NotThere { .. } | Self::NoCredentials { .. } | Self::Denied { .. } => Outcome::Denied,
            Self::Challenge { .. }
            | Self::Redirect { .. }
            | Self::TooLong { .. }
            | Self::TooLarge { .. }
            | Self::Length { .. }
            | Self::Digest { .. }
            | Self::Unfit(_) => Outcome::Refused,
            Self::Credentials { .. } | Self::NoRoots | Self::Tls(_) | Self::Keep { .. } => Outcome::Failed,
        }
    }
}
