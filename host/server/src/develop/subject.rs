//! The component that a command is about, with the `tenant.toml` beside it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::Config;
use crate::config::source::Source;
use crate::lifecycle::rules;
use crate::tenants::plan::Plan;
use crate::tenants::{TenantError, TenantId};

/// A component, and what its tenant has.
pub(super) struct Subject {
    pub(super) component: PathBuf,
    /// What the `tenant.toml` says; without one, or where it is wrong, what the host says.
    pub(super) plan: Arc<Plan>,
    /// What is wrong with the `tenant.toml`.
    pub(super) refused: Option<TenantError>,
}

impl Subject {
    /// Takes the path of a component, or of a directory with a `handler.wasm`.
    pub(super) fn read(path: &Path, config: &Config) -> Result<Self, TenantError> {
        let component = if path.is_dir() {
            path.join("handler.wasm")
        } else {
            path.to_owned()
        };
        // A path without a directory is in this one.
        let parent = component.parent().filter(|parent| !parent.as_os_str().is_empty());
        let dir = parent.unwrap_or(Path::new("."));
        let id = TenantId::of_directory(dir).unwrap_or_else(TenantId::somebody);
        let (mut plan, refused) = match Plan::read(&id, dir, &rules(config)) {
            Ok(plan) => (plan, None),
            Err(error) => (Plan::parse(&id, dir, &Source::default(), &rules(config))?, Some(error)),
        };
        plan.component.clone_from(&component);
        Ok(Self {
            component,
            plan: Arc::new(plan),
            refused,
        })
    }
}
