//! The component that a command is about, with the `tenant.toml` beside it.

use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::config::source::{ConfigError, Source};
use crate::tenants::plan::Plan;
use crate::tenants::{InvalidTenantId, Rules, TenantError, TenantId};

/// Refuses a path of a command at which there is nothing.
///
/// # Errors
///
/// That there is nothing.
pub(super) fn exists(path: &Path) -> Result<(), ConfigError> {
    if path.exists() {
        return Ok(());
    }
    let problem = "there is no such file or directory; name a component, or the directory of a project";
    Err(ConfigError::new(path.display().to_string(), problem))
}

/// A component, and what its tenant has.
pub(super) struct Subject {
    /// That of its directory, or of nobody where that is not the id of a tenant.
    pub(super) id: TenantId,
    pub(super) component: PathBuf,
    /// What the `tenant.toml` says; without one, or where it is wrong, what the host says.
    pub(super) plan: Plan,
    /// Whether a directory was given.
    is_dir: bool,
    /// What is wrong with the `tenant.toml`.
    pub(super) refused: Option<TenantError>,
}

impl Subject {
    /// What is to be said of a directory that a host would not take for that of a tenant.
    pub(super) fn skipped(&self) -> Option<String> {
        let dir = self.component.parent().filter(|_| self.is_dir)?;
        let is_link = dir.is_symlink();
        if TenantId::of_directory(dir).is_some() && !is_link {
            return None;
        }
        let why = if is_link {
            "is a link".to_owned()
        } else {
            format!("has another name: {InvalidTenantId}")
        };
        Some(format!(
            "a host that finds this directory among its tenants skips it, because it {why}"
        ))
    }

    /// Takes the path of a component, or of a directory with a `handler.wasm`.
    pub(super) fn read(path: &Path, config: &Config) -> Result<Self, TenantError> {
        let is_dir = path.is_dir();
        let component = if is_dir {
            path.join("handler.wasm")
        } else {
            path.to_owned()
        };
        // A path without a directory is in this one.
        let parent = component.parent().filter(|parent| !parent.as_os_str().is_empty());
        let dir = parent.unwrap_or(Path::new("."));
        let id = TenantId::of_directory(dir).unwrap_or_else(TenantId::somebody);
        let (mut plan, refused) = match Plan::read(&id, dir, &Rules::of(config)) {
            Ok(plan) => (plan, None),
            Err(error) => (
                Plan::parse(&id, dir, &Source::default(), &Rules::of(config))?,
                Some(error),
            ),
        };
        // What is looked at is a file. A host would not look at one that lies beside such a line.
        if let Some(reference) = plan.reference.take().filter(|_| is_dir) {
            return Err(TenantError::Elsewhere {
                path: dir.join("tenant.toml"),
                reference: reference.into(),
            });
        }
        plan.component.clone_from(&component);
        Ok(Self {
            id,
            component,
            is_dir,
            plan,
            refused,
        })
    }
}
