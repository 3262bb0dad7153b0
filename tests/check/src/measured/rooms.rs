//! The component `rooms` in a sandbox, and the locks that it is given.

use std::fs;
use std::path::Path;
use std::time::Duration;

use namelock_account::{Account, Budgets};
use namelock_lock::{LockConfig, LockUrl, Locks};
use namelock_sandbox::compiler::Effort;
use namelock_sandbox::{CacheConfig, CompilerConfig, Handler, Sandbox, SandboxConfig, Wasm};

/// Bytes of what the component may be compiled to.
const ARTIFACT_MAX: usize = 64 << 20;

/// Longer than anything takes under valgrind, also on a machine that has hardly any time for it.
pub(super) const PATIENCE: Duration = Duration::from_secs(60 * 60);

/// Locks in this process, whose leases do not end while a call runs.
pub(super) fn locks() -> anyhow::Result<Locks> {
    let config = LockConfig {
        lease: PATIENCE,
        max_hold: PATIENCE,
        ..LockConfig::default()
    };
    Ok(Locks::open(&LockUrl::Memory, config)?)
}

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
    let compiler = CompilerConfig {
        // What /proc says is valgrind.
        program: std::env::current_exe()?,
        cache: CacheConfig {
            dir: folder.join("cache"),
            files: 1,
            bytes: 1 << 30,
        },
        ..CompilerConfig::default()
    };
    Ok(Sandbox::new(&config, compiler)?)
}

/// The component, from the cache where it was compiled before.
pub(super) async fn load(sandbox: &Sandbox) -> anyhow::Result<Handler> {
    let wasm = Wasm::new(fs::read(namelock_test_artifacts::ROOMS)?);
    let account = Account::new("demo", &Budgets::default());
    let permit = sandbox.compiler().await;
    let loaded = sandbox
        .compile(permit, &wasm, ARTIFACT_MAX, &account, Effort::Full)
        .await?;
    Ok(loaded.handler)
}

/// Compiles it.
pub(super) async fn prepare(folder: &Path) -> anyhow::Result<()> {
    load(&sandbox(folder)?).await?;
    Ok(())
}
