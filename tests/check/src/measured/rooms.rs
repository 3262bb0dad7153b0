//! The component `rooms` in a sandbox.

use std::fs;
use std::path::Path;

use namelock_calls::stage::{self, PATIENCE};
use namelock_sandbox::{Handler, Sandbox, SandboxConfig};

/// A sandbox as the host has it, but for one call at a time, whose compiled components are kept in `folder`.
pub(super) fn sandbox(folder: &Path) -> anyhow::Result<Sandbox> {
    let config = SandboxConfig {
        // Always the same instance.
        instances: 1,
        // Never: under valgrind a call takes many ticks, and not the same number each time.
        tick: PATIENCE,
        long_runs: 1,
        ..SandboxConfig::default()
    };
    Ok(Sandbox::new(&config, stage::compiler(folder)?)?)
}

/// The component, from the cache where it was compiled before.
pub(super) async fn load(sandbox: &Sandbox) -> anyhow::Result<Handler> {
    stage::load(sandbox, fs::read(namelock_test_artifacts::ROOMS)?).await
}

/// Compiles it.
pub(super) async fn prepare(folder: &Path) -> anyhow::Result<()> {
    load(&sandbox(folder)?).await?;
    Ok(())
}
