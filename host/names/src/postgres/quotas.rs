//! How a host holds tenants to their quotas.

use std::sync::Arc;

use tokio::sync::Notify;

use crate::error::{NamesError, SaveError};
use crate::postgres::rows::usage;
use crate::postgres::server::Server;
use crate::postgres::statement::parameters;
use crate::quota::{Quota, Usage};
use crate::room::Room;

/// What is known of what tenants keep.
#[derive(Default)]
pub(super) struct Quotas {
    pub(super) room: Room,
    /// Tells the purge that a tenant needs the room of rows whose retention is over.
    pub(super) purge_wanted: Arc<Notify>,
}

impl Quotas {
    /// Reads what a tenant keeps.
    pub(super) async fn usage(&self, server: &Server, tenant: &str) -> Result<Usage, NamesError> {
        let row = server
            .read(tenant, &server.sql.usage, parameters![tenant.to_owned()])
            .await?;
        row.map_or(Ok(Usage::default()), |row| usage(&row))
    }

    /// Refuses a row that the tenant's quota has no room for. The statement that writes has checked this too; it does not
    /// say so.
    pub(super) async fn check(
        &self,
        server: &Server,
        tenant: &str,
        old: Option<Usage>,
        new: Usage,
        quota: Quota,
    ) -> Result<(), SaveError> {
        let has = self.usage(server, tenant).await?;
        let checked = has.check(old, new, quota);
        checked.map_err(|kind| {
            self.purge_wanted.notify_one();
            SaveError::Quota(kind)
        })
    }
}
