//! The limits and timeouts of a catalog.

use std::path::PathBuf;
use std::time::Duration;

/// The limits of a catalog. Every field has a sound default.
#[derive(Debug, Clone)]
pub struct CatalogConfig {
    /// A file of root certificates in PEM to check the server's certificate against; none: those that this machine
    /// trusts.
    pub tls_roots: Option<PathBuf>,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long each statement may take. The longest sends or reads a whole component.
    pub timeout: Duration,
    /// How long a change may remain unnoticed at most, however it is with the connection on which changes are heard.
    pub poll: Duration,
    /// How long a component may be, in bytes.
    pub component_max: usize,
}

impl Default for CatalogConfig {
    fn default() -> Self {
        Self {
            tls_roots: None,
            connect_timeout: Duration::from_secs(1),
            timeout: Duration::from_secs(10),
            poll: Duration::from_secs(1),
            component_max: 32 << 20,
        }
    }
}

impl CatalogConfig {
    /// Refuses what could not work: to the server a timeout of 0 ms is none at all.
    pub(super) fn check(&self) -> Result<(), String> {
        let times = [
            ("connect_timeout", self.connect_timeout),
            ("timeout", self.timeout),
            ("poll", self.poll),
        ];
        match times.into_iter().find(|(_, time)| time.as_millis() == 0) {
            Some((name, _)) => Err(format!("its {name} is 0 ms; it must be at least 1 ms")),
            None => Ok(()),
        }
    }
}
