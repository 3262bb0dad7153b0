//! Components are pulled from real registries, and from one that lies.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod hostile;
mod liar;
mod registry;

use std::path::Path;
use std::time::Duration;

use namelock_oci::{OciConfig, PullError, Pulled, Puller, Reference};

/// The longest component in these tests, in bytes.
const MAX: u64 = 1 << 20;

/// A configuration that finds credentials in this folder alone.
fn config(folder: &Path) -> OciConfig {
    OciConfig {
        dir: folder.join("components"),
        // A test is not to depend on how fast its machine is.
        connect_timeout: Duration::from_secs(60),
        read_timeout: Duration::from_secs(60),
        timeout: Duration::from_secs(120),
        docker_config: folder.join("config.json"),
        ..OciConfig::default()
    }
}

fn pull(config: &OciConfig, reference: &str) -> Result<Pulled, PullError> {
    let reference: Reference = reference.parse().expect("a reference");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(Puller::new(config.clone()).pull(&reference, MAX))
}
