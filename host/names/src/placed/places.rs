//! Where tenants are, as far as this host remembers.
//!
//! It is a hint, which the databases correct: see the module above. A tenant that is being moved, or is in a database that this host does
//! not have, is looked for again after [`LOOK_AGAIN`], however often it is asked for.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::error::NamesError;
use crate::placed::members::{Member, Members};
use crate::postgres::Placement;

/// For how long a tenant is taken to be where it cannot be reached.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// How many tenants are remembered. Beyond that all are forgotten, which costs a read each.
const REMEMBERED_MAX: usize = 1 << 20;

/// What is remembered of all tenants.
#[derive(Default)]
pub(super) struct Places(Mutex<HashMap<String, Place>>);

struct Place {
    /// The database, or why it cannot be reached.
    found: Result<Arc<Member>, NamesError>,
    read: Instant,
}

impl Places {
    /// Returns the database of a tenant, which may be remembered wrongly.
    pub(super) async fn remembered(&self, members: &Members, tenant: &str) -> Result<Arc<Member>, NamesError> {
        let remembered = match self.0.lock().get(tenant) {
            Some(Place { found, read }) if found.is_ok() || read.elapsed() < LOOK_AGAIN => Some(found.clone()),
            Some(_) | None => None,
        };
        match remembered {
            Some(found) => found,
            None => self.look(members, tenant).await,
        }
    }

    /// Looks for a tenant that is not where it was remembered to be.
    pub(super) async fn look(&self, members: &Members, tenant: &str) -> Result<Arc<Member>, NamesError> {
        let read = Instant::now();
        let first = &members.first.names;
        let placement = match first.placement(tenant).await? {
            Some(placement) => placement,
            None => {
                let placed = first.place(tenant, &members.ids()).await?;
                tracing::info!(
                    tenant,
                    database = placed.database,
                    "the tenant was placed in a database"
                );
                placed
            }
        };
        let found = member(members, tenant, &placement);
        if found.is_err() && placement.moving_to.is_none() {
            tracing::warn!(
                tenant,
                database = placement.database,
                "the tenant's database is not in names.url, or cannot be used"
            );
        }
        let mut places = self.0.lock();
        if places.len() >= REMEMBERED_MAX {
            places.clear();
        }
        let remembered = found.clone();
        places.insert(
            tenant.to_owned(),
            Place {
                found: remembered,
                read,
            },
        );
        found
    }
}

fn member(members: &Members, tenant: &str, placement: &Placement) -> Result<Arc<Member>, NamesError> {
    if placement.moving_to.is_some() {
        return Err(NamesError::unavailable(format!(
            "the names of tenant {tenant} are being moved to another database"
        )));
    }
    members.with_id(&placement.database).cloned().ok_or_else(|| {
        NamesError::unavailable(format!(
            "the names of tenant {tenant} are in the database with the id {}, which is not in names.url or cannot be used",
            placement.database
        ))
    })
}
