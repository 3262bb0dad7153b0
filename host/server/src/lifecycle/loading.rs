//! When the tenants, and the tokens of operators, are read again.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Notify;
use tokio::task::JoinError;

use super::checks;
use super::manager::Reports;
use crate::admin::Operators;
use crate::config::Config;
use crate::config::source::ConfigError;
use crate::tenants::directory::{self, Candidate};
use crate::tenants::fleet::Fleet;
use crate::tenants::watch::{Changed, Watch};
use crate::tenants::{Rules, Tenants};
use crate::text::chain;

/// Where the tenants are.
pub(super) enum Origin {
    /// In a directory, as it was read first, and which is watched.
    Directory(Vec<Candidate>, Watch),
    /// In the database of a fleet.
    Fleet(Arc<Fleet>),
}

impl Origin {
    /// Finds the tenants; in a directory it reads them, too.
    pub(super) fn open(config: &Config) -> Result<Self, ConfigError> {
        if let Some(fleet) = Fleet::open(config, checks::open_is_allowed(&config.http))? {
            return Ok(Self::Fleet(fleet.into()));
        }
        // Begins before they are read for the first time: what changes meanwhile is seen.
        let watch = watch(config);
        let candidates = directory::scan(&config.tenants, &Rules::of(config), &config.compiler.cache.dir)?;
        checks::refuse_open(&config.http, &candidates)?;
        Ok(Self::Directory(candidates, watch))
    }

    /// How many tenants there are, as far as it is known.
    pub(super) fn tenants(&self) -> Option<usize> {
        match self {
            Self::Directory(candidates, _) => Some(candidates.len()),
            Self::Fleet(_) => None,
        }
    }

    /// The fleet, if they are in its database.
    pub(super) fn fleet(&self) -> Option<Arc<Fleet>> {
        match self {
            Self::Directory(..) => None,
            Self::Fleet(fleet) => Some(Arc::clone(fleet)),
        }
    }
}

fn watch(config: &Config) -> Watch {
    if !config.tenants_watch {
        return Watch::nothing();
    }
    Watch::begin(&config.tenants).unwrap_or_else(|error| {
        tracing::warn!(dir = %config.tenants.display(), %error, "cannot watch the tenants; send SIGHUP when something has changed");
        Watch::nothing()
    })
}

/// Applies the tenants, notifies `loaded` once their components are loaded, and reads and applies them again whenever `reload`
/// returns, an operator says so, or something has changed; the tokens of operators, too, but in the last case. A compile that takes
/// long delays nothing but its own tenant's new version.
pub(super) async fn keep_loading(
    config: &Config,
    (tenants, operators): (&Tenants, &Operators),
    origin: Origin,
    (loaded, reports): (&Notify, &Reports),
    reload: impl AsyncFnMut(),
) {
    let first = Notify::new();
    let started = async {
        first.notified().await;
        tenants.settled().await;
        loaded.notify_one();
    };
    let reading = async {
        match origin {
            Origin::Directory(candidates, watch) => {
                tenants.note_gone(None, &candidates).await;
                tenants.apply(candidates);
                first.notify_one();
                keep_reading(config, (tenants, operators), &watch, reports, reload).await;
            }
            Origin::Fleet(fleet) => follow(config, (tenants, operators), &fleet, (&first, reports), reload).await,
        }
    };
    let ((), (), ()) = tokio::join!(tenants.work(), started, reading);
}

async fn keep_reading(
    config: &Config,
    (tenants, operators): (&Tenants, &Operators),
    watch: &Watch,
    reports: &Reports,
    mut reload: impl AsyncFnMut(),
) {
    loop {
        let changed = tokio::select! {
            () = reload() => Changed::All,
            () = tenants.to_read_again() => Changed::All,
            changed = watch.changed() => changed,
        };
        let all = changed == Changed::All;
        if all {
            reports.reloading();
            read_tokens_again(config, operators).await;
        }
        let read = read_again(config, tenants, changed).await;
        if all {
            reports.reloaded(read);
        }
    }
}

/// Reads the tenants of a fleet, and whatever changes in them, for ever; notifies `first` when they were read for the first time.
async fn follow(
    config: &Config,
    (tenants, operators): (&Tenants, &Operators),
    fleet: &Fleet,
    (first, reports): (&Notify, &Reports),
    mut reload: impl AsyncFnMut(),
) {
    let (mut known, mut failing, mut all) = (BTreeMap::new(), false, false);
    let mut is_first = true;
    loop {
        match fleet.read(&mut known).await {
            Ok(changes) => {
                if failing {
                    tracing::info!("the tenants of the fleet are read again");
                }
                failing = false;
                let of = (!is_first).then_some(&changes.tenants);
                is_first = false;
                tenants.note_gone(of, &changes.candidates).await;
                tenants.apply_to(&changes.tenants, changes.candidates);
                first.notify_one();
            }
            // Once, and not every second.
            Err(error) if !failing => {
                tracing::error!(
                    error = chain(&error),
                    "cannot read the tenants of the fleet; they are served as they were"
                );
                failing = true;
            }
            Err(_) => {}
        }
        if all {
            reports.reloaded(!failing);
        }
        all = tokio::select! {
            () = reload() => true,
            () = tenants.to_read_again() => true,
            () = fleet.changed() => false,
        };
        if all {
            reports.reloading();
            // So that what was refused is tried again. A tenant that is gone meanwhile is found missing all the same.
            known.values_mut().for_each(|revision| *revision = 0);
            read_tokens_again(config, operators).await;
        }
    }
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

/// Reads what has changed, and applies it; tells whether it could be read.
async fn read_again(config: &Config, tenants: &Tenants, changed: Changed) -> bool {
    let (again, which) = (config.clone(), changed.clone());
    let scan = move || match which {
        Changed::All => {
            tracing::info!(dir = %again.tenants.display(), "reading the tenants and the tokens of operators again");
            directory::scan(&again.tenants, &Rules::of(&again), &again.compiler.cache.dir)
        }
        Changed::These(ids) => Ok(directory::scan_these(&again.tenants, &Rules::of(&again), &ids)),
    };
    let panicked = |panic: JoinError| Err(ConfigError::new("tenants.dir", panic.to_string()));
    let mut candidates = match tokio::task::spawn_blocking(scan).await.unwrap_or_else(panicked) {
        Ok(candidates) => candidates,
        Err(error) => {
            tracing::error!(%error, "cannot reload the tenants; they are served as they were");
            return false;
        }
    };
    if !checks::open_is_allowed(&config.http) {
        directory::refuse_open(&mut candidates);
    }
    match changed {
        Changed::All => {
            tenants.note_gone(None, &candidates).await;
            tenants.apply(candidates);
        }
        Changed::These(ids) => {
            tenants.note_gone(Some(&ids), &candidates).await;
            tenants.apply_to(&ids, candidates);
        }
    }
    true
}
