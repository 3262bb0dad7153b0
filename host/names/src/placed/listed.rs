//! The databases of a list, and where tenants are in them, for commands.

use tokio_postgres::Client;

use crate::config::NamesConfig;
use crate::open::open;
use crate::placed::steps::MoveError;
use crate::records::Records;
use crate::url::NamesUrl;

/// Where a tenant is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantPlace {
    /// The tenant.
    pub tenant: String,
    /// Its database: the address, or the id of one that is not in the list.
    pub database: String,
    /// Where it is being moved.
    pub moving_to: Option<String>,
    /// Where it was, and what it has left is to be removed.
    pub moved_from: Option<String>,
}

/// A database of the list that answers.
pub(super) struct Listed {
    /// Its place in the list, from 1.
    pub(super) number: usize,
    pub(super) url: NamesUrl,
    pub(super) shown: String,
    pub(super) id: String,
}

/// Opens the databases as hosts do, so that their tables are up to date, and asks for their ids. The first must answer.
pub(super) async fn listed(url: &NamesUrl, config: &NamesConfig) -> Result<(Records, Vec<Listed>), MoveError> {
    let NamesUrl::Several(several) = url else {
        return Err(MoveError::Refused(format!(
            "{url} is one database; give all of them, as in --names postgres://a/names,postgres://b/names"
        )));
    };
    let names = open(url, config.clone()).await?;
    let ready = names.ready().await;
    names.close().await;
    ready?;
    let (mut first, mut all) = (None, Vec::new());
    for (index, url) in several.iter().enumerate() {
        let records = match Records::connect(url, config).await {
            Ok(records) => records,
            Err(error) if index == 0 => return Err(error.into()),
            Err(_) => continue,
        };
        let row = client(&records)?
            .query_one("SELECT id FROM namelock_database", &[])
            .await?;
        let shown = url.to_string();
        let shown = shown
            .split_once("://")
            .map_or(shown.clone(), |(_, shown)| shown.to_owned());
        all.push(Listed {
            number: index + 1,
            url: url.clone(),
            shown,
            id: row.try_get(0)?,
        });
        first = first.or(Some(records));
    }
    let first = first.ok_or_else(|| MoveError::Refused("there is no database".to_owned()))?;
    Ok((first, all))
}

pub(super) fn client(records: &Records) -> Result<&Client, MoveError> {
    let client = records.client();
    client.ok_or_else(|| MoveError::Refused("it is no database of PostgreSQL".to_owned()))
}

/// Returns where all tenants are, in order of their ids.
///
/// # Errors
///
/// See [`MoveError`].
pub async fn placements(url: &NamesUrl, config: &NamesConfig) -> Result<Vec<TenantPlace>, MoveError> {
    let (first, all) = listed(url, config).await?;
    let sql = "SELECT tenant, database, moving_to, moved_from FROM namelock_placement ORDER BY tenant";
    let rows = client(&first)?.query(sql, &[]).await?;
    let shown = |id: String| {
        all.iter().find(|one| one.id == id).map_or_else(
            || format!("the database with the id {id} (not in the list, or it does not answer)"),
            |one| one.shown.clone(),
        )
    };
    let place = |row: &tokio_postgres::Row| {
        Ok(TenantPlace {
            tenant: row.try_get(0)?,
            database: shown(row.try_get(1)?),
            moving_to: row.try_get::<_, Option<String>>(2)?.map(shown),
            moved_from: row.try_get::<_, Option<String>>(3)?.map(shown),
        })
    };
    rows.iter().map(place).collect()
}
