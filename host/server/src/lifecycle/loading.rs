//! When the tenants, and the tokens of operators, are read again.

use tokio::sync::Notify;
use tokio::task::JoinError;

use super::{checks, rules};
use crate::admin::Operators;
use crate::config::Config;
use crate::config::source::ConfigError;
use crate::tenants::Tenants;
use crate::tenants::directory::{self, Candidate};
use crate::tenants::watch::{Changed, Watch};

/// Begins to watch the tenants, before they are read for the first time: what changes meanwhile is seen.
pub(super) fn watch(config: &Config) -> Watch {
    if !config.tenants_watch {
        return Watch::nothing();
    }
    Watch::begin(&config.tenants).unwrap_or_else(|error| {
        tracing::warn!(dir = %config.tenants.display(), %error, "cannot watch the tenants; send SIGHUP when something has changed");
        Watch::nothing()
    })
}

/// Applies the candidates, notifies `loaded` once their components are loaded, and scans and applies again whenever `reload`
/// returns, an operator says so, or something has changed; the tokens of operators, too, but in the last case. A compile that takes
/// long delays nothing but its own tenant's new version.
pub(super) async fn keep_loading(
    config: &Config,
    (tenants, operators): (&Tenants, &Operators),
    (candidates, watch): (Vec<Candidate>, Watch),
    loaded: &Notify,
    mut reload: impl AsyncFnMut(),
) {
    tenants.apply(candidates);
    let started = async {
        tenants.settled().await;
        loaded.notify_one();
    };
    let reloading = async {
        loop {
            let changed = tokio::select! {
                () = reload() => Changed::All,
                () = tenants.to_read_again() => Changed::All,
                changed = watch.changed() => changed,
            };
            if changed == Changed::All {
                read_tokens_again(config, operators).await;
            }
            read_again(config, tenants, changed).await;
        }
    };
    let ((), (), ()) = tokio::join!(tenants.work(), started, reloading);
}

/// Reads the tokens of operators, and lets in those who have them now.
async fn read_tokens_again(config: &Config, operators: &Operators) {
    let again = config.clone();
    let read = tokio::task::spawn_blocking(move || checks::tokens_now(&again));
    let panicked = |panic: JoinError| Err(ConfigError::new("admin.tokens", panic.to_string()));
    match read.await.unwrap_or_else(panicked) {
        Ok(tokens) => operators.replace(tokens),
        Err(error) => tracing::error!(%error, "cannot read admin.tokens again; those of before are known"),
    }
}

/// Reads what has changed, and applies it.
async fn read_again(config: &Config, tenants: &Tenants, changed: Changed) {
    let (again, which) = (config.clone(), changed.clone());
    let scan = move || match which {
        Changed::All => {
            tracing::info!(dir = %again.tenants.display(), "reading the tenants and the tokens of operators again");
            directory::scan(&again.tenants, &rules(&again), &again.compiler.cache.dir)
        }
        Changed::These(ids) => Ok(directory::scan_these(&again.tenants, &rules(&again), &ids)),
    };
    let panicked = |panic: JoinError| Err(ConfigError::new("tenants.dir", panic.to_string()));
    let mut candidates = match tokio::task::spawn_blocking(scan).await.unwrap_or_else(panicked) {
        Ok(candidates) => candidates,
        Err(error) => return tracing::error!(%error, "cannot reload the tenants; they are served as they were"),
    };
    if !checks::open_is_allowed(&config.http) {
        directory::refuse_open(&mut candidates);
    }
    match changed {
        Changed::All => tenants.apply(candidates),
        Changed::These(ids) => tenants.apply_to(&ids, candidates),
    }
}
