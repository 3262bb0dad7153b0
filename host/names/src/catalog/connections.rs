//! The connections of a catalog.
//!
//! One that is dropped is closed, as something may be under way on it; the server then rolls its transaction back. One
//! whose commit waits for a standby stays open in the server meanwhile, but so do the locks of its tenant: there is one
//! for each tenant at most.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use deadpool::Runtime;
use deadpool::managed::{Object, Timeouts};
use namelock_types::error_chain;
use scopeguard::ScopeGuard;

use crate::catalog::ask::Failure;
use crate::catalog::config::CatalogConfig;
use crate::catalog::schema;
use crate::postgres::link::{Lent, Linking, Links};
use crate::postgres::reach::Reach;

/// How many connections there are at most, beside the one on which changes are heard. A host reads its catalog with
/// one; more are for components, which take a while.
const CONNECTIONS: usize = 4;

/// A connection that is closed when it is dropped; [`give_back`] keeps it for the next.
pub(super) type Connection = ScopeGuard<Lent, fn(Lent)>;

/// The connections of one process.
pub(super) struct Connections {
    pool: Links,
    timeout: Duration,
    /// Whether the tables are known to be there.
    has_tables: AtomicBool,
}

impl Connections {
    pub(super) fn new(reach: Reach, shown: &str, config: &CatalogConfig) -> Result<Self, String> {
        let pool = Links::builder(Linking::new(reach, shown))
            .max_size(CONNECTIONS)
            .runtime(Runtime::Tokio1)
            .timeouts(Timeouts {
                wait: Some(config.timeout),
                // Each of the servers has its own.
                create: None,
                recycle: None,
            })
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self {
            pool,
            timeout: config.timeout,
            has_tables: AtomicBool::new(false),
        })
    }

    /// Returns how long a statement may take.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Returns a connection to a server that has the tables.
    pub(super) async fn get(&self) -> Result<Connection, Failure> {
        let object = self.pool.get().await.map_err(|error| {
            let reason = error_chain(&error);
            Failure::Unavailable(format!("it cannot be reached: {reason}"))
        })?;
        let close: fn(Lent) = |object| drop(Object::take(object));
        let mut connection = scopeguard::guard(object, close);
        if !self.has_tables.load(Ordering::Acquire) {
            schema::ensure(&mut connection, self.timeout).await?;
            self.has_tables.store(true, Ordering::Release);
        }
        Ok(connection)
    }
}

/// Keeps a connection for the next caller. Nothing may be under way on it.
pub(super) fn give_back(connection: Connection) {
    drop(ScopeGuard::into_inner(connection));
}
