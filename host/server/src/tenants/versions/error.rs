//! Why a version is not served again.

use std::io;

use namelock_names::catalog::CatalogError;
use namelock_sandbox::Digest;

/// Why a version cannot be taken back, or served again.
#[derive(Debug, thiserror::Error)]
pub enum RollbackError {
    /// The host keeps none.
    #[error("this host keeps no versions; set versions.keep to at least 2")]
    NoneKept,
    /// There is nothing before the one that is served.
    #[error("no version from before the one that is served is kept")]
    NothingBefore,
    /// It is not kept.
    #[error("no version {0} is kept of this tenant; `namelock admin versions` lists those that are")]
    Unknown(String),
    /// It was not served, for this reason; nothing was taken back.
    #[error("version {to} cannot be served, so nothing was taken back: {why}")]
    NotServed {
        /// The version.
        to: Digest,
        /// Why.
        why: String,
    },
    /// It is served here, and the fleet was not told.
    #[error(
        "version {to} is served by this host, but the fleet still has another; \
         say it again with `namelock admin rollback TENANT --to {to}`"
    )]
    Fleet {
        /// The version.
        to: Digest,
        /// Why.
        #[source]
        source: CatalogError,
    },
    /// It is not on disk.
    #[error("cannot write to the directory of versions")]
    Io(#[source] io::Error),
}

impl From<io::Error> for RollbackError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
