//! Which database, tenant and file a command is about.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use namelock_names::NamesUrl;
use namelock_names::records::Records;

use crate::config::source::ConfigError;
use crate::config::{Config, ServeFlags};
use crate::lifecycle::RunError;
use crate::tenants::TenantId;

/// Which database it is.
#[derive(Args, Debug)]
pub(super) struct DatabaseFlags {
    /// The file that `serve --config` is given, for its section names [env: NAMELOCK_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<OsString>,
    /// The names database: sqlite:PATH or postgres://… [env: NAMELOCK_NAMES] [default: sqlite:namelock.db]
    #[arg(long, value_name = "URL")]
    names: Option<OsString>,
}

impl DatabaseFlags {
    pub(super) fn config(&self) -> Result<Config, RunError> {
        let flags = ServeFlags {
            config: self.config.clone(),
            names: self.names.clone(),
            ..ServeFlags::default()
        };
        Ok(Config::load(&flags, &|variable| std::env::var_os(variable))?)
    }
}

pub(super) fn tenant(id: &str) -> Result<TenantId, RunError> {
    let parsed = id.parse();
    parsed.map_err(|error| ConfigError::new(format!("tenant {id:?}"), format!("{error}")).into())
}

pub(super) async fn open(config: &Config) -> Result<Records, RunError> {
    let opened = Records::open(&config.names_url, &config.names).await;
    opened.map_err(|source| RunError::Names {
        url: config.names_url.to_string(),
        source,
    })
}

/// Refuses a file that is not there, which would be created.
pub(super) fn refuse_missing(url: &NamesUrl) -> Result<(), RunError> {
    match url {
        NamesUrl::Sqlite(path) if !path.exists() => {
            let problem = format!("there is no file {}; name the one that hosts use", path.display());
            Err(ConfigError::new("--names", problem).into())
        }
        _ => Ok(()),
    }
}

/// Where something is read from or written to.
pub(super) fn shown(path: Option<&PathBuf>, standard: &str) -> String {
    path.map_or_else(|| standard.to_owned(), |path| path.display().to_string())
}

/// A path; none: standard input or output, also as `-`.
pub(super) fn path(given: Option<&PathBuf>) -> Option<&PathBuf> {
    given.filter(|path| path.as_os_str() != "-")
}
