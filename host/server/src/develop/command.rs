//! What the commands have in common: the configuration that they go by, and what they print.

use std::ffi::OsString;

use tokio::runtime::{Builder, Runtime};

use crate::config::{Config, ServeFlags};
use crate::lifecycle::RunError;

/// Does the work of a command with the configuration in this file, or that of a host without one.
///
/// The environment configures hosts of this machine, and the component may be for another one.
pub(super) fn run<T>(
    config: Option<&OsString>,
    work: impl AsyncFnOnce(&Config) -> Result<T, RunError>,
) -> Result<T, RunError> {
    let given = ServeFlags {
        config: config.cloned(),
        ..ServeFlags::default()
    };
    let config = Config::load(&given, &|_| None)?;
    runtime()?.block_on(work(&config))
}

pub(super) fn runtime() -> Result<Runtime, RunError> {
    let runtime = Builder::new_multi_thread().enable_all().build();
    runtime.map_err(RunError::Runtime)
}

/// Lets the tenant's log, and warnings of the host, be seen.
pub(super) fn log() -> Result<(), RunError> {
    let filter = tracing_subscriber::EnvFilter::new("warn,guest=info");
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false);
    log.try_init()
        .map_err(|error| RunError::Runtime(std::io::Error::other(error)))
}
