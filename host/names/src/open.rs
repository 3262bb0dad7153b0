//! Opens a names database by its URL.

use std::path::Path;
use std::sync::Arc;

use crate::config::NamesConfig;
use crate::error::OpenError;
use crate::manual_time::ManualTime;
use crate::names::Names;
use crate::placed::Placed;
use crate::postgres::{Postgres, Role};
use crate::sqlite::Sqlite;
use crate::url::NamesUrl;

/// Opens the names database at `url`, creates it if it does not exist, and migrates it to the current version.
///
/// # Errors
///
/// See [`OpenError`].
pub async fn open(url: &NamesUrl, config: NamesConfig) -> Result<Arc<dyn Names>, OpenError> {
    config.check()?;
    match url {
        NamesUrl::Sqlite(path) => Ok(Arc::new(Sqlite::open(path, config, None).await?)),
        NamesUrl::Postgres(server) => Ok(Arc::new(
            Postgres::open(server, &url.to_string(), config, Role::Alone).await?,
        )),
        NamesUrl::Several(several) => Ok(Arc::new(Placed::open(several, &config).await?)),
    }
}

/// Opens a names database in a new file in which time passes only by hand: for tests.
///
/// # Errors
///
/// See [`OpenError`].
pub async fn open_with_time(path: &Path, config: NamesConfig, time: ManualTime) -> Result<Arc<dyn Names>, OpenError> {
    config.check()?;
    Ok(Arc::new(Sqlite::open(path, config, Some(time)).await?))
}
