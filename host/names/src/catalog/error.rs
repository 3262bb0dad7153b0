//! What can go wrong with a catalog.

/// Why a catalog cannot be set up. Another URL or another setting would help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot use {url:?} for the catalog of tenants: {reason}")]
pub struct CatalogSetupError {
    /// The URL, without a password.
    pub url: String,
    /// What is wrong, and how to fix it.
    pub reason: String,
}

/// Why something was not read or changed, or why it is unknown whether it was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogError {
    /// The server does not answer, or not in time, or cannot be used. Nothing was changed.
    #[error("cannot use the catalog of tenants at {url} to {doing}: {reason}")]
    Unavailable {
        /// Which server, without a password.
        url: String,
        /// What was being done.
        doing: String,
        /// What failed.
        reason: String,
    },
    /// The server was asked to commit a change, and has not answered. It may have been made, or may be made yet.
    #[error(
        "it is unknown whether the catalog of tenants at {url} did what it was to do ({doing}): {reason}; \
         to do it again is safe"
    )]
    Unknown {
        /// Which server, without a password.
        url: String,
        /// What was being done.
        doing: String,
        /// What failed.
        reason: String,
    },
    /// The tenant does not have the revision that it was to have. Nothing was changed.
    #[error(
        "tenant {tenant:?} was not changed: it was to have revision {expected} but has revision {revision} \
         (0: there is none); read it again"
    )]
    Changed {
        /// Which tenant.
        tenant: String,
        /// The revision that it was to have.
        expected: u64,
        /// The revision that it has; 0: there is no such tenant.
        revision: u64,
    },
    /// There is no such tenant, and it was to be put without a component.
    #[error("tenant {tenant:?} was not added to the catalog: it is new, so it needs a component; put one with it")]
    NoComponent {
        /// Which tenant.
        tenant: String,
    },
    /// A component is longer than a component may be.
    #[error(
        "component {sha256} has {bytes} bytes, and a component may have {max}; make it smaller, or raise the limit"
    )]
    TooLong {
        /// Its SHA-256, in hexadecimal digits.
        sha256: String,
        /// How long it is.
        bytes: u64,
        /// How long it may be.
        max: u64,
    },
    /// What was to be put breaks another rule.
    #[error("{reason}")]
    Invalid {
        /// Which rule it breaks, and how to fix it.
        reason: String,
    },
}
