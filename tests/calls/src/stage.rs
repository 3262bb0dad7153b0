//! What a call is given, and what it is asked.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use namelock_account::{Account, Budgets};
use namelock_lock::{LockConfig, LockUrl, Locks};
use namelock_sandbox::compiler::Effort;
use namelock_sandbox::{CacheConfig, CallLimits, CompilerConfig, Handler, Request, Sandbox, Settings, Tenant, Wasm};

/// Longer than anything takes, also under valgrind on a machine that has hardly any time for it.
pub const PATIENCE: Duration = Duration::from_secs(60 * 60);

/// Who registers everything.
pub const OWNER: &str = "ann";

/// The tenant, and the namespace of its locks.
pub(crate) const TENANT: &str = "demo";

/// Bytes of what a component may be compiled to.
const ARTIFACT_MAX: usize = 256 << 20;

/// More than anybody does in a second.
const UNLIMITED: u32 = 1_000_000;

/// What a component answers. Whatever else it answers is an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// A registration that it has saved.
    Saved,
    /// One that it has made up, for [`OWNER`]. The sandbox looks through what the call was given, and refuses it.
    MadeUp,
}

impl Answer {
    /// The answer of this name.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn parse(name: &str) -> anyhow::Result<Self> {
        Ok(match name {
            "saved" => Self::Saved,
            "made-up" => Self::MadeUp,
            _ => bail!("the answer is `saved` or `made-up`, and not {name:?}"),
        })
    }
}

/// Locks in this process, whose leases do not end while a call runs.
///
/// # Errors
///
/// Never, as far as is known.
pub fn locks() -> anyhow::Result<Locks> {
    let config = LockConfig {
        lease: PATIENCE,
        max_hold: PATIENCE,
        ..LockConfig::default()
    };
    Ok(Locks::open(&LockUrl::Memory, config)?)
}

/// A tenant that comes to none of its limits.
pub fn tenant() -> Arc<Tenant> {
    let budgets = Budgets {
        write_rate: UNLIMITED,
        read_rate: UNLIMITED,
        ..Budgets::default()
    };
    Arc::new(Tenant {
        id: TENANT.into(),
        namespace: TENANT.into(),
        hold: Duration::ZERO,
        settings: Settings::default(),
        limits: CallLimits {
            wall_time: PATIENCE,
            cpu_time: PATIENCE,
            ..CallLimits::default()
        },
        account: Arc::new(Account::new(TENANT, &budgets)),
        feed: Arc::default(),
    })
}

/// A request to register this name.
pub fn request(name: String) -> Request {
    Request {
        name,
        owner: OWNER.to_owned(),
        lifetime: Some(Duration::from_secs(3600)),
        attributes: vec![("floor".to_owned(), "2".to_owned())],
    }
}

/// The compiler, which starts this program again and keeps in `folder` what it has compiled.
///
/// # Errors
///
/// The system does not say which program this is.
pub fn compiler(folder: &Path) -> anyhow::Result<CompilerConfig> {
    Ok(CompilerConfig {
        // Under valgrind, what /proc says is valgrind.
        program: std::env::current_exe()?,
        // Components of several MiB are compiled for longer than the default allows.
        cpu_time: PATIENCE,
        wall_time: PATIENCE,
        cache: CacheConfig {
            dir: folder.join("cache"),
            files: 16,
            bytes: 4 << 30,
        },
        ..CompilerConfig::default()
    })
}

/// Loads a component, from the cache where it was compiled before.
///
/// # Errors
///
/// It cannot be compiled, or does not fit.
pub async fn load(sandbox: &Sandbox, component: Vec<u8>) -> anyhow::Result<Handler> {
    let wasm = Wasm::new(component);
    let account = Account::new(TENANT, &Budgets::default());
    let permit = sandbox.compiler().await;
    let loaded = sandbox
        .compile(permit, &wasm, ARTIFACT_MAX, &account, Effort::Full)
        .await?;
    Ok(loaded.handler)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_a_name_and_nothing_else_is_one() {
        assert_eq!(Answer::parse("saved").unwrap(), Answer::Saved);
        assert_eq!(Answer::parse("made-up").unwrap(), Answer::MadeUp);
        assert!(Answer::parse("").is_err());
    }
}
